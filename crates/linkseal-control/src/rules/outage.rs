//! When a CA that keeps failing is taken out of use, and for how long.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_domain::ssl::{Failure, FailureKind};
use linkseal_store::CaTrouble;

use crate::core::ca::out_until;

/// Consecutive orders that fail because of the CA before it is out of use: one may be bad luck.
const FAILURES: u32 = 3;
/// The first time out of use, about as long as one domain waits after one failure; doubles.
const OUT_FIRST: Duration = Duration::from_secs(120);
/// The longest time out of use: one order an hour finds out that the CA is back.
const OUT_MAX: Duration = Duration::from_secs(3_600);
/// The longest time out of use that a Retry-After may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(6 * 3_600);
const JITTER: f64 = 0.1;
/// When to see again whether the trial order of another domain has succeeded.
pub const TRIAL_RETRY: Duration = Duration::from_secs(30);

/// Who is to blame for a failed order, from the point of view of its CA.
pub enum Blame {
    /// The CA: the order would fail for other domains too.
    Ca,
    /// The customer, or a rate limit: the CA works.
    Others,
    /// This side: the failure says nothing about the CA.
    Us,
}

impl Blame {
    pub fn of(kind: FailureKind) -> Self {
        use FailureKind::*;
        match kind {
            Unreachable | Stuck | Refused | Unusable => Self::Ca,
            Connection | WrongAnswer | CaDns | Caa | Rejected | NameLimit | AccountLimit => Self::Others,
            Internal | Clock | Trust | Account => Self::Us,
        }
    }
}

/// A CA's trouble after one more order failed because of it; `None` if the CA is out of use and the
/// order had begun before. `unit`, in `0.0..1.0`, is the jitter.
pub fn one_more(
    before: Option<CaTrouble>,
    directory: &str,
    failure: &Failure,
    now: Timestamp,
    unit: f64,
) -> Option<CaTrouble> {
    let mut trouble = before.unwrap_or_else(|| CaTrouble {
        directory: directory.to_owned(),
        failures: 0,
        outages: 0,
        out_until: None,
        since: now,
        why: String::new(),
    });
    if out_until(Some(&trouble), now).is_some() {
        return None;
    }
    trouble.failures = trouble.failures.saturating_add(1);
    trouble.why.clone_from(&failure.error.detail);
    if trouble.failures >= FAILURES {
        let span = OUT_FIRST.saturating_mul(1 << trouble.outages.min(10)).min(OUT_MAX);
        trouble.outages = trouble.outages.saturating_add(1);
        let until = now + random::jittered(span, JITTER, unit);
        // A CA that says when it is back knows best, within bounds.
        let retry_after = failure.retry_after.map(|at| at.min(now + RETRY_AFTER_MAX));
        trouble.out_until = Some(retry_after.map_or(until, |at| at.max(until)));
    }
    Some(trouble)
}

#[cfg(test)]
mod tests {
    use linkseal_domain::ssl::LastError;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_305_600);

    fn failure(kind: FailureKind) -> Failure {
        Failure {
            kind,
            error: LastError {
                kind: "about:blank".into(),
                detail: "no answer".into(),
                at: NOW,
                subproblems: Vec::new(),
            },
            retry_after: None,
        }
    }

    #[test]
    fn a_ca_that_keeps_failing_is_out_of_use_for_a_growing_time() {
        let one = |before, now| one_more(before, "https://ca.example/dir", &failure(FailureKind::Stuck), now, 0.5);
        let first = one(None, NOW).unwrap();
        assert_eq!((first.failures, first.out_until, first.since), (1, None, NOW));
        let second = one(Some(first), NOW + OUT_FIRST).unwrap();
        assert_eq!(second.out_until, None);
        let mut trouble = one(Some(second), NOW).unwrap();
        assert_eq!((trouble.out_until, trouble.since), (Some(NOW + OUT_FIRST), NOW));
        assert_eq!(trouble.why, "no answer");
        assert_eq!(one(Some(trouble.clone()), NOW), None, "orders in progress add nothing");
        let mut spans = Vec::new();
        for _ in 0..7 {
            let now = trouble.out_until.unwrap();
            trouble = one(Some(trouble), now).unwrap();
            spans.push(trouble.out_until.unwrap().saturating_since(now));
        }
        assert_eq!(spans[..2], [OUT_FIRST * 2, OUT_FIRST * 4]);
        assert_eq!(spans[6], OUT_MAX);
        let said = |span| {
            let busy = Failure {
                retry_after: Some(NOW + span),
                ..failure(FailureKind::Unreachable)
            };
            let two = CaTrouble {
                failures: FAILURES - 1,
                outages: 0,
                out_until: None,
                ..trouble.clone()
            };
            let after = one_more(Some(two), "https://ca.example/dir", &busy, NOW, 0.5);
            after.unwrap().out_until.unwrap().saturating_since(NOW)
        };
        assert_eq!(said(OUT_FIRST * 3), OUT_FIRST * 3);
        assert_eq!(said(OUT_FIRST / 2), OUT_FIRST);
        assert_eq!(said(RETRY_AFTER_MAX * 9), RETRY_AFTER_MAX);
    }

    #[test]
    fn failures_of_customers_do_not_blame_the_ca() {
        use FailureKind::*;
        for kind in [Connection, WrongAnswer, CaDns, Caa, Rejected, NameLimit, AccountLimit] {
            assert!(matches!(Blame::of(kind), Blame::Others), "{kind:?}");
        }
        for kind in [Unreachable, Stuck, Refused] {
            assert!(matches!(Blame::of(kind), Blame::Ca), "{kind:?}");
        }
        assert!(matches!(Blame::of(Internal), Blame::Us));
    }
}
