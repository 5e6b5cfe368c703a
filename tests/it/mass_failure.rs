//! The mass-failure guard: when many domains fail at once, linkseal assumes a fault of its own. It
//! changes no state and sends no notification for all but a few of them, until the failures stop or
//! an operator confirms them.
//!
//! Both tests take over ten seconds: they need a fleet of issued domains, and several rounds of checks.

use std::time::Duration;

use http::StatusCode;
use linkseal_devca::Problem;
use linkseal_dns::Kind as Record;
use linkseal_domain::ssl::{Reason, State};

use crate::support::edge::{domain, operator};
use crate::support::until;
use crate::support::world::{Plan, World};

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
const DOMAINS: usize = 200;
/// How many domains may change for the worse in a fleet of this size.
const ALLOWED: usize = 10;

fn name(i: usize) -> String {
    format!("links.c{i}.test")
}

/// How many domains have this reason.
async fn count(world: &World, reason: Reason) -> usize {
    let counts = world.edge.control.store().counts(None).await.expect("the store");
    let found = counts.iter().find(|c| c.reason == reason);
    found.map_or(0, |c| usize::try_from(c.domains).expect("a number"))
}

/// Makes all names point elsewhere, or here again.
fn set_misdirected(world: &World, misdirected: bool) {
    if misdirected {
        world.dns.remove("*.test", Record::Cname);
        world.dns.add("*.test", Record::A, "203.0.113.9");
    } else {
        world.dns.remove("*.test", Record::A);
        world.dns.add("*.test", Record::Cname, crate::support::edge::EDGE_NAME);
    }
}

/// A world with `domains` issued domains.
async fn fleet(domains: usize) -> World {
    let world = Plan::on_register().await.without_renewal_info().start().await;
    for i in 0..domains {
        world.edge.register(&name(i)).await;
    }
    until("all are issued", async || {
        (count(&world, Reason::Ok).await == domains + 1).then_some(())
    })
    .await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resolver_that_misdirects_every_domain_is_not_believed() {
    let world = fleet(DOMAINS).await;
    let control = &world.edge.control;
    set_misdirected(&world, true);
    // All of them are checked within minutes.
    world.clock.advance(DAY + DAY / 4);
    until("all others are held back", async || {
        (control.operator().mass_failure().suppressed >= (DOMAINS - ALLOWED) as u64).then_some(())
    })
    .await;
    let suspected = control.operator().mass_failure();
    let since = suspected.since.expect("the guard is active");
    assert_eq!((suspected.allowed as usize, suspected.trusted_until), (ALLOWED, None));
    assert_eq!(count(&world, Reason::Moved).await, ALLOWED);
    assert_eq!(count(&world, Reason::Ok).await, DOMAINS + 1 - ALLOWED);
    // The next round of checks has the same results and changes nothing.
    let suppressed = suspected.suppressed;
    world.clock.advance(20 * MINUTE);
    until("they are checked again", async || {
        (control.operator().mass_failure().suppressed >= suppressed + (DOMAINS - ALLOWED) as u64).then_some(())
    })
    .await;
    assert_eq!(count(&world, Reason::Moved).await, ALLOWED);
    assert_eq!(
        control.operator().mass_failure().since,
        Some(since),
        "one alert, not one per round"
    );
    let events = world.settings.domain_events();
    assert!(!events.is_empty());
    assert!(events.iter().filter(|e| e["type"] == "domain.ssl.moved").count() <= ALLOWED);
    control.report().refresh_metrics().await.expect("the store");

    set_misdirected(&world, false);
    until("the guard is inactive and every domain is issued", async || {
        world.clock.advance(20 * MINUTE);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let over = control.operator().mass_failure().since.is_none() && count(&world, Reason::Ok).await == DOMAINS + 1;
        over.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_renewals_are_held_back_until_an_operator_confirms_them() {
    const DOMAINS: usize = 16;
    let world = fleet(DOMAINS).await;
    let control = &world.edge.control;
    let refused = || Problem::new(StatusCode::BAD_REQUEST, "connection", "Connection refused");
    for i in 0..DOMAINS {
        world.faults().reject_challenge(&name(i), Some(refused()));
    }
    world.clock.advance(68 * DAY);
    until("the others are held back", async || {
        (control.operator().mass_failure().suppressed >= (DOMAINS - ALLOWED) as u64).then_some(())
    })
    .await;
    assert!(control.operator().mass_failure().since.is_some());
    let failing = count(&world, Reason::RenewalFailing).await;
    assert_eq!(failing, ALLOWED);
    let record = {
        let mut held_back = None;
        for i in 0..DOMAINS {
            let record = world.edge.record(&name(i)).await;
            if record.ssl.reason == Reason::Ok {
                held_back = Some(record);
            }
        }
        held_back.expect("a domain that is held back")
    };
    assert_eq!((record.ssl.attempts, record.ssl.last_error.is_some()), (1, true));
    assert_eq!(record.ssl.failures.len(), 1, "it still counts against the CA's limit");

    control
        .operator()
        .end_mass_failure_hold(&operator())
        .await
        .expect("audited");
    let line = control.store().audit(None, 1).await.expect("the store").remove(0);
    assert_eq!((line.action.as_str(), line.subject.as_str()), ("trust", "mass_failure"));
    assert!(control.operator().mass_failure().since.is_none());
    world.clock.advance(20 * MINUTE);
    world
        .edge
        .until_reason(record.name.as_str(), Reason::RenewalFailing)
        .await;
    // A domain whose fault is fixed is renewed even while the guard is active.
    world.faults().reject_challenge(record.name.as_str(), None);
    control
        .operator()
        .verify(&domain(record.name.as_str()), &operator())
        .await
        .expect("verified");
    let renewed = |r: &linkseal_domain::DomainRecord| r.ssl.state() == State::Issued && r.ssl.reason == Reason::Ok;
    world.edge.until(record.name.as_str(), "renewed", renewed).await;
}
