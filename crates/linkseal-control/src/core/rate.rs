//! A token bucket in memory, for what one node does.

use linkseal_base::clock::Timestamp;
use parking_lot::Mutex;

use super::settings::Limit;

/// A bucket that starts full. Its size and refill rate are given at every use, so that a reload
/// changes them at once.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// Tokens taken and not refilled yet, and the time of that count.
    taken: Mutex<(f64, Timestamp)>,
}

impl Bucket {
    /// Takes a token, if there is one.
    pub(crate) fn take(&self, limit: Limit, now: Timestamp) -> bool {
        self.with(limit, now, |taken| {
            let left = *taken + 1.0 <= f64::from(limit.count);
            if left {
                *taken += 1.0;
            }
            left
        })
    }

    /// Whether there is a token besides the `reserved` ones.
    pub(crate) fn has(&self, limit: Limit, reserved: u32, now: Timestamp) -> bool {
        let most = f64::from(limit.count.saturating_sub(reserved));
        self.with(limit, now, |taken| *taken + 1.0 <= most)
    }

    /// Whether less than one token is missing.
    pub(crate) fn is_full(&self, limit: Limit, now: Timestamp) -> bool {
        self.with(limit, now, |taken| *taken < 1.0)
    }

    fn with<T>(&self, limit: Limit, now: Timestamp, f: impl FnOnce(&mut f64) -> T) -> T {
        let mut state = self.taken.lock();
        let (taken, at) = &mut *state;
        let refilled = now.saturating_since(*at).as_secs_f64() / limit.per.as_secs_f64() * f64::from(limit.count);
        *taken = (*taken - refilled).max(0.0);
        *at = now;
        f(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_gives_its_tokens_and_refills_over_time() {
        let (bucket, t0) = (Bucket::default(), Timestamp::from_secs(1_795_305_600));
        let limit = Limit {
            count: 3,
            per: Duration::from_secs(60),
        };
        assert_eq!((0..5).filter(|_| bucket.take(limit, t0)).count(), 3);
        assert!(!bucket.has(limit, 0, t0 + Duration::from_secs(19)));
        let later = t0 + Duration::from_secs(21);
        assert!(
            bucket.has(limit, 0, later)
                && !bucket.has(limit, 1, later)
                && bucket.take(limit, later)
                && !bucket.take(limit, later)
        );
        // A clock that is set back yields no tokens.
        assert!(!bucket.take(limit, t0));
        assert_eq!(
            (0..5)
                .filter(|_| bucket.take(limit, t0 + Duration::from_secs(3600)))
                .count(),
            3
        );
        // A smaller limit applies at once.
        let one = Limit { count: 1, ..limit };
        assert!(!bucket.has(one, 0, t0 + Duration::from_secs(3601)));
    }
}
