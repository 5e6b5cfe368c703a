//! Orders that a lost connection or a restart interrupts.

use linkseal_devca::{Endpoint, Lost};

use super::*;

#[tokio::test]
async fn a_connection_that_breaks_costs_no_order() {
    let live = Live::start().await;
    let issuer = live.issuer();
    let endpoints = [
        Endpoint::Authorization,
        Endpoint::Challenge,
        Endpoint::Order,
        Endpoint::Finalize,
        Endpoint::Certificate,
    ];
    let mut orders = 0;
    for (i, endpoint) in endpoints.into_iter().enumerate() {
        for lost in [Lost::Request, Lost::Answer] {
            live.ca.faults().lose_next(endpoint, lost, 1);
            let name = format!("{lost:?}-{i}.customer.example");
            issue(&issuer, &name)
                .await
                .unwrap_or_else(|e| panic!("{endpoint:?} {lost:?}: {e:?}"));
            orders += 1;
            assert_eq!(live.ca.stats().orders, orders, "{endpoint:?} {lost:?}");
        }
    }
}

#[tokio::test]
async fn a_validation_that_hangs_across_a_restart_ends_in_time() {
    let live = Live::start().await;
    let name = "links.customer.example";
    live.ca.faults().set_stuck_validations(&[name]);
    {
        let issuer = live.issuer();
        tokio::select! {
            result = issue(&issuer, name) => panic!("{result:?}"),
            () = live.ca.until(|ca| ca.name_stats(name).validations == 1) => {}
        }
    }
    live.ca.faults().set_stuck_validations(&[]);
    let stats = live.ca.name_stats(name);
    assert_eq!((stats.orders, stats.certificates), (1, 0));
    // The CA never finishes the validation: the attempt ends in time, and the next one orders again.
    let issuer = live.issuer();
    let jump = async {
        loop {
            // Fast, but slow enough for some polls on the way.
            live.clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let stuck = tokio::select! {
        (failure, resumable) = failure(&issuer, name) => (failure.kind, resumable),
        () = jump => panic!("it must end by itself"),
    };
    assert_eq!(stuck, (FailureKind::Stuck, false));
    assert_eq!(live.ca.name_stats(name).orders, 1);
    live.store.put_order(&unusable_order(&live), FENCE).await.unwrap();
    issue(&issuer, name).await.unwrap();
    assert_eq!(live.ca.name_stats(name).orders, 2);
}

#[tokio::test]
async fn an_order_interrupted_during_signing_is_downloaded_later() {
    let live = Live::start().await;
    let name = "links.customer.example";
    live.ca.faults().set_processing(Duration::from_secs(60));
    {
        let issuer = live.issuer();
        let finalizing = async {
            loop {
                let order = live.store.order(&DomainName::parse(name).unwrap()).await.unwrap();
                if order.is_some_and(|o| o.step == OrderStep::Finalizing) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            result = issue(&issuer, name) => panic!("{result:?}"),
            () = finalizing => {}
        }
    }
    live.clock.advance(Duration::from_secs(60));
    live.ca.faults().set_processing(Duration::ZERO);
    issue(&live.issuer(), name).await.unwrap();
    let stats = live.ca.name_stats(name);
    assert_eq!((stats.orders, stats.certificates), (1, 1));
}

#[tokio::test]
async fn a_reused_authorization_needs_no_validation() {
    let live = Live::start().await;
    live.ca.faults().set_reuse_authorizations(true);
    let issuer = live.issuer();
    issue(&issuer, "links.customer.example").await.unwrap();
    live.store.put_order(&unusable_order(&live), FENCE).await.unwrap();
    issue(&issuer, "links.customer.example").await.unwrap();
    let stats = live.ca.name_stats("links.customer.example");
    assert_eq!((stats.orders, stats.validations, stats.certificates), (2, 1, 2));
}
