//! The counters of the CA, for tests to assert on and to wait for.

use std::collections::{BTreeMap, HashMap};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Most names with counters of their own; further names count in the totals only.
const MAX_NAMES: usize = 1 << 20;

/// Totals since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests of every kind that were received completely.
    pub requests: u64,
    /// TCP connections accepted.
    pub connections: u64,
    /// Accounts created.
    pub accounts: u64,
    /// Orders created.
    pub orders: u64,
    /// Orders created with `replaces`.
    pub orders_with_replaces: u64,
    /// Authorizations created.
    pub authorizations: u64,
    /// Validations begun.
    pub validations: u64,
    /// Certificates issued.
    pub certificates: u64,
    /// Certificates revoked.
    pub revocations: u64,
    /// badNonce answers, injected or not.
    pub bad_nonces: u64,
    /// newOrder requests refused with 429.
    pub rate_limited: u64,
    /// Bytes sent of endless bodies.
    pub flooded: u64,
    /// Orders by requested profile.
    pub profiles: BTreeMap<String, u64>,
}

/// Totals of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameStats {
    /// Orders created for it.
    pub orders: u64,
    /// newOrder requests for it that an injected fault refused.
    pub refused: u64,
    /// Validations begun.
    pub validations: u64,
    /// Validations that failed.
    pub failed: u64,
    /// Certificates issued.
    pub certificates: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    counts: Mutex<Counts>,
    changed: Notify,
}

#[derive(Default)]
struct Counts {
    totals: Stats,
    names: HashMap<String, NameStats>,
}

impl Counters {
    /// Updates the totals and wakes the tests that wait.
    pub(super) fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.lock().totals);
        self.changed.notify_waiters();
    }

    /// Updates the totals of names and wakes the tests that wait.
    pub(super) fn count_names<'a>(&self, names: impl IntoIterator<Item = &'a str>, change: impl Fn(&mut NameStats)) {
        let mut counts = self.lock();
        for name in names {
            if let Some(stats) = counts.names.get_mut(name) {
                change(stats);
            } else if counts.names.len() < MAX_NAMES {
                change(counts.names.entry(name.to_owned()).or_default());
            }
        }
        drop(counts);
        self.changed.notify_waiters();
    }

    /// Counts an order with a profile, which is a configured one.
    pub(super) fn count_profile(&self, profile: &str) {
        self.count(|s| *s.profiles.entry(profile.to_owned()).or_default() += 1);
    }

    pub(super) fn totals(&self) -> Stats {
        self.lock().totals.clone()
    }

    pub(super) fn of(&self, name: &str) -> NameStats {
        self.lock().names.get(name).copied().unwrap_or_default()
    }

    /// Waits until `condition` holds; checks it whenever a counter changes.
    pub(super) async fn until(&self, condition: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if condition() {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }
}
