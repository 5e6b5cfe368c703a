//! Passive health of a back end: whether it is worth trying to connect.
//!
//! Nothing is ever asked of a back end on its own account. What requests meet is counted: after
//! [`FAILURES`] connections in a row that could not be made, requests fail at once, and every
//! [`PAUSE`] one of them tries again.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which requests fail at once. One may be a lost packet, two a restart.
const FAILURES: u32 = 3;
/// How long requests then fail before one may try again: short, for a back end that is back should
/// not stay away from people, and long enough that a dead one costs nothing.
pub(in crate::http) const PAUSE: Duration = Duration::from_secs(5);

/// What is known of a back end.
#[derive(Debug, Default)]
pub(in crate::http) struct Health {
    failures: u32,
    /// When the next request may try. `None`: any may.
    retry_at: Option<Instant>,
}

/// What an outcome changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Change {
    /// Nothing to tell.
    None,
    /// It has just become unreachable.
    Down,
    /// It is back.
    Up,
}

impl Health {
    /// Whether a request may try to connect. While the back end is down one per [`PAUSE`] may; if
    /// that one is given up before it comes to anything, the next turn is as far away.
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
