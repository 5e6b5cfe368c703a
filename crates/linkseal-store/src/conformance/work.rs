//! Leases, fences, and the orders written under them.

use std::time::Duration;

use linkseal_domain::ssl::Reason;

use super::{MINUTE, NOW, add, lease, name, to};
use crate::{OrderRecord, OrderStep, SharedStore, StoreError, Transition, domain_lease};

pub(crate) async fn a_lease_has_one_holder(store: SharedStore) {
    let take = async |owner: &str, now| store.acquire_lease("scheduler", owner, MINUTE, now).await.unwrap();
    let first = take("one", NOW).await.unwrap();
    assert_eq!(take("two", NOW).await, None);
    assert!(
        store
            .acquire_lease("other", "two", MINUTE, NOW)
            .await
            .unwrap()
            .is_some()
    );
    let again = take("one", NOW + MINUTE / 2).await.unwrap();
    assert!(again > first, "each grant has a larger fence");
    assert_eq!(take("two", NOW + MINUTE).await, None, "the second grant made it longer");
    let second = take("two", NOW + MINUTE * 3 / 2).await.unwrap();
    assert!(second > again);
    assert_eq!(take("one", NOW + MINUTE * 3 / 2).await, None);

    store.release_lease("scheduler", again).await.unwrap();
    assert_eq!(
        take("one", NOW + MINUTE * 3 / 2).await,
        None,
        "an old fence releases nothing"
    );
    store.release_lease("scheduler", second).await.unwrap();
    let third = take("one", NOW + MINUTE * 3 / 2).await.unwrap();
    assert!(third > second, "also after the lease was given back");
    store.release_lease("nothing", third).await.unwrap();
}

pub(crate) async fn an_old_fence_is_refused(store: SharedStore) {
    let domain = add(&store, "a.example", "acme", Reason::Ordering).await;
    let other = add(&store, "b.example", "acme", Reason::Ordering).await;
    let fenced = |fence, record| Transition {
        fence: Some(fence),
        ..to(record, Reason::Ok)
    };
    let old = lease(&store, &domain.name, "one", NOW).await.unwrap();
    let wrong = lease(&store, &other.name, "one", NOW).await.unwrap();
    assert!(
        matches!(store.transition(fenced(wrong, &domain)).await, Err(StoreError::Fenced)),
        "of another domain"
    );
    let new = lease(&store, &domain.name, "two", NOW + MINUTE).await.unwrap();
    assert!(matches!(
        store.transition(fenced(old, &domain)).await,
        Err(StoreError::Fenced)
    ));
    assert_eq!(store.domain(&domain.name).await.unwrap(), Some(domain.clone()));
    let domain = store.transition(fenced(new, &domain)).await.unwrap();
    // Taking it again is a new grant, which ends what was begun under the one before.
    let newer = lease(&store, &domain.name, "two", NOW + MINUTE).await.unwrap();
    assert!(matches!(
        store.transition(fenced(new, &domain)).await,
        Err(StoreError::Fenced)
    ));
    store.release_lease(&domain_lease(&domain.name), newer).await.unwrap();
    assert!(
        matches!(store.transition(fenced(newer, &domain)).await, Err(StoreError::Fenced)),
        "given back"
    );
    store.transition(to(&domain, Reason::Paused)).await.unwrap();
}

pub(crate) async fn a_fence_holds_after_its_lease_expired_until_the_next_grant(store: SharedStore) {
    let domain = add(&store, "a.example", "acme", Reason::Ordering).await;
    let fence = store
        .acquire_lease(&domain_lease(&domain.name), "one", Duration::ZERO, NOW)
        .await
        .unwrap()
        .unwrap();
    let change = Transition {
        fence: Some(fence),
        ..to(&domain, Reason::Ok)
    };
    assert_eq!(store.transition(change).await.unwrap().version, domain.version + 1);
}

pub(crate) async fn orders_are_written_under_a_fence(store: SharedStore) {
    let domain = add(&store, "b.example", "acme", Reason::Ordering).await.name;
    let later = add(&store, "a.example", "acme", Reason::Ordering).await.name;
    let old = lease(&store, &domain, "one", NOW).await.unwrap();
    let fence = lease(&store, &domain, "two", NOW + MINUTE).await.unwrap();
    let mut order = OrderRecord {
        name: domain.clone(),
        ca: "https://ca.example/dir".into(),
        url: None,
        sealed_key: vec![0, 255],
        step: OrderStep::Creating,
        created: NOW,
    };
    assert!(matches!(store.put_order(&order, old).await, Err(StoreError::Fenced)));
    assert_eq!(store.order(&domain).await.unwrap(), None);
    store.put_order(&order, fence).await.unwrap();
    assert_eq!(store.order(&domain).await.unwrap(), Some(order.clone()));
    for step in [OrderStep::Authorizing, OrderStep::Finalizing] {
        order.url = Some("https://ca.example/order/1".into());
        order.step = step;
        store.put_order(&order, fence).await.unwrap();
        assert_eq!(store.order(&domain).await.unwrap(), Some(order.clone()));
    }
    let second = lease(&store, &later, "two", NOW).await.unwrap();
    let order = OrderRecord {
        name: later.clone(),
        created: NOW + MINUTE,
        ..order
    };
    store.put_order(&order, second).await.unwrap();
    assert_eq!(store.open_orders().await.unwrap(), [domain, later], "the oldest first");
    let nowhere = OrderRecord {
        name: name("nowhere.example"),
        ..order
    };
    assert!(matches!(
        store.put_order(&nowhere, second).await,
        Err(StoreError::NotFound)
    ));
}

pub(crate) async fn of_many_owners_one_gets_the_lease(store: SharedStore) {
    let owners: Vec<String> = (0..20).map(|n| format!("node-{n}")).collect();
    let tries = owners
        .iter()
        .map(|owner| store.acquire_lease("scheduler", owner, MINUTE, NOW));
    let granted = futures_util::future::join_all(tries).await;
    assert_eq!(
        granted
            .into_iter()
            .filter(|grant| grant.as_ref().unwrap().is_some())
            .count(),
        1
    );
}
