//! When everything turns for the worse at once, linkseal suspects itself: no one's state changes and
//! no one is told, until it comes out right again.

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
/// How many may turn for the worse in a fleet of this size.
const FEW: usize = 10;

fn name(i: usize) -> String {
    format!("links.c{i}.test")
}

/// How many domains are in their state for this reason.
async fn count(world: &World, reason: Reason) -> usize {
    let counts = world.edge.control.store().counts(None).await.expect("the store");
    let found = counts.iter().find(|c| c.reason == reason);
    found.map_or(0, |c| usize::try_from(c.domains).expect("a number"))
}

/// All names lead elsewhere from now on, or here again.
fn lie(world: &World, lies: bool) {
    if lies {
        world.dns.remove("*.test", Record::Cname);
        world.dns.add("*.test", Record::A, "203.0.113.9");
    } else {
        world.dns.remove("*.test", Record::A);
        world.dns.add("*.test", Record::Cname, crate::support::edge::EDGE_NAME);
    }
}

/// A fleet in which every domain is issued.
async fn fleet(domains: usize) -> World {
    let plan = Plan::new().await;
    plan.faults().set_ari_off(true);
    let world = plan.set("acme.issue", "on_register").start().await;
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
async fn a_resolver_that_lies_about_all_of_them_is_not_believed() {
    let world = fleet(DOMAINS).await;
    let control = &world.edge.control;
    lie(&world, true);
    // Every one of them is looked at within minutes.
    world.clock.advance(DAY + DAY / 4);
    until("all others are doubted", async || {
        (control.suspected().doubted >= (DOMAINS - FEW) as u64).then_some(())
    })
    .await;
    let suspected = control.suspected();
    let since = suspected.since.expect("it suspects itself");
    assert_eq!((suspected.allowed as usize, suspected.trusted_until), (FEW, None));
    assert_eq!(count(&world, Reason::Moved).await, FEW);
    assert_eq!(count(&world, Reason::Ok).await, DOMAINS + 1 - FEW);
    // Looked at again, they look as bad: nothing changes.
    let doubted = suspected.doubted;
    world.clock.advance(20 * MINUTE);
    until("they are looked at again", async || {
        (control.suspected().doubted >= doubted + (DOMAINS - FEW) as u64).then_some(())
    })
    .await;
    assert_eq!(count(&world, Reason::Moved).await, FEW);
    assert_eq!(control.suspected().since, Some(since), "one alert, not one a round");
    let told = std::fs::read_to_string(world.settings.lives()).expect("events");
    assert!(told.lines().filter(|l| l.contains("domain.ssl.moved")).count() <= FEW);
    control.refresh_metrics().await.expect("the store");

    lie(&world, false);
    until("it is over, and all is well", async || {
        world.clock.advance(20 * MINUTE);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let over = control.suspected().since.is_none() && count(&world, Reason::Ok).await == DOMAINS + 1;
        over.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_port_fails_no_renewal_of_the_many_and_an_operator_may_say_that_it_is_so() {
    const DOMAINS: usize = 16;
    let world = fleet(DOMAINS).await;
    let control = &world.edge.control;
    let refused = || Problem::new(StatusCode::BAD_REQUEST, "connection", "Connection refused");
    for i in 0..DOMAINS {
        world.faults().reject_challenge(&name(i), Some(refused()));
    }
    world.clock.advance(68 * DAY);
    until("the rest is doubted", async || {
        (control.suspected().doubted >= (DOMAINS - FEW) as u64).then_some(())
    })
    .await;
    assert!(control.suspected().since.is_some());
    let failing = count(&world, Reason::RenewalFailing).await;
    assert_eq!(failing, FEW);
    let record = {
        let mut doubted = None;
        for i in 0..DOMAINS {
            let record = world.edge.record(&name(i)).await;
            if record.ssl.reason == Reason::Ok {
                doubted = Some(record);
            }
        }
        doubted.expect("one that is doubted")
    };
    assert_eq!((record.ssl.attempts, record.ssl.last_error.is_some()), (1, true));
    assert_eq!(record.ssl.failures.len(), 1, "the CA counts it all the same");

    control.trust(&operator()).await.expect("audited");
    let line = control.store().audit(None, 1).await.expect("the store").remove(0);
    assert_eq!((line.action.as_str(), line.subject.as_str()), ("trust", "suspicion"));
    assert!(control.suspected().since.is_none());
    world.clock.advance(20 * MINUTE);
    world
        .edge
        .until_reason(record.name.as_str(), Reason::RenewalFailing)
        .await;
    // What is mended is renewed whatever is suspected.
    world.faults().reject_challenge(record.name.as_str(), None);
    control
        .verify(&domain(record.name.as_str()), &operator())
        .await
        .expect("verified");
    let renewed = |r: &linkseal_domain::DomainRecord| r.ssl.state() == State::Issued && r.ssl.reason == Reason::Ok;
    world.edge.until(record.name.as_str(), "renewed", renewed).await;
}
