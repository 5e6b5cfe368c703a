//! Claims of due domains.

use std::collections::BTreeSet;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, DomainRecord};

use super::{Fresh, MINUTE, NOW, audit, creation, held, lease, name, owner, record, to};
use crate::{Owner, SharedStore, Transition};

async fn add_due(store: &SharedStore, text: &str, due: Option<Timestamp>) -> DomainRecord {
    let mut record = record(text, "acme", Reason::RetryScheduled);
    record.ssl.next_attempt = due;
    store.create(creation(record)).await.unwrap()
}

/// The names of the domains that a process is given.
async fn claim(store: &SharedStore, owner: Owner, limit: usize) -> Vec<DomainName> {
    let claims = store.claim_due(owner, MINUTE, limit).await.unwrap();
    assert!(claims.iter().all(|claim| claim.fence.owner == owner));
    claims.into_iter().map(|claim| claim.name).collect()
}

pub(crate) async fn due_domains_are_claimed_in_order(Fresh { store, clock, .. }: &Fresh) {
    let at = |minutes: u32| NOW + MINUTE * minutes;
    for (text, due) in [
        ("c.example", Some(3)),
        ("a.example", Some(5)),
        ("b.example", Some(1)),
        ("n.example", None),
    ] {
        add_due(store, text, due.map(at)).await;
    }
    assert!(claim(store, owner(1), 10).await.is_empty());
    clock.set(at(3)).await;
    assert!(claim(store, owner(1), 0).await.is_empty());
    assert_eq!(claim(store, owner(1), 10).await, [name("b.example"), name("c.example")]);
    assert!(claim(store, owner(1), 10).await.is_empty(), "not even its own twice");
    store.release_leases(owner(1)).await.unwrap();
    clock.set(at(9)).await;
    assert_eq!(claim(store, owner(1), 2).await, [name("b.example"), name("c.example")]);
    assert_eq!(claim(store, owner(1), 2).await, [name("a.example")]);

    // Those that are no longer due, or no longer there, are claimed no more.
    let mut b = store.domain(&name("b.example")).await.unwrap().unwrap();
    b.ssl.next_attempt = None;
    store.transition(Transition::of(b)).await.unwrap();
    store
        .purge(&name("c.example"), None, audit("purge", "c.example"))
        .await
        .unwrap();
    store.release_leases(owner(1)).await.unwrap();
    assert_eq!(claim(store, owner(2), 10).await, [name("a.example")]);
}

pub(crate) async fn a_claim_lasts_as_long_as_its_lease(Fresh { store, clock, .. }: &Fresh) {
    let domain = add_due(store, "a.example", Some(NOW)).await.name;
    let claims = store.claim_due(owner(1), MINUTE, 10).await.unwrap();
    let first = claims[0].clone();
    assert!(claim(store, owner(2), 10).await.is_empty());
    assert_eq!(lease(store, &domain, owner(2)).await, None, "a claim is a lease");
    clock.set(NOW + MINUTE / 2).await;
    let renewed = [held(&domain, first.fence)];
    assert_eq!(store.renew_leases(&renewed, MINUTE).await.unwrap(), renewed);
    clock.set(NOW + MINUTE).await;
    assert!(claim(store, owner(2), 10).await.is_empty());
    // Its process has ended; the claim ends without it.
    clock.set(NOW + MINUTE * 2).await;
    let second = store.claim_due(owner(2), MINUTE, 10).await.unwrap();
    assert_eq!(second[0].name, domain);
    assert_ne!(second[0].fence, first.fence);
    assert!(store.renew_leases(&renewed, MINUTE).await.unwrap().is_empty());
    // A lease that was released is due at once, as its record says.
    store.release_lease(&held(&domain, first.fence)).await.unwrap();
    assert!(claim(store, owner(3), 10).await.is_empty(), "the lease of another");
    store.release_lease(&held(&domain, second[0].fence)).await.unwrap();
    assert_eq!(claim(store, owner(3), 10).await, std::slice::from_ref(&domain));
    // So is one that was not claimed.
    store.release_leases(owner(3)).await.unwrap();
    lease(store, &domain, owner(4)).await.unwrap();
    assert!(claim(store, owner(3), 10).await.is_empty());
    clock.set(NOW + MINUTE * 3).await;
    assert_eq!(claim(store, owner(3), 10).await, [domain]);
}

pub(crate) async fn a_domain_that_changes_under_its_lease_is_due_for_no_other(Fresh { store, clock, .. }: &Fresh) {
    let record = add_due(store, "a.example", Some(NOW)).await;
    let claims = store.claim_due(owner(1), MINUTE, 10).await.unwrap();
    let change = Transition {
        fence: Some(claims[0].fence),
        ..to(&record, Reason::Queued)
    };
    let record = store.transition(change).await.unwrap();
    assert!(record.next_due().is_some_and(|due| due <= NOW));
    assert!(claim(store, owner(2), 10).await.is_empty());
    // A change without a fence, such as an operator's, does not end the lease either.
    let mut record = store.transition(to(&record, Reason::RetryScheduled)).await.unwrap();
    assert!(claim(store, owner(2), 10).await.is_empty());
    record.ssl.next_attempt = Some(NOW + MINUTE * 5);
    store.transition(Transition::of(record)).await.unwrap();
    store
        .release_lease(&held(&claims[0].name, claims[0].fence))
        .await
        .unwrap();
    assert!(claim(store, owner(2), 10).await.is_empty(), "due in five minutes");
    clock.set(NOW + MINUTE * 5).await;
    assert_eq!(claim(store, owner(2), 10).await.len(), 1);
}

pub(crate) async fn claimers_that_ask_for_more_than_there_is_share_it(Fresh { store, .. }: &Fresh) {
    const DOMAINS: usize = 100;
    let adds = (0..DOMAINS).map(|n| async move { add_due(store, &format!("d{n}.example"), Some(NOW)).await });
    futures_util::future::join_all(adds).await;
    let claimers = (1..=8).map(|n| async move {
        let mut mine = Vec::new();
        loop {
            let more = claim(store, owner(n), 20).await;
            if more.is_empty() {
                return mine;
            }
            mine.extend(more);
        }
    });
    let claimed = futures_util::future::join_all(claimers).await.concat();
    assert_eq!(claimed.len(), DOMAINS, "none twice");
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), DOMAINS, "all");
}

pub(crate) async fn the_next_due_time_is_that_of_a_domain_that_is_not_due_yet(Fresh { store, clock, .. }: &Fresh) {
    assert_eq!(store.next_due().await.unwrap(), None);
    add_due(store, "never.example", None).await;
    assert_eq!(store.next_due().await.unwrap(), None);
    add_due(store, "due.example", Some(NOW)).await;
    assert_eq!(store.next_due().await.unwrap(), None, "it is due already");
    add_due(store, "later.example", Some(NOW + MINUTE * 5)).await;
    assert_eq!(store.next_due().await.unwrap(), Some(MINUTE * 5));
    clock.set(NOW + MINUTE).await;
    assert_eq!(store.next_due().await.unwrap(), Some(MINUTE * 4));
    // A domain that is worked on is due when its lease ends, if its process ends.
    assert_eq!(claim(store, owner(1), 10).await, [name("due.example")]);
    assert_eq!(store.next_due().await.unwrap(), Some(MINUTE));
    store.release_leases(owner(1)).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(MINUTE * 4));
    clock.set(NOW + Duration::from_secs(3600)).await;
    assert_eq!(store.next_due().await.unwrap(), None);
}
