use std::sync::Arc;
use std::time::Duration;

use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::dns::DnsSummary;
use linkseal_domain::ssl::{CertificateInfo, FailureKind, LastError, SslStatus};
use linkseal_store::Creation;
use tokio::sync::oneshot;

use super::super::lanes::Owner;
use super::super::tests::{Bench, name};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Longer than anything takes that goes well, however busy the machine.
const PATIENT: Duration = Duration::from_secs(60);

async fn keep(bench: &Bench, record: &DomainRecord) {
    let creation = Creation {
        record: record.clone(),
        timeline: Vec::new(),
        audit: None,
    };
    bench.store.create(creation).await.unwrap();
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waits = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENT, waits)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

fn certificate(now: Timestamp, renew_at: Timestamp) -> CertificateInfo {
    CertificateInfo {
        not_before: now.minus(DAY * 40),
        not_after: now + DAY * 50,
        obtained: Some(now.minus(DAY * 40)),
        issuer: "Test CA".into(),
        serial: "01".into(),
        sans: vec!["a.example".into()],
        // Not configured, so that it is not asked when to renew.
        ca: "https://ca.example/dir".into(),
        ari_id: Some("id".into()),
        renew_at,
        ari_check_at: Some(now + HOUR),
    }
}

/// Statuses of all kinds that are due, or nearly: with and without a certificate, in every state.
fn statuses(now: Timestamp) -> Vec<SslStatus> {
    let past = now.minus(HOUR);
    let error = LastError {
        kind: "urn:x".into(),
        detail: "said so".into(),
        at: past,
        subproblems: Vec::new(),
    };
    let mut all = Vec::new();
    for reason in Reason::ALL {
        for renew_at in [None, Some(past), Some(now + DAY * 10)] {
            for next_attempt in [None, Some(past)] {
                for (look_at, ari_id) in [(None, None), (Some(past), Some("id"))] {
                    for (doubted, last_error) in [(false, None), (false, Some(&error))] {
                        let mut status = SslStatus::new(past);
                        status.reason = *reason;
                        status.certificate = renew_at.map(|at| CertificateInfo {
                            ari_id: ari_id.map(str::to_owned),
                            // What cannot be asked about is never asked about.
                            ari_check_at: ari_id.map_or(Some(past), |_| Some(now + HOUR)),
                            ..certificate(now, at)
                        });
                        status.next_attempt = next_attempt;
                        status.planned = next_attempt.map(|at| at.minus(HOUR));
                        status.retry_at = next_attempt;
                        status.next_check = look_at;
                        status.doubted = doubted;
                        status.last_error = last_error.cloned();
                        status.facts.cause = last_error.map(|_| FailureKind::Connection);
                        all.push(status);
                    }
                }
            }
        }
    }
    all
}

/// Whatever a domain has come to, and whatever is found: once it was seen to, it is not due again at
/// the same time, so that no domain is written again and again.
async fn is_settled_by_being_seen_to(first_label: &str, dns: DnsSummary, origin: Origin) {
    let bench = Bench::new().await;
    let control = &bench.control;
    let now = bench.clock.now();
    let mut kept = Vec::new();
    for (n, ssl) in statuses(now).into_iter().enumerate() {
        let name = name(&format!("{first_label}.c{n}.example"));
        let mut record = DomainRecord::new(name.clone(), None, origin, now.minus(DAY));
        (record.ssl, record.dns) = (ssl, dns.clone());
        keep(&bench, &record).await;
        kept.push(record);
    }
    let seen_to = kept.iter().map(|before| async {
        let queued = control.prepare(&before.name, Priority::Bulk.into()).await.unwrap();
        // Its order, or the resumption of it, goes on from here.
        if queued.is_some() {
            return;
        }
        let Some(after) = bench.store.domain(&before.name).await.unwrap() else {
            return;
        };
        assert!(
            after.next_due().is_none_or(|at| at > bench.clock.now()),
            "due again: {:?}\nbefore: {:?}",
            after.ssl,
            before.ssl
        );
        // And what is not due is not written.
        control.prepare(&before.name, Priority::Bulk.into()).await.unwrap();
        let again = bench.store.domain(&before.name).await.unwrap().unwrap();
        assert_eq!(again.version, after.version, "{:?}", again.ssl);
    });
    futures_util::future::join_all(seen_to).await;
}

#[tokio::test]
async fn a_domain_that_leads_here_is_settled_by_being_seen_to() {
    is_settled_by_being_seen_to("right", DnsSummary::default(), Origin::Registered).await;
}

#[tokio::test]
async fn a_domain_that_was_just_looked_at_is_settled_by_being_seen_to() {
    let fresh = DnsSummary {
        checked: Some(Bench::new().await.clock.now()),
        https: true,
        verified: true,
    };
    is_settled_by_being_seen_to("right", fresh, Origin::Registered).await;
}

#[tokio::test]
async fn a_domain_that_leads_nowhere_is_settled_by_being_seen_to() {
    for first_label in ["missing", "failing"] {
        is_settled_by_being_seen_to(first_label, DnsSummary::default(), Origin::Registered).await;
    }
}

