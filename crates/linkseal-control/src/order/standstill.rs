//! Pauses of CAs, in memory: for reasons on this side (a wrong clock, a missing trust root, an account
//! that needs a person), and for rate limits that the CA gives no time for.
//!
//! They are known to this process only and run on the monotonic clock: the next node may be fine, a
//! restart or a reload may have fixed the reason, and a wrong clock must leave no mark in the store.
//! One attempt in a quarter of an hour finds out.

use std::collections::HashMap;
use std::time::Duration;

use linkseal_domain::ssl::FailureKind;
use parking_lot::Mutex;

/// The first pause; doubles.
const FIRST: Duration = Duration::from_secs(60);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(900);

/// Paused CAs, by directory URL.
#[derive(Debug, Default)]
pub(super) struct Standstills {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<String, Standstill>,
    /// How often pauses were ended by hand or by a reload.
    endings: u64,
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
    /// How often pauses were ended; an order remembers it as it begins.
    pub(super) fn endings(&self) -> u64 {
        self.inner.lock().endings
    }

    /// An order failed for such a reason, at this time of the monotonic clock. One that began before
    /// pauses were last ended (`since`) adds nothing: what it met may be fixed.
    pub(super) fn note(&self, directory: &str, kind: FailureKind, why: &str, now: Duration, since: u64) {
        let mut inner = self.inner.lock();
        if inner.endings != since {
            return;
        }
        let entry = inner.known.entry(directory.to_owned()).or_insert(Standstill {
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
        let inner = self.inner.lock();
        let entry = inner.known.get(directory)?;
        (entry.until > now).then(|| (entry.until - now, entry.kind))
    }

    /// What is wrong, if the CA is paused or was not tried since.
    pub(super) fn why(&self, directory: &str) -> Option<String> {
        self.inner.lock().known.get(directory).map(|entry| entry.why.clone())
    }

    /// The CA works: ends its pause, and the next one is short again.
    pub(super) fn end(&self, directory: &str) {
        self.inner.lock().known.remove(directory);
    }

    /// Ends the pause of one CA, or of all: the configuration has changed, or an operator wants it.
    /// Returns whether there was one.
    pub(super) fn forget(&self, directory: Option<&str>) -> bool {
        let mut inner = self.inner.lock();
        inner.endings += 1;
        let before = inner.known.len();
        inner.known.retain(|known, _| directory.is_some_and(|d| d != known));
        inner.known.len() < before
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
            all.note(ca, kind, "why", now, all.endings());
            all.note(ca, FailureKind::Trust, "other", now, all.endings());
            let (left, why) = all.left(ca, now).unwrap();
            assert_eq!(why, kind, "orders in progress add nothing");
            spans.push(left);
            now += left;
            assert_eq!(all.left(ca, now), None, "then it is tried");
        }
        assert_eq!((spans[0], spans[1], spans[7]), (FIRST, FIRST * 2, LONGEST));
        all.note(ca, kind, "why", now, all.endings());
        all.forget(Some("https://other.example/dir"));
        assert!(all.left(ca, now).is_some());
        all.forget(None);
        assert_eq!(all.left(ca, now), None);
    }

    #[test]
    fn an_order_that_began_before_the_pauses_were_ended_begins_none() {
        let (all, ca, kind) = (Standstills::default(), "https://ca.example/dir", FailureKind::Trust);
        let (now, since) = (Duration::from_secs(5), all.endings());
        assert!(!all.forget(None), "no CA is paused yet");
        all.note(ca, kind, "why", now, since);
        assert_eq!(all.left(ca, now), None);
        all.note(ca, kind, "why", now, all.endings());
        assert!(all.left(ca, now).is_some());
    }
}
