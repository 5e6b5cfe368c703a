//! Pauses of CAs, in memory: for reasons on this side (a wrong clock, a missing trust root, an account
//! that needs a person), and for rate limits that the CA gives no time for.
//!
//! They are known to this process only and run on the monotonic clock: the next node may be fine, a
//! restart or a reload may have fixed the reason, and a wrong clock must leave no mark in the store.
//! One attempt in a quarter of an hour finds out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use linkseal_domain::ssl::FailureKind;

/// The first pause; doubles.
const FIRST: Duration = Duration::from_secs(60);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(900);

/// Paused CAs, by directory URL.
#[derive(Debug, Default)]
pub(super) struct Standstills {
    known: Mutex<HashMap<String, Standstill>>,
}

#[derive(Clone, Debug)]
struct Standstill {
    kind: FailureKind,
    /// What is wrong, and what to do about it.
    why: String,
    /// On the monotonic clock.
    until: Duration,
    times: u32,
}

impl Standstills {
    /// An order failed for such a reason, at this time of the monotonic clock.
    pub(super) fn note(&self, directory: &str, kind: FailureKind, why: &str, now: Duration) {
        let mut known = self.lock();
        let entry = known.entry(directory.to_owned()).or_insert(Standstill {
            kind,
            why: String::new(),
            until: Duration::ZERO,
            times: 0,
        });
        // Orders in progress when the pause began add nothing.
        if entry.until <= now {
            let span = FIRST.saturating_mul(1 << entry.times.min(10)).min(LONGEST);
            *entry = Standstill {
                kind,
                why: why.to_owned(),
                until: now + span,
                times: entry.times.saturating_add(1),
            };
        }
    }

    /// How much of the pause is left, and why; `None` if the CA may be tried.
    pub(super) fn left(&self, directory: &str, now: Duration) -> Option<(Duration, FailureKind)> {
        let known = self.lock();
        let entry = known.get(directory)?;
        (entry.until > now).then(|| (entry.until - now, entry.kind))
    }

    /// What is wrong, if the CA is paused or was not tried since.
    pub(super) fn why(&self, directory: &str) -> Option<String> {
        self.lock().get(directory).map(|entry| entry.why.clone())
    }

    /// The CA works: ends its pause, and the next one is short again.
    pub(super) fn end(&self, directory: &str) {
        self.lock().remove(directory);
    }

    /// Ends the pause of one CA, or of all: the configuration has changed, or an operator wants it.
    /// Returns whether there was one.
    pub(super) fn forget(&self, directory: Option<&str>) -> bool {
        let mut known = self.lock();
        let before = known.len();
        known.retain(|known, _| directory.is_some_and(|d| d != known));
        known.len() < before
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Standstill>> {
        // No change in here can panic half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_to_a_quarter_of_an_hour_until_it_is_ended() {
        let (all, ca, kind) = (Standstills::default(), "https://ca.example/dir", FailureKind::Clock);
        let mut now = Duration::from_secs(5);
        let mut spans = Vec::new();
        for _ in 0..8 {
            all.note(ca, kind, "why", now);
            all.note(ca, FailureKind::Trust, "other", now);
            let (left, why) = all.left(ca, now).unwrap();
            assert_eq!(why, kind, "orders in progress add nothing");
            spans.push(left);
            now += left;
            assert_eq!(all.left(ca, now), None, "then it is tried");
        }
        assert_eq!((spans[0], spans[1], spans[7]), (FIRST, FIRST * 2, LONGEST));
        all.note(ca, kind, "why", now);
        all.forget(Some("https://other.example/dir"));
        assert!(all.left(ca, now).is_some());
        all.forget(None);
        assert_eq!(all.left(ca, now), None);
    }
}
