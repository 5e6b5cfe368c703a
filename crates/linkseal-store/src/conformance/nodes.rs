//! The nodes that share a store.

use std::time::Duration;

use linkseal_domain::ssl::Reason;

use super::{Fresh, NOW, add, lease, owner};
use crate::{NODE_GONE, NewNode, Owner, StoreError};

const SECOND: Duration = Duration::from_secs(1);

fn node(name: &str, owner: Owner) -> NewNode {
    NewNode {
        name: name.into(),
        owner,
        former: None,
        version: "1.2.3".into(),
    }
}

#[track_caller]
fn assert_taken(outcome: Result<(), StoreError>, since: u64) {
    assert!(
        matches!(&outcome, Err(StoreError::NodeTaken { name, seen }) if name == "edge" && *seen == since),
        "{outcome:?}"
    );
}

pub(crate) async fn one_process_is_the_node_until_it_leaves(Fresh { store, clock, .. }: &Fresh) {
    let (one, two) = (owner(1), owner(2));
    let position = store.feed_end().await.unwrap();
    store.join(&node("edge", one)).await.unwrap();
    store.join(&node("edge", one)).await.unwrap();
    store.join(&node("other", two)).await.unwrap();
    clock.set(NOW + SECOND * 5).await;
    assert_taken(store.join(&node("edge", two)).await, 5);
    store.heartbeat("edge", one, &position).await.unwrap();
    assert_taken(store.heartbeat("edge", two, &position).await, 0);
    store.leave("edge", two).await.unwrap();
    assert_taken(store.join(&node("edge", two)).await, 0);
    store.leave("edge", one).await.unwrap();
    store.join(&node("edge", two)).await.unwrap();
    assert_taken(store.heartbeat("edge", one, &position).await, 0);

    // Of many processes that start at once, one becomes the node.
    store.leave("edge", two).await.unwrap();
    let starts = (10..20).map(|n| async move { store.join(&node("edge", owner(n))).await });
    let joined = futures_util::future::join_all(starts).await;
    assert_eq!(joined.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

pub(crate) async fn a_node_that_is_gone_is_replaced(Fresh { store, clock, .. }: &Fresh) {
    let (one, two, three) = (owner(1), owner(2), owner(3));
    let position = store.feed_end().await.unwrap();
    let domains = [
        add(store, "a.example", "acme", Reason::Ok).await.name,
        add(store, "b.example", "acme", Reason::Ok).await.name,
    ];
    store.join(&node("edge", one)).await.unwrap();
    let hour = Duration::from_secs(3600);
    let key = crate::LeaseKey::Domain(domains[0].clone());
    store.acquire_lease(&key, one, hour).await.unwrap().unwrap();
    let key = crate::LeaseKey::Domain(domains[1].clone());
    store.acquire_lease(&key, three, hour).await.unwrap().unwrap();
    clock.set(NOW + SECOND).await;
    store.heartbeat("edge", one, &position).await.unwrap();
    clock.set(NOW + NODE_GONE).await;
    assert_taken(store.join(&node("edge", two)).await, NODE_GONE.as_secs() - 1);
    clock.set(NOW + NODE_GONE + SECOND * 2).await;
    store.join(&node("edge", two)).await.unwrap();
    assert_taken(store.heartbeat("edge", one, &position).await, 0);
    store.heartbeat("edge", two, &position).await.unwrap();
    assert!(lease(store, &domains[0], two).await.is_some(), "its process has ended");
    assert_eq!(lease(store, &domains[1], two).await, None, "this one has not");
    assert!(matches!(
        store.heartbeat("nowhere", one, &position).await,
        Err(StoreError::NotFound)
    ));
}

pub(crate) async fn nodes_that_are_alive_are_listed(Fresh { store, clock, .. }: &Fresh) {
    assert!(store.nodes().await.unwrap().is_empty());
    store.join(&node("b", owner(2))).await.unwrap();
    clock.set(NOW + SECOND).await;
    store.join(&node("a", owner(1))).await.unwrap();
    add(store, "a.example", "acme", Reason::Ok).await;
    let position = store.feed_end().await.unwrap();
    clock.set(NOW + SECOND * 20).await;
    store.heartbeat("a", owner(1), &position).await.unwrap();
    let nodes = store.nodes().await.unwrap();
    let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let a = &nodes[0];
    assert_eq!(
        (a.owner, a.version.as_str(), a.joined),
        (owner(1), "1.2.3", NOW + SECOND)
    );
    assert_eq!((a.seen, &a.position), (NOW + SECOND * 20, &position));
    clock.set(NOW + NODE_GONE + SECOND).await;
    let nodes = store.nodes().await.unwrap();
    assert_eq!(nodes.len(), 1, "the other was not seen for too long");
    assert_eq!(nodes[0].name, "a");
}

pub(crate) async fn a_process_that_is_known_to_have_ended_is_not_waited_for(Fresh { store, .. }: &Fresh) {
    let (one, two, three) = (owner(1), owner(2), owner(3));
    store.join(&node("edge", one)).await.unwrap();
    let held = lease(store, &add(store, "a.example", "acme", Reason::Ok).await.name, one).await;
    assert!(held.is_some());
    let after = |former| NewNode {
        former: Some(former),
        ..node("edge", two)
    };
    assert_taken(store.join(&after(three)).await, 0);
    store.join(&after(one)).await.unwrap();
    assert_eq!(store.release_leases(one).await.unwrap(), 0, "its leases went with it");
}
