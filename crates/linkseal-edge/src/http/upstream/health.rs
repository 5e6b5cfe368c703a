//! Passive health of a back end: whether to try to connect.
//!
//! There are no active checks. After [`FAILURES`] failed connections in a row, requests fail at once, and
//! one request per [`PAUSE`] tries again.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which requests fail at once. One may be a lost packet, two a restart.
const FAILURES: u32 = 3;
/// How long requests then fail before one may try again: short, so that a back end that has recovered is
/// used soon, but long enough that a dead one costs nothing.
pub(in crate::http) const PAUSE: Duration = Duration::from_secs(5);

/// The health of one back end.
#[derive(Debug, Default)]
pub(in crate::http) struct Health {
    failures: u32,
    /// When the next request may try. `None` while the back end is up.
    retry_at: Option<Instant>,
}

/// What an outcome changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Change {
    None,
    Down,
    Up,
}

impl Health {
    /// Whether a request may try to connect. While the back end is down, one per [`PAUSE`] may, even if the
    /// last one was abandoned.
    pub(in crate::http) fn admits(&mut self, now: Instant) -> bool {
        match self.retry_at {
            Some(at) if now < at => false,
            Some(_) => {
                self.retry_at = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    /// A connection was made.
    pub(in crate::http) fn succeeded(&mut self) -> Change {
        self.failures = 0;
        match self.retry_at.take() {
            Some(_) => Change::Up,
            None => Change::None,
        }
    }

    /// A connection could not be made.
    pub(in crate::http) fn failed(&mut self, now: Instant) -> Change {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES {
            return Change::None;
        }
        match self.retry_at.replace(now + PAUSE) {
            Some(_) => Change::None,
            None => Change::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_three_failures_one_request_a_pause_may_try() {
        let (mut health, start) = (Health::default(), Instant::now());
        for change in [Change::None, Change::None, Change::Down, Change::None] {
            assert!(health.retry_at.is_some() || health.admits(start));
            assert_eq!(health.failed(start), change);
        }
        assert!(!health.admits(start + PAUSE / 2));
        assert!(health.admits(start + PAUSE), "the probe");
        assert!(!health.admits(start + PAUSE), "and no other request");
        assert!(
            health.admits(start + PAUSE * 2),
            "a probe that was given up blocks no request"
        );
        assert_eq!(health.failed(start + PAUSE * 2), Change::None);
        assert!(!health.admits(start + PAUSE * 3 - Duration::from_millis(1)));
        assert!(health.admits(start + PAUSE * 3));
        assert_eq!(health.succeeded(), Change::Up);
        assert!(health.admits(start) && health.admits(start));
    }

    #[test]
    fn only_failures_in_a_row_count() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(health.failed(now), Change::None);
            assert_eq!(health.failed(now), Change::None);
            assert_eq!(health.succeeded(), Change::None);
        }
        assert!(health.admits(now));
    }
}
