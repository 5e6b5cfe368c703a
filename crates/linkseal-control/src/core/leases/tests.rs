use super::*;
use crate::tests::{Bench, name};

/// Whether work under the lease ends.
fn is_lost(lease: &DomainLease) -> bool {
    let endless = std::future::pending::<Result<(), StoreError>>();
    match futures_util::FutureExt::now_or_never(lease.run(endless)) {
        None => false,
        Some(end) => {
            assert!(matches!(end, Err(StoreError::Fenced)), "{end:?}");
            lease.is_lost()
        }
    }
}

#[tokio::test]
async fn a_lease_is_kept_as_long_as_it_is_held() {
    let (bench, name) = (Bench::new().await, name("a.example"));
    let other = bench.beside().await;
    let (mine, others) = (&bench.control.core.leases, &other.control.core.leases);
    let lease = mine.acquire(&name).await.unwrap().expect("free");
    for _ in 0..5 {
        bench.clock.advance(TTL - Duration::from_secs(1));
        mine.renew().await.unwrap();
        assert!(others.acquire(&name).await.unwrap().is_none());
    }
    assert!(!is_lost(&lease));
    lease.release().await.unwrap();
    let second = others.acquire(&name).await.unwrap().expect("released");
    // Dropped, as by a panic: it is not renewed any more.
    drop(second);
    others.renew().await.unwrap();
    assert!(mine.acquire(&name).await.unwrap().is_none());
    bench.clock.advance(TTL);
    assert!(mine.acquire(&name).await.unwrap().is_some());
}

#[tokio::test]
async fn a_lease_that_another_node_has_taken_is_lost() {
    let (bench, name) = (Bench::new().await, name("a.example"));
    let other = bench.beside().await;
    let mine = &bench.control.core.leases;
    let lease = mine.acquire(&name).await.unwrap().expect("free");
    let kept = mine
        .acquire(&crate::tests::name("b.example"))
        .await
        .unwrap()
        .expect("free");
    // As after a pause of the whole process.
    bench.clock.advance(TTL);
    let taken = other.control.core.leases.acquire(&name).await.unwrap();
    assert!(taken.is_some());
    assert!(!is_lost(&lease));
    mine.renew().await.unwrap();
    assert!(is_lost(&lease));
    assert!(!is_lost(&kept), "it had ended, but no other node has begun");
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_in_time_is_lost_before_another_node_can_take_it() {
    let (bench, name) = (Bench::new().await, name("a.example"));
    let mine = &bench.control.core.leases;
    let lease = mine.acquire(&name).await.unwrap().expect("free");
    bench.sql("ALTER TABLE leases RENAME TO away");
    bench.clock.advance(KEPT - Duration::from_secs(5));
    assert!(mine.renew().await.is_err());
    assert!(!is_lost(&lease));
    bench.clock.advance(Duration::from_secs(5));
    assert!(mine.renew().await.is_err());
    assert!(is_lost(&lease));
    bench.sql("ALTER TABLE away RENAME TO leases");
    let other = bench.beside().await;
    let taken = other.control.core.leases.acquire(&name).await.unwrap();
    assert!(taken.is_none(), "its work has ended by then");
}

#[tokio::test]
async fn leases_are_renewed_in_the_background() {
    let (bench, name) = (Bench::new().await, name("a.example"));
    let other = bench.beside().await;
    let core = &bench.control.core;
    core.tasks.spawn_until_stop(Arc::clone(core).keep_leases());
    let _lease = core.leases.acquire(&name).await.unwrap().expect("free");
    for _ in 0..5 {
        let before = core.leases.held.lock()[&name].renewed;
        bench.clock.advance(RENEW);
        let renewed = async {
            while core.leases.held.lock()[&name].renewed == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), renewed).await.expect("renewed");
    }
    assert!(other.control.core.leases.acquire(&name).await.unwrap().is_none());
    core.tasks.stop();
}
