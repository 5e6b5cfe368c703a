//! Shared places have shares: whatever one tenant, zone, token or CA does, another's domain is seen
//! to at once. Each test has a crowd that takes what it can get, and a bystander whose wait is measured.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use linkseal_control::{Actor, OperatorError};
use linkseal_devca::Endpoint;
use linkseal_dns::Kind as Record;
use linkseal_dns::testing::Failure;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{Reason, State};

use crate::support::edge::{domain, operator};
use crate::support::world::{Plan, World};
use crate::support::{heavy, until};

/// How many names the crowd has.
const CROWD: usize = 600;
/// A look at name servers that do not answer takes eight to ten seconds: who is through before has
/// waited for none of them. Alone it takes less than one.
const SOON: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

async fn world() -> World {
    let plan = Plan::new().await;
    plan.faults().set_ari_off(true);
    plan.set("acme.issue", "on_register").start().await
}

/// Registers names whose name servers do not answer, and waits until that is found out of many.
async fn silent_crowd(world: &World, tenant: Option<&str>, name: impl Fn(usize) -> String) {
    for n in 0..CROWD {
        world.dns.fail(&name(n), Failure::Silent);
        world.edge.register_for(tenant, &name(n)).await;
    }
    until("looks at the crowd are under way", async || {
        let asked = (0..CROWD).filter(|n| world.dns.asked(&name(*n)) > 0).count();
        (asked >= 26).then_some(())
    })
    .await;
}

