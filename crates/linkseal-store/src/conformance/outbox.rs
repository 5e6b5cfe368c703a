//! Lifecycle events that wait for the journal.

use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainRecord, LifecycleEvent};
use serde_json::json;
use uuid::Uuid;

use super::{Fresh, NOW, add, audit, lease, owner, to};
use crate::{OutboxEvent, StoreError, Transition};

fn outbox_event(of: &DomainRecord, what: LifecycleEvent) -> OutboxEvent {
    OutboxEvent {
        seq: 0,
        id: Uuid::now_v7(),
        what,
        at: NOW,
        domain: of.name.clone(),
        tenant: of.tenant.clone(),
        ssl: json!({"state": "issued", "message": {"de": "Größe"}}),
    }
}

fn with_events(record: &DomainRecord, reason: Reason, what: &[OutboxEvent]) -> Transition {
    Transition {
        outbox_events: what.to_vec(),
        ..to(record, reason)
    }
}

pub(crate) async fn events_wait_in_order_until_they_are_acknowledged(Fresh { store, .. }: &Fresh) {
    let a = add(store, "a.example", "acme", Reason::Queued).await;
    let b = add(store, "b.example", "acme", Reason::Queued).await;
    assert!(store.outbox(10).await.unwrap().is_empty());
    let events = [
        outbox_event(&a, LifecycleEvent::Issued),
        outbox_event(&b, LifecycleEvent::Failed),
        outbox_event(&b, LifecycleEvent::Moved),
    ];
    store
        .transition(with_events(&a, Reason::Ok, &events[..1]))
        .await
        .unwrap();
    store
        .transition(with_events(&b, Reason::Moved, &events[1..]))
        .await
        .unwrap();
    let waiting = store.outbox(10).await.unwrap();
    assert!(waiting.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let unnumbered: Vec<_> = waiting.iter().cloned().map(|h| OutboxEvent { seq: 0, ..h }).collect();
    assert_eq!(unnumbered, events);
    assert_eq!(store.outbox(2).await.unwrap(), waiting[..2]);

    store.ack_outbox(&[waiting[1].seq]).await.unwrap();
    store.ack_outbox(&[waiting[1].seq, 0]).await.unwrap();
    assert_eq!(
        store.outbox(10).await.unwrap(),
        [waiting[0].clone(), waiting[2].clone()]
    );
    // A place is never assigned twice.
    let again = store.domain(&a.name).await.unwrap().unwrap();
    let more = [outbox_event(&a, LifecycleEvent::Renewed)];
    store.transition(with_events(&again, Reason::Ok, &more)).await.unwrap();
    assert!(store.outbox(10).await.unwrap()[2].seq > waiting[2].seq);
}

pub(crate) async fn a_refused_transition_adds_no_event(Fresh { store, .. }: &Fresh) {
    let a = add(store, "a.example", "acme", Reason::Queued).await;
    let fence = lease(store, &a.name, owner(1)).await.unwrap();
    store.transition(to(&a, Reason::Ordering)).await.unwrap();
    let stale = Transition {
        fence: Some(fence),
        ..with_events(&a, Reason::Ok, &[outbox_event(&a, LifecycleEvent::Issued)])
    };
    assert!(matches!(store.transition(stale).await, Err(StoreError::Conflict)));
    assert!(store.outbox(10).await.unwrap().is_empty());
}

pub(crate) async fn a_purge_deletes_waiting_events(Fresh { store, .. }: &Fresh) {
    let a = add(store, "a.example", "acme", Reason::Queued).await;
    let b = add(store, "b.example", "acme", Reason::Queued).await;
    for domain in [&a, &b] {
        let events = [outbox_event(domain, LifecycleEvent::Issued)];
        store
            .transition(with_events(domain, Reason::Ok, &events))
            .await
            .unwrap();
    }
    store.purge(&a.name, None, audit("purge", "a.example")).await.unwrap();
    let left = store.outbox(10).await.unwrap();
    assert_eq!(left.iter().map(|h| &h.domain).collect::<Vec<_>>(), [&b.name]);
}
