//! Something that fails again and again, told in the log without filling it.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

/// Shortest time between two lines, also when the cause changes.
const CHANGE_AFTER: Duration = Duration::from_secs(15);
/// How often the same cause is told again while it lasts.
const AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// A row of failures. The default is none.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failures: u32,
    since: Timestamp,
    /// Whether a line was written about this row.
    is_told: bool,
    /// When a line was written last, and what about, also of earlier rows: what fails in turns with
    /// what works fills no log either. `None`: none was.
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
            self.is_told = true;
            self.told = Some((now, cause.to_owned()));
        }
        tell
    }

    /// How many failures there were in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Ends the row: how many failures it had and how long it lasted. `None`: there was none, or
    /// none that was told.
    pub(super) fn over(&mut self, now: Timestamp) -> Option<(u32, Duration)> {
        let failures = std::mem::take(&mut self.failures);
        let told = std::mem::take(&mut self.is_told);
        told.then(|| (failures, now.saturating_since(self.since)))
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
    fn what_fails_in_turns_with_what_works_makes_few_lines() {
        let mut trouble = Trouble::default();
        let (mut lines, mut ends) = (0, 0);
        for n in 0..3600 {
            let now = Timestamp::from_secs(1_000_000 + n);
            lines += u32::from(trouble.failed("refused", now));
            ends += u32::from(trouble.over(now).is_some());
        }
        assert_eq!((lines, ends), (6, 6), "an end is told of what was told");
    }

    #[test]
    fn a_clock_set_back_puts_nothing_off() {
        let now = Timestamp::from_secs(1_000_000);
        assert_eq!(elapsed(now + Duration::from_secs(3600), now), Duration::MAX);
        assert_eq!(elapsed(now.minus(Duration::from_secs(5)), now), Duration::from_secs(5));
    }
}
