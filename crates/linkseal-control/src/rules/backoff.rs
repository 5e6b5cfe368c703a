//! How long to wait after a failed attempt.

use std::time::Duration;

use linkseal_base::random;
use linkseal_domain::ssl::{FailureKind, SslStatus};

/// Waits after the first, second, third and every further failure (Let's Encrypt's integration
/// guide: 1, 10, 100 minutes, then daily).
const STEPS: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(6_000),
    Duration::from_secs(86_400),
];
/// Wait while the CA does not answer: nothing here has to be fixed.
const UNREACHABLE: Duration = Duration::from_secs(120);
/// Waits after failures that say nothing about the domain, which the CA or we have to fix.
const SETBACKS: [Duration; 3] = [
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3_600),
];
/// Wait after a rate limit without Retry-After.
pub(super) const UNNAMED_LIMIT: Duration = Duration::from_secs(3_600);
/// The shortest wait after a rate limit with Retry-After, because some CAs name a time in the past. It
/// doubles with each consecutive failure of the name, this often.
const LIMIT_FLOOR: Duration = Duration::from_secs(60);
const LIMIT_DOUBLINGS: u32 = 4;
/// Keeps domains that failed together from being retried together.
const JITTER: f64 = 0.1;

/// The wait after one more failure of this kind. `named`: whether the CA sent Retry-After, which
/// overrides our guess about its limits. `unit`, in `0.0..1.0`, is the jitter.
pub(super) fn after(status: &SslStatus, kind: FailureKind, named: bool, unit: f64) -> Duration {
    let base = match kind {
        FailureKind::Unreachable => UNREACHABLE,
        FailureKind::NameLimit | FailureKind::AccountLimit if named => {
            LIMIT_FLOOR * (1 << status.attempts.min(LIMIT_DOUBLINGS))
        }
        FailureKind::NameLimit | FailureKind::AccountLimit => UNNAMED_LIMIT,
        _ if kind.blames_domain() => step(&STEPS, status.attempts),
        _ => step(&SETBACKS, status.setbacks),
    };
    random::jittered(base, JITTER, unit)
}

/// The wait after that many consecutive failures.
fn step(steps: &[Duration], failures: u32) -> Duration {
    let last = steps.len().saturating_sub(1);
    let step = usize::try_from(failures).unwrap_or(usize::MAX).min(last);
    steps.get(step).copied().unwrap_or(UNNAMED_LIMIT)
}

#[cfg(test)]
mod tests {
    use linkseal_base::clock::Timestamp;

    use super::*;

    #[test]
    fn waits_grow_to_a_day() {
        let mut status = SslStatus::new(Timestamp::from_secs(0));
        for (attempts, secs) in [(0, 60.0), (1, 600.0), (2, 6_000.0), (3, 86_400.0), (400, 86_400.0)] {
            status.attempts = attempts;
            let wait = after(&status, FailureKind::Connection, false, random::unit()).as_secs_f64();
            assert!((wait / secs - 1.0).abs() <= JITTER + 1e-9, "{attempts}: {wait}");
        }
    }

    #[test]
    fn a_limit_lasts_as_long_as_the_ca_says_but_at_least_a_growing_minute() {
        let mut status = SslStatus::new(Timestamp::from_secs(0));
        for kind in [FailureKind::NameLimit, FailureKind::AccountLimit] {
            for (attempts, secs) in [(0, 60), (1, 120), (4, 960), (400, 960)] {
                status.attempts = attempts;
                assert_eq!(after(&status, kind, true, 0.5), Duration::from_secs(secs));
            }
            assert!(after(&status, kind, false, 0.0) >= UNNAMED_LIMIT.mul_f64(1.0 - JITTER));
        }
    }
}
