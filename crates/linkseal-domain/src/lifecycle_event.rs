//! The events in a domain's life that its platform is notified of (docs/specification.md §6).

use linkseal_base::clock::Timestamp;

use super::ssl::{FailureKind, Reason, SslEvent, SslStatus, State};

/// A change in a domain's life that the platform is notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LifecycleEvent {
    /// A first certificate was obtained, or one after the previous had expired.
    Issued,
    /// The certificate was replaced in time.
    Renewed,
    /// An order failed, or DNS now prevents the renewal. Reported when it begins, when its cause
    /// changes and when linkseal gives up, not for every attempt.
    Failed,
    /// The certificate should have been renewed and is about to expire. Once per certificate.
    Expiring,
    /// The certificate expired without a successor. Once per certificate.
    Expired,
    /// DNS no longer points here. Reported when noticed, and again only after it was right.
    Moved,
}

impl LifecycleEvent {
    pub const ALL: [Self; 6] = [
        Self::Issued,
        Self::Renewed,
        Self::Failed,
        Self::Expiring,
        Self::Expired,
        Self::Moved,
    ];

    /// Its spelling in event types.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Renewed => "renewed",
            Self::Failed => "failed",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Moved => "moved",
        }
    }

    /// What to report when an event led from one status to the next at `now`.
    pub fn of(before: &SslStatus, event: &SslEvent, after: &SslStatus, now: Timestamp) -> Option<Self> {
        let other_cause = before.facts.cause != after.facts.cause;
        match event {
            SslEvent::Issued(_) if before.holds(now) => Some(Self::Renewed),
            SslEvent::Issued(_) => Some(Self::Issued),
            // The operator's own problems are not reported to the platform.
            SslEvent::Failed { failure, .. } if failure.kind.is_ours() && failure.kind != FailureKind::Internal => None,
            // A failed replacement by hand changes nothing, and the operator who asked for it sees it.
            SslEvent::Failed { .. } if after.reason == Reason::Ok => None,
            SslEvent::Failed { .. } => {
                // Suppressed failures, and those before the renewal was due, have not been reported.
                let due = before.renewal_planned().filter(|_| before.holds(now));
                let unreported = |at: Timestamp| due.is_some_and(|due| at < due);
                let first = before.doubted || before.last_error.as_ref().is_none_or(|e| unreported(e.at));
                let gives_up = after.reason == Reason::GivenUp && before.reason != Reason::GivenUp;
                (first || other_cause || gives_up).then_some(Self::Failed)
            }
            SslEvent::DnsChecked(_) | SslEvent::DnsCheckedByHand(_) => match after.reason {
                Reason::Moved => (before.reason != Reason::Moved).then_some(Self::Moved),
                Reason::RenewalFailing => {
                    (before.reason != Reason::RenewalFailing || other_cause).then_some(Self::Failed)
                }
                _ => None,
            },
            SslEvent::Tick if before.state() == State::Issued && after.state() != State::Issued => Some(Self::Expired),
            SslEvent::Tick => (after.expiring_reported && !before.expiring_reported).then_some(Self::Expiring),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dns::DnsVerdict;
    use crate::ssl::{CertificateInfo, Failure, FailureKind, LastError};

    const T0: Timestamp = Timestamp::from_secs(1_795_305_600);
    const DAY: Duration = Duration::from_secs(86_400);

    fn issued() -> SslEvent {
        SslEvent::Issued(CertificateInfo {
            not_before: T0,
            not_after: T0 + DAY * 90,
            obtained: None,
            issuer: "Test CA".into(),
            serial: "01".into(),
            sans: vec!["a.example".into()],
            ca: "https://ca.example/dir".into(),
            ari_id: None,
            renew_at: T0 + DAY * 60,
            ari_check_at: None,
        })
    }

    fn failed(kind: FailureKind) -> SslEvent {
        let error = LastError {
            kind: "urn:x".into(),
            detail: "said so".into(),
            at: T0,
            subproblems: vec![],
        };
        SslEvent::Failed {
            failure: Failure {
                kind,
                error,
                retry_after: None,
            },
            backoff: DAY,
        }
    }

    fn elsewhere(found: &str) -> SslEvent {
        SslEvent::DnsChecked(DnsVerdict::Elsewhere { found: found.into() })
    }

    /// What is reported, event by event.
    fn reported(steps: impl IntoIterator<Item = (SslEvent, u32)>) -> Vec<Option<LifecycleEvent>> {
        let mut status = SslStatus::new(T0);
        let mut reported = Vec::new();
        for (event, days) in steps {
            let now = T0 + DAY * days;
            let after = status.then(event.clone(), now);
            reported.push(LifecycleEvent::of(&status, &event, &after, now));
            status = after;
        }
        reported
    }

    #[test]
    fn a_loop_of_retries_is_reported_once_per_cause() {
        use FailureKind::{Connection, WrongAnswer};
        let right = || SslEvent::DnsChecked(DnsVerdict::Right);
        let ordered = || SslEvent::OrderStarted { ca: "ca".into() };
        let steps = [
            (failed(Connection), 0),
            (right(), 1),
            (ordered(), 1),
            (failed(Connection), 1),
            (failed(WrongAnswer), 2),
            (failed(WrongAnswer), 3),
            (issued(), 4),
            (failed(WrongAnswer), 61),
            (issued(), 62),
        ];
        use LifecycleEvent::{Failed, Issued, Renewed};
        let expected = [
            Some(Failed),
            None,
            None,
            None,
            Some(Failed),
            None,
            Some(Issued),
            Some(Failed),
            Some(Renewed),
        ];
        assert_eq!(reported(steps), expected);
    }

    #[test]
    fn giving_up_is_reported_even_if_the_cause_is_not_new() {
        let times = crate::transition::order::GIVE_UP_AFTER;
        let all = reported((0..times).map(|day| (failed(FailureKind::Connection), day)));
        let (first, last) = (all.first().unwrap(), all.last().unwrap());
        assert_eq!(
            (*first, *last),
            (Some(LifecycleEvent::Failed), Some(LifecycleEvent::Failed))
        );
        assert_eq!(all.iter().flatten().count(), 2);
    }

    #[test]
    fn a_move_is_reported_once_until_dns_was_right_again() {
        let steps = [
            (issued(), 0),
            (elsewhere("x"), 1),
            (elsewhere("y"), 2),
            (SslEvent::DnsChecked(DnsVerdict::Right), 3),
            (elsewhere("x"), 4),
        ];
        use LifecycleEvent::{Issued, Moved};
        assert_eq!(reported(steps), [Some(Issued), Some(Moved), None, None, Some(Moved)]);
        // Without a certificate, a wrong name is no move.
        assert_eq!(reported([(elsewhere("x"), 0)]), [None]);
    }

    #[test]
    fn expiring_and_expired_are_reported_once_per_certificate() {
        let tick = |day| (SslEvent::Tick, day);
        let steps = [(issued(), 0), tick(61), tick(74), tick(76), tick(77), tick(91)];
        let expected = [
            Some(LifecycleEvent::Issued),
            None,
            None,
            Some(LifecycleEvent::Expiring),
            None,
            Some(LifecycleEvent::Expired),
        ];
        assert_eq!(reported(steps), expected);
        let reissued_after_expiry = [(issued(), 0), tick(76), tick(91), (issued(), 91)];
        assert_eq!(
            reported(reissued_after_expiry).last(),
            Some(&Some(LifecycleEvent::Issued))
        );
    }

    #[test]
    fn a_failed_replacement_by_hand_is_reported_only_once_the_renewal_is_due() {
        let held = SslStatus::new(T0).then(issued(), T0).then(SslEvent::Reissue, T0 + DAY);
        let event = failed(FailureKind::Connection);
        let early = held.then(event.clone(), T0 + DAY);
        assert_eq!(LifecycleEvent::of(&held, &event, &early, T0 + DAY), None);
        let due = early.then(event.clone(), T0 + DAY * 61);
        assert_eq!(
            LifecycleEvent::of(&early, &event, &due, T0 + DAY * 61),
            Some(LifecycleEvent::Failed)
        );
        let servfail = SslEvent::DnsCheckedByHand(DnsVerdict::Error {
            zone: "z".into(),
            error: "SERVFAIL".into(),
        });
        let silent = held.then(servfail.clone(), T0 + DAY);
        assert_eq!(LifecycleEvent::of(&held, &servfail, &silent, T0 + DAY), None);
    }
}
