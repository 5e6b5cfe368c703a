//! Reasons before a domain has its first certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{Reason, State};
use toml::Value;

use super::stage::{NAME, Stage};
use crate::support::client;
use crate::support::edge::{Edge, write_secret};
use crate::support::origin::Origin;
use crate::support::pebble::Options;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// With `issue = "on_demand"`, nothing happens until the domain is verified.
pub(super) async fn never_requested() -> Vec<Reason> {
    let mut stage = Stage::with(Options::default(), |s| {
        s.set("acme.issue", "on_demand");
    })
    .await
    .ready()
    .await;
    stage.point_here(NAME);
    stage.edge.register(NAME).await;
    stage.expect_reason(NAME, Reason::NeverRequested).await;
    stage.edge.verify(NAME).await;
    stage.expect_reason(NAME, Reason::Ok).await;
    stage.shown
}

/// The steps of an order, stalled one by one: the CA's API does not answer, then the challenge is not
/// answered; with a single slot the next name has to wait meanwhile.
pub(super) async fn steps_of_an_order() -> Vec<Reason> {
    let mut stage = Stage::with(Options::default(), |s| {
        s.set("acme.max_concurrent_orders", 1);
    })
    .await
    .ready()
    .await;
    let next = "links.next.test";
    stage.point_here(NAME);
    stage.point_here(next);
    stage.api.stall();
    stage.edge.register(NAME).await;
    stage.expect_reason(NAME, Reason::Ordering).await;
    stage.edge.register(next).await;
    stage.expect_reason(next, Reason::Queued).await;
    stage.challenges.stall();
    stage.api.open(stage.pebble.address());
    stage.expect_reason(NAME, Reason::Validating).await;
    stage.challenges.open(stage.edge.http);
    stage.edge.until_issued(NAME).await;
    stage.edge.until_issued(next).await;
    stage.shown
}

/// Port 80 is closed to the CA, whose error is shown. After a month linkseal gives up, until the domain is
/// verified.
pub(super) async fn closed_port() -> Vec<Reason> {
    let mut stage = Stage::new().await.ready().await;
    stage.point_here(NAME);
    stage.challenges.close();
    stage.edge.register(NAME).await;
    stage.expect_reason(NAME, Reason::ValidationFailed).await;
    let record = stage.edge.record(NAME).await;
    assert_eq!(record.ssl.state(), State::Pending);
    assert!(record.ssl.last_error.is_some_and(|e| !e.detail.is_empty()));
    loop {
        let ssl = stage.edge.record(NAME).await.ssl;
        if ssl.reason == Reason::GivenUp {
            break;
        }
        stage.advance_to_next(NAME).await;
        let again = |r: &DomainRecord| r.ssl.attempts > ssl.attempts && !r.ssl.reason.is_in_progress();
        stage.edge.until(NAME, "another attempt", again).await;
    }
    stage.expect_reason(NAME, Reason::GivenUp).await;
    stage.challenges.open(stage.edge.http);
    stage.clock.advance(HOUR);
    stage.edge.verify(NAME).await;
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// The CA is unreachable for a while, which does not count against the domain.
pub(super) async fn unreachable_ca() -> Vec<Reason> {
    let mut stage = Stage::new().await.ready().await;
    stage.point_here(NAME);
    stage.api.close();
    stage.edge.register(NAME).await;
    stage.expect_reason(NAME, Reason::CaUnreachable).await;
    assert_eq!(
        stage.edge.record(NAME).await.ssl.attempts,
        0,
        "it does not count against the domain"
    );
    stage.api.open(stage.pebble.address());
    stage.advance_to_next(NAME).await;
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// The account's limit is used up, and orders continue when it allows the next one.
pub(super) async fn used_up_limit() -> Vec<Reason> {
    let mut stage = Stage::with(Options::default(), |s| {
        let limits: toml::Table = "orders_per_account = \"1/1h\"".parse().expect("TOML");
        s.set("acme.limits", Value::Table(limits));
    })
    .await
    .ready()
    .await;
    let before = stage.orders();
    stage.point_here(NAME);
    stage.edge.register(NAME).await;
    stage.expect_reason(NAME, Reason::RateLimited).await;
    stage.edge.verify(NAME).await;
    assert_eq!(stage.orders(), before, "verifying again does not speed it up");
    stage.advance_to_next(NAME).await;
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// The CA requires an external account that is not configured. The order is retried, and succeeds once the
/// operator has configured it.
pub(super) async fn missing_external_account() -> Vec<Reason> {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let options = Options {
        eab: Some(("kid-1", KEY)),
        ..Options::default()
    };
    let mut stage = Stage::with(options, |_| {}).await;
    stage.point_here(NAME);
    stage.edge.register(NAME).await;
    stage.expect_reason(NAME, Reason::RetryScheduled).await;
    let file = stage.dir.path().join("eab.key");
    write_secret(&file, KEY);
    let eab: toml::Table = r#"eab = { key_id = "kid-1", hmac_key_file = "eab.key" }"#
        .parse()
        .expect("TOML");
    stage.settings.set("acme.eab", eab["eab"].clone());
    stage.edge.stop().await;
    stage.edge = Edge::start(&stage.settings, &stage.clock, |_, _| {}).await;
    stage.challenges.open(stage.edge.http);
    stage.advance_to_next(NAME).await;
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// The platform rejects a name that it had admitted, and later admits it again.
pub(super) async fn denied() -> Vec<Reason> {
    let status = Arc::new(AtomicU16::new(200));
    let current = Arc::clone(&status);
    let platform = Origin::start(move |_| Some((current.load(Ordering::SeqCst), String::new()))).await;
    let ask: toml::Table = format!("url = \"http://{}/allow\"\ncache = \"0s\"", platform.address)
        .parse()
        .expect("TOML");
    let mut stage = Stage::with(Options::default(), |s| {
        s.set("admission.policy", "ask").set("admission.ask", Value::Table(ask));
    })
    .await
    .ready()
    .await;
    let before = stage.orders();
    // Admitted while its DNS is wrong, the name waits. By the time DNS is fixed, the platform rejects it.
    let config = client::tls(&stage.pebble.root().await, &[]);
    let config = Arc::new(config);
    client::handshake(stage.edge.https, NAME, &config)
        .await
        .expect_err("no certificate yet");
    stage.expect_reason(NAME, Reason::DnsMissing).await;
    stage.point_here(NAME);
    status.store(403, Ordering::SeqCst);
    stage.advance_to_next(NAME).await;
    stage.expect_reason(NAME, Reason::Denied).await;
    assert_eq!(stage.orders(), before);
    status.store(200, Ordering::SeqCst);
    client::handshake(stage.edge.https, NAME, &config)
        .await
        .expect("the platform admits it again");
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// An operator pauses the domain and resumes it.
pub(super) async fn paused() -> Vec<Reason> {
    let mut stage = Stage::new().await.ready().await;
    let before = stage.orders();
    stage.edge.register(NAME).await;
    stage.edge.until_reason(NAME, Reason::DnsMissing).await;
    stage.patch(serde_json::json!({ "paused": true })).await;
    stage.expect_reason(NAME, Reason::Paused).await;
    stage.point_here(NAME);
    stage.clock.advance(DAY);
    stage.edge.verify(NAME).await;
    stage.expect_reason(NAME, Reason::Paused).await;
    assert_eq!(stage.orders(), before);
    stage.patch(serde_json::json!({ "paused": false })).await;
    stage.edge.until_issued(NAME).await;
    stage.shown
}
