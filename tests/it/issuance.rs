//! Orders across the whole fleet: which goes first, freezes, early renewal, and what the overview
//! reports about them.

use std::time::Duration;

use linkseal_control::{NewFreeze, OperatorError, Standing, TargetVerdict};
use linkseal_devca::{Problem, RetryAfter, Window};
use linkseal_dns::Kind as Record;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{Reason, State};

use crate::support::edge::{EDGE_NAME, domain, operator};
use crate::support::until;
use crate::support::world::{Plan, World};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

async fn world_on_register() -> World {
    Plan::on_register().await.start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_does_not_delay_another_tenants_domain_when_slots_are_scarce() {
    let plan = Plan::on_register().await;
    let world = plan.set("acme.max_concurrent_orders", 1).start().await;
    for n in 0..60 {
        world.edge.register_for(Some("big"), &format!("links.d{n}.test")).await;
    }
    world.edge.register_for(Some("small"), "links.small.test").await;
    world.edge.until_issued("links.small.test").await;
    let issued = world.ca.stats().certificates;
    assert!(issued < 50, "{issued} of the others went first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_does_not_delay_another_tenants_domain_when_the_limit_is_used_up() {
    let mut limits = toml::Table::new();
    limits.insert("orders_per_account".into(), "10/1h".into());
    let plan = Plan::on_register().await;
    let world = plan.set("acme.limits", limits).start().await;
    let names: Vec<_> = (0..40).map(|n| format!("links.d{n}.test")).collect();
    for name in &names {
        world.edge.register_for(Some("big"), name).await;
    }
    let mut last = world.clock.now();
    for name in &names {
        let settled = |r: &DomainRecord| r.ssl.reason == Reason::RateLimited || r.ssl.state() == State::Issued;
        let record = world.edge.until(name, "issued or waiting", settled).await;
        if record.ssl.state() != State::Issued {
            assert_eq!(record.ssl.eta, record.ssl.next_attempt, "each waits for its own turn");
            last = last.max(record.ssl.eta.expect("a time"));
        }
    }
    let wait = last.saturating_since(world.clock.now());
    assert!(wait > 2 * HOUR, "{wait:?}: about thirty orders at ten an hour");
    world.edge.register_for(Some("small"), "links.small.test").await;
    let small = world.edge.until_reason("links.small.test", Reason::RateLimited).await;
    let eta = small.ssl.eta.expect("a time").saturating_since(world.clock.now());
    assert!(eta <= HOUR / 2, "{eta:?}: it gets one of the next tokens");
    let overview = world.edge.control.report().overview().await.expect("an overview");
    assert!(overview.forecast.waiting >= 30, "{:?}", overview.forecast);
    let done = overview
        .forecast
        .done_by
        .expect("a time")
        .saturating_since(world.clock.now());
    assert!(done > 2 * HOUR && done < 5 * HOUR, "{done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_stops_all_orders_survives_a_restart_and_can_be_lifted() {
    let world = world_on_register().await;
    let issued = "links.issued.test";
    world.edge.register(issued).await;
    world.edge.until_issued(issued).await;
    let note = NewFreeze {
        note: Some("incident".into()),
    };
    world
        .edge
        .control
        .operator()
        .freeze(note, &operator())
        .await
        .expect("frozen");
    let orders = world.ca.stats().orders;
    for name in ["links.a.test", "links.b.test"] {
        world.edge.register(name).await;
        let record = world.edge.until_reason(name, Reason::Paused).await;
        assert_eq!((record.ssl.eta, record.paused), (None, None));
        world.edge.verify(name).await;
        assert!(world.handshake(name).await.is_err());
    }
    let refused = world
        .edge
        .control
        .operator()
        .reissue(&domain(issued), &operator())
        .await;
    assert!(matches!(refused, Err(OperatorError::Frozen)), "{refused:?}");

    let world = world.restart().await;
    let freeze = world
        .edge
        .control
        .operator()
        .frozen()
        .await
        .expect("the store")
        .expect("frozen");
    assert_eq!((freeze.note.as_deref(), freeze.by.as_str()), (Some("incident"), "test"));
    world.handshake(issued).await.expect("stored certificates are served");
    world.edge.register("links.c.test").await;
    world.edge.until_reason("links.c.test", Reason::Paused).await;
    assert_eq!(world.ca.stats().orders, orders);

    world.edge.control.operator().thaw(&operator()).await.expect("thawed");
    for name in ["links.a.test", "links.b.test", "links.c.test"] {
        world.edge.until_issued(name).await;
        assert_eq!(world.ca.name_stats(name).orders, 1);
    }
}

fn serial(record: &DomainRecord) -> Option<String> {
    record.ssl.certificate.as_ref().map(|c| c.serial.clone())
}

/// Waits until a domain's renewal is due and stopped; returns the serial number of its certificate.
async fn stopped_renewal(world: &World, name: &str) -> Option<String> {
    let record = world.edge.until_issued(name).await;
    let due = record.ssl.certificate.as_ref().expect("a certificate").renew_at + DAY;
    world.advance_to(due);
    world.edge.until(name, "stopped", |r| r.ssl.stopped).await;
    serial(&record)
}

/// Takes over ten seconds: three edges one after the other, and two renewals that are stopped and resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_renewal_resumes_as_soon_as_orders_do() {
    let world = Plan::on_register().await.without_renewal_info().start().await;
    let name = "links.renewed.test";
    world.edge.register(name).await;
    world.edge.until_issued(name).await;
    let control = &world.edge.control;
    control
        .operator()
        .freeze(NewFreeze::default(), &operator())
        .await
        .expect("frozen");
    let old = stopped_renewal(&world, name).await;
    control.operator().thaw(&operator()).await.expect("thawed");
    world.edge.until(name, "renewed", |r| serial(r) != old).await;
    // The same when the configuration switches orders off and on.
    let mut world = world;
    world.settings.set("acme.issue", "off");
    let mut world = world.restart().await;
    let old = stopped_renewal(&world, name).await;
    world.settings.set("acme.issue", "on_register");
    let world = world.restart().await;
    world.edge.until(name, "renewed", |r| serial(r) != old).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_about_to_be_revoked_is_replaced_at_once_despite_used_up_limits() {
    let mut limits = toml::Table::new();
    limits.insert("orders_per_account".into(), "2/7d".into());
    let plan = Plan::on_register().await;
    let world = plan.set("acme.limits", limits).start().await;
    let name = "links.revoked.test";
    world.edge.register(name).await;
    let issued = world.edge.until_issued(name).await;
    let first = issued.ssl.certificate.expect("a certificate");
    // The limit is used up, and another domain waits for it.
    world.edge.register("links.waits.test").await;
    world.edge.until_reason("links.waits.test", Reason::RateLimited).await;
    let now = world.clock.now();
    let window = Window {
        start: now.minus(HOUR),
        end: now.minus(HOUR / 2),
    };
    world
        .faults()
        .set_ari_window_of(first.ari_id.as_deref().expect("an id"), Some(window));
    world.advance_to(first.ari_check_at.expect("a time for the check"));
    let renewed = |r: &DomainRecord| {
        r.ssl.reason == Reason::Ok && r.ssl.certificate.as_ref().is_some_and(|c| c.serial != first.serial)
    };
    let record = world.edge.until(name, "replaced", renewed).await;
    assert!(!record.ssl.hurry, "the new certificate is not urgent");
    assert_eq!(world.ca.stats().orders_with_replaces, 1);
    assert_eq!(world.ca.name_stats("links.waits.test").orders, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_information_is_polled_as_retry_after_says() {
    let world = world_on_register().await;
    let name = "links.polite.test";
    world.faults().set_ari_retry_after(Some(2 * HOUR));
    world.edge.register(name).await;
    let first = world.edge.until_issued(name).await.ssl.certificate.expect("one");
    let at = first.ari_check_at.expect("a time for the check");
    world.advance_to(at);
    let checked = |after| move |r: &DomainRecord| r.ssl.certificate.as_ref().is_some_and(|c| c.ari_check_at > after);
    let record = world.edge.until(name, "checked", checked(Some(at))).await;
    let next = record.ssl.certificate.expect("one").ari_check_at.expect("a time");
    let wait = next.saturating_since(at);
    assert!(wait >= 2 * HOUR && wait < 2 * HOUR + MINUTE, "{wait:?}");
    // Also when the CA is in maintenance and says for how long.
    world.faults().set_maintenance(Some(RetryAfter::Seconds(3 * HOUR)));
    world.advance_to(next);
    let record = world.edge.until(name, "checked in vain", checked(Some(next))).await;
    let wait = record
        .ssl
        .certificate
        .expect("one")
        .ari_check_at
        .expect("a time")
        .saturating_since(next);
    assert!(wait >= 3 * HOUR && wait < 3 * HOUR + MINUTE, "{wait:?}");
    assert_eq!(record.ssl.reason, Reason::Ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_and_overdue_renewals_are_counted_as_at_risk() {
    let world = Plan::on_register().await.without_renewal_info().start().await;
    let (failing, stopped) = ("links.failing.test", "links.stopped.test");
    for name in [failing, stopped] {
        world.edge.register(name).await;
        world.edge.until_issued(name).await;
    }
    let at_risk = async || {
        world
            .edge
            .control
            .report()
            .overview()
            .await
            .expect("an overview")
            .at_risk
    };
    assert_eq!(at_risk().await, 0);
    let days = world
        .edge
        .control
        .report()
        .overview()
        .await
        .expect("an overview")
        .forecast;
    assert_eq!(
        (days.due_today, days.days.len()),
        (0, 0),
        "renewals are two months away"
    );

    let refused = Problem::new(http::StatusCode::BAD_REQUEST, "connection", "Timeout");
    world.faults().reject_challenge(failing, Some(refused));
    world.clock.advance(61 * DAY);
    world.edge.until_reason(failing, Reason::RenewalFailing).await;
    until("one is at risk", async || {
        world.clock.advance(MINUTE);
        (at_risk().await == 1).then_some(())
    })
    .await;
    let first_end = world.clock.now() + 30 * DAY;
    for name in [stopped, EDGE_NAME] {
        let renewed = |r: &DomainRecord| {
            r.ssl.reason == Reason::Ok && r.ssl.certificate.as_ref().is_some_and(|c| c.not_after > first_end)
        };
        world.edge.until(name, "renewed", renewed).await;
    }
    // A freeze stops renewals too: a certificate that is overdue and close to its end is at risk.
    world
        .edge
        .control
        .operator()
        .freeze(NewFreeze::default(), &operator())
        .await
        .expect("frozen");
    world.clock.advance(85 * DAY);
    until("all are at risk", async || {
        world.clock.advance(MINUTE);
        (at_risk().await >= 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caa_record_at_the_target_is_reported_before_a_ca_refuses() {
    let plan = Plan::with_ca(|ca| ca.caa_identities = vec!["ca.test".into()]).await;
    plan.dns.add(EDGE_NAME, Record::Caa, "0 issue other.test");
    let world = plan.set("acme.issue", "on_register").start_at_once().await;
    let found = until("CAA at the target was checked", async || {
        let overview = world.edge.control.report().overview().await.expect("an overview");
        let found = overview.target_caa.first().cloned();
        found.filter(|t| t.verdict == TargetVerdict::Forbids)
    })
    .await;
    assert_eq!(
        (found.name.as_str(), found.host.as_deref()),
        (EDGE_NAME, Some(EDGE_NAME))
    );
    let message = found.message.expect("a message");
    for text in [&message.en, &message.de] {
        assert!(text.contains("CAA 0 issue \"ca.test\""), "{text}");
    }
    // The record applies to every customer whose name points here.
    world.edge.register("links.customer.test").await;
    let record = world.edge.until_reason("links.customer.test", Reason::CaaForbids).await;
    assert_eq!(record.ssl.facts.host.as_deref(), Some(EDGE_NAME));
    assert_eq!(world.ca.name_stats("links.customer.test").orders, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_with_revocation_removes_nothing_when_revoking_fails() {
    let world = world_on_register().await;
    let name = "links.gone.test";
    world.edge.register(name).await;
    let record = world.edge.until_issued(name).await;
    let serial = record.ssl.certificate.expect("a certificate").serial;
    world.faults().set_down(true);
    let control = &world.edge.control;
    let error = control
        .operator()
        .revoke_and_purge(&domain(name), &operator())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nothing was purged"), "{error}");
    world.handshake(name).await.expect("served as before");
    world.faults().set_down(false);
    control
        .operator()
        .revoke_and_purge(&domain(name), &operator())
        .await
        .expect("purged");
    assert_eq!(world.ca.revocation(&serial), Some(5), "cessationOfOperation");
    assert!(world.edge.find(name).await.is_none());
    let lines = control.store().audit(None, 2).await.expect("the store");
    let actions: Vec<_> = lines.iter().map(|l| (l.action.as_str(), l.subject.as_str())).collect();
    assert_eq!(actions, [("purge", name), ("revoke", name)]);
    assert_eq!(lines[1].before["serial"], serial.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overview_shows_the_ca_in_use() {
    let world = world_on_register().await;
    let overview = world.edge.control.report().overview().await.expect("an overview");
    let [ca] = overview.authorities.as_slice() else {
        panic!("{overview:?}")
    };
    assert_eq!(
        (ca.standing, ca.directory.clone()),
        (Standing::InUse, world.ca.directory_url())
    );
    assert!(ca.account.is_some() && ca.trouble.is_none());
    assert_eq!(overview.frozen, None);
}
