//! Admission by DNS: a name that points here is served, and anyone who floods the edge with names, be
//! it below a wildcard of their own that points here, costs it next to nothing.

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

/// Names of one flood.
const FLOOD: usize = 100_000;
/// Questions that one look may come to: chain and addresses, CAA up to the top, and the same at
/// the zone's own servers.
const QUESTIONS: usize = 40;
const DAY: Duration = Duration::from_secs(86_400);

/// An edge that admits by DNS, with these bounds over the usual ones.
async fn world(bounds: &str) -> World {
    let bounds: toml::Table = bounds.parse().unwrap();
    let plan = Plan::new().await.set("admission.policy", "cname");
    // What is asked of DNS is for admission alone.
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
async fn a_name_that_leads_here_is_served_and_one_that_does_not_is_remembered() {
    let world = world("").await;
    let name = "links.led.test";
    let config = world.client(&[]);
    let crowd = (0..20).map(|_| client::handshake(world.edge.https, name, &config));
    for outcome in futures_util::future::join_all(crowd).await {
        outcome.expect("admitted, and served");
    }
    let record = world.edge.record(name).await;
    assert_eq!((record.ssl.state(), record.origin), (State::Issued, Origin::Cname));
    assert!(record.dns.https);
    assert_eq!(world.ca.name_stats(name).orders, 1);

    let other = "links.elsewhere.example";
    world.dns.add(other, Record::A, "203.0.113.9");
    assert_eq!(refused(&world, other).await, Some(AlertDescription::UnrecognisedName));
    let asked = world.dns.asked_in_all();
    for _ in 0..3 {
        assert_eq!(refused(&world, other).await, Some(AlertDescription::UnrecognisedName));
    }
    assert_eq!(world.dns.asked_in_all(), asked, "the answer is kept");
    assert!(world.edge.find(other).await.is_none());

    // Registered, it is a domain like all others.
    world.edge.register(name).await;
    assert_eq!(world.edge.record(name).await.origin, Origin::Registered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_that_fails_is_not_a_no_and_takes_nothing_away() {
    let world = world("").await;
    let (held, name) = ("links.held.test", "links.fails.example");
    world.handshake(held).await.expect("admitted");
    for failing in [held, name] {
        world.dns.fail(failing, Failure::ServFail);
    }
    assert_eq!(refused(&world, name).await, Some(AlertDescription::InternalError));
    assert!(world.edge.find(name).await.is_none());
    let world = world.restart().await;
    world.handshake(held).await.expect("what is held is served");
    world.dns.heal(name);
    world.dns.add(name, Record::Cname, EDGE_NAME);
    until("DNS is asked again", async || world.handshake(name).await.ok()).await;
}

/// A client of a network of its own, so that no network's share is the bound.
fn from(network: usize) -> ClientNetwork {
    let network = u32::try_from(network).expect("few") << 8;
    ClientNetwork::of(std::net::Ipv4Addr::from_bits(network).into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_below_a_wildcard_that_leads_here_stops_at_the_cap() {
    let cap = 5;
    let world = world(&format!("per_registered_domain = {cap}\nmax_labels = 3")).await;
    let door = KnownNames::new(world.edge.control.clone());
    let (orders, asked) = (world.ca.stats().orders, world.dns.asked_in_all());
    let mut yes = 0;
    for i in 0..FLOOD {
        let name = match i % 4 {
            0 => format!("{}flood.test", "git.".repeat(4 + i % 20)),
            1 => format!("git.git.r{i}.flood.test"),
            _ => format!("r{i}.flood.test"),
        };
        yes += usize::from(matches!(door.admit(&domain(&name), from(i)).await, Admitted::Yes(_)));
    }
    assert_eq!(yes, cap);
    assert_eq!(domains(&world).await, 1 + cap as u64);
    let asked = world.dns.asked_in_all() - asked;
    println!("{FLOOD} names below one wildcard: {asked} questions");
    assert!(asked <= cap * QUESTIONS, "{asked} questions");
    assert!(world.ca.stats().orders - orders <= cap as u64);
    // The others below the public suffix are no one's fault.
    world.handshake("links.innocent.test").await.expect("admitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_names_from_everywhere_costs_a_bounded_number_of_looks() {
    let looks = 30;
    let world = world(&format!("lookups = \"{looks}/1h\"")).await;
    let door = KnownNames::new(world.edge.control.clone());
    let asked = world.dns.asked_in_all();
    for i in 0..FLOOD / 5 {
        let answer = door.admit(&domain(&format!("r{i}.random{i}.example")), from(i)).await;
        assert!(!matches!(answer, Admitted::Yes(_)));
    }
    let asked = world.dns.asked_in_all() - asked;
    println!("names of 20,000 domains: {asked} questions");
    assert!((looks..=looks * QUESTIONS).contains(&asked), "{asked} questions");
    assert_eq!(domains(&world).await, 1);
    // Too much is asked for: that is no answer, and it passes.
    let name = "links.late.test";
    assert_eq!(refused(&world, name).await, Some(AlertDescription::InternalError));
    world.clock.advance(Duration::from_secs(3600));
    world.handshake(name).await.expect("admitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_names_come_at_a_bounded_rate() {
    // One network gets half of them.
    let world = world("admission_rate = \"4/1h\"").await;
    for name in ["a.one.test", "a.two.test"] {
        world.handshake(name).await.expect("admitted");
    }
    let asked = world.dns.asked_in_all();
    let name = "a.three.test";
    assert_eq!(refused(&world, name).await, Some(AlertDescription::InternalError));
    assert_eq!(world.dns.asked_in_all(), asked, "not looked at either");
    world.clock.advance(Duration::from_secs(1800));
    world.handshake(name).await.expect("admitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_left_is_served_while_its_certificate_lives_then_forgotten() {
    let world = world("").await;
    let (name, kept) = ("links.leaves.example", "links.registered.example");
    for name in [name, kept] {
        world.dns.add(name, Record::Cname, EDGE_NAME);
        world.handshake(name).await.expect("admitted");
    }
    world.edge.register(kept).await;
    for name in [name, kept] {
        world.dns.remove(name, Record::Cname);
    }
    let end = world.edge.record(name).await.ssl.certificate.expect("held").not_after;
    let left = end.saturating_since(world.clock.now()) - DAY;
    world.clock.advance(left);
    world.edge.until_reason(name, Reason::Moved).await;
    world.handshake(name).await.expect("served while the certificate lives");
    world.clock.advance(DAY + DAY / 24);
    world
        .edge
        .until(name, "not issued any more", |r| r.ssl.state() == State::Unknown)
        .await;
    world.clock.advance(2 * DAY);
    until("it is forgotten", async || {
        world.edge.find(name).await.is_none().then_some(())
    })
    .await;
    let audit = world.edge.control.store().audit(None, 10).await.unwrap();
    assert!(
        audit
            .iter()
            .any(|l| l.action == "purge" && l.subject == name && l.who == "linkseal")
    );
    assert!(world.edge.find(kept).await.is_some(), "a registered one stays");
    // It comes back: as if it had never been here.
    world.dns.add(name, Record::Cname, EDGE_NAME);
    world.handshake(name).await.expect("admitted again");
    // Retired by an operator, it is not let in by its DNS.
    world.edge.control.retire(&domain(name), &operator()).await.unwrap();
    world.clock.advance(200 * DAY);
    until("it is refused", async || {
        let error = world.handshake(name).await.err()?;
        (alert(&error) == Some(AlertDescription::UnrecognisedName)).then_some(())
    })
    .await;
    assert!(world.edge.find(name).await.is_some());
}
