//! `domain.ssl.*` events: each change of a domain is delivered, once, even across a crash.

use std::time::Duration;

use http::StatusCode;
use linkseal_devca::Problem;
use linkseal_domain::LifecycleEvent;
use linkseal_domain::ssl::Reason;
use linkseal_store::{OutboxEvent, Transition};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::edge::EDGE_NAME;
use crate::support::until;
use crate::support::world::{Plan, World};

const DAY: Duration = Duration::from_secs(86_400);

/// The delivered events of a domain, in order.
fn delivered(world: &World, name: &str) -> Vec<Value> {
    let mut events = world.settings.domain_events();
    events.retain(|e| e["domain"] == name);
    events
}

/// Waits until a domain's delivered events have these types.
async fn until_delivered(world: &World, name: &str, types: &[&str]) -> Vec<Value> {
    until(&format!("{name}: {types:?}"), async || {
        let events = delivered(world, name);
        (events.len() >= types.len()).then(|| {
            let seen: Vec<_> = events.iter().map(|e| e["type"].as_str().expect("a type")).collect();
            let wanted: Vec<_> = types.iter().map(|t| format!("domain.ssl.{t}")).collect();
            assert_eq!(seen, wanted);
            events
        })
    })
    .await
}

async fn eager_world() -> World {
    Plan::on_register().await.without_renewal_info().start().await
}

/// Takes over ten seconds: two renewals and several failures, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issued_renewed_failed_and_expiring_are_each_delivered_once() {
    let (world, name) = (eager_world().await, "links.life.test");
    world.edge.register(name).await;
    let record = world.edge.until_issued(name).await;
    let events = until_delivered(&world, name, &["issued"]).await;
    let certificate = record.ssl.certificate.expect("a certificate");
    let ssl = &events[0]["ssl"];
    assert_eq!((&ssl["state"], &ssl["reason"]), (&json!("issued"), &json!("ok")));
    assert_eq!(ssl["serial"], certificate.serial);
    assert_eq!(ssl["not_after"], certificate.not_after.to_string());
    assert!(
        ssl["message"]["de"]
            .as_str()
            .is_some_and(|m| m.starts_with("Das Zertifikat ist gültig"))
    );
    assert_eq!(events[0]["tenant"], name);

    world.clock.advance(61 * DAY);
    until_delivered(&world, name, &["issued", "renewed"]).await;

    // Repeated failures of a renewal cause one event, and so does the approaching expiry.
    let refused = Problem::new(StatusCode::BAD_REQUEST, "connection", "Connection refused");
    world.faults().reject_challenge(name, Some(refused));
    world.clock.advance(61 * DAY);
    for attempts in 1..4 {
        let failed =
            |r: &linkseal_domain::DomainRecord| r.ssl.attempts >= attempts && r.ssl.reason == Reason::RenewalFailing;
        world.edge.until(name, "failed again", failed).await;
        world.clock.advance(3 * DAY);
    }
    world.clock.advance(6 * DAY);
    let all = ["issued", "renewed", "failed", "expiring"];
    let events = until_delivered(&world, name, &all).await;
    assert_eq!(events[2]["ssl"]["reason"], "renewal_failing");
    assert_eq!(events[2]["ssl"]["last_error"]["detail"], "Connection refused");
    // No order must be in progress, or the clock's next jump would make it time out.
    let waits = |r: &linkseal_domain::DomainRecord| {
        r.ssl.reason == Reason::RenewalFailing && r.ssl.next_attempt > Some(world.clock.now())
    };
    world.edge.until(name, "waits", waits).await;
    world.faults().reject_challenge(name, None);
    world.clock.advance(3 * DAY);
    let events = until_delivered(&world, name, &["issued", "renewed", "failed", "expiring", "renewed"]).await;
    let mut ids: Vec<_> = events.iter().map(|e| e["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), events.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stored_before_a_crash_is_delivered_after_it() {
    let (world, name) = (eager_world().await, "links.crash.test");
    world.edge.register(name).await;
    let record = world.edge.until_issued(name).await;
    until_delivered(&world, name, &["issued"]).await;
    until("the outbox is empty", async || {
        let left = world.edge.control.store().outbox(1).await.expect("the store");
        left.is_empty().then_some(())
    })
    .await;
    // The state after a crash: the event is stored, but delivery was not woken.
    let id = Uuid::now_v7();
    let outbox_event = OutboxEvent {
        seq: 0,
        id,
        what: LifecycleEvent::Moved,
        at: world.clock.now(),
        domain: record.name.clone(),
        tenant: "acme".into(),
        ssl: json!({"state": "issued", "reason": "moved"}),
    };
    let change = Transition {
        outbox_events: vec![outbox_event],
        ..Transition::of(record)
    };
    world.edge.control.store().transition(change).await.expect("stored");
    let world = world.restart().await;
    let events = until_delivered(&world, name, &["issued", "moved"]).await;
    assert_eq!(events[1]["id"], id.to_string());
    assert_eq!(
        (&events[1]["tenant"], &events[1]["ssl"]["reason"]),
        (&json!("acme"), &json!("moved"))
    );
    until("the outbox is empty again", async || {
        let left = world.edge.control.store().outbox(1).await.expect("the store");
        left.is_empty().then_some(())
    })
    .await;
    assert_eq!(
        delivered(&world, EDGE_NAME).len(),
        1,
        "the edge's own name has events, too"
    );
}
