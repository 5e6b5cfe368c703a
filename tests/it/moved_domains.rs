//! Domains whose DNS moves elsewhere: noticed before their renewal, checked ever less often, never
//! ordered for, served until their certificate expires, and picked up again when they come back.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_dns::Kind as Record;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{Reason, State};
use serde_json::Value;

use crate::support::edge::{EDGE_NAME, domain, operator};
use crate::support::until;
use crate::support::world::{Plan, World};

const DAY: Duration = Duration::from_secs(86_400);
/// An address reserved for documentation.
const ELSEWHERE: &str = "203.0.113.9";

/// A world with an issued domain, whose CA offers no renewal information.
async fn issued(name: &str) -> (World, DomainRecord) {
    // A shorter time to departure than the default: every check costs the test a second of the
    // scheduler's pause, and fewer of them show the same.
    let plan = Plan::on_register().await.without_renewal_info();
    let world = plan.set("dns.departed_after", "3d").start().await;
    world.edge.register(name).await;
    let record = world.edge.until_issued(name).await;
    (world, record)
}

/// Advances the clock from check to check until `end`; returns the waits between the checks.
async fn advance_checks_until(world: &World, name: &str, end: Timestamp) -> Vec<Duration> {
    let mut waits = Vec::new();
    loop {
        let record = world.edge.record(name).await;
        let next = record.ssl.next_attempt.expect("a next check");
        let checked = record.dns.checked.expect("a check");
        waits.push(next.saturating_since(checked));
        if next > end {
            return waits;
        }
        world.advance_past(next);
        let checked_again = |r: &DomainRecord| r.dns.checked > Some(checked);
        world.edge.until(name, "checked again", checked_again).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_domain_is_checked_ever_less_often_and_renewed_when_it_returns() {
    let name = "links.moved.test";
    let (world, first) = issued(name).await;
    let certificate = first.ssl.certificate.expect("a certificate");
    let recheck_at = first.ssl.next_check.expect("a planned check");
    let wait = recheck_at.saturating_since(world.clock.now());
    assert!((DAY.mul_f64(0.7)..DAY.mul_f64(1.3)).contains(&wait), "{wait:?}");
    world.dns.add(name, Record::A, ELSEWHERE);
    world.advance_past(recheck_at);
    let moved = world.edge.until_reason(name, Reason::Moved).await;
    assert_eq!(moved.ssl.state(), State::Issued);
    assert_eq!(moved.ssl.facts.found.as_deref(), Some(ELSEWHERE));
    assert_eq!(world.served(name).await, certificate.serial, "served until it expires");
    let notified = || {
        let events = world.settings.domain_events();
        let moved = |e: &&Value| e["type"] == "domain.ssl.moved" && e["domain"] == name;
        events.iter().filter(moved).count()
    };
    until("the platform is notified", async || (notified() > 0).then_some(())).await;

    let waits = advance_checks_until(&world, name, recheck_at + 2 * DAY).await;
    assert!(
        waits.is_sorted_by(|a, b| *a <= *b + Duration::from_secs(1)),
        "{waits:?}"
    );
    assert!(waits[0] <= Duration::from_secs(60) && *waits.last().unwrap() == DAY / 4);
    assert_eq!(notified(), 1, "once, not with every check");
    let waits = advance_checks_until(&world, name, recheck_at + 4 * DAY).await;
    assert!(*waits.last().unwrap() > 5 * DAY, "it has departed: {waits:?}");
    let (timeline, queries) = (world.edge.timeline(name).await, world.dns.asked(name));
    assert_eq!(timeline.iter().filter(|event| *event == "departed").count(), 1);

    // Beyond its renewal there are hardly any queries, and no order.
    advance_checks_until(&world, name, certificate.renew_at + 10 * DAY).await;
    world.advance_past(certificate.renew_at + 10 * DAY);
    assert!(
        world.dns.asked(name) < queries + 10 * 20,
        "{} queries",
        world.dns.asked(name)
    );
    assert_eq!(world.ca.name_stats(name).orders, 1);
    assert_eq!(world.served(name).await, certificate.serial);

    // It points here again, which a handshake finds out.
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
async fn a_domain_that_returns_before_its_renewal_is_not_ordered_for() {
    let name = "links.back.test";
    let (world, first) = issued(name).await;
    world.dns.add(name, Record::A, ELSEWHERE);
    world.advance_past(first.ssl.next_check.expect("a planned check"));
    let moved = world.edge.until_reason(name, Reason::Moved).await;
    world.dns.remove(name, Record::A);
    world.advance_past(moved.ssl.next_attempt.expect("a next check"));
    let back = world.edge.until_reason(name, Reason::Ok).await;
    assert_eq!((back.ssl.next_attempt, back.ssl.misdirected_since), (None, None));
    assert!(
        back.ssl.next_check > moved.ssl.next_check,
        "the next regular check is planned"
    );
    assert_eq!(world.ca.name_stats(name).orders, 1, "its certificate is healthy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_departed_domain_with_an_expired_certificate_is_issued_at_a_handshake_after_its_return() {
    let name = "links.expired.test";
    let (world, first) = issued(name).await;
    world.dns.add(name, Record::A, ELSEWHERE);
    world.advance_past(first.ssl.next_check.expect("a planned check"));
    world.edge.until_reason(name, Reason::Moved).await;
    let end = first.ssl.certificate.expect("a certificate").not_after;
    advance_checks_until(&world, name, end).await;
    world.advance_past(end);
    let expired = world.edge.until_reason(name, Reason::DnsElsewhere).await;
    assert!(
        expired.ssl.next_attempt > Some(world.clock.now()),
        "it waits for its next check"
    );
    assert!(world.handshake(name).await.is_err(), "there is no certificate");
    assert_eq!(world.ca.name_stats(name).orders, 1);
    world.dns.remove(name, Record::A);
    world.clock.advance(Duration::from_secs(1_200));
    world.handshake(name).await.expect("checked, ordered, served");
    assert_eq!(world.ca.name_stats(name).orders, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_domain_is_not_renewed_until_it_is_registered_again() {
    let name = "links.retired.test";
    let (world, first) = issued(name).await;
    let certificate = first.ssl.certificate.expect("a certificate");
    world
        .edge
        .control
        .operator()
        .retire(&domain(name), &operator())
        .await
        .expect("retired");
    assert_eq!(world.served(name).await, certificate.serial);
    world.advance_past(certificate.renew_at + 8 * DAY);
    // Others are renewed meanwhile, such as the edge's own name.
    let replaced = |r: &DomainRecord| {
        r.ssl
            .certificate
            .as_ref()
            .is_some_and(|c| c.not_after > certificate.not_after + DAY)
    };
    world.edge.until(EDGE_NAME, "renewed", replaced).await;
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
