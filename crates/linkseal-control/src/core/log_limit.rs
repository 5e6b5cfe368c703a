//! Rate limits for log lines: the first of a subject and cause is logged at once, then one per
//! interval, however many domains are affected.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// Interval between two lines about the same failure of a CA.
pub(crate) const CA_INTERVAL: Duration = Duration::from_secs(600);
/// Interval between two lines about the same failure of the store.
pub const STORE_INTERVAL: Duration = Duration::from_secs(60);
/// Interval between two lines about our own DNS resolvers.
pub(crate) const RESOLVER_INTERVAL: Duration = Duration::from_secs(60);

/// A CA, or a kind of store failure, and a cause.
type Key = (String, &'static str);
/// When the last line was logged, on the monotonic clock, and how many were suppressed since.
type Logged = (Duration, u64);

/// The last line of each subject and cause; there are few of both.
#[derive(Debug)]
pub struct LogLimit {
    interval: Duration,
    last: Mutex<HashMap<Key, Logged>>,
}

impl LogLimit {
    /// One line per `interval`.
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            last: Mutex::default(),
        }
    }

    /// Whether to log now, `now` being the monotonic clock: the number of lines suppressed since the
    /// last one, or `None` if this one is to be suppressed too.
    pub fn due(&self, subject: &str, cause: &'static str, now: Duration) -> Option<u64> {
        let mut last = self.last.lock();
        match last.get_mut(&(subject.to_owned(), cause)) {
            Some((at, suppressed)) if now < *at + self.interval => {
                *suppressed += 1;
                None
            }
            Some(entry) => Some(std::mem::replace(entry, (now, 0)).1),
            None => {
                last.insert((subject.to_owned(), cause), (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(600);

    #[test]
    fn the_first_line_is_logged_and_the_rest_are_counted() {
        let (limit, now) = (LogLimit::every(EVERY), Duration::from_secs(1));
        assert_eq!(limit.due("a", "unreachable", now), Some(0));
        assert!((0..9).all(|_| limit.due("a", "unreachable", now).is_none()));
        assert_eq!(limit.due("a", "trust", now), Some(0));
        assert_eq!(limit.due("b", "unreachable", now), Some(0));
        assert_eq!(limit.due("a", "unreachable", now + EVERY), Some(9));
        assert_eq!(limit.due("a", "unreachable", now + EVERY * 2), Some(0));
    }
}