/// How long it takes until a domain is issued that is right in every respect.
async fn bystander(world: &World, tenant: Option<&str>, name: &str) -> Duration {
    let begun = Instant::now();
    world.edge.register_for(tenant, name).await;
    world.edge.until_issued(name).await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn name_servers_of_one_tenant_that_do_not_answer_keep_no_other_waiting() {
    let _alone = heavy().await;
    let world = world().await;
    silent_crowd(&world, Some("crowd"), |n| format!("links.c{n}.test")).await;
    let took = bystander(&world, Some("small"), "links.small.test").await;
    assert!(took < SOON, "{took:?}");
    // Nor a visitor who waits, of a domain that no one has looked at yet.
    let begun = Instant::now();
    world.edge.register_for(Some("other"), "links.other.test").await;
    world
        .handshake("links.other.test")
        .await
        .expect("issued while it waits");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // Nor the crowd's own domain whose visitor waits.
    let begun = Instant::now();
    world.edge.register_for(Some("crowd"), "links.right.test").await;
    world
        .handshake("links.right.test")
        .await
        .expect("issued while it waits");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_platform_names_no_tenants_a_new_domain_goes_past_an_import() {
    let _alone = heavy().await;
    let world = world().await;
    silent_crowd(&world, None, |n| format!("links.c{n}.test")).await;
    world.clock.advance(MINUTE);
    let took = bystander(&world, None, "links.single.test").await;
    assert!(took < SOON, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_zone_that_does_not_answer_keeps_no_other_of_its_tenant_waiting() {
    let _alone = heavy().await;
    let world = world().await;
    silent_crowd(&world, Some("crowd"), |n| format!("c{n}.dead.test")).await;
    let took = bystander(&world, Some("crowd"), "links.alive.test").await;
    assert!(took < SOON, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_one_token_asks_for_take_no_place_from_orders_or_other_tokens() {
    let _alone = heavy().await;
    let world = world().await;
    let silent = "links.silent.test";
    world.edge.register_for(Some("crowd"), silent).await;
    world.edge.until_issued(silent).await;
    world.edge.register_for(Some("small"), "links.watched.test").await;
    world.edge.until_issued("links.watched.test").await;
    world.dns.fail(silent, Failure::Silent);
    let viewer = Actor {
        who: "viewer".into(),
        from: Ipv4Addr::LOCALHOST.into(),
        tenant: None,
    };
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let (control, viewer) = (world.edge.control.clone(), viewer.clone());
            tokio::spawn(async move { control.dns_report(&domain(silent), &viewer).await.map(drop) })
        })
        .collect();
    until("reports are under way", async || {
        (world.dns.asked(silent) > 20).then_some(())
    })
    .await;
    let took = bystander(&world, Some("small"), "links.small.test").await;
    assert!(took < SOON, "{took:?}");
    let begun = Instant::now();
    let report = world
        .edge
        .control
        .dns_report(&domain("links.watched.test"), &operator())
        .await;
    assert!(report.expect("a report").1.https);
    let verified = world
        .edge
        .control
        .verify(&domain("links.watched.test"), &operator())
        .await;
    assert!(verified.expect("a report").1.https);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let mut busy = 0;
    for report in crowd {
        match report.await.expect("no panic") {
            Ok(()) => {}
            Err(OperatorError::Busy) => busy += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((CROWD - 100..CROWD).contains(&busy), "{busy} were told to come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_information_that_does_not_come_holds_up_nothing() {
    let _alone = heavy().await;
    const DOMAINS: usize = 250;
    let plan = Plan::new().await;
    let world = plan.set("acme.issue", "on_register").start().await;
    let (name, expiring) = (|n: usize| format!("links.c{n}.test"), "links.expiring.test");
    world.faults().set_lifetime(Some(3 * DAY));
    world.edge.register_for(Some("crowd"), expiring).await;
    let serial = |r: &DomainRecord| r.ssl.certificate.as_ref().map(|c| c.serial.clone());
    let old = serial(&world.edge.until_issued(expiring).await);
    world.faults().set_lifetime(None);
    for n in 0..DOMAINS {
        world.edge.register_for(Some("crowd"), &name(n)).await;
    }
    for n in 0..DOMAINS {
        world.edge.until_issued(&name(n)).await;
    }
    world.faults().set_hangs(Endpoint::RenewalInfo, true);
    // Now every question is due, and one certificate has less than a sixth of its life left.
    world.clock.advance(2 * DAY + 14 * HOUR);
    let begun = Instant::now();
    let took = bystander(&world, Some("small"), "links.small.test").await;
    assert!(took < SOON, "{took:?}");
    world.edge.until(expiring, "renewed", |r| serial(r) != old).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let asks = |r: &DomainRecord| r.ssl.certificate.as_ref().and_then(|c| c.ari_check_at);
    // The CA is left alone, and every domain has a time for its next question.
    until("no question is due any more", async || {
        for n in 0..DOMAINS {
            if asks(&world.edge.record(&name(n)).await) <= Some(world.clock.now()) {
                return None;
            }
        }
        Some(())
    })
    .await;
    let state = world.edge.record(&name(0)).await.ssl;
    assert_eq!((state.state(), state.reason), (State::Issued, Reason::Ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_never_answers_is_looked_at_about_once_a_week_in_the_end() {
    let plan = Plan::new().await;
    plan.faults().set_ari_off(true);
    let plan = plan.set("acme.issue", "on_register").set("dns.departed_after", "3d");
    let world = plan.start().await;
    let name = "links.dead.test";
    world.dns.add(name, Record::A, "203.0.113.9");
    // Refused at once, unlike a name server that is silent; to us it is the same.
    world.dns.fail(name, Failure::ServFail);
    world.edge.register(name).await;
    let mut record = world.edge.until_reason(name, Reason::DnsError).await;
    let begun = world.clock.now();
    while world.clock.now() < begun + 4 * DAY {
        let checked = record.dns.checked;
        world.pass_to_next_attempt(name).await;
        record = world
            .edge
            .until(name, "looked at again", |r| r.dns.checked > checked)
            .await;
    }
    let wait = record
        .ssl
        .next_attempt
        .expect("a next look")
        .saturating_since(world.clock.now());
    assert!(wait > 5 * DAY, "{wait:?}");
    let timeline = world.edge.timeline(name).await;
    assert_eq!(timeline.iter().filter(|word| *word == "departed").count(), 1);
    // It answers again, and someone says so.
    world.dns.heal(name);
    world.dns.remove(name, Record::A);
    world.edge.verify(name).await;
    world.edge.until_issued(name).await;
}
