//! A token bucket in memory: so many in so long, for what one node does.

use std::sync::{Mutex, PoisonError};

use linkseal_base::clock::Timestamp;

use super::Limit;

/// A bucket that is full at first. How large it is and how fast it fills is said at every use, so
/// that a reload changes it at once.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Tokens taken and not yet filled up again, and when that was so.
    taken: Mutex<(f64, Timestamp)>,
}

impl Bucket {
    /// Takes a token. `false`: there is none.
    pub(super) fn take(&self, limit: Limit, now: Timestamp) -> bool {
        self.with(limit, now, |taken| {
            let left = *taken + 1.0 <= f64::from(limit.count);
            if left {
                *taken += 1.0;
            }
            left
        })
    }

    /// Whether there is a token, beside so many that are left to others.
    pub(super) fn has(&self, limit: Limit, left: u32, now: Timestamp) -> bool {
        let most = f64::from(limit.count.saturating_sub(left));
        self.with(limit, now, |taken| *taken + 1.0 <= most)
    }

    /// Whether it is as good as full.
    pub(super) fn is_full(&self, limit: Limit, now: Timestamp) -> bool {
        self.with(limit, now, |taken| *taken < 1.0)
    }

    fn with<T>(&self, limit: Limit, now: Timestamp, f: impl FnOnce(&mut f64) -> T) -> T {
        // Two numbers that are always whole: a panic elsewhere cannot have left them half written.
        let mut state = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, at) = &mut *state;
        let filled = now.saturating_since(*at).as_secs_f64() / limit.per.as_secs_f64() * f64::from(limit.count);
        *taken = (*taken - filled).max(0.0);
        *at = now;
        f(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_gives_what_it_holds_and_fills_with_time() {
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
        // A clock set back gives nothing and breaks nothing.
        assert!(!bucket.take(limit, t0));
        assert_eq!(
            (0..5)
                .filter(|_| bucket.take(limit, t0 + Duration::from_secs(3600)))
                .count(),
            3
        );
        // A smaller bucket holds at once.
        let one = Limit { count: 1, ..limit };
        assert!(!bucket.has(one, 0, t0 + Duration::from_secs(3601)));
    }
}
