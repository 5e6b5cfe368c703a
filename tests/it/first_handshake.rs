//! The first handshake for a new name orders its certificate and waits for it.

use std::time::Duration;

use linkseal_domain::ssl::{Reason, State};
use rustls::AlertDescription;

use crate::support::client::{self, alert};
use crate::support::until;
use crate::support::world::{Plan, World};

/// The pixel is the smallest GIF that every mail program shows.
const GIF_LENGTH: usize = 43;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_for_a_new_name_is_answered_under_a_new_certificate() {
    let world = World::start().await;
    let name = "links.customer.test";
    world.edge.register(name).await;
    let before = world.edge.record(name).await.ssl;
    assert_eq!(
        (before.state(), before.reason),
        (State::Unknown, Reason::NeverRequested)
    );

    let links = world.links(name);
    let answer = world.fetch(name, &links.open()).await.expect("an answer over HTTP/2");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("image/gif"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.body.len(), GIF_LENGTH);
    assert!(answer.body.starts_with(b"GIF89a"), "{:?}", answer.body);

    let http1 = client::fetch(world.edge.https, name, &links.open(), &world.client(&[b"http/1.1"])).await;
    assert_eq!(http1.expect("an answer over HTTP/1.1").body.len(), GIF_LENGTH);
    let destination = "https://shop.example/welcome?utm_source=mail";
    let click = world.fetch(name, &links.click(destination)).await.expect("an answer");
    assert_eq!((click.status, click.header("location")), (302, Some(destination)));
    assert_eq!(click.header("cache-control"), Some("no-store"));

    let record = world.edge.record(name).await;
    assert!(
        record.dns.https && record.dns.verified,
        "no other record is required: {:?}",
        record.dns
    );
    let after = record.ssl;
    assert_eq!((after.state(), after.reason), (State::Issued, Reason::Ok));
    assert_eq!(
        after.certificate.expect("a certificate").serial,
        world.served(name).await
    );
    assert_eq!(world.ca.name_stats(name).orders, 1);

    let events = until("three events are delivered", async || {
        Some(world.settings.delivered()).filter(|events| events.len() >= 3)
    })
    .await;
    let types: Vec<_> = events.iter().map(|e| e["type"].as_str().expect("a type")).collect();
    assert_eq!(types, ["open", "open", "click"]);
    let click = &events[2];
    assert_eq!(click["domain"], name);
    assert_eq!(click["tenant"], name);
    assert_eq!(click["link"], 3);
    assert_eq!(click["url"], destination);
    assert_eq!(click["request"]["version"], "HTTP/2");
    assert_eq!(events[1]["request"]["version"], "HTTP/1.1");
    assert_eq!(click["request"]["tls"], "1.3");
    assert_eq!(
        click["client"]["ip"], "127.0.0.0/24",
        "addresses are truncated by default"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_handshakes_for_one_new_name_make_one_order() {
    let world = World::start().await;
    let name = "links.crowd.test";
    world.edge.register(name).await;
    let config = world.client(&[b"h2"]);
    let handshakes = (0..100).map(|_| client::handshake(world.edge.https, name, &config));
    for outcome in futures_util::future::join_all(handshakes).await {
        outcome.expect("every handshake succeeds");
    }
    let stats = world.ca.name_stats(name);
    assert_eq!((stats.orders, stats.validations, stats.certificates), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_continues_when_its_client_disconnects() {
    let world = World::start().await;
    let name = "links.gone.test";
    world.edge.register(name).await;
    let delay = Duration::from_secs(20);
    world.faults().set_validation_delay(delay);
    let (edge, config) = (world.edge.https, world.client(&[]));
    let client = tokio::spawn(async move { client::handshake(edge, name, &config).await.is_ok() });
    world.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    client.abort();
    assert!(client.await.is_err(), "the client disconnected during validation");
    world.clock.advance(delay);
    world.edge.until_issued(name).await;
    assert_eq!(world.ca.name_stats(name).orders, 1);
    world.handshake(name).await.expect("the next client is served at once");
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_gives_up_after_its_limit_and_the_order_continues() {
    let world = Plan::new()
        .await
        .set("edge.handshake_wait", "300ms")
        .start_at_once()
        .await;
    let name = "links.slow.test";
    let delay = Duration::from_secs(20);
    world.faults().set_validation_delay(delay);
    world.edge.register(name).await;
    let error = world
        .handshake(name)
        .await
        .expect_err("the certificate is not ready in time");
    assert_eq!(alert(&error), Some(AlertDescription::InternalError), "{error:?}");
    world.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    // Handshakes during the order wait for the same one.
    let again = world.handshake(name).await.expect_err("still not ready");
    assert_eq!(alert(&again), Some(AlertDescription::InternalError));
    world.clock.advance(delay);
    world.edge.until_issued(name).await;
    world.handshake(name).await.expect("served now");
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_issue_on_register_registering_orders_the_certificate() {
    let world = Plan::on_register().await.start().await;
    let name = "links.early.test";
    world.edge.register(name).await;
    world.edge.until_issued(name).await;
    world.handshake(name).await.expect("served at once");
    // The pre-flight asks on port 80, which is not this edge's; its result does not matter here.
    let mut timeline = world.edge.timeline(name).await;
    timeline.retain(|event| event != "preflight");
    assert_eq!(
        timeline,
        ["registered", "dns_right", "order_started", "validating", "issued"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_issuance_off_stored_certificates_are_served_and_none_is_ordered() {
    let world = World::start().await;
    let (issued, new) = ("links.issued.test", "links.new.test");
    for name in [issued, new] {
        world.edge.register(name).await;
    }
    world.handshake(issued).await.expect("a certificate is issued");
    let mut world = world;
    world.settings.set("acme.issue", "off");
    let world = world.restart().await;
    world.handshake(issued).await.expect("the stored certificate is served");
    let error = world.handshake(new).await.expect_err("nothing is ordered");
    assert_eq!(alert(&error), Some(AlertDescription::InternalError));
    assert_eq!(world.ca.name_stats(new).orders, 0);
}
