//! Several nodes on one store.

use linkseal_store::{OrderRecord, OrderStep, StoredCertificate, Transition};

use super::*;
use crate::core::leases::TTL;
use crate::schedule::NameGuard;

/// Two nodes, whose background tasks do not run.
async fn two() -> (Bench, Bench) {
    let a = Bench::new().await;
    let b = a.beside().await;
    (a, b)
}

fn queued(node: &Bench) -> usize {
    node.control
        .schedule
        .queue_depth()
        .iter()
        .map(|(_, waiting)| waiting)
        .sum()
}

/// Runs a node's scheduler.
fn schedule(node: &Bench) {
    let core = &node.control.core;
    core.tasks.spawn_until_stop(node.control.schedule.clone().run());
}

/// Has a node take up a name for a person, and waits for the end of that.
async fn verify(node: &Bench, name: &DomainName) {
    let schedule = &node.control.schedule;
    schedule.take_up(name.clone(), Priority::Verify);
    until("its preparation ends", || {
        schedule.in_progress_len() == 0 || queued(node) > 0
    })
    .await;
}

#[tokio::test]
async fn a_name_that_waits_in_one_nodes_queue_is_taken_up_by_no_other() {
    let (a, b) = two().await;
    let name = wanted(&a, "right.customer.example").await;
    schedule(&a);
    until("it waits for its order", || queued(&a) == 1).await;
    for _ in 0..3 {
        a.clock.advance(TTL / 2);
        a.control.core.leases.renew().await.unwrap();
        assert!(b.control.core.leases.claim_due(10).await.unwrap().is_empty());
        verify(&b, &name).await;
        assert_eq!((queued(&a), queued(&b)), (1, 0));
    }
    // At a graceful stop its work goes on elsewhere at once.
    a.control.core.tasks.stop();
    assert_eq!(a.control.release_leases().await.unwrap(), 1);
    schedule(&b);
    until("another node goes on", || queued(&b) == 1).await;
    b.control.core.tasks.stop();
}

/// The whole process stood still, longer than a lease lasts.
#[tokio::test]
async fn an_order_in_the_queue_goes_on_under_a_new_lease() {
    let node = Bench::new().await;
    let name = wanted(&node, "right.customer.example").await;
    let leases = &node.control.core.leases;
    node.control.schedule.take_up(name.clone(), Priority::Bulk);
    until("it waits for its order", || queued(&node) == 1).await;
    node.clock.advance(TTL);
    for lease in leases.claim_due(10).await.unwrap() {
        node.control.schedule.take_up_claimed(lease, false);
    }
    assert!(leases.claim_due(10).await.unwrap().is_empty());
    let guard = NameGuard::new(Arc::clone(&node.control.schedule), name);
    let lease = guard.take_lease().expect("of the queue");
    assert!(!lease.is_lost());
    let draft = |_: &mut Draft| Edit::Store;
    let change = node.control.core.transition(lease.name(), lease.fence(), draft);
    change.await.expect("the fence holds");
}

#[tokio::test]
async fn due_names_are_shared_and_none_is_taken_up_twice() {
    let (a, b) = two().await;
    let all: Vec<_> = (0..40).map(|n| format!("right.c{n}.example")).collect();
    for text in &all {
        wanted(&a, text).await;
    }
    schedule(&a);
    schedule(&b);
    until("all wait for their orders", || queued(&a) + queued(&b) >= all.len()).await;
    assert_eq!(queued(&a) + queued(&b), all.len());
    for name in all.iter().map(|text| name(text)) {
        let at = [&a, &b].map(|node| node.control.schedule.is_in_progress(&name));
        assert!(at[0] != at[1], "{name}: {at:?}");
    }
    a.control.core.tasks.stop();
    b.control.core.tasks.stop();
}

