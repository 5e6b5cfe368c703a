//! A name that no one has asked for yet: its first handshake gets it a certificate.

use std::time::Duration;

use linkseal_domain::ssl::{Reason, State};
use rustls::AlertDescription;
use serde_json::Value;

use crate::support::client::{self, alert};
use crate::support::until;
use crate::support::world::{Plan, World};

/// The pixel, byte for byte, is the smallest GIF that every mail program shows.
const GIF_LENGTH: usize = 43;

/// What the file sink has delivered.
fn delivered(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.settings.delivered()).unwrap_or_default();
    text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_ends_with_the_gif_under_a_certificate_that_did_not_exist_before() {
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

    let one = client::fetch(world.edge.https, name, &links.open(), &world.client(&[b"http/1.1"])).await;
    assert_eq!(one.expect("an answer over HTTP/1.1").body.len(), GIF_LENGTH);
    let destination = "https://shop.example/welcome?utm_source=mail";
    let click = world.fetch(name, &links.click(destination)).await.expect("an answer");
    assert_eq!((click.status, click.header("location")), (302, Some(destination)));
    assert_eq!(click.header("cache-control"), Some("no-store"));

    let record = world.edge.record(name).await;
    assert!(
        record.dns.https && record.dns.verified,
        "nothing else is asked of it: {:?}",
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
        Some(delivered(&world)).filter(|events| events.len() >= 3)
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
        outcome.expect("every one of them succeeds");
    }
    let stats = world.ca.name_stats(name);
    assert_eq!((stats.orders, stats.validations, stats.certificates), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_outlives_the_client_that_caused_it() {
    let world = World::start().await;
    let name = "links.gone.test";
    world.edge.register(name).await;
    let delay = Duration::from_secs(20);
    world.faults().set_validation_delay(delay);
    let (edge, config) = (world.edge.https, world.client(&[]));
    let client = tokio::spawn(async move { client::handshake(edge, name, &config).await.is_ok() });
    world.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    client.abort();
    assert!(
        client.await.is_err(),
        "the client went away while its certificate was validated"
    );
    world.clock.advance(delay);
    world.edge.until_issued(name).await;
    assert_eq!(world.ca.name_stats(name).orders, 1);
    world.handshake(name).await.expect("the next client is served at once");
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_waits_no_longer_than_it_may_and_the_order_goes_on() {
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
        .expect_err("the certificate does not come in time");
    assert_eq!(alert(&error), Some(AlertDescription::InternalError), "{error:?}");
    world.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    // Those that come while the order runs wait for the same one.
    let again = world.handshake(name).await.expect_err("still not");
    assert_eq!(alert(&again), Some(AlertDescription::InternalError));
    world.clock.advance(delay);
    world.edge.until_issued(name).await;
    world.handshake(name).await.expect("served now");
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registering_is_enough_where_certificates_are_ordered_on_register() {
    let world = Plan::new().await.set("acme.issue", "on_register").start().await;
    let name = "links.early.test";
    world.edge.register(name).await;
    world.edge.until_issued(name).await;
    world.handshake(name).await.expect("served at once");
    // The world's port 80 is not this edge's: what the pre-flight makes of that is no matter here.
    let mut timeline = world.edge.timeline(name).await;
    timeline.retain(|word| word != "preflight");
    assert_eq!(
        timeline,
        ["registered", "dns_right", "order_started", "validating", "issued"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_ordered_what_is_held_is_served() {
    let world = World::start().await;
    let (held, new) = ("links.held.test", "links.new.test");
    for name in [held, new] {
        world.edge.register(name).await;
    }
    world.handshake(held).await.expect("a certificate is made");
    let mut world = world;
    world.settings.set("acme.issue", "off");
    let world = world.restart().await;
    world.handshake(held).await.expect("what is held is served");
    let error = world.handshake(new).await.expect_err("nothing is ordered");
    assert_eq!(alert(&error), Some(AlertDescription::InternalError));
    assert_eq!(world.ca.name_stats(new).orders, 0);
}
