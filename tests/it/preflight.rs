//! Before an order: does the challenge get here? What is found tells people where to look, it
//! forbids nothing; and a proxy through which it gets here is no obstacle.

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

/// Where the content delivery network is: loopback, but not the edge's address.
const CDN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// A name by which such networks are known.
const CDN_NAME: &str = "d111.cloudfront.net";

/// Puts a name behind the network, for DNS and for the CA.
fn put_behind(world: &World, name: &str) {
    world.dns.add(name, Record::Cname, CDN_NAME);
    world.dns.add(CDN_NAME, Record::A, &CDN.to_string());
    world.ca.hosts().set(name, Some(CDN));
}

/// A network that passes on what comes to its port 80 to the edge's.
async fn passes_on(world: &World) {
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

/// A network that takes plain requests and calls the edge on port 443, whatever the certificate.
async fn calls_on_443(world: &World, name: &'static str) {
    let (http, https) = (world.edge.http, world.edge.https);
    let listener = TcpListener::bind(SocketAddr::new(CDN, http.port()))
        .await
        .expect("a port");
    let config = Arc::new(client::tls_to_anybody());
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
async fn what_arrives_is_told_in_the_timeline_and_the_report() {
    let world = World::start().await;
    let name = "links.arrives.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("issued");
    assert_eq!(
        preflight_line(&world, name).await.as_deref(),
        Some("Our own test request for the CA's challenge arrives.")
    );
    let (record, report) = world.edge.control.dns_report(&domain(name), &operator()).await.unwrap();
    let found = record.ssl.facts.preflight.expect("tried");
    assert!(report.https && found.miss.is_none() && found.through.is_none());
    assert_eq!(
        world.edge.record(name).await.ssl.facts.preflight,
        None,
        "a look stores nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_arrive_from_here_forbids_nothing() {
    let parked = Origin::start(|_| Some((200, "parked".into()))).await;
    let world = Plan::new()
        .await
        .set("acme.preflight_address", parked.address.to_string());
    let world = world.start().await;
    let name = "links.hairpin.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("issued all the same");
    let line = preflight_line(&world, name).await.expect("told");
    assert!(
        line.starts_with("Our own test request for the CA's challenge does not arrive: 127.0.0.1: "),
        "{line}"
    );
    assert!(line.contains("got \"parked\""), "{line}");
    assert_eq!(world.edge.record(name).await.ssl.state(), State::Issued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switched_off_it_tries_nothing() {
    let world = Plan::new().await.set("acme.preflight", false).start().await;
    let name = "links.off.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("issued");
    assert_eq!(preflight_line(&world, name).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_validation_says_whether_it_arrives_from_here() {
    let world = World::start().await;
    let name = "links.firewall.test";
    // The CA finds no one there.
    world.ca.hosts().set(name, Some(IpAddr::from([127, 0, 0, 3])));
    world.edge.register(name).await;
    world.handshake(name).await.expect_err("no certificate");
    let record = world.edge.until_reason(name, Reason::ValidationFailed).await;
    let said = message(&record, world.edge.control.messages().borrow()).en;
    assert!(
        said.contains("Our own test request arrives: look for a firewall"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_passes_the_challenge_on_is_a_warning() {
    let world = World::start().await;
    let name = "links.proxied.example";
    put_behind(&world, name);
    world.edge.register(name).await;
    // No one listens at the proxy yet.
    world.edge.verify(name).await;
    let record = world.edge.record(name).await;
    assert_eq!(record.ssl.reason, Reason::Proxied);
    assert!(record.ssl.facts.preflight.is_some_and(|p| p.miss.is_some()));
    assert_eq!(world.ca.name_stats(name).orders, 0);

    passes_on(&world).await;
    world.clock.advance(Duration::from_secs(31));
    let (_, report) = world.edge.control.verify(&domain(name), &operator()).await.unwrap();
    assert!(report.https && !report.verified);
    assert!(
        report.records.iter().any(|r| r.verdict == RecordStatus::Warning),
        "{:?}",
        report.records
    );
    let record = world.edge.until_issued(name).await;
    assert!(record.dns.https && record.ssl.reason == Reason::Ok);
    // Looked at again, it still is no reason to call it moved.
    world.edge.verify(name).await;
    assert_eq!(world.edge.record(name).await.ssl.reason, Reason::Ok);
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_network_that_calls_on_443_the_stand_in_serves_the_challenge_and_nothing_else() {
    let world = World::start().await;
    let name = "links.full.example";
    put_behind(&world, name);
    world.edge.register(name).await;
    let anybody = Arc::new(client::tls_to_anybody());
    // The challenge does not arrive, no order is open: the edge has nothing to show, and says so.
    for _ in 0..2 {
        let refused = client::handshake(world.edge.https, name, &anybody).await;
        refused.expect_err("no stand-in");
    }
    calls_on_443(&world, name).await;
    world.clock.advance(Duration::from_secs(31));

    // While the CA takes its time, the stand-in is there.
    let delay = Duration::from_secs(20);
    world.faults().set_validation_delay(delay);
    world.edge.verify(name).await;
    world.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    let fetch = async |path: &str| {
        client::fetch(world.edge.https, name, path, &anybody)
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
    // Recipients come through the network, and get the real thing.
    let served = world
        .fetch(name, &links.open())
        .await
        .expect("under a certificate that is trusted");
    assert_eq!(served.status, 200);
}
