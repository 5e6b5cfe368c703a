//! Something that fails again and again, told in the log without filling it.

use std::time::Duration;

use crate::clock::Timestamp;

/// Shortest time between two lines, also when the cause changes.
const CHANGE_AFTER: Duration = Duration::from_secs(15);
/// How often the same cause is told again while it lasts.
const AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// A row of failures. The default is none.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failures: u32,
    since: Timestamp,
    /// When a line was written last, and what about. `None`: none was.
    told: Option<(Timestamp, String)>,
}

impl Trouble {
    /// Takes in a failure; tells whether it belongs into the log.
    pub(super) fn failed(&mut self, cause: &str, now: Timestamp) -> bool {
        if self.failures == 0 {
            self.since = now;
        }
        self.failures = self.failures.saturating_add(1);
        let tell = self.told.as_ref().is_none_or(|(at, told)| {
            let passed = elapsed(*at, now);
            passed >= AGAIN_AFTER || (told != cause && passed >= CHANGE_AFTER)
        });
        if tell {
            self.told = Some((now, cause.to_owned()));
        }
        tell
    }

    /// How many failures there were in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Ends the row: how many failures it had and how long it lasted. `None`: there was none.
    pub(super) fn over(&mut self, now: Timestamp) -> Option<(u32, Duration)> {
        let ended = std::mem::take(self);
        (ended.failures > 0).then(|| (ended.failures, now.saturating_since(ended.since)))
    }
}

/// How long ago something was. A clock that was set back meanwhile says nothing: it counts as long
/// ago, so that what is due is not put off until the clock is there again.
pub(super) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    if now < since {
        return Duration::MAX;
    }
    now.saturating_since(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_row_of_failures_makes_few_lines() {
        let mut trouble = Trouble::default();
        let start = Timestamp::from_secs(1_000_000);
        let second = |n: u64| start + Duration::from_secs(n);
        let lines = (0..3600).filter(|n| trouble.failed("refused", second(*n))).count();
        assert_eq!(lines, 6, "the first, and one in ten minutes");
        assert!(trouble.failed("answered 503", second(3600)), "another cause");
        assert_eq!(trouble.over(second(3600)), Some((3601, Duration::from_secs(3600))));
        assert_eq!(trouble.over(second(3600)), None);
        // Causes that alternate are bounded too.
        let lines = (0..60)
            .filter(|n| trouble.failed(["a", "b"][*n as usize % 2], second(*n)))
            .count();
        assert!(lines <= 5, "{lines}");
    }

    #[test]
    fn a_clock_set_back_puts_nothing_off() {
        let now = Timestamp::from_secs(1_000_000);
        assert_eq!(elapsed(now + Duration::from_secs(3600), now), Duration::MAX);
        assert_eq!(elapsed(now.minus(Duration::from_secs(5)), now), Duration::from_secs(5));
    }
}
