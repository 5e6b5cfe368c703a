//! Domains that leave: noticed before their renewal, looked at more and more seldom, never ordered
//! for, served while their certificate lives, and back by themselves.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_dns::Kind as Record;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{Reason, State};

use crate::support::edge::{domain, operator};
use crate::support::until;
use crate::support::world::{Plan, World};

const DAY: Duration = Duration::from_secs(86_400);
/// An address that is no one's.
const ELSEWHERE: &str = "203.0.113.9";

/// A domain that was issued, in a world whose CA offers no renewal information.
async fn issued(name: &str) -> (World, DomainRecord) {
    let plan = Plan::new().await;
    plan.faults().set_ari_off(true);
    // Each look takes a second, since the scheduler rests: fewer of them show the same.
    let plan = plan.set("acme.issue", "on_register").set("dns.departed_after", "3d");
    let world = plan.start().await;
    world.edge.register(name).await;
    let record = world.edge.until_issued(name).await;
    (world, record)
}

fn pass_to(world: &World, at: Timestamp) {
    let by = at.saturating_since(world.clock.now());
    world.clock.advance(by + Duration::from_millis(1));
}

/// Lets time pass from look to look until this moment; returns the waits between them.
async fn pass_looks_until(world: &World, name: &str, end: Timestamp) -> Vec<Duration> {
    let mut waits = Vec::new();
    loop {
        let record = world.edge.record(name).await;
        let next = record.ssl.next_attempt.expect("a next look");
        let checked = record.dns.checked.expect("a look");
        waits.push(next.saturating_since(checked));
        if next > end {
            return waits;
        }
        pass_to(world, next);
        let looked = |r: &DomainRecord| r.dns.checked > Some(checked);
        world.edge.until(name, "looked at again", looked).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_noticed_early_slows_down_stops_and_is_over_at_a_handshake() {
    let name = "links.moved.test";
    let (world, first) = issued(name).await;
    let certificate = first.ssl.certificate.expect("a certificate");
    let look_at = first.ssl.next_check.expect("a planned look");
    let wait = look_at.saturating_since(world.clock.now());
    assert!((DAY.mul_f64(0.7)..DAY.mul_f64(1.3)).contains(&wait), "{wait:?}");
    world.dns.add(name, Record::A, ELSEWHERE);
    pass_to(&world, look_at);
    let moved = world.edge.until_reason(name, Reason::Moved).await;
    assert_eq!(moved.ssl.state(), State::Issued);
    assert_eq!(moved.ssl.facts.found.as_deref(), Some(ELSEWHERE));
    assert_eq!(world.served(name).await, certificate.serial, "served while it lives");
    let told = || {
        let text = std::fs::read_to_string(world.settings.lives()).unwrap_or_default();
        let moved = |l: &&str| l.contains(r#""type":"domain.ssl.moved""#) && l.contains(name);
        text.lines().filter(moved).count()
    };
    until("the platform is told", async || (told() > 0).then_some(())).await;

    let waits = pass_looks_until(&world, name, look_at + 2 * DAY).await;
    assert!(
        waits.is_sorted_by(|a, b| *a <= *b + Duration::from_secs(1)),
        "{waits:?}"
    );
    assert!(waits[0] <= Duration::from_secs(60) && *waits.last().unwrap() == DAY / 4);
    assert_eq!(told(), 1, "once, not with every look");
    let waits = pass_looks_until(&world, name, look_at + 4 * DAY).await;
    assert!(*waits.last().unwrap() > 5 * DAY, "it has departed: {waits:?}");
    let (timeline, asked) = (world.edge.timeline(name).await, world.dns.asked(name));
    assert_eq!(timeline.iter().filter(|word| *word == "departed").count(), 1);

    // Past the time of its renewal: hardly a question is asked, and nothing is ordered.
    pass_looks_until(&world, name, certificate.renew_at + 10 * DAY).await;
    pass_to(&world, certificate.renew_at + 10 * DAY);
    assert!(
        world.dns.asked(name) < asked + 10 * 20,
        "{} questions",
        world.dns.asked(name)
    );
    assert_eq!(world.ca.name_stats(name).orders, 1);
    assert_eq!(world.served(name).await, certificate.serial);

    // It points here again. No one says so, but someone comes.
    world.dns.remove(name, Record::A);
    world.clock.advance(Duration::from_secs(1_200));
    world.handshake(name).await.expect("served");
    let renewed = |r: &DomainRecord| {
        r.ssl
            .certificate
            .as_ref()
            .is_some_and(|c| c.serial != certificate.serial)
    };
    world.edge.until(name, "renewed, as was due", renewed).await;
    assert_eq!(world.ca.name_stats(name).orders, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_back_before_its_renewal_is_not_ordered_for() {
    let name = "links.back.test";
    let (world, first) = issued(name).await;
    world.dns.add(name, Record::A, ELSEWHERE);
    pass_to(&world, first.ssl.next_check.expect("a planned look"));
    let moved = world.edge.until_reason(name, Reason::Moved).await;
    world.dns.remove(name, Record::A);
    pass_to(&world, moved.ssl.next_attempt.expect("a next look"));
    let back = world.edge.until_reason(name, Reason::Ok).await;
    assert_eq!((back.ssl.next_attempt, back.ssl.misdirected_since), (None, None));
    assert!(
        back.ssl.next_check > moved.ssl.next_check,
        "the next regular look is planned"
    );
    assert_eq!(world.ca.name_stats(name).orders, 1, "its certificate is healthy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_departed_and_run_out_is_issued_at_the_first_handshake_that_finds_it_here() {
    let name = "links.expired.test";
    let (world, first) = issued(name).await;
    world.dns.add(name, Record::A, ELSEWHERE);
    pass_to(&world, first.ssl.next_check.expect("a planned look"));
    world.edge.until_reason(name, Reason::Moved).await;
    let end = first.ssl.certificate.expect("a certificate").not_after;
    pass_looks_until(&world, name, end).await;
    pass_to(&world, end);
    let expired = world.edge.until_reason(name, Reason::DnsElsewhere).await;
    assert!(
        expired.ssl.next_attempt > Some(world.clock.now()),
        "it waits for its next look"
    );
    assert!(world.handshake(name).await.is_err(), "nothing is held");
    assert_eq!(world.ca.name_stats(name).orders, 1);
    world.dns.remove(name, Record::A);
    world.clock.advance(Duration::from_secs(1_200));
    world.handshake(name).await.expect("looked at, ordered, served");
    assert_eq!(world.ca.name_stats(name).orders, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_domain_is_served_and_comes_back() {
    let name = "links.retired.test";
    let (world, first) = issued(name).await;
    let certificate = first.ssl.certificate.expect("a certificate");
    world
        .edge
        .control
        .retire(&domain(name), &operator())
        .await
        .expect("retired");
    assert_eq!(world.served(name).await, certificate.serial);
    pass_to(&world, certificate.renew_at + 8 * DAY);
    // Others are renewed meanwhile; this one is not.
    let own = |r: &DomainRecord| {
        r.ssl
            .certificate
            .as_ref()
            .is_some_and(|c| c.not_after > certificate.not_after + DAY)
    };
    world.edge.until(crate::support::edge::EDGE_NAME, "renewed", own).await;
    assert_eq!(world.ca.name_stats(name).orders, 1);
    assert_eq!(world.served(name).await, certificate.serial);
    world.edge.register(name).await;
    let renewed = |r: &DomainRecord| {
        r.ssl
            .certificate
            .as_ref()
            .is_some_and(|c| c.serial != certificate.serial)
    };
    let record = world.edge.until(name, "renewed", renewed).await;
    let serial = record.ssl.certificate.expect("a certificate").serial;
    world.until_served(name, &serial).await;
}