#[tokio::test]
async fn the_edges_own_name_is_settled_by_being_seen_to() {
    is_settled_by_being_seen_to("own", DnsSummary::default(), Origin::Edge).await;
}

#[tokio::test]
async fn a_handshake_for_a_name_that_waits_in_bulk_takes_it_along() {
    let bench = Bench::new().await;
    let control = &bench.control;
    let looks = &control.inner.looks;
    // Other tenants' bulk work has all places that bulk may have.
    let mut places = Vec::new();
    for n in 0..64 {
        let owner = Owner::Tenant(format!("t{n}").into());
        let place = looks.enter(Priority::Bulk, vec![owner], false);
        match futures_util::FutureExt::now_or_never(place) {
            Some(place) => places.push(place),
            None => break,
        }
    }
    let name = name("right.customer.example");
    let mut record = DomainRecord::new(name.clone(), None, Origin::Registered, bench.clock.now());
    record.apply(SslEvent::Wanted, bench.clock.now());
    keep(&bench, &record).await;
    control.attend(name.clone(), Priority::Bulk, None);
    until("it waits for a place", || looks.waiting() == 1).await;
    let (reply, mut answer) = oneshot::channel();
    let waiter = Waiter { reply, joined: false };
    control.attend(name.clone(), Priority::Handshake, Some(waiter));
    let queued = |of| control.queue_depth().iter().any(|(p, n)| *p == of && *n == 1);
    until("its order waits as urgently as the handshake", || {
        queued(Priority::Handshake)
    })
    .await;
    assert!(!queued(Priority::Bulk));
    assert!(answer.try_recv().is_err(), "the handshake waits for the order");
    // What is less urgent takes nothing back.
    control.attend(name, Priority::Bulk, None);
    assert!(queued(Priority::Handshake));
}

/// A name that is wanted.
async fn wanted(bench: &Bench, text: &str) -> DomainName {
    let (name, now) = (name(text), bench.clock.now());
    let mut record = DomainRecord::new(name.clone(), None, Origin::Registered, now);
    record.apply(SslEvent::Wanted, now);
    keep(bench, &record).await;
    name
}

/// What ends in order gives its lease back; what panics does not.
async fn assert_it_panicked(bench: &Bench, name: &DomainName) {
    let (lease, now) = (domain_lease(name), bench.clock.now());
    let free = bench.store.acquire_lease(&lease, "edge-2", HOUR, now).await.unwrap();
    assert!(free.is_none(), "{name}");
}

#[tokio::test]
async fn a_panic_in_a_turn_frees_the_name_and_answers_who_waits() {
    let bench = Bench::new().await;
    let name = wanted(&bench, "panics.customer.example").await;
    // Each turn panics, and each finds the name free.
    for _ in 0..3 {
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter { reply, joined: false };
        bench.control.attend(name.clone(), Priority::Handshake, Some(waiter));
        let answer = tokio::time::timeout(PATIENT, answer).await.expect("an answer");
        assert!(matches!(answer, Ok(CertificateAnswer::None)));
        assert!(bench.control.inner.in_hand.is_empty());
        assert_it_panicked(&bench, &name).await;
        bench.clock.advance(HOUR);
    }
}

/// Whoever has changed a name since it was decided to be forgotten goes over that.
#[tokio::test]
async fn what_was_registered_since_it_was_read_is_not_forgotten() {
    let bench = Bench::new().await;
    let (name, now) = (name("links.customer.example"), bench.clock.now());
    let record = DomainRecord::new(name.clone(), None, Origin::Cname, now);
    keep(&bench, &record).await;
    let read = bench.store.domain(&name).await.unwrap().unwrap();
    let edit = |draft: &mut crate::Draft| {
        draft.record.origin = Origin::Registered;
        Edit::<StoreError>::Store
    };
    bench.control.change(&name, None, edit).await.unwrap();
    bench.control.forget_unregistered(&read).await.unwrap();
    let left = bench.store.domain(&name).await.unwrap().unwrap();
    assert_eq!(left.origin, Origin::Registered);
    bench.control.forget_unregistered(&left).await.unwrap();
    assert_eq!(bench.store.domain(&name).await.unwrap(), None);
}

/// A certificate that was read before its domain was purged is not served to who comes after.
#[tokio::test]
async fn a_certificate_of_a_domain_that_was_forgotten_is_not_kept_in_memory() {
    let bench = Bench::new().await;
    let (control, name) = (&bench.control, name("links.customer.example"));
    let made = rcgen::generate_simple_self_signed([name.to_string()]).unwrap();
    let certificate = Certificate::new(&made.cert.pem(), &made.key_pair.serialize_der()).unwrap();
    let certificate = Arc::new(certificate);
    control.serve(&name, Arc::clone(&certificate));
    assert!(control.inner.certificates.held(&name).is_none());
    let record = DomainRecord::new(name.clone(), None, Origin::Registered, bench.clock.now());
    control.inner.registry.put(&record);
    control.serve(&name, certificate);
    assert!(control.inner.certificates.held(&name).is_some());
}
