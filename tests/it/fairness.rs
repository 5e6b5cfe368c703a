//! Fair shares of shared resources: no tenant, zone, token or CA delays the domains of another. In each
//! test a crowd takes all it can get while the wait of a bystander is measured.
//!
//! Several of these tests take over ten seconds: registering the crowd does, and only DNS servers that
//! really time out show that nothing waits for them.

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
use crate::support::{exclusive, until};

/// Names of the crowd.
const CROWD: usize = 600;
/// A check of name servers that do not answer takes eight to ten seconds, so whatever finishes sooner has
/// not waited for one. Without the crowd it takes less than one second.
const SOON: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

async fn world() -> World {
    Plan::on_register().await.without_renewal_info().start().await
}

/// Registers names whose name servers do not answer, and waits until many checks are in progress.
async fn silent_crowd(world: &World, tenant: Option<&str>, name: impl Fn(usize) -> String) {
    for n in 0..CROWD {
        world.dns.fail(&name(n), Failure::Silent);
        world.edge.register_for(tenant, &name(n)).await;
    }
    until("checks of the crowd are in progress", async || {
        let queried = (0..CROWD).filter(|n| world.dns.asked(&name(*n)) > 0).count();
        (queried >= 26).then_some(())
    })
    .await;
}

/// How long it takes until a correctly configured domain is issued.
async fn bystander(world: &World, tenant: Option<&str>, name: &str) -> Duration {
    let begun = Instant::now();
    world.edge.register_for(tenant, name).await;
    world.edge.until_issued(name).await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unresponsive_name_servers_of_one_tenant_delay_no_other_tenant() {
    let _exclusive = exclusive().await;
    let world = world().await;
    silent_crowd(&world, Some("crowd"), |n| format!("links.c{n}.test")).await;
    let took = bystander(&world, Some("small"), "links.small.test").await;
    assert!(took < SOON, "{took:?}");
    // Nor the first handshake for a domain that has not been checked yet.
    let begun = Instant::now();
    world.edge.register_for(Some("other"), "links.other.test").await;
    world
        .handshake("links.other.test")
        .await
        .expect("issued while it waits");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // Nor a handshake for one of the crowd's own domains.
    let begun = Instant::now();
    world.edge.register_for(Some("crowd"), "links.right.test").await;
    world
        .handshake("links.right.test")
        .await
        .expect("issued while it waits");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tenants_a_new_domain_overtakes_an_import() {
    let _exclusive = exclusive().await;
    let world = world().await;
    silent_crowd(&world, None, |n| format!("links.c{n}.test")).await;
    world.clock.advance(MINUTE);
    let took = bystander(&world, None, "links.single.test").await;
    assert!(took < SOON, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unresponsive_zone_delays_no_other_zone_of_its_tenant() {
    let _exclusive = exclusive().await;
    let world = world().await;
    silent_crowd(&world, Some("crowd"), |n| format!("c{n}.dead.test")).await;
    let took = bystander(&world, Some("crowd"), "links.alive.test").await;
    assert!(took < SOON, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_reports_for_one_token_delay_neither_orders_nor_other_tokens() {
    let _exclusive = exclusive().await;
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
            tokio::spawn(async move { control.operator().dns_report(&domain(silent), &viewer).await.map(drop) })
        })
        .collect();
    until("reports are in progress", async || {
        (world.dns.asked(silent) > 20).then_some(())
    })
    .await;
    let took = bystander(&world, Some("small"), "links.small.test").await;
    assert!(took < SOON, "{took:?}");
    let begun = Instant::now();
    let report = world
        .edge
        .control
        .operator()
        .dns_report(&domain("links.watched.test"), &operator())
        .await;
    assert!(report.expect("a report").1.https);
    let verified = world
        .edge
        .control
        .operator()
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
    assert!((CROWD - 100..CROWD).contains(&busy), "{busy} were refused as busy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_renewal_info_endpoint_delays_nothing() {
    let _exclusive = exclusive().await;
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
    // Now every check is due, and one certificate has less than a sixth of its lifetime left.
    world.clock.advance(2 * DAY + 14 * HOUR);
    let begun = Instant::now();
    let took = bystander(&world, Some("small"), "links.small.test").await;
    assert!(took < SOON, "{took:?}");
    world.edge.until(expiring, "renewed", |r| serial(r) != old).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let next_check = |r: &DomainRecord| r.ssl.certificate.as_ref().and_then(|c| c.ari_check_at);
    // The CA is not queried for now, and every domain has a time for its next check.
    until("no check is due any more", async || {
        for n in 0..DOMAINS {
            if next_check(&world.edge.record(&name(n)).await) <= Some(world.clock.now()) {
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
async fn a_zone_that_never_answers_is_eventually_checked_about_once_a_week() {
    let plan = Plan::on_register().await.without_renewal_info();
    let world = plan.set("dns.departed_after", "3d").start().await;
    let name = "links.dead.test";
    world.dns.add(name, Record::A, "203.0.113.9");
    // SERVFAIL comes at once, while a silent server would time out; linkseal treats both alike.
    world.dns.fail(name, Failure::ServFail);
    world.edge.register(name).await;
    let mut record = world.edge.until_reason(name, Reason::DnsError).await;
    let begun = world.clock.now();
    while world.clock.now() < begun + 4 * DAY {
        let checked = record.dns.checked;
        world.advance_to_next_attempt(name).await;
        record = world
            .edge
            .until(name, "checked again", |r| r.dns.checked > checked)
            .await;
    }
    let wait = record
        .ssl
        .next_attempt
        .expect("a next check")
        .saturating_since(world.clock.now());
    assert!(wait > 5 * DAY, "{wait:?}");
    let timeline = world.edge.timeline(name).await;
    assert_eq!(timeline.iter().filter(|event| *event == "departed").count(), 1);
    // It answers again, and an operator verifies the domain.
    world.dns.heal(name);
    world.dns.remove(name, Record::A);
    world.edge.verify(name).await;
    world.edge.until_issued(name).await;
}
