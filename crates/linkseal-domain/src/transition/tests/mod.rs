mod dns;
mod failures;
mod operator;
mod properties;
mod renewal;

use std::time::Duration;

use super::dns::{RECHECK_FIRST, RECHECK_MAX};
use super::order::GIVE_UP_AFTER;
use super::*;
use crate::dns::DnsVerdict;
use crate::ssl::{
    CertificateInfo, Failure, FailureKind, LastError, ORDER_ENDS_WITHIN, Preflight, REFUSAL_KEPT, Reason, State,
};

const T0: Timestamp = Timestamp::from_secs(1_795_305_600);
const HOUR: Duration = Duration::from_secs(3600);

fn certificate(days: u64) -> CertificateInfo {
    CertificateInfo {
        not_before: T0,
        not_after: T0 + HOUR * 24 * u32::try_from(days).unwrap(),
        obtained: None,
        issuer: "Test CA".into(),
        serial: "01".into(),
        sans: vec!["a.example".into()],
        ca: "https://ca.example/dir".into(),
        ari_id: None,
        renew_at: T0 + HOUR * 16 * u32::try_from(days).unwrap(),
        ari_check_at: None,
    }
}

fn refusal(kind: FailureKind) -> Failure {
    let error = LastError {
        kind: "urn:x".into(),
        detail: "said so".into(),
        at: T0,
        subproblems: vec![],
    };
    Failure {
        kind,
        error,
        retry_after: None,
    }
}

fn failure(kind: FailureKind) -> SslEvent {
    SslEvent::Failed {
        failure: refusal(kind),
        backoff: Duration::from_secs(60),
    }
}

fn fresh() -> SslStatus {
    SslStatus::new(T0)
}

fn issued(days: u64) -> SslStatus {
    fresh().then(SslEvent::Issued(certificate(days)), T0)
}

fn ca() -> String {
    "ca.example".into()
}

#[test]
fn without_obstacles_a_domain_goes_from_unknown_to_pending_to_issued() {
    let mut status = fresh();
    let mut seen = vec![status.reason];
    for event in [
        SslEvent::Wanted,
        SslEvent::DnsChecked(DnsVerdict::Right),
        SslEvent::Queued { eta: Some(T0 + HOUR) },
        SslEvent::OrderStarted { ca: ca() },
        SslEvent::Validating,
        SslEvent::Issued(certificate(90)),
    ] {
        status = status.then(event, T0);
        seen.push(status.reason);
    }
    use Reason::*;
    assert_eq!(
        seen,
        [
            NeverRequested,
            NeverRequested,
            NeverRequested,
            Queued,
            Ordering,
            Validating,
            Ok
        ]
    );
    assert_eq!(status.next_due(true), Some(T0 + HOUR * 16 * 90));
    assert_eq!(
        status.next_due(false),
        Some(T0 + HOUR * 24 * 75),
        "an unwanted domain is still reported as expiring"
    );
    let near = status.then(SslEvent::Tick, T0 + HOUR * 24 * 75);
    assert_eq!(near.next_due(false), Some(T0 + HOUR * 24 * 90), "and expires");
}
