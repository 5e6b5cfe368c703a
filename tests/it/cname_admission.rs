//! Admission by DNS (`policy = "cname"`): a name that points here is served. A flood of names costs next to
//! nothing, even below a wildcard that points here.

use std::time::Duration;

use linkseal_control::KnownNames;
use linkseal_dns::Kind as Record;
use linkseal_dns::testing::Failure;
use linkseal_domain::admission::{Admission, Admitted, ClientNetwork};
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Reason, State};
use rustls::AlertDescription;
use toml::Value;

use crate::support::client::{self, alert};
use crate::support::edge::{EDGE_NAME, domain, operator};
use crate::support::until;
use crate::support::world::{Plan, World};

/// Names in a flood.
const FLOOD: usize = 100_000;
/// Upper bound of the queries of one check: CNAME chain and addresses, CAA up to the root, and the same at
/// the zone's own servers.
const QUERIES: usize = 40;
const DAY: Duration = Duration::from_secs(86_400);

/// An edge that admits by DNS, with `bounds` as its `[admission.cname]`.
async fn world(bounds: &str) -> World {
    let bounds: toml::Table = bounds.parse().unwrap();
    let plan = Plan::new().await.set("admission.policy", "cname");
    // Without the list of rejected names, all DNS queries are made for admission.
    let plan = plan.set("admission.rejected_capacity", 0);
    plan.set("admission.cname", Value::Table(bounds)).start().await
}

async fn refused(world: &World, name: &str) -> Option<AlertDescription> {
    alert(&world.handshake(name).await.expect_err("no session"))
}

