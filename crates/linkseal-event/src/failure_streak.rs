//! Repeated failures of one thing, logged at a bounded rate.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

/// Shortest time between two log lines when the cause changes.
const CHANGE_AFTER: Duration = Duration::from_secs(15);
/// How often the same cause is logged again while it lasts.
const AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// A streak of consecutive failures. The default is none.
#[derive(Debug, Default)]
pub(crate) struct FailureStreak {
    failures: u32,
    since: Timestamp,
    /// Whether a line was logged about this streak.
    is_logged: bool,
    /// When a line was last logged, and its cause. Kept across streaks, so that something that fails
    /// and works in turns does not fill the log either.
    last_line: Option<(Timestamp, String)>,
}

impl FailureStreak {
    /// Adds a failure; returns whether to log it.
    pub(crate) fn failed(&mut self, cause: &str, now: Timestamp) -> bool {
        if self.failures == 0 {
            self.since = now;
        }
        self.failures = self.failures.saturating_add(1);
        let log = self.last_line.as_ref().is_none_or(|(at, last)| {
            let passed = elapsed(*at, now);
            passed >= AGAIN_AFTER || (last != cause && passed >= CHANGE_AFTER)
        });
        if log {
            self.is_logged = true;
            self.last_line = Some((now, cause.to_owned()));
        }
        log
    }

    /// The number of failures in the current streak.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Ends the streak. Returns its number of failures and its duration if it was logged, so that its
    /// end can be logged too.
    pub(crate) fn end(&mut self, now: Timestamp) -> Option<(u32, Duration)> {
        let failures = std::mem::take(&mut self.failures);
        let logged = std::mem::take(&mut self.is_logged);
        logged.then(|| (failures, now.saturating_since(self.since)))
    }
}

/// The time since a moment. If the clock was set back in between, the moment counts as long ago, so
/// that what is due is not postponed until the clock catches up.
pub(crate) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    if now < since {
        return Duration::MAX;
    }
    now.saturating_since(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_streak_of_failures_logs_few_lines() {
        let mut streak = FailureStreak::default();
        let start = Timestamp::from_secs(1_000_000);
        let second = |n: u64| start + Duration::from_secs(n);
        let lines = (0..3600).filter(|n| streak.failed("refused", second(*n))).count();
        assert_eq!(lines, 6, "the first, and one in ten minutes");
        assert!(streak.failed("answered 503", second(3600)), "another cause");
        assert_eq!(streak.end(second(3600)), Some((3601, Duration::from_secs(3600))));
        assert_eq!(streak.end(second(3600)), None);
        // Causes that alternate are bounded too.
        let lines = (0..60)
            .filter(|n| streak.failed(["a", "b"][*n as usize % 2], second(*n)))
            .count();
        assert!(lines <= 5, "{lines}");
    }

    #[test]
    fn alternating_failures_and_successes_log_few_lines() {
        let mut streak = FailureStreak::default();
        let (mut lines, mut ends) = (0, 0);
        for n in 0..3600 {
            let now = Timestamp::from_secs(1_000_000 + n);
            lines += u32::from(streak.failed("refused", now));
            ends += u32::from(streak.end(now).is_some());
        }
        assert_eq!((lines, ends), (6, 6), "an end is logged for each logged streak");
    }

    #[test]
    fn a_clock_set_back_postpones_nothing() {
        let now = Timestamp::from_secs(1_000_000);
        assert_eq!(elapsed(now + Duration::from_secs(3600), now), Duration::MAX);
        assert_eq!(elapsed(now.minus(Duration::from_secs(5)), now), Duration::from_secs(5));
    }
}
