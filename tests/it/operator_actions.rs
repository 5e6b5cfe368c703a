//! Operators act on domains while orders run, wait or fail: nothing is lost, duplicated or revived.

use std::time::Duration;

use linkseal_control::{Actor, Holds, NewDomain, OperatorError, Patch, Reissue};
use linkseal_devca::{Endpoint, Refusal};
use linkseal_dns::Kind as Record;
use linkseal_dns::testing::Failure;
use linkseal_domain::DomainRecord;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Reason, SslEvent, State};
use linkseal_store::{Changed, Feed, Transition};
use rustls::AlertDescription;

use crate::support::client::alert;
use crate::support::edge::{EDGE_NAME, domain, operator};
use crate::support::world::{Plan, World};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn paused(paused: bool) -> Patch {
    Patch {
        paused: Some(paused),
        ..Patch::default()
    }
}

/// A world in which the order for `name` waits for the CA's validation.
async fn validating(name: &str) -> World {
    let world = Plan::on_register().await.start().await;
    world.faults().set_validation_delay(MINUTE);
    world.edge.register(name).await;
    world.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    world.edge.until_reason(name, Reason::Validating).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_purged_during_its_order_stays_purged() {
    let name = "links.forgotten.test";
    let world = validating(name).await;
    world
        .edge
        .control
        .operator()
        .purge(&domain(name), &operator())
        .await
        .expect("purged");
    world.clock.advance(MINUTE);
    let error = world.handshake(name).await.expect_err("purged");
    assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName));
    assert!(
        world
            .edge
            .control
            .store()
            .open_orders()
            .await
            .expect("the store")
            .is_empty()
    );
    // Registered again, the name starts from the beginning and gets a certificate.
    world.faults().set_validation_delay(Duration::ZERO);
    world.edge.register(name).await;
    world.edge.until_issued(name).await;
    world.handshake(name).await.expect("served");
    assert_eq!(
        world.edge.timeline(name).await.first().map(String::as_str),
        Some("registered")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_stops_future_orders_but_not_the_running_one() {
    let name = "links.paused.test";
    let world = validating(name).await;
    let control = &world.edge.control;
    control
        .operator()
        .patch(&domain(name), paused(true), &operator())
        .await
        .expect("paused");
    world.clock.advance(MINUTE);
    let record = world.edge.until_issued(name).await;
    assert!(record.paused.is_some());
    world.faults().set_validation_delay(Duration::ZERO);
    let certificate = record.ssl.certificate.expect("a certificate");
    // Its renewal becomes due but does not happen, and the certificate expires.
    world.advance_to(certificate.renew_at + DAY);
    assert_eq!(world.served(name).await, certificate.serial);
    world.advance_to(certificate.not_after + MINUTE);
    world.edge.until_reason(name, Reason::Paused).await;
    assert_eq!(world.ca.name_stats(name).orders, 1);
    world
        .edge
        .control
        .operator()
        .patch(&domain(name), paused(false), &operator())
        .await
        .expect("resumed");
    world.edge.until_issued(name).await;
    assert_eq!(world.ca.name_stats(name).orders, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_domain_is_served_until_its_certificate_expires() {
    let world = World::start().await;
    let name = "links.retired.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("a certificate is issued");
    let certificate = world
        .edge
        .until_issued(name)
        .await
        .ssl
        .certificate
        .expect("a certificate");
    world
        .edge
        .control
        .operator()
        .retire(&domain(name), &operator())
        .await
        .expect("retired");
    assert_eq!(world.served(name).await, certificate.serial);
    world.advance_to(certificate.not_after.minus(MINUTE));
    assert_eq!(world.served(name).await, certificate.serial, "until its last minute");
    world.clock.advance(2 * MINUTE);
    let error = world.handshake(name).await.expect_err("expired");
    assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName));
    assert_eq!(world.ca.name_stats(name).orders, 1);
    world.edge.register(name).await;
    world.handshake(name).await.expect("registered again");
    assert_eq!(world.edge.record(name).await.ssl.state(), State::Issued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_verifications_and_handshakes_make_one_order() {
    let world = World::start().await;
    let name = "links.busy.test";
    world.edge.register(name).await;
    let verify = futures_util::future::join_all((0..10).map(|_| world.edge.verify(name)));
    let connect = futures_util::future::join_all((0..10).map(|_| world.handshake(name)));
    let (_, handshakes) = tokio::join!(verify, connect);
    for handshake in handshakes {
        handshake.expect("served");
    }
    world.edge.verify(name).await;
    assert_eq!(
        world.ca.name_stats(name).orders,
        1,
        "a healthy certificate is not replaced"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reissuing_replaces_a_certificate_as_often_as_limits_allow() {
    // Without renewal information orders replace nothing, so that they count against the limits.
    let world = Plan::new().await.without_renewal_info().start().await;
    let name = "links.again.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("a certificate is issued");
    let mut serials = vec![world.served(name).await];
    let control = &world.edge.control;
    let until = loop {
        match control
            .operator()
            .reissue(&domain(name), &operator())
            .await
            .expect("accepted")
        {
            Reissue::NotBefore(until) => break until,
            Reissue::Accepted(_) => {}
        }
        let old = serials.last().expect("one").clone();
        let new = world
            .edge
            .until(name, "reissued", |r| {
                r.ssl.reason == Reason::Ok && r.ssl.certificate.as_ref().is_some_and(|c| c.serial != old)
            })
            .await;
        let serial = new.ssl.certificate.expect("a certificate").serial;
        world.until_served(name, &serial).await;
        serials.push(serial);
        // A second request during the first is refused.
        assert!(matches!(
            control
                .operator()
                .reissue(&domain(name), &operator())
                .await
                .expect("answered"),
            Reissue::NotBefore(_)
        ));
        world.clock.advance(MINUTE);
    };
    assert_eq!(serials.len(), 5, "five certificates for the same name per week");
    assert!(until > world.clock.now());
    assert_eq!(world.ca.name_stats(name).orders, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_fails_after_a_pause_does_not_end_the_pause() {
    let name = "links.paused-failing.test";
    let world = validating(name).await;
    world.ca.hosts().set(name, None);
    let control = &world.edge.control;
    let record = control
        .operator()
        .patch(&domain(name), paused(true), &operator())
        .await
        .expect("paused");
    assert_eq!((record.ssl.reason, record.ssl.next_attempt), (Reason::Paused, None));
    world.clock.advance(MINUTE);
    let record = world.edge.until(name, "failed", |r| r.ssl.last_error.is_some()).await;
    assert_eq!((record.ssl.reason, record.ssl.next_attempt), (Reason::Paused, None));
    assert!(record.ssl.last_error.is_some(), "the CA's error is kept");
    world.ca.hosts().set(name, Some(std::net::Ipv4Addr::LOCALHOST.into()));
    world.faults().set_validation_delay(Duration::ZERO);
    control
        .operator()
        .patch(&domain(name), paused(false), &operator())
        .await
        .expect("resumed");
    world.clock.advance(60 * MINUTE);
    world.edge.until_issued(name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retiring_a_domain_drops_its_next_attempt() {
    let name = "links.retired-failing.test";
    let world = validating(name).await;
    world.ca.hosts().set(name, None);
    world.clock.advance(MINUTE);
    world.edge.until_reason(name, Reason::ValidationFailed).await;
    world
        .edge
        .control
        .operator()
        .retire(&domain(name), &operator())
        .await
        .expect("retired");
    let record = world.edge.record(name).await;
    assert_eq!(
        (record.ssl.state(), record.ssl.next_attempt, record.next_due()),
        (State::Unknown, None, None)
    );
    let counts = world.edge.control.store().counts(None).await.expect("the store");
    assert!(
        counts
            .iter()
            .all(|c| c.reason.state() != State::Pending || c.domains == 0)
    );
}

/// An alias that was removed and an edge.name that was changed are noticed at the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn former_names_of_the_edge_become_ordinary_domains() {
    let (alias, new) = ("old.edge.test", "new.edge.test");
    let aliases = vec![toml::Value::from(alias)];
    let mut world = Plan::new().await.set("edge.aliases", aliases).start().await;
    world.edge.until_issued(alias).await;
    let control = world.edge.control.clone();
    for own in [alias, EDGE_NAME] {
        let refused = control.operator().purge(&domain(own), &operator()).await;
        assert!(matches!(refused, Err(OperatorError::OwnName)), "{own}: {refused:?}");
    }
    drop(control);
    world.settings.set("edge.aliases", Vec::<toml::Value>::new());
    world.settings.set("edge.name", new);
    world.dns.add(new, Record::A, "127.0.0.1");
    let world = world.restart().await;
    for former in [alias, EDGE_NAME] {
        let known = |record: &DomainRecord| record.origin == Origin::Registered;
        world.edge.until(former, "registered", known).await;
        let (control, former) = (&world.edge.control, domain(former));
        control.operator().retire(&former, &operator()).await.expect("retired");
        control.operator().purge(&former, &operator()).await.expect("purged");
        assert!(world.edge.find(former.as_str()).await.is_none());
    }
    world.edge.until_issued(new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_order_is_postponed_while_ordering_is_off() {
    let name = "links.interrupted.test";
    let world = Plan::new().await.set("acme.issue", "off").start_at_once().await;
    world.edge.register(name).await;
    let mut record = world.edge.record(name).await;
    record.apply(
        SslEvent::OrderStarted {
            ca: "a node that died".into(),
        },
        world.clock.now(),
    );
    let store = world.edge.control.store();
    store.transition(Transition::of(record)).await.expect("stored");
    world.clock.advance(10 * MINUTE);
    let record = world.edge.until_reason(name, Reason::RetryScheduled).await;
    assert!(record.next_due().is_some_and(|at| at > world.clock.now() + 60 * MINUTE));
    // The scheduler runs again for another domain and leaves this one alone.
    let head = store.feed_end().await.expect("the store");
    world.edge.register("links.other.test").await;
    world.clock.advance(MINUTE);
    world.edge.verify("links.other.test").await;
    let Feed::Changes { changes, .. } = store.changes_after(&head, 100).await.expect("the store") else {
        panic!("the feed goes on from its end")
    };
    let concerns = |c: &&Changed| matches!(c, Changed::Domain { name: n, .. } if n.as_str() == name);
    assert_eq!(changes.iter().filter(concerns).count(), 0);
}

/// An operator ends both the CA's hold and the domain's own wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_hold_lets_the_order_start() {
    let world = Plan::on_register().await.start().await;
    let name = "links.waiting.test";
    let hour = Duration::from_secs(3_600);
    world
        .faults()
        .refuse_next(Endpoint::NewOrder, 1, Refusal::too_many_orders(hour));
    world.edge.register(name).await;
    let record = world.edge.until_reason(name, Reason::RateLimited).await;
    assert!(
        record
            .ssl
            .next_attempt
            .is_some_and(|at| at > world.clock.now() + MINUTE)
    );
    let orders = world.ca.name_stats(name).orders;
    let unknown = Holds {
        ca: Some("other.example".into()),
        domain: None,
    };
    let refused = world.edge.control.operator().release(&unknown, &operator()).await;
    assert!(matches!(refused, Err(OperatorError::Invalid(_))), "{refused:?}");
    assert_eq!(world.ca.name_stats(name).orders, orders);
    let all = Holds::default();
    world
        .edge
        .control
        .operator()
        .release(&all, &operator())
        .await
        .expect("released");
    world.edge.until_issued(name).await;
}

/// `admission.ownership = "none"` is for platforms that check ownership themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ownership_is_proven_by_dns_unless_the_configuration_waives_it() {
    let tenants = Actor {
        tenant: Some("ours".to_owned()),
        ..operator()
    };
    let new = |name: &str| NewDomain {
        name: domain(name),
        tenant: None,
        sending_domain: None,
        records: None,
    };
    let world = World::start().await;
    let name = "links.customer.test";
    let refused = world.edge.control.operator().register(new(name), &tenants).await;
    let Err(OperatorError::NotShown(_, record)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(record.host, "_linkseal.customer.test");
    world.dns.add(&record.host, Record::Txt, &record.value);
    let proven = world
        .edge
        .control
        .operator()
        .register(new(name), &tenants)
        .await
        .expect("proven");
    assert_eq!((proven.created, proven.record.tenant.as_str()), (true, "ours"));
    world.dns.fail("_linkseal.dead.test", Failure::ServFail);
    let failed = world
        .edge
        .control
        .operator()
        .register(new("links.dead.test"), &tenants)
        .await;
    assert!(matches!(failed, Err(OperatorError::NotAnswered { .. })), "{failed:?}");
    // The record's value survives a restart.
    let mut world = world.restart().await;
    let other = "more.customer.test";
    assert!(
        world
            .edge
            .control
            .operator()
            .register(new(other), &tenants)
            .await
            .expect("proven")
            .created
    );
    world.settings.set("admission.ownership", "none");
    let world = world.restart().await;
    let taken = world
        .edge
        .control
        .operator()
        .register(new("links.other.test"), &tenants)
        .await;
    assert!(taken.expect("free").created);
}
