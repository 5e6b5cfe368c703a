use linkseal_base::clock::Timestamp;
use linkseal_domain::record::Origin;
use linkseal_store::{Creation, Transition};

use super::*;
use crate::core::Draft;
use crate::operator::Patch;
use crate::tests::{Bench, actor, name};

/// Turns as near as this are the same: the limit gives one in a day and a half.
const NEAR: Duration = Duration::from_secs(300);

/// A certificate that the CA has issued counts there, even if we refuse it.
#[tokio::test]
async fn what_the_ca_has_counted_is_not_refunded() {
    let bench = Bench::new().await;
    let (core, orders) = (&bench.control.core, &bench.control.orders);
    let record = DomainRecord::new(
        name("links.customer.example"),
        None,
        Origin::Registered,
        bench.clock.now(),
    );
    let ca = Arc::clone(core.cas().first());
    let takes = rules::budgets((&record.name, &record.ssl), ca.directory(), &ca.limits);
    let left = async || {
        let mut left = Vec::new();
        for take in &takes {
            left.push(bench.store.budget_left(take).await.unwrap().round() as i64);
        }
        left
    };
    let full = left().await;
    assert_eq!(
        full.len(),
        3,
        "of the account, the registered domain, the exact set of names"
    );
    for (spent, kept) in [
        (Spent::Nothing, [0, 0, 0]),
        (Spent::Order, [1, 0, 0]),
        (Spent::Certificate, [2, 1, 1]),
    ] {
        let Ok(Choice::At(chosen)) = orders.choose(&record, false).await else {
            panic!("{spent:?}: nothing prevents the order")
        };
        orders.refund(&chosen, &record, spent).await.unwrap();
        let gone: Vec<_> = full.iter().zip(left().await).map(|(full, left)| full - left).collect();
        assert_eq!(gone, kept, "{spent:?}");
    }
}

#[tokio::test]
async fn an_order_stopped_by_a_pause_before_it_begins_costs_nothing() {
    let bench = Bench::new().await;
    let (control, store, now) = (&bench.control, &bench.store, bench.clock.now());
    let (core, orders) = (&control.core, &control.orders);
    let name = name("links.customer.example");
    let record = DomainRecord::new(name.clone(), None, Origin::Registered, now);
    let creation = Creation {
        record,
        timeline: Vec::new(),
        audit: None,
    };
    let record = store.create(creation).await.unwrap();
    let ca = Arc::clone(core.cas().first());
    let takes = rules::budgets((&name, &record.ssl), ca.directory(), &ca.limits);
    let lease = core.leases.acquire(&name).await.unwrap().expect("free");
    // After it was read.
    let mut paused = record.clone();
    paused.paused = Some(now);
    store.transition(Transition::of(paused)).await.unwrap();
    let end = orders.attempt(&record, lease.fence(), false).await;
    assert!(matches!(end, Err(StoreError::Fenced)));
    for take in &takes {
        let left = store.budget_left(take).await.unwrap();
        assert_eq!(left.round() as u32, take.size, "{}", take.key);
    }
}

/// What another node has obtained while this one's order waited in the queue is not ordered again.
#[tokio::test]
async fn an_order_that_is_no_longer_needed_is_not_made() {
    let bench = Bench::new().await;
    let (control, store, now) = (&bench.control, &bench.store, bench.clock.now());
    let name = name("links.customer.example");
    let mut record = DomainRecord::new(name.clone(), None, Origin::Registered, now);
    record.apply(SslEvent::Wanted, now);
    let certificate = |renew_at: Timestamp| linkseal_domain::ssl::CertificateInfo {
        not_before: now,
        not_after: now + NEAR * 1_000,
        obtained: Some(now),
        issuer: "Test CA".into(),
        serial: "01".into(),
        sans: vec![name.to_string()],
        ca: crate::tests::CA.into(),
        ari_id: None,
        renew_at,
        ari_check_at: None,
    };
    record.apply(SslEvent::Issued(certificate(now + NEAR)), now);
    let creation = Creation {
        record,
        timeline: Vec::new(),
        audit: None,
    };
    let record = store.create(creation).await.unwrap();
    let order = async || {
        let lease = control.core.leases.acquire(&name).await.unwrap().expect("free");
        control.orders.order(lease).await.unwrap()
    };
    assert!(!order().await);
    assert_eq!(store.domain(&name).await.unwrap(), Some(record));
    assert!(store.timeline(&name, None, 10).await.unwrap().is_empty());
    let ca = Arc::clone(control.core.cas().first());
    let account = rules::account_budget(ca.directory(), &ca.limits);
    let left = store.budget_left(&account).await.unwrap();
    assert_eq!(left.round() as u32, account.size);
    // Once it is due, it is made.
    bench.clock.advance(NEAR);
    assert!(order().await);
}

/// The limit for one exact set of names gives a turn in a day and a half: releasing, pausing or adding a
/// name again must not push it back by that each time.
#[tokio::test]
async fn a_turn_survives_a_release_and_is_returned_by_a_pause_or_purge() {
    let bench = Bench::new().await;
    let (control, store, now) = (&bench.control, &bench.store, bench.clock.now());
    let (core, orders, operator) = (&control.core, &control.orders, control.operator());
    let name = name("links.customer.example");
    let add = async || {
        let mut record = DomainRecord::new(name.clone(), None, Origin::Registered, bench.clock.now());
        record.apply(SslEvent::Wanted, bench.clock.now());
        let creation = Creation {
            record,
            timeline: Vec::new(),
            audit: None,
        };
        store.create(creation).await.unwrap();
    };
    add().await;
    let ca = Arc::clone(core.cas().first());
    let status = linkseal_domain::ssl::SslStatus::new(now);
    let mut all = rules::budgets((&name, &status), ca.directory(), &ca.limits);
    let mut exact = all.pop().expect("of the exact set of names");
    exact.amount = exact.size;
    store.take_budgets(&[exact]).await.unwrap();
    let turn = async || {
        let lease = core.leases.acquire(&name).await.unwrap().expect("free");
        assert!(!orders.order(lease).await.unwrap(), "the limit is used up");
        let ssl = store.domain(&name).await.unwrap().unwrap().ssl;
        assert_eq!(ssl.slot.map(|turn| turn.at), ssl.next_attempt);
        ssl.next_attempt.expect("a turn")
    };
    let first = turn().await;
    assert!(first > now + NEAR);
    let is_first = |at: Timestamp| at.saturating_since(first).max(first.saturating_since(at)) < NEAR;
    for _ in 0..3 {
        let released = |draft: &mut Draft| {
            draft.apply(SslEvent::Released);
            Edit::<StoreError>::Store
        };
        core.change(&name, None, released).await.unwrap();
        assert_eq!(turn().await, first);
    }
    for paused in [true, false] {
        let patch = Patch {
            paused: Some(paused),
            ..Patch::default()
        };
        operator.patch(&name, patch, &actor()).await.unwrap();
    }
    assert!(is_first(turn().await), "after a pause");
    operator.purge(&name, &actor()).await.unwrap();
    add().await;
    assert!(is_first(turn().await), "after it was added again");
    operator.retire(&name, &actor()).await.unwrap();
    operator.purge(&name, &actor()).await.unwrap();
    add().await;
    assert!(is_first(turn().await), "after it was retired");
}