#[tokio::test]
async fn the_order_of_a_node_that_died_is_resumed_once_its_lease_has_ended() {
    let (a, b) = two().await;
    let name = wanted(&a, "right.customer.example").await;
    let now = a.clock.now();
    let lease = a.control.core.leases.acquire(&name).await.unwrap().expect("free");
    let mut record = a.store.domain(&name).await.unwrap().unwrap();
    record.apply(SslEvent::OrderStarted { ca: CA.to_owned() }, now);
    let change = Transition {
        fence: Some(lease.fence()),
        ..Transition::of(record)
    };
    a.store.transition(change).await.unwrap();
    let order = OrderRecord {
        name: name.clone(),
        ca: CA.to_owned(),
        url: Some("https://127.0.0.1:9/order/7".to_owned()),
        sealed_key: a.control.core.sealer.seal(&format!("orders/{name}"), b"key"),
        step: OrderStep::Authorizing,
        created: now,
    };
    a.store.put_order(&order, lease.fence()).await.unwrap();
    // As long as its node lives, another one leaves it alone: when it starts, when it is asked, and when time passes.
    schedule(&b);
    verify(&b, &name).await;
    a.clock.advance(TTL / 2);
    a.control.core.leases.renew().await.unwrap();
    a.clock.advance(TTL / 2);
    verify(&b, &name).await;
    assert_eq!(queued(&b), 0);
    assert_eq!(a.store.order(&name).await.unwrap(), Some(order.clone()));

    // The node dies: nothing is renewed or released.
    drop((lease, a));
    b.clock.advance(TTL);
    until("it is taken up", || queued(&b) == 1).await;
    b.control.core.tasks.spawn_until_stop(b.control.orders.clone().run());
    let events = async || -> Vec<String> {
        let lines = b.store.timeline(&name, None, 20).await.unwrap();
        lines.into_iter().map(|line| line.event).collect()
    };
    let resumed = async {
        while !events().await.contains(&"failed".to_owned()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENT, resumed)
        .await
        .expect("nothing listens at the CA");
    let events = events().await;
    assert!(events.contains(&"order_resumed".to_owned()), "{events:?}");
    assert!(!events.contains(&"order_started".to_owned()), "{events:?}");
    let kept = b.store.order(&name).await.unwrap();
    assert_eq!(kept, Some(order), "it is still the same order");
    b.control.core.tasks.stop();
}

/// A certificate that every node can open.
fn issued(node: &Bench, name: &DomainName) -> StoredCertificate {
    let made = rcgen::generate_simple_self_signed([name.to_string()]).unwrap();
    let key = made.key_pair.serialize_der();
    StoredCertificate {
        chain_pem: made.cert.pem(),
        sealed_key: node.control.core.sealer.seal(&format!("certificates/{name}"), &key),
    }
}

/// A handshake that waits at a node.
fn handshake(node: &Bench, name: &DomainName) -> oneshot::Receiver<CertificateAnswer> {
    let (reply, answer) = oneshot::channel();
    let waiter = Waiter { reply, joined: false };
    let schedule = &node.control.schedule;
    schedule.take_up_for(name.clone(), Priority::Handshake, Some(waiter));
    answer
}

#[tokio::test]
async fn a_handshake_waits_for_the_order_of_another_node() {
    let (a, b) = two().await;
    let name = wanted(&a, "right.customer.example").await;
    schedule(&a);
    until("one node has its order", || queued(&a) == 1).await;
    let gone = handshake(&b, &name);
    drop(gone);
    until("no handshake waits", || b.control.schedule.in_progress_len() == 0).await;

    // As the follower of the changes publishes it there.
    let record = b.store.domain(&name).await.unwrap().unwrap();
    b.control.core.registry.put(&record);
    let answer = handshake(&b, &name);
    let guard = NameGuard::new(Arc::clone(&a.control.schedule), name.clone());
    let lease = guard.take_lease().expect("of the queue");
    let now = a.clock.now();
    let certificate = issued(&a, &name);
    let stored = a.control.core.transition(&name, lease.fence(), |draft| {
        draft.apply(SslEvent::Issued(super::certificate(now, now + DAY * 10)));
        draft.attach_certificate(certificate.clone());
        Edit::Store
    });
    stored.await.unwrap();
    // Not even released yet.
    let answer = tokio::time::timeout(PATIENT, answer).await.expect("an answer");
    assert!(matches!(answer, Ok(CertificateAnswer::Ready(_))), "{answer:?}");
    lease.release().await.unwrap();
    assert_eq!(queued(&b), 0);
    a.control.core.tasks.stop();
}

#[tokio::test]
async fn a_handshake_goes_on_by_itself_when_the_other_node_gives_up() {
    let (a, b) = two().await;
    let name = wanted(&a, "right.customer.example").await;
    let lease = a.control.core.leases.acquire(&name).await.unwrap().expect("free");
    let answer = handshake(&b, &name);
    drop(lease);
    a.clock.advance(TTL);
    until("its order waits here", || queued(&b) == 1).await;
    drop(answer);
}
