mod away;
mod fleet;

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::cert::cache::CertificateAnswer;
use linkseal_domain::dns::DnsSummary;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{CertificateInfo, FailureKind, LastError, Reason, SslEvent, SslStatus};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::{Creation, LeaseKey, StoreError};
use tokio::sync::oneshot;

use super::in_progress::Waiter;
use crate::core::{Draft, Edit, Priority};
use crate::fairness::lanes::Owner;
use crate::tests::{Bench, CA, name};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Longer than a passing step takes on a busy machine.
const PATIENT: Duration = Duration::from_secs(60);

async fn store(bench: &Bench, record: &DomainRecord) {
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
        // Not configured, so that it is not asked for renewal information.
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
                for (next_check, ari_id) in [(None, None), (Some(past), Some("id"))] {
                    for (doubted, last_error) in [(false, None), (false, Some(&error))] {
                        let mut status = SslStatus::new(past);
                        status.reason = *reason;
                        status.certificate = renew_at.map(|at| CertificateInfo {
                            ari_id: ari_id.map(str::to_owned),
                            // A certificate without an id is never asked about.
                            ari_check_at: ari_id.map_or(Some(past), |_| Some(now + HOUR)),
                            ..certificate(now, at)
                        });
                        status.next_attempt = next_attempt;
                        status.planned = next_attempt.map(|at| at.minus(HOUR));
                        status.retry_at = next_attempt;
                        status.next_check = next_check;
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

/// Prepares a name under a lease; returns whether its order is to be queued.
async fn prepare(bench: &Bench, name: &DomainName) -> bool {
    let lease = bench.control.core.leases.acquire(name).await.unwrap().expect("free");
    let schedule = &bench.control.schedule;
    let queued = schedule
        .prepare(name, lease.fence(), Priority::Bulk.into())
        .await
        .unwrap();
    lease.release().await.unwrap();
    queued.is_some()
}

/// Whatever its state, and whatever is found: after its preparation a domain is not due again at the
/// same time, so that no domain is written in a loop.
async fn is_settled_by_its_preparation(first_label: &str, dns: DnsSummary, origin: Origin) {
    let bench = Bench::new().await;
    let now = bench.clock.now();
    let mut stored = Vec::new();
    for (n, ssl) in statuses(now).into_iter().enumerate() {
        let name = name(&format!("{first_label}.c{n}.example"));
        let mut record = DomainRecord::new(name.clone(), None, origin, now.minus(DAY));
        (record.ssl, record.dns) = (ssl, dns.clone());
        store(&bench, &record).await;
        stored.push(record);
    }
    let prepared = stored.iter().map(|before| async {
        // Its order goes on from here.
        if prepare(&bench, &before.name).await {
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
        // What is not due is not written.
        prepare(&bench, &before.name).await;
        let again = bench.store.domain(&before.name).await.unwrap().unwrap();
        assert_eq!(again.version, after.version, "{:?}", again.ssl);
    });
    futures_util::future::join_all(prepared).await;
}

#[tokio::test]
async fn a_domain_that_points_here_is_settled_by_its_preparation() {
    is_settled_by_its_preparation("right", DnsSummary::default(), Origin::Registered).await;
}

#[tokio::test]
async fn a_domain_just_checked_is_settled_by_its_preparation() {
    let fresh = DnsSummary {
        checked: Some(Bench::new().await.clock.now()),
        https: true,
        verified: true,
    };
    is_settled_by_its_preparation("right", fresh, Origin::Registered).await;
}

#[tokio::test]
async fn a_domain_without_usable_dns_is_settled_by_its_preparation() {
    for first_label in ["missing", "failing"] {
        is_settled_by_its_preparation(first_label, DnsSummary::default(), Origin::Registered).await;
    }
}

#[tokio::test]
async fn the_edges_own_name_is_settled_by_its_preparation() {
    is_settled_by_its_preparation("own", DnsSummary::default(), Origin::Edge).await;
}

#[tokio::test]
async fn a_handshake_raises_a_name_that_waits_in_bulk() {
    let bench = Bench::new().await;
    let schedule = &bench.control.schedule;
    let places = &schedule.checks.places;
    // Other tenants use all places that bulk work may have.
    let mut taken = Vec::new();
    for n in 0..64 {
        let owner = Owner::Tenant(format!("t{n}").into());
        let place = places.enter(Priority::Bulk, vec![owner], false);
        match futures_util::FutureExt::now_or_never(place) {
            Some(place) => taken.push(place),
            None => break,
        }
    }
    let name = name("right.customer.example");
    let mut record = DomainRecord::new(name.clone(), None, Origin::Registered, bench.clock.now());
    record.apply(SslEvent::Wanted, bench.clock.now());
    store(&bench, &record).await;
    schedule.take_up(name.clone(), Priority::Bulk);
    until("it waits for a place", || places.waiting() == 1).await;
    let (reply, mut answer) = oneshot::channel();
    let waiter = Waiter { reply, joined: false };
    schedule.take_up_for(name.clone(), Priority::Handshake, Some(waiter));
    let queued = |of| schedule.queue_depth().iter().any(|(p, n)| *p == of && *n == 1);
    until("its order has the priority of the handshake", || {
        queued(Priority::Handshake)
    })
    .await;
    assert!(!queued(Priority::Bulk));
    assert!(answer.try_recv().is_err(), "the handshake waits for the order");
    // A lower priority does not lower it again.
    schedule.take_up(name, Priority::Bulk);
    assert!(queued(Priority::Handshake));
}

/// A stored domain whose order is due.
async fn wanted(bench: &Bench, text: &str) -> DomainName {
    let (name, now) = (name(text), bench.clock.now());
    let mut record = DomainRecord::new(name.clone(), None, Origin::Registered, now);
    record.apply(SslEvent::Wanted, now);
    store(bench, &record).await;
    name
}

/// A regular end releases the lease; a panic does not.
async fn assert_it_panicked(bench: &Bench, name: &DomainName) {
    let (key, other) = (LeaseKey::Domain(name.clone()), linkseal_store::Owner::unique());
    let free = bench.store.acquire_lease(&key, other, HOUR).await.unwrap();
    assert!(free.is_none(), "{name}");
}

#[tokio::test]
async fn a_panic_releases_the_name_and_answers_its_handshakes() {
    let bench = Bench::new().await;
    let name = wanted(&bench, "panics.customer.example").await;
    // Each attempt panics, and each finds the name free.
    for _ in 0..3 {
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter { reply, joined: false };
        bench
            .control
            .schedule
            .take_up_for(name.clone(), Priority::Handshake, Some(waiter));
        let answer = tokio::time::timeout(PATIENT, answer).await.expect("an answer");
        assert!(matches!(answer, Ok(CertificateAnswer::None)));
        assert_eq!(bench.control.schedule.in_progress_len(), 0);
        assert_it_panicked(&bench, &name).await;
        bench.clock.advance(HOUR);
    }
}

/// A change since the decision to forget a name takes precedence.
#[tokio::test]
async fn a_name_registered_since_it_was_read_is_not_forgotten() {
    let bench = Bench::new().await;
    let (name, now) = (name("links.customer.example"), bench.clock.now());
    let record = DomainRecord::new(name.clone(), None, Origin::Cname, now);
    store(&bench, &record).await;
    let read = bench.store.domain(&name).await.unwrap().unwrap();
    let edit = |draft: &mut Draft| {
        draft.record.origin = Origin::Registered;
        Edit::<StoreError>::Store
    };
    bench.control.core.change(&name, None, edit).await.unwrap();
    bench.control.schedule.forget_unregistered(&read).await.unwrap();
    let left = bench.store.domain(&name).await.unwrap().unwrap();
    assert_eq!(left.origin, Origin::Registered);
    bench.control.schedule.forget_unregistered(&left).await.unwrap();
    assert_eq!(bench.store.domain(&name).await.unwrap(), None);
}
