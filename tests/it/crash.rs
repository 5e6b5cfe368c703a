//! Crashes: the real binary is killed with SIGKILL at the worst moments and started again.

use std::time::Duration;

use crate::support::client;
use crate::support::edge::EDGE_NAME;
use crate::support::until;
use crate::support::world::{Links, Plan};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_interrupted_by_a_crash_is_continued() {
    let plan = Plan::with_backdated_ca().await;
    let first = plan.serve().await;
    first.until_state(EDGE_NAME, "issued").await;
    let name = "links.crash.test";
    plan.faults().set_validation_delay(HOUR);
    first.register(name).await;
    assert_eq!(first.domain(name).await["ssl"]["state"], "unknown");
    let (edge, config) = (first.https, plan.client(&[]));
    let waiting = tokio::spawn(async move { client::handshake(edge, name, &config).await.is_ok() });
    plan.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    let pending = first.until_state(name, "pending").await;
    assert!(pending["ssl"]["not_after"].is_null());
    first.kill();
    assert!(!waiting.await.expect("no panic"), "the waiting handshake fails");

    let second = plan.serve().await;
    second.until_logged("all domains loaded").await;
    plan.clock.advance(HOUR);
    let issued = second.until_state(name, "issued").await;
    assert_eq!(issued["ssl"]["reason"], "ok");
    let stats = plan.ca.name_stats(name);
    assert_eq!(
        (stats.orders, stats.certificates),
        (1, 1),
        "the same order, not a second one"
    );
    client::handshake(second.https, name, &plan.client(&[]))
        .await
        .expect("served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issued_certificate_survives_a_crash_and_is_served_at_once() {
    let plan = Plan::with_backdated_ca().await;
    let first = plan.serve().await;
    let name = "links.kept.test";
    first.register(name).await;
    let session = client::handshake(first.https, name, &plan.client(&[]))
        .await
        .expect("a certificate");
    let serial = client::serial(&session);
    // Kill it as soon as the handshake is complete.
    first.kill();
    // The CA is down as well: only the stored certificate can be served.
    plan.faults().set_down(true);
    let second = plan.serve().await;
    let session = client::handshake(second.https, name, &plan.client(&[]))
        .await
        .expect("served at once");
    assert_eq!(client::serial(&session), serial);
    plan.faults().set_down(false);
    assert_eq!(plan.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answered_events_survive_a_crash() {
    let plan = Plan::with_backdated_ca().await;
    let first = plan.serve().await;
    let name = "links.events.test";
    first.register(name).await;
    let links = Links::of(name, &plan.clock);
    for _ in 0..20 {
        let answer = client::fetch(first.https, name, &links.open(), &plan.client(&[b"h2"])).await;
        assert_eq!(answer.expect("an answer").status, 200);
    }
    first.kill();
    let _second = plan.serve().await;
    let opens = until("every event is delivered", async || {
        let mut events = plan.settings.delivered();
        events.retain(|e| e["type"] == "open");
        (events.len() >= 20).then_some(events)
    })
    .await;
    let mut ids: Vec<_> = opens.iter().map(|e| e["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "one id per event, however often it is delivered");
}
