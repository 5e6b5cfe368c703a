mod stored;

use super::*;
use crate::dns::DnsVerdict;
use crate::ssl::{CertificateInfo, Failure, LastError, SslEvent};

const T0: Timestamp = Timestamp::from_secs(1_795_305_600);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn certificate(life: Duration, obtained: Timestamp) -> CertificateInfo {
    CertificateInfo {
        not_before: obtained.minus(HOUR),
        not_after: obtained + life,
        obtained: Some(obtained),
        issuer: "Test CA".into(),
        serial: "01".into(),
        sans: vec!["a.example".into()],
        ca: "https://ca.example/dir".into(),
        ari_id: Some("id".into()),
        renew_at: obtained + life * 2 / 3,
        ari_check_at: Some(obtained + HOUR * 6),
    }
}

fn failed(kind: FailureKind, retry_after: Option<Timestamp>, now: Timestamp) -> SslEvent {
    SslEvent::Failed {
        failure: Failure {
            kind,
            error: LastError {
                kind: "urn:x".into(),
                detail: "said so".into(),
                at: now,
                subproblems: vec![],
            },
            retry_after,
        },
        backoff: Duration::from_secs(60),
    }
}

fn held(life: Duration) -> SslStatus {
    SslStatus::new(T0).then(SslEvent::Issued(certificate(life, T0)), T0)
}

fn ordering() -> SslStatus {
    SslStatus::new(T0).then(
        SslEvent::OrderStarted {
            ca: "ca.example".into(),
        },
        T0,
    )
}

#[test]
fn an_attempt_planned_by_a_clock_that_was_ahead_is_due_once_the_clock_is_right() {
    let ahead = T0 + DAY * 60;
    for event in [
        failed(FailureKind::Unreachable, None, ahead),
        failed(FailureKind::Connection, None, ahead),
        failed(FailureKind::Clock, None, ahead),
        SslEvent::CaUnavailable {
            until: ahead + HOUR,
            ca: "ca.example".into(),
        },
        SslEvent::HeldBack {
            until: ahead + DAY * 30,
            ca: "ca.example".into(),
            in_queue: true,
        },
        SslEvent::DnsChecked(DnsVerdict::Missing),
    ] {
        let planned = ordering().then(event.clone(), ahead);
        assert!(planned.next_attempt.is_some_and(|at| at > ahead));
        assert!(planned.is_beyond_reach(T0), "{event:?}");
        let right = planned.then(SslEvent::Tick, T0);
        assert_eq!(right.next_due(true), Some(T0), "{event:?}");
        assert!(right.since <= T0 && !right.is_beyond_reach(T0));
    }
    // Also if it was ahead by less than the rule's own reach.
    let hours = T0 + HOUR * 5;
    let planned = ordering().then(failed(FailureKind::Connection, None, hours), hours);
    assert_eq!(planned.then(SslEvent::Tick, T0).next_due(true), Some(T0));
    // An attempt that a right clock planned stays as it is.
    let planned = ordering().then(failed(FailureKind::Connection, None, T0), T0);
    assert!(!planned.is_beyond_reach(T0));
    assert_eq!(planned.then(SslEvent::Tick, T0).next_attempt, planned.next_attempt);
}

#[test]
fn an_interrupted_order_begun_by_a_clock_that_was_ahead_is_resumed() {
    let ahead = T0 + DAY * 60;
    let status = SslStatus::new(ahead).then(
        SslEvent::OrderStarted {
            ca: "ca.example".into(),
        },
        ahead,
    );
    let right = status.then(SslEvent::Tick, T0);
    assert_eq!(right.next_due(true), Some(T0));
}

#[test]
fn a_retry_after_is_capped_by_its_kind_of_failure() {
    use FailureKind::{AccountLimit, NameLimit, Refused, Unreachable};
    for said in [
        Timestamp::from_millis(i64::MAX),
        T0 + Duration::from_secs(u32::MAX.into()),
    ] {
        for (kind, longest) in [
            (NameLimit, NAME_LIMIT),
            (AccountLimit, ACCOUNT_LIMIT),
            (Unreachable, OUTAGE),
            (Refused, OUTAGE),
        ] {
            let after = ordering().then(failed(kind, Some(said), T0), T0);
            assert_eq!(after.next_attempt, Some(T0 + longest), "{kind:?}");
        }
    }
    let soon = ordering().then(failed(Unreachable, Some(T0 + HOUR), T0), T0);
    assert_eq!(soon.next_attempt, Some(T0 + HOUR));
}

