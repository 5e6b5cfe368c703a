//! CAs that nothing can be ordered from for a reason that is ours: a clock that is wrong, a trust
//! root that is not configured, an account that wants a person.
//!
//! Known to this node and this process only, on the steady clock: the next node may be right, a
//! restart or a reload may have put it right, and a wrong clock must leave no mark in the store. An
//! attempt a quarter of an hour finds out by itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use linkseal_domain::ssl::FailureKind;

/// First pause; doubles.
const FIRST: Duration = Duration::from_secs(60);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(900);

/// What stands still, by the CA's directory URL.
#[derive(Debug, Default)]
pub(super) struct Standstills {
    known: Mutex<HashMap<String, Standstill>>,
}

#[derive(Clone, Debug)]
struct Standstill {
    kind: FailureKind,
    /// What is wrong, and what to do.
    why: String,
    /// On the steady clock.
    until: Duration,
    times: u32,
}

impl Standstills {
    /// An order at a CA failed for such a reason, at this moment of the steady clock.
    pub(super) fn note(&self, directory: &str, kind: FailureKind, why: &str, now: Duration) {
        let mut known = self.lock();
        let entry = known.entry(directory.to_owned()).or_insert(Standstill {
            kind,
            why: String::new(),
            until: Duration::ZERO,
            times: 0,
        });
        // Orders under way when it began add nothing.
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

    /// For how long nothing is ordered from a CA, and why. `None`: it may be tried.
    pub(super) fn left(&self, directory: &str, now: Duration) -> Option<(Duration, FailureKind)> {
        let known = self.lock();
        let entry = known.get(directory)?;
        (entry.until > now).then(|| (entry.until - now, entry.kind))
    }

    /// What is wrong with a CA that stands still. `None`: nothing.
    pub(super) fn why(&self, directory: &str) -> Option<String> {
        self.lock().get(directory).map(|entry| entry.why.clone())
    }

    /// The CA works.
    pub(super) fn works(&self, directory: &str) {
        self.lock().remove(directory);
    }

    /// All may be tried: the configuration has changed, or an operator wants it. Tells whether any
    /// stood still.
    pub(super) fn forget(&self, directory: Option<&str>) -> bool {
        let mut known = self.lock();
        let before = known.len();
        known.retain(|known, _| directory.is_some_and(|d| d != known));
        known.len() < before
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Standstill>> {
        // Nothing in here panics half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_grows_to_a_quarter_of_an_hour_and_ends_at_a_word() {
        let (all, ca, kind) = (Standstills::default(), "https://ca.example/dir", FailureKind::Clock);
        let mut now = Duration::from_secs(5);
        let mut spans = Vec::new();
        for _ in 0..8 {
            all.note(ca, kind, "why", now);
            all.note(ca, FailureKind::Trust, "other", now);
            let (left, why) = all.left(ca, now).unwrap();
            assert_eq!(why, kind, "orders under way add nothing");
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
