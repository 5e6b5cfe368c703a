//! What operators do while something else goes on: nothing is lost, doubled or brought back.

use std::time::Duration;

use linkseal::control::{Patch, Reissue};
use linkseal::domain::ssl::{Reason, SslEvent, State};
use linkseal::store::{Change, Changed, Transition};
use rustls::AlertDescription;

use crate::support::client::alert;
use crate::support::edge::{domain, operator};
use crate::support::world::{Plan, World};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn paused(paused: bool) -> Patch {
    Patch {
        paused: Some(paused),
        ..Patch::default()
    }
}

/// A world in which the order for a name waits for the CA's validation.
async fn validating(name: &str) -> World {
    let world = Plan::new().await.set("acme.issue", "on_register").start().await;
    world.faults().set_validation_delay(MINUTE);
    world.edge.register(name).await;
    world.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    world.edge.until_reason(name, Reason::Validating).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_while_its_order_runs_stays_forgotten() {
    let name = "links.forgotten.test";
    let world = validating(name).await;
    world
        .edge
        .control
        .purge(&domain(name), &operator())
        .await
        .expect("purged");
    world.clock.advance(MINUTE);
    let error = world.handshake(name).await.expect_err("forgotten");
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
    // The next one that is registered under that name starts anew, and gets its certificate.
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
async fn pausing_stops_what_comes_and_not_what_runs() {
    let name = "links.paused.test";
    let world = validating(name).await;
    let control = &world.edge.control;
    control
        .patch(&domain(name), paused(true), &operator())
        .await
        .expect("paused");
    world.clock.advance(MINUTE);
    let record = world.edge.until_issued(name).await;
    assert!(record.paused.is_some());
    world.faults().set_validation_delay(Duration::ZERO);
    let certificate = record.ssl.certificate.expect("a certificate");
    // Its time comes and goes: it is not renewed, and runs out.
    world
        .clock
        .advance(certificate.renew_at.saturating_since(world.clock.now()) + DAY);
    assert_eq!(world.served(name).await, certificate.serial);
    world
        .clock
        .advance(certificate.not_after.saturating_since(world.clock.now()) + MINUTE);
    world.edge.until_reason(name, Reason::Paused).await;
    assert_eq!(world.ca.name_stats(name).orders, 1);
    world
        .edge
        .control
        .patch(&domain(name), paused(false), &operator())
        .await
        .expect("resumed");
    world.edge.until_issued(name).await;
    assert_eq!(world.ca.name_stats(name).orders, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_retired_is_served_while_its_certificate_lives() {
    let world = World::start().await;
    let name = "links.retired.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("a certificate is made");
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
        .retire(&domain(name), &operator())
        .await
        .expect("retired");
    assert_eq!(world.served(name).await, certificate.serial);
    world
        .clock
        .advance(certificate.not_after.saturating_since(world.clock.now()) - MINUTE);
    assert_eq!(world.served(name).await, certificate.serial, "to its last minute");
    world.clock.advance(2 * MINUTE);
    let error = world.handshake(name).await.expect_err("it has run out");
    assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName));
    assert_eq!(world.ca.name_stats(name).orders, 1);
    world.edge.register(name).await;
    world.handshake(name).await.expect("brought back");
    assert_eq!(world.edge.record(name).await.ssl.state(), State::Issued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_verify_and_connect_at_once_make_one_order() {
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
async fn a_new_certificate_on_demand_replaces_the_old_one_as_far_as_limits_allow() {
    let plan = Plan::new().await;
    // Orders that replace nothing count against the limits.
    plan.faults().set_ari_off(true);
    let world = plan.start().await;
    let name = "links.again.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("a certificate is made");
    let mut serials = vec![world.served(name).await];
    let control = &world.edge.control;
    let until = loop {
        match control.reissue(&domain(name), &operator()).await.expect("taken") {
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
        assert_eq!(world.served(name).await, serial);
        serials.push(serial);
        // Two at once would be one too many.
        assert!(matches!(
            control.reissue(&domain(name), &operator()).await.expect("answered"),
            Reissue::NotBefore(_)
        ));
        world.clock.advance(MINUTE);
    };
    assert_eq!(serials.len(), 5, "five certificates for the same name in a week");
    assert!(until > world.clock.now());
    assert_eq!(world.ca.name_stats(name).orders, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_fails_after_a_pause_leaves_the_pause() {
    let name = "links.paused-failing.test";
    let world = validating(name).await;
    world.ca.hosts().set(name, None);
    let control = &world.edge.control;
    let record = control
        .patch(&domain(name), paused(true), &operator())
        .await
        .expect("paused");
    assert_eq!((record.ssl.reason, record.ssl.next_attempt), (Reason::Paused, None));
    world.clock.advance(MINUTE);
    let record = world.edge.until(name, "failed", |r| r.ssl.last_error.is_some()).await;
    assert_eq!((record.ssl.reason, record.ssl.next_attempt), (Reason::Paused, None));
    assert!(record.ssl.last_error.is_some(), "what the CA said is kept");
    world.ca.hosts().set(name, Some(std::net::Ipv4Addr::LOCALHOST.into()));
    world.faults().set_validation_delay(Duration::ZERO);
    control
        .patch(&domain(name), paused(false), &operator())
        .await
        .expect("resumed");
    world.clock.advance(60 * MINUTE);
    world.edge.until_issued(name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_domain_that_waited_promises_nothing() {
    let name = "links.retired-failing.test";
    let world = validating(name).await;
    world.ca.hosts().set(name, None);
    world.clock.advance(MINUTE);
    world.edge.until_reason(name, Reason::ValidationFailed).await;
    world
        .edge
        .control
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_order_rests_while_nothing_is_ordered() {
    let name = "links.interrupted.test";
    let world = Plan::new().await.set("acme.issue", "off").start_at_once().await;
    world.edge.register(name).await;
    let mut record = world.edge.record(name).await;
    record.happens(
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
    // The scheduler looks again, sees to another, and leaves this one alone.
    let head = store.change_head().await.expect("the store");
    world.edge.register("links.other.test").await;
    world.clock.advance(MINUTE);
    world.edge.verify("links.other.test").await;
    let changes = store.changes_since(head, 100).await.expect("the store");
    let of_it = |c: &&Change| matches!(&c.what, Changed::Domain { name: n, .. } if n.as_str() == name);
    assert_eq!(changes.iter().filter(of_it).count(), 0);
}