#[test]
fn a_retry_after_does_not_let_a_certificate_expire() {
    let life = DAY * 6;
    let now = T0 + DAY * 3;
    let busy = failed(FailureKind::Unreachable, Some(now + DAY * 10), now);
    let after = held(life).then(busy, now);
    assert_eq!(after.next_attempt, Some(now + OUTAGE));
    let late = T0 + life.saturating_sub(HOUR);
    let after = held(life).then(failed(FailureKind::Unreachable, Some(late + DAY), late), late);
    assert_eq!(after.next_attempt, Some(late + HOUR / 4));
    // A limit is kept, unless the certificate would expire by then.
    let limit = failed(FailureKind::NameLimit, Some(now + DAY), now);
    assert_eq!(held(life).then(limit, now).next_attempt, Some(now + DAY));
    let limit = failed(FailureKind::NameLimit, Some(now + DAY * 5), now);
    assert!(
        held(life)
            .then(limit, now)
            .next_attempt
            .is_some_and(|at| at < now + DAY)
    );
}

#[test]
fn a_retry_after_for_the_name_is_kept_by_verify_reissue_and_dns_checks() {
    let (now, said) = (T0 + DAY * 70, T0 + DAY * 71);
    let limited = held(DAY * 90).then(failed(FailureKind::NameLimit, Some(said), now), now);
    for event in [
        SslEvent::Wanted,
        SslEvent::Reissue,
        SslEvent::DnsChecked(DnsVerdict::Right),
    ] {
        let after = limited.then(event.clone(), now + HOUR);
        assert_eq!(after.next_attempt, Some(said), "{event:?}");
    }
    let flapped = limited
        .then(SslEvent::DnsChecked(DnsVerdict::Missing), now + HOUR)
        .then(SslEvent::DnsChecked(DnsVerdict::Right), now + HOUR * 2);
    assert_eq!((flapped.reason, flapped.next_attempt), (Reason::Ok, Some(said)));
    assert_eq!(flapped.rests_until(now + HOUR * 2), Some(said));
    let free = limited.then(SslEvent::Released, now + HOUR);
    assert_eq!(free.next_attempt, Some(now + HOUR), "an operator ends it");
    assert_eq!(free.rests_until(now + HOUR), None);
    assert_eq!(limited.then(SslEvent::Wanted, said).next_attempt, Some(said));
}

#[test]
fn flapping_dns_does_not_end_a_renewals_back_off() {
    let now = T0 + DAY * 70;
    let failing = held(DAY * 90).then(failed(FailureKind::Connection, None, now), now);
    let retry = failing.next_attempt.unwrap();
    let flapped = failing
        .then(SslEvent::DnsChecked(DnsVerdict::Missing), now)
        .then(SslEvent::DnsChecked(DnsVerdict::Right), now);
    assert_eq!(flapped.next_attempt, Some(retry));
    assert_eq!(
        flapped.then(SslEvent::Wanted, now).next_attempt,
        Some(now),
        "a request ends it"
    );
}

#[test]
fn renewal_information_brings_a_renewal_forward_freely_and_postpones_it_to_the_floor() {
    let life = DAY * 90;
    let info = |renew_at| SslEvent::RenewalInfo {
        renew_at,
        check_at: T0 + HOUR * 6,
    };
    let floor = (T0 + life).minus(life / 5);
    for far in [T0 + life, T0 + DAY * 365 * 70, Timestamp::from_millis(i64::MAX)] {
        let after = held(life).then(info(far), T0);
        let certificate = after.certificate.unwrap();
        assert_eq!(certificate.renew_at, floor);
        assert_eq!(
            certificate.expiring_at(),
            (T0 + life).minus(life / 6),
            "whatever the CA says"
        );
    }
    let early = held(life).then(info(T0 + HOUR), T0);
    assert_eq!(early.certificate.unwrap().renew_at, T0 + HOUR);
    // A window that an earlier version stored as it was is capped.
    let mut old = held(life);
    if let Some(certificate) = &mut old.certificate {
        certificate.renew_at = T0 + DAY * 365 * 70;
    }
    assert!(old.is_beyond_reach(T0));
    assert_eq!(old.then(SslEvent::Tick, T0).certificate.unwrap().renew_at, floor);
}
