//! Leases, fences, and the orders written under them.

use std::time::Duration;

use linkseal_domain::ssl::Reason;

use super::{Fresh, MINUTE, NOW, add, held, lease, name, owner, to};
use crate::{Fence, Lease, LeaseKey, OrderRecord, OrderStep, Owner, StoreError, Transition};

fn task(fence: Fence) -> Lease {
    Lease {
        key: LeaseKey::task("sweep"),
        fence,
    }
}

pub(crate) async fn a_lease_has_one_holder(Fresh { store, clock, .. }: &Fresh) {
    let (one, two) = (owner(1), owner(2));
    let take = async |owner: Owner| {
        store
            .acquire_lease(&LeaseKey::task("sweep"), owner, MINUTE)
            .await
            .unwrap()
    };
    let first = take(one).await.unwrap();
    assert_eq!(first.owner, one);
    assert_eq!(take(two).await, None);
    let other = LeaseKey::task("other");
    assert!(store.acquire_lease(&other, two, MINUTE).await.unwrap().is_some());
    clock.set(NOW + MINUTE / 2).await;
    let again = take(one).await.unwrap();
    assert_ne!(again, first, "each grant has a fence of its own");
    clock.set(NOW + MINUTE).await;
    assert_eq!(take(two).await, None, "the second grant made it longer");
    clock.set(NOW + MINUTE * 3 / 2).await;
    let second = take(two).await.unwrap();
    assert_eq!(take(one).await, None);

    store.release_lease(&task(again)).await.unwrap();
    assert_eq!(take(one).await, None, "an old fence releases nothing");
    store.release_lease(&task(second)).await.unwrap();
    let third = take(one).await.unwrap();
    assert!(![first, again, second].contains(&third), "also after a release");
    let nothing = Lease {
        key: LeaseKey::task("nothing"),
        fence: third,
    };
    store.release_lease(&nothing).await.unwrap();
    assert_eq!(take(two).await, None);
}

pub(crate) async fn an_old_fence_is_refused(Fresh { store, clock, .. }: &Fresh) {
    let domain = add(store, "a.example", "acme", Reason::Ordering).await;
    let other = add(store, "b.example", "acme", Reason::Ordering).await;
    let fenced = |fence, record| Transition {
        fence: Some(fence),
        ..to(record, Reason::Ok)
    };
    let refused = async |fence, record, why: &str| {
        let outcome = store.transition(fenced(fence, record)).await;
        assert!(matches!(outcome, Err(StoreError::Fenced)), "{why}");
    };
    let old = lease(store, &domain.name, owner(1)).await.unwrap();
    let wrong = lease(store, &other.name, owner(1)).await.unwrap();
    refused(wrong, &domain, "of another domain").await;
    clock.set(NOW + MINUTE).await;
    let new = lease(store, &domain.name, owner(2)).await.unwrap();
    refused(old, &domain, "of the former holder").await;
    let stolen = Fence { owner: owner(1), ..new };
    refused(stolen, &domain, "of another owner with the same number").await;
    assert_eq!(store.domain(&domain.name).await.unwrap(), Some(domain.clone()));
    let domain = store.transition(fenced(new, &domain)).await.unwrap();
    let newer = lease(store, &domain.name, owner(2)).await.unwrap();
    refused(new, &domain, "taken again, which ends what was begun before").await;
    store.release_lease(&held(&domain.name, newer)).await.unwrap();
    refused(newer, &domain, "released").await;
    store.transition(to(&domain, Reason::Paused)).await.unwrap();
}

pub(crate) async fn a_fence_holds_after_its_lease_expired_until_the_next_grant(Fresh { store, clock, .. }: &Fresh) {
    let domain = add(store, "a.example", "acme", Reason::Ordering).await;
    let fence = lease(store, &domain.name, owner(1)).await.unwrap();
    clock.set(NOW + MINUTE * 2).await;
    let change = Transition {
        fence: Some(fence),
        ..to(&domain, Reason::Ok)
    };
    assert_eq!(store.transition(change).await.unwrap().version, domain.version + 1);
}

