//! The pre-flight: before an order, linkseal asks for the challenge as the CA will. The result tells
//! people where to look but prevents nothing, and a proxy that passes the challenge on is no obstacle.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use linkseal_dns::{Kind as Record, RecordStatus};
use linkseal_domain::messages::message;
use linkseal_domain::ssl::{Reason, State};
use tokio::net::{TcpListener, TcpStream};

use crate::support::client;
use crate::support::edge::{domain, operator};
use crate::support::origin::Origin;
use crate::support::world::{Plan, World};

/// The address of the content delivery network: loopback, but not the edge's address.
const CDN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// A name by which linkseal recognizes such a network.
const CDN_NAME: &str = "d111.cloudfront.net";

/// Puts a name behind the network, both in DNS and for the CA.
fn put_behind(world: &World, name: &str) {
    world.dns.add(name, Record::Cname, CDN_NAME);
    world.dns.add(CDN_NAME, Record::A, &CDN.to_string());
    world.ca.hosts().set(name, Some(CDN));
}

/// A network that forwards its port 80 to the edge's.
async fn forward_port_80(world: &World) {
    let edge = world.edge.http;
    let listener = TcpListener::bind(SocketAddr::new(CDN, edge.port()))
        .await
        .expect("a port");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut origin = TcpStream::connect(edge).await?;
                tokio::io::copy_bidirectional(&mut client, &mut origin).await
            });
        }
    });
}

/// A network that takes plain requests and connects to the edge on port 443 without verifying its
/// certificate ("full" mode).
async fn forward_over_tls(world: &World, name: &'static str) {
    let (http, https) = (world.edge.http, world.edge.https);
    let listener = TcpListener::bind(SocketAddr::new(CDN, http.port()))
        .await
        .expect("a port");
    let config = Arc::new(client::tls_any_certificate());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let config = Arc::clone(&config);
            tokio::spawn(async move {
                let mut origin = client::handshake(https, name, &config).await?;
                tokio::io::copy_bidirectional(&mut client, &mut origin).await
            });
        }
    });
}

async fn preflight_line(world: &World, name: &str) -> Option<String> {
    let lines = world
        .edge
        .control
        .store()
        .timeline(&domain(name), None, 50)
        .await
        .unwrap();
    lines.into_iter().find(|l| l.event == "preflight")?.detail
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_that_arrives_is_in_the_timeline_and_the_report() {
    let world = World::start().await;
    let name = "links.arrives.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("issued");
    assert_eq!(
        preflight_line(&world, name).await.as_deref(),
        Some("Our own test request for the CA's challenge arrives.")
    );
    let (record, report) = world
        .edge
        .control
        .operator()
        .dns_report(&domain(name), &operator())
        .await
        .unwrap();
    let found = record.ssl.facts.preflight.expect("a pre-flight");
    assert!(report.https && found.miss.is_none() && found.through.is_none());
    assert_eq!(
        world.edge.record(name).await.ssl.facts.preflight,
        None,
        "a report stores nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_that_does_not_arrive_prevents_no_order() {
    let parked = Origin::start(|_| Some((200, "parked".into()))).await;
    let world = Plan::new()
        .await
        .set("acme.preflight_address", parked.address.to_string());
    let world = world.start().await;
    let name = "links.hairpin.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("issued all the same");
    let line = preflight_line(&world, name).await.expect("a timeline entry");
    assert!(
        line.starts_with("Our own test request for the CA's challenge does not arrive: 127.0.0.1: "),
        "{line}"
    );
    assert!(line.contains("got \"parked\""), "{line}");
    assert_eq!(world.edge.record(name).await.ssl.state(), State::Issued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preflight_can_be_switched_off() {
    let world = Plan::new().await.set("acme.preflight", false).start().await;
    let name = "links.off.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("issued");
    assert_eq!(preflight_line(&world, name).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_validation_reports_that_the_challenge_arrives_from_here() {
    let world = World::start().await;
    let name = "links.firewall.test";
    // Nothing listens where the CA looks.
    world.ca.hosts().set(name, Some(IpAddr::from([127, 0, 0, 3])));
    world.edge.register(name).await;
    world.handshake(name).await.expect_err("no certificate");
    let record = world.edge.until_reason(name, Reason::ValidationFailed).await;
    let said = message(&record, world.edge.control.messages().borrow()).en;
    assert!(
        said.contains("Our own test request arrives: check whether a firewall"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_forwards_the_challenge_is_only_a_warning() {
    let world = World::start().await;
    let name = "links.proxied.example";
    put_behind(&world, name);
    world.edge.register(name).await;
    // Nothing listens at the proxy yet.
    world.edge.verify(name).await;
    let record = world.edge.record(name).await;
    assert_eq!(record.ssl.reason, Reason::Proxied);
    assert!(record.ssl.facts.preflight.is_some_and(|p| p.miss.is_some()));
    assert_eq!(world.ca.name_stats(name).orders, 0);

    forward_port_80(&world).await;
    world.clock.advance(Duration::from_secs(31));
    let (_, report) = world
        .edge
        .control
        .operator()
        .verify(&domain(name), &operator())
        .await
        .unwrap();
    assert!(report.https && !report.verified);
    assert!(
        report.records.iter().any(|r| r.verdict == RecordStatus::Warning),
        "{:?}",
        report.records
    );
    let record = world.edge.until_issued(name).await;
    assert!(record.dns.https && record.ssl.reason == Reason::Ok);
    // A later check does not treat the proxy as a move.
    world.edge.verify(name).await;
    assert_eq!(world.edge.record(name).await.ssl.reason, Reason::Ok);
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_network_that_connects_on_443_the_stand_in_certificate_serves_only_the_challenge() {
    let world = World::start().await;
    let name = "links.full.example";
    put_behind(&world, name);
    world.edge.register(name).await;
    let unverifying = Arc::new(client::tls_any_certificate());
    // The challenge does not arrive and no order is open, so that the edge refuses the handshake.
    for _ in 0..2 {
        let refused = client::handshake(world.edge.https, name, &unverifying).await;
        refused.expect_err("no stand-in");
    }
    forward_over_tls(&world, name).await;
    world.clock.advance(Duration::from_secs(31));

    // The stand-in is served while the CA validates.
    let delay = Duration::from_secs(20);
    world.faults().set_validation_delay(delay);
    world.edge.verify(name).await;
    world.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    let fetch = async |path: &str| {
        client::fetch(world.edge.https, name, path, &unverifying)
            .await
            .expect("an answer")
    };
    let challenge = fetch("/.well-known/acme-challenge/token").await;
    assert_eq!((challenge.status, challenge.header("connection")), (200, Some("close")));
    assert!(challenge.text().starts_with("token."));
    let links = world.links(name);
    for path in [links.open(), links.click("https://shop.example/"), "/".to_owned()] {
        let other = fetch(&path).await;
        assert_eq!(
            (other.status, other.header("connection")),
            (404, Some("close")),
            "{path}"
        );
    }
    world.clock.advance(delay);
    world.edge.until_issued(name).await;
    assert_eq!(world.ca.name_stats(name).orders, 1);
    // Recipients get the issued certificate.
    let served = world.fetch(name, &links.open()).await.expect("a trusted certificate");
    assert_eq!(served.status, 200);
}