async fn domains(world: &World) -> u64 {
    let counts = world.edge.control.store().counts(None).await.unwrap();
    counts.iter().map(|c| c.domains).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_points_here_is_served_and_a_rejection_is_cached() {
    let world = world("").await;
    let name = "links.led.test";
    let config = world.client(&[]);
    let crowd = (0..20).map(|_| client::handshake(world.edge.https, name, &config));
    for outcome in futures_util::future::join_all(crowd).await {
        outcome.expect("admitted and served");
    }
    let record = world.edge.record(name).await;
    assert_eq!((record.ssl.state(), record.origin), (State::Issued, Origin::Cname));
    assert!(record.dns.https);
    assert_eq!(world.ca.name_stats(name).orders, 1);

    let other = "links.elsewhere.example";
    world.dns.add(other, Record::A, "203.0.113.9");
    assert_eq!(refused(&world, other).await, Some(AlertDescription::UnrecognisedName));
    let queries = world.dns.asked_in_all();
    for _ in 0..3 {
        assert_eq!(refused(&world, other).await, Some(AlertDescription::UnrecognisedName));
    }
    assert_eq!(world.dns.asked_in_all(), queries, "the answer is cached");
    assert!(world.edge.find(other).await.is_none());

    // Once registered, it is an ordinary domain.
    world.edge.register(name).await;
    assert_eq!(world.edge.record(name).await.origin, Origin::Registered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dns_failure_is_not_a_rejection_and_does_not_affect_issued_domains() {
    let world = world("").await;
    let (issued, name) = ("links.issued.test", "links.fails.example");
    world.handshake(issued).await.expect("admitted");
    for failing in [issued, name] {
        world.dns.fail(failing, Failure::ServFail);
    }
    assert_eq!(refused(&world, name).await, Some(AlertDescription::InternalError));
    assert!(world.edge.find(name).await.is_none());
    let world = world.restart().await;
    world.handshake(issued).await.expect("the stored certificate is served");
    world.dns.heal(name);
    world.dns.add(name, Record::Cname, EDGE_NAME);
    until("DNS is queried again", async || world.handshake(name).await.ok()).await;
}

/// A client in a network of its own, so that no network's share limits the flood.
fn from(network: usize) -> ClientNetwork {
    let network = u32::try_from(network).expect("few") << 8;
    ClientNetwork::of(std::net::Ipv4Addr::from_bits(network).into())
}

/// Takes over ten seconds: 100,000 names, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_below_a_wildcard_that_points_here_stops_at_the_cap() {
    let cap = 5;
    let world = world(&format!("per_registered_domain = {cap}\nmax_labels = 3")).await;
    let names = KnownNames::new(world.edge.control.admission());
    let (orders, asked) = (world.ca.stats().orders, world.dns.asked_in_all());
    let mut admitted = 0;
    for i in 0..FLOOD {
        let name = match i % 4 {
            0 => format!("{}flood.test", "git.".repeat(4 + i % 20)),
            1 => format!("git.git.r{i}.flood.test"),
            _ => format!("r{i}.flood.test"),
        };
        admitted += usize::from(matches!(names.admit(&domain(&name), from(i)).await, Admitted::Yes(_)));
    }
    assert_eq!(admitted, cap);
    assert_eq!(domains(&world).await, 1 + cap as u64);
    let asked = world.dns.asked_in_all() - asked;
    println!("{FLOOD} names below one wildcard: {asked} queries");
    assert!(asked <= cap * QUERIES, "{asked} queries");
    assert!(world.ca.stats().orders - orders <= cap as u64);
    // Other domains below the same public suffix are unaffected.
    world.handshake("links.innocent.test").await.expect("admitted");
}

/// Takes over ten seconds: 20,000 names, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unrelated_names_costs_a_bounded_number_of_checks() {
    let checks = 30;
    let world = world(&format!("lookups = \"{checks}/1h\"")).await;
    let names = KnownNames::new(world.edge.control.admission());
    let asked = world.dns.asked_in_all();
    for i in 0..FLOOD / 5 {
        let answer = names.admit(&domain(&format!("r{i}.random{i}.example")), from(i)).await;
        assert!(!matches!(answer, Admitted::Yes(_)));
    }
    let asked = world.dns.asked_in_all() - asked;
    println!("names of 20,000 domains: {asked} queries");
    assert!((checks..=checks * QUERIES).contains(&asked), "{asked} queries");
    assert_eq!(domains(&world).await, 1);
    // Exceeding the rate is temporary and not a rejection.
    let name = "links.late.test";
    assert_eq!(refused(&world, name).await, Some(AlertDescription::InternalError));
    world.clock.advance(Duration::from_secs(3600));
    world.handshake(name).await.expect("admitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_names_are_admitted_at_a_bounded_rate() {
    // One network gets half of the rate.
    let world = world("admission_rate = \"4/1h\"").await;
    for name in ["a.one.test", "a.two.test"] {
        world.handshake(name).await.expect("admitted");
    }
    let asked = world.dns.asked_in_all();
    let name = "a.three.test";
    assert_eq!(refused(&world, name).await, Some(AlertDescription::InternalError));
    assert_eq!(world.dns.asked_in_all(), asked, "not even checked");
    world.clock.advance(Duration::from_secs(1800));
    world.handshake(name).await.expect("admitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_name_is_served_until_its_certificate_expires_and_then_purged() {
    let world = world("").await;
    let (name, registered) = ("links.leaves.example", "links.registered.example");
    for name in [name, registered] {
        world.dns.add(name, Record::Cname, EDGE_NAME);
        world.handshake(name).await.expect("admitted");
    }
    world.edge.register(registered).await;
    for name in [name, registered] {
        world.dns.remove(name, Record::Cname);
    }
    let record = world.edge.record(name).await;
    let end = record.ssl.certificate.expect("a certificate").not_after;
    world.advance_to(end.minus(DAY));
    world.edge.until_reason(name, Reason::Moved).await;
    world
        .handshake(name)
        .await
        .expect("served until the certificate expires");
    world.clock.advance(DAY + DAY / 24);
    world
        .edge
        .until(name, "no longer issued", |r| r.ssl.state() == State::Unknown)
        .await;
    world.clock.advance(2 * DAY);
    until("the domain is purged", async || {
        world.edge.find(name).await.is_none().then_some(())
    })
    .await;
    let audit = world.edge.control.store().audit(None, 10).await.unwrap();
    assert!(
        audit
            .iter()
            .any(|l| l.action == "purge" && l.subject == name && l.who == "linkseal")
    );
    assert!(world.edge.find(registered).await.is_some(), "a registered domain stays");
    // When it comes back it is admitted like a new name.
    world.dns.add(name, Record::Cname, EDGE_NAME);
    world.handshake(name).await.expect("admitted again");
    // A domain that an operator has retired is not admitted by its DNS.
    world
        .edge
        .control
        .operator()
        .retire(&domain(name), &operator())
        .await
        .unwrap();
    world.clock.advance(200 * DAY);
    until("it is refused", async || {
        let error = world.handshake(name).await.err()?;
        (alert(&error) == Some(AlertDescription::UnrecognisedName)).then_some(())
    })
    .await;
    assert!(world.edge.find(name).await.is_some());
}