pub(crate) async fn orders_are_written_under_a_fence(Fresh { store, clock, .. }: &Fresh) {
    let domain = add(store, "b.example", "acme", Reason::Ordering).await.name;
    let later = add(store, "a.example", "acme", Reason::Ordering).await.name;
    let old = lease(store, &domain, owner(1)).await.unwrap();
    clock.set(NOW + MINUTE).await;
    let fence = lease(store, &domain, owner(2)).await.unwrap();
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
    let second = lease(store, &later, owner(2)).await.unwrap();
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

pub(crate) async fn of_many_owners_one_gets_the_lease(Fresh { store, .. }: &Fresh) {
    let domain = add(store, "a.example", "acme", Reason::Queued).await.name;
    for key in [LeaseKey::task("sweep"), LeaseKey::Domain(domain)] {
        let tries = (1..=20).map(|n| store.acquire_lease(&key, owner(n), MINUTE));
        let granted = futures_util::future::join_all(tries).await;
        let granted = granted.iter().filter(|grant| grant.as_ref().unwrap().is_some());
        assert_eq!(granted.count(), 1);
    }
}

pub(crate) async fn only_leases_that_hold_are_renewed(Fresh { store, clock, .. }: &Fresh) {
    let mut leases = Vec::new();
    for text in ["a.example", "b.example", "c.example", "d.example"] {
        let domain = add(store, text, "acme", Reason::Queued).await.name;
        let fence = lease(store, &domain, owner(1)).await.unwrap();
        leases.push(held(&domain, fence));
    }
    let sweep = store.acquire_lease(&LeaseKey::task("sweep"), owner(1), MINUTE).await;
    leases.push(task(sweep.unwrap().unwrap()));
    let LeaseKey::Domain(taken) = leases[1].key.clone() else {
        panic!("of a domain")
    };
    store.release_lease(&leases[2]).await.unwrap();
    // One has expired, but no other owner was granted it.
    clock.set(NOW + MINUTE).await;
    lease(store, &taken, owner(2)).await.unwrap();
    let LeaseKey::Domain(purged) = leases[3].key.clone() else {
        panic!("of a domain")
    };
    store
        .purge(&purged, None, super::audit("purge", purged.as_str()))
        .await
        .unwrap();
    let mut renewed = store.renew_leases(&leases, MINUTE).await.unwrap();
    renewed.sort_by_key(|lease| matches!(lease.key, LeaseKey::Task(_)));
    assert_eq!(renewed, [leases[0].clone(), leases[4].clone()]);
    clock.set(NOW + MINUTE + MINUTE / 2).await;
    for lease in &renewed {
        let other = store.acquire_lease(&lease.key, owner(2), MINUTE).await.unwrap();
        assert_eq!(other, None, "it was prolonged");
    }
    assert!(store.renew_leases(&[], MINUTE).await.unwrap().is_empty());
    let forged = Lease {
        fence: Fence {
            owner: owner(3),
            ..leases[0].fence
        },
        ..leases[0].clone()
    };
    assert!(store.renew_leases(&[forged], MINUTE).await.unwrap().is_empty());
    clock.set(NOW + MINUTE * 3).await;
    let other = store.acquire_lease(&leases[0].key, owner(2), MINUTE).await.unwrap();
    assert!(other.is_some(), "it ends in the end");
}

pub(crate) async fn the_leases_of_one_owner_are_released_together(Fresh { store, .. }: &Fresh) {
    let mut domains = Vec::new();
    for text in ["a.example", "b.example", "c.example"] {
        domains.push(add(store, text, "acme", Reason::Queued).await.name);
    }
    let (one, two) = (owner(1), owner(2));
    for (domain, owner) in domains.iter().zip([one, one, two]) {
        lease(store, domain, owner).await.unwrap();
    }
    let sweep = LeaseKey::task("sweep");
    store.acquire_lease(&sweep, one, Duration::from_secs(9)).await.unwrap();
    assert_eq!(store.release_leases(one).await.unwrap(), 3);
    assert_eq!(store.release_leases(one).await.unwrap(), 0);
    assert!(lease(store, &domains[0], two).await.is_some());
    assert!(store.acquire_lease(&sweep, two, MINUTE).await.unwrap().is_some());
    assert_eq!(lease(store, &domains[2], one).await, None, "the lease of another");
}
