//! Renewal: in time whether or not there is traffic. The old certificate is served until the new one
//! is stored, and a failed renewal takes nothing away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use linkseal_devca::{Problem, Refusal, Window};
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{CertificateInfo, Reason, State};

use crate::support::client;
use crate::support::edge::EDGE_NAME;
use crate::support::until;
use crate::support::world::{Plan, World};

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

fn certificate(record: &DomainRecord) -> CertificateInfo {
    record.ssl.certificate.clone().expect("a certificate")
}

/// A world with an issued domain, whose CA offers renewal information or not.
async fn issued(name: &str, ari: bool) -> (World, CertificateInfo) {
    let plan = Plan::new().await;
    plan.faults().set_ari_off(!ari);
    let world = plan.start().await;
    world.edge.register(name).await;
    world.handshake(name).await.expect("a certificate is issued");
    let certificate = certificate(&world.edge.until_issued(name).await);
    (world, certificate)
}

/// Waits for a certificate that replaces `old`.
async fn until_renewed(world: &World, name: &str, old: &CertificateInfo) -> CertificateInfo {
    let renewed = |r: &DomainRecord| certificate(r).serial != old.serial && r.ssl.reason == Reason::Ok;
    certificate(&world.edge.until(name, "renewed", renewed).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_renewal_information_a_third_of_the_lifetime_is_left_at_renewal() {
    let name = "links.third.test";
    let (world, first) = issued(name, false).await;
    let life = first.not_after.saturating_since(world.clock.now());
    let share = first.not_after.saturating_since(first.renew_at).as_secs_f64() / life.as_secs_f64();
    assert!(
        (0.33..0.40).contains(&share),
        "{share} of its lifetime is left at renewal"
    );
    world.advance_to(first.renew_at.minus(MINUTE));
    assert_eq!(world.served(name).await, first.serial);
    assert_eq!(world.ca.name_stats(name).orders, 1, "not renewed early");
    // It is renewed without any traffic, and so is the edge's own name.
    world.clock.advance(2 * MINUTE);
    let second = until_renewed(&world, name, &first).await;
    assert!(second.not_after > first.not_after);
    world.until_served(name, &second.serial).await;
    world.clock.advance(10 * DAY);
    world
        .edge
        .until(EDGE_NAME, "renewed", |r| {
            certificate(r).not_after > first.not_after + DAY
        })
        .await;
    assert_eq!(world.ca.stats().orders_with_replaces, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_happens_in_the_cas_window_and_names_the_certificate_it_replaces() {
    let name = "links.window.test";
    let (world, first) = issued(name, true).await;
    let now = world.clock.now();
    let window = Window {
        start: now + 20 * DAY,
        end: now + 21 * DAY,
    };
    world.faults().set_ari_window(Some(window));
    // The window is read when the next check is due.
    world.advance_to(first.ari_check_at.expect("a time to look"));
    let planned = world
        .edge
        .until(name, "planned in the window", |r| {
            (window.start..=window.end).contains(&certificate(r).renew_at)
        })
        .await;
    assert_eq!(planned.ssl.reason, Reason::Ok);
    let chosen = certificate(&planned).renew_at;
    // Another check does not choose another moment.
    world.advance_to(certificate(&planned).ari_check_at.expect("a time for the next check"));
    let checked = world
        .edge
        .until(name, "checked again", |r| {
            certificate(r).ari_check_at > certificate(&planned).ari_check_at
        })
        .await;
    assert_eq!(certificate(&checked).renew_at, chosen);
    world.advance_to(chosen);
    until_renewed(&world, name, &first).await;
    assert_eq!(world.ca.name_stats(name).orders, 2);
    assert!(world.ca.stats().orders_with_replaces >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_in_the_past_means_an_immediate_renewal() {
    let name = "links.revoked.test";
    let (world, first) = issued(name, true).await;
    let now = world.clock.now();
    world.faults().set_ari_window(Some(Window {
        start: now.minus(2 * DAY),
        end: now.minus(DAY),
    }));
    world.advance_to(first.ari_check_at.expect("a time to look"));
    until_renewed(&world, name, &first).await;
    world.faults().set_ari_window(None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_replacement_is_ordered_without_naming_the_old_certificate() {
    let name = "links.replaced.test";
    let (world, first) = issued(name, true).await;
    let problem = Problem::new(
        StatusCode::CONFLICT,
        "alreadyReplaced",
        "there is an order that replaces it",
    );
    world.faults().refuse_replaces(Some(Refusal::of(problem)));
    // First the check of the CA's window, then the moment chosen in it.
    let check_at = first.ari_check_at.expect("a time for the check");
    world.advance_to(check_at);
    let checked = |r: &DomainRecord| certificate(r).ari_check_at > Some(check_at);
    let planned = certificate(&world.edge.until(name, "checked", checked).await);
    world.advance_to(planned.renew_at);
    until_renewed(&world, name, &first).await;
    assert_eq!(world.ca.stats().orders_with_replaces, 0);
    assert_eq!(world.ca.name_stats(name).orders, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_certificate_is_served_until_the_new_one_is_stored() {
    let name = "links.both.test";
    let (world, first) = issued(name, false).await;
    let delay = MINUTE;
    world.faults().set_validation_delay(delay);
    world.advance_to(first.renew_at);
    world.ca.until(|ca| ca.name_stats(name).validations == 2).await;
    let record = world.edge.record(name).await;
    assert_eq!(
        (record.ssl.state(), record.ssl.reason),
        (State::Issued, Reason::Renewing)
    );
    assert_eq!(world.served(name).await, first.serial);
    world.clock.advance(delay);
    let second = until_renewed(&world, name, &first).await;
    world.until_served(name, &second.serial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_renewal_is_reported_and_recovers() {
    let name = "links.failing.test";
    let (world, first) = issued(name, false).await;
    let problem = Problem::new(StatusCode::BAD_REQUEST, "connection", "Timeout during connect");
    world.faults().reject_challenge(name, Some(problem));
    world.advance_to(first.renew_at);
    let failing = world.edge.until_reason(name, Reason::RenewalFailing).await;
    assert_eq!(failing.ssl.state(), State::Issued);
    assert_eq!(
        failing.ssl.last_error.clone().expect("the CA's error").detail,
        "Timeout during connect"
    );
    assert_eq!(world.served(name).await, first.serial, "the old certificate is served");
    world.faults().reject_challenge(name, None);
    world.advance_to(failing.ssl.next_attempt.expect("another attempt"));
    let second = until_renewed(&world, name, &first).await;
    world.until_served(name, &second.serial).await;
    assert_eq!(world.edge.record(name).await.ssl.attempts, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_leaves_the_reason_why_it_was_not_renewed() {
    let name = "links.lost.test";
    let (world, first) = issued(name, false).await;
    let problem = Problem::new(StatusCode::BAD_REQUEST, "connection", "Connection refused");
    world.faults().reject_challenge(name, Some(problem));
    world.advance_to(first.renew_at);
    world.edge.until_reason(name, Reason::RenewalFailing).await;
    world.advance_to(first.not_after + Duration::from_secs(1));
    let gone = world.edge.until_reason(name, Reason::ValidationFailed).await;
    assert_eq!(gone.ssl.state(), State::Pending);
    world
        .handshake(name)
        .await
        .expect_err("clients reject an expired certificate");
    // The last certificate is still presented, even after it had to be read from the store: whether it
    // has expired is for the client and its clock to decide.
    let world = world.restart().await;
    let unverifying = Arc::new(client::tls_any_certificate());
    let presented = client::handshake(world.edge.https, name, &unverifying).await;
    assert_eq!(client::serial(&presented.expect("a handshake")), first.serial);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_damaged_or_missing_in_the_store_is_ordered_again() {
    let (damaged, missing) = ("links.damaged.test", "links.missing.test");
    let (world, first) = issued(damaged, false).await;
    world.edge.register(missing).await;
    world.handshake(missing).await.expect("a certificate is issued");
    world.edge.until_issued(missing).await;
    let world = world
        .restart_after(|dir| {
            let db = rusqlite::Connection::open(dir.join("linkseal.db")).expect("the store");
            let of = "domain = (SELECT id FROM domains WHERE name = ?1)";
            let changed = db.execute(
                &format!("UPDATE certificates SET sealed_key = x'00' WHERE {of}"),
                [damaged],
            );
            assert_eq!(changed, Ok(1));
            let changed = db.execute(&format!("DELETE FROM certificates WHERE {of}"), [missing]);
            assert_eq!(changed, Ok(1));
        })
        .await;
    // The handshake that finds the damage waits for the new certificate.
    assert_ne!(world.served(damaged).await, first.serial);
    world.served(missing).await;
    for name in [damaged, missing] {
        assert_eq!(world.edge.record(name).await.ssl.reason, Reason::Ok);
        assert!(world.edge.timeline(name).await.contains(&"certificate_lost".to_owned()));
        assert_eq!(world.ca.name_stats(name).certificates, 2, "one order, for {name}");
    }
}

/// Renews one-minute certificates several times while a client connects continuously.
///
/// Takes over ten seconds: the clock advances in small steps, between which the client completes
/// handshakes, so that none can miss an expiry.
async fn generations(ari: bool) {
    const LIFE: Duration = MINUTE;
    const GENERATIONS: u64 = 8;
    let plan = Plan::new().await;
    plan.faults().set_ari_off(!ari);
    plan.faults().set_lifetime(Some(LIFE));
    let world = plan.start().await;
    let name = "links.minute.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("a certificate is issued");

    let (done, handshakes) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let client = {
        let (done, handshakes) = (Arc::clone(&done), Arc::clone(&handshakes));
        let (edge, config) = (world.edge.https, world.client(&[]));
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                client::handshake(edge, name, &config)
                    .await
                    .expect("a valid certificate at any time");
                handshakes.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let begun = world.clock.now();
    while world.ca.name_stats(name).certificates < GENERATIONS {
        assert!(!client.is_finished(), "{}", client.await.unwrap_err());
        // Only advance while no renewal runs: how long one takes depends on the machine.
        let record = world.edge.record(name).await;
        if record.ssl.reason == Reason::Ok && certificate(&record).renew_at > world.clock.now() {
            world.clock.advance(Duration::from_secs(1));
        }
        // At least two handshakes complete at every step.
        let seen = handshakes.load(Ordering::SeqCst);
        until("the client connects", async || {
            (client.is_finished() || handshakes.load(Ordering::SeqCst) >= seen + 2).then_some(())
        })
        .await;
        let passed = world.clock.now().saturating_since(begun);
        let most = LIFE * u32::try_from(GENERATIONS).unwrap();
        assert!(passed < most, "{:?} in {passed:?}", world.edge.record(name).await.ssl);
    }
    done.store(true, Ordering::SeqCst);
    client.await.expect("no handshake has failed");
    let stats = world.ca.name_stats(name);
    assert_eq!(stats.orders, stats.certificates);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_minute_certificates_are_renewed_in_time() {
    generations(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_minute_certificates_are_renewed_in_time_without_renewal_information() {
    generations(false).await;
}
