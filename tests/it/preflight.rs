//! Before an order: does the challenge get here? What is found tells people where to look, it
//! forbids nothing; and a proxy through which it gets here is no obstacle.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use linkseal::dns::{Kind as Record, Word};
use linkseal::domain::messages::message;
use linkseal::domain::ssl::{Reason, State};
use tokio::net::{TcpListener, TcpStream};

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
        Some("The CA's challenge gets here.")
    );
    let (record, report) = world.edge.control.dns_report(&domain(name)).await.unwrap();
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
        line.starts_with("From our side the CA's challenge does not get here: 127.0.0.1: "),
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
    // The CA finds nobody there.
    world.ca.hosts().set(name, Some(IpAddr::from([127, 0, 0, 3])));
    world.edge.register(name).await;
    world.handshake(name).await.expect_err("no certificate");
    let record = world.edge.until_reason(name, Reason::ValidationFailed).await;
    let said = message(&record, world.edge.control.messages().borrow()).en;
    assert!(
        said.contains("From our side it does get here: look for a firewall"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_passes_the_challenge_on_is_a_warning() {
    let world = World::start().await;
    let name = "links.proxied.example";
    put_behind(&world, name);
    world.edge.register(name).await;
    // Nobody listens at the proxy yet.
    world.edge.verify(name).await;
    let record = world.edge.record(name).await;
    assert_eq!(record.ssl.reason, Reason::Proxied);
    assert!(record.ssl.facts.preflight.is_some_and(|p| p.miss.is_some()));
    assert_eq!(world.ca.name_stats(name).orders, 0);

    passes_on(&world).await;
    world.clock.advance(std::time::Duration::from_secs(31));
    let (_, report) = world.edge.control.verify(&domain(name), &operator()).await.unwrap();
    assert!(report.https && !report.verified);
    assert!(
        report.records.iter().any(|r| r.verdict == Word::Warning),
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
