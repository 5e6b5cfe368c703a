//! Claims what is due, at any number of domains: one indexed query, then sleep until the next one. A claim is a lease,
//! so that no other node works on the same domain.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use linkseal_domain::DomainName;
use linkseal_domain::registry::PARTS;
use linkseal_domain::ssl::Reason;
use linkseal_store::{DomainQuery, StoreError};
use tokio::time::Instant;

use super::Schedule;
use crate::core::Priority;

/// Due names claimed in one round.
const BATCH: usize = 256;
/// Names in progress at the same time; the rest waits in the store, for any node. The fast lane and certificates about
/// to expire may double it.
const MAX_IN_PROGRESS: usize = 2_048;
/// Shortest time between two rounds, so that a burst of changes is handled in one.
pub const PAUSE: Duration = Duration::from_millis(10);
/// Longest sleep: what another node has stored, or left behind, is found by then.
pub const LONGEST: Duration = Duration::from_secs(30);
/// A name is not taken up again sooner: one that stays due (the store refuses the change) must not cause a busy
/// loop.
pub const REST: Duration = Duration::from_secs(1);
/// A search ends after a part of the registry once it has read this many records of certificates about to expire: the
/// next one goes on there.
const LOOKED_AT: usize = 4 * MAX_IN_PROGRESS;
/// Between two looks at whether this node has caught up with the store.
const BEHIND: Duration = Duration::from_millis(100);
/// Sleep after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Decides which due names are taken up in each round, and how long to sleep after it. `N` identifies
/// a domain.
pub struct Rounds<N = DomainName> {
    /// Names taken up within [`REST`], and when.
    recent: HashMap<N, Instant>,
    /// When domains were last searched for certificates about to expire.
    searched: Option<Instant>,
    /// The part of the registry that the next search begins with.
    part: usize,
}

impl<N> Default for Rounds<N> {
    fn default() -> Self {
        Self {
            recent: HashMap::new(),
            searched: None,
            part: 0,
        }
    }
}

impl<N: Clone + Eq + Hash> Rounds<N> {
    /// Begins a round: how many due names to claim, or `None` if there is no room; the end of any
    /// name's work wakes the scheduler.
    pub fn begin(&mut self, in_progress: usize, now: Instant) -> Option<usize> {
        self.recent
            .retain(|_, taken| now.saturating_duration_since(*taken) < REST);
        let room = MAX_IN_PROGRESS.saturating_sub(in_progress);
        (room > 0).then(|| room.min(BATCH))
    }

    /// Whether a due name has to rest for [`REST`], because it was taken up a moment ago. If not, it counts as
    /// taken up now.
    pub fn rests(&mut self, name: &N, now: Instant) -> bool {
        if self.recent.contains_key(name) {
            return true;
        }
        self.recent.insert(name.clone(), now);
        false
    }

    /// Whether to search all domains for certificates about to expire, which takes a while in a large
    /// fleet.
    fn may_search(&mut self, now: Instant) -> bool {
        let may = self
            .searched
            .is_none_or(|at| now.saturating_duration_since(at) >= LONGEST);
        if may {
            self.searched = Some(now);
        }
        may
    }
}

/// How long to sleep after a round, if the next name is due in `next`.
pub fn sleep_after(next: Option<Duration>) -> Duration {
    next.map_or(LONGEST, |wait| wait.min(LONGEST))
}

impl Schedule {
    /// Runs rounds until shutdown.
    pub(crate) async fn run(self: Arc<Self>) {
        self.until_caught_up().await;
        if let Err(error) = self.take_up_interrupted().await {
            tracing::error!(%error, "reading interrupted orders failed; they resume when they are due");
        }
        let mut rounds = Rounds::default();
        loop {
            self.until_caught_up().await;
            let wait = match self.round(&mut rounds).await {
                Ok(wait) => wait,
                Err(error) => {
                    self.core.store_failed("find due domains", None, &error);
                    STORE_RETRY
                }
            };
            // Woken by a change, by what becomes due, or by a clock that was set.
            tokio::select! {
                () = self.core.wake.notified() => {}
                () = self.core.clock.sleep(wait) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// After a start, and after an absence of the store, what other nodes have done comes first.
    async fn until_caught_up(&self) {
        while !self.core.lag.is_small(self.core.clock.uptime()) {
            tokio::time::sleep(BEHIND).await;
        }
    }

    /// Takes up what is due; returns how long to sleep.
    async fn round(self: &Arc<Self>, rounds: &mut Rounds) -> Result<Duration, StoreError> {
        self.take_up_fast_lane().await?;
        let in_progress = self.in_progress_len();
        let Some(limit) = rounds.begin(in_progress, Instant::now()) else {
            self.take_up_expiring(rounds).await?;
            return Ok(LONGEST);
        };
        let claimed = self.core.leases.claim_due(limit).await?;
        let full = in_progress + claimed.len() >= MAX_IN_PROGRESS;
        for lease in claimed {
            let rests = rounds.rests(lease.name(), Instant::now());
            self.take_up_claimed(lease, rests);
        }
        if full {
            self.take_up_expiring(rounds).await?;
        }
        Ok(sleep_after(self.core.store.next_due().await?))
    }

    /// Takes up new domains of small tenants, even if this node is busy with others.
    async fn take_up_fast_lane(self: &Arc<Self>) -> Result<(), StoreError> {
        for record in self.fairness.fast_lane.take_all() {
            if self.in_progress_len() < 2 * MAX_IN_PROGRESS && self.fairness.is_small(&record).await? {
                self.take_up(record.name, Priority::Bulk);
            }
        }
        Ok(())
    }

    /// Takes up certificates that are about to expire while this node is busy with other work: what has
    /// been due for longer must not delay them.
    async fn take_up_expiring(self: &Arc<Self>, rounds: &mut Rounds) -> Result<(), StoreError> {
        if !rounds.may_search(Instant::now()) {
            return Ok(());
        }
        let now = self.core.clock.now();
        let mut looked_at = 0;
        for _ in 0..PARTS {
            let mut names = Vec::new();
            self.core.registry.for_each_of(rounds.part, |entry| {
                if entry.is_at_risk(now) && !self.is_in_progress(&entry.name) {
                    names.push(entry.name.clone());
                }
            });
            for name in names {
                if self.in_progress_len() >= 2 * MAX_IN_PROGRESS {
                    // The next search begins with the same part.
                    return Ok(());
                }
                looked_at += 1;
                let due = match self.core.store.domain(&name).await {
                    // One unreadable record stops one domain.
                    Err(StoreError::Unreadable { .. }) => None,
                    record => record?.and_then(|r| r.next_due()),
                };
                if due.is_some_and(|at| at <= now) {
                    self.take_up(name, Priority::Bulk);
                }
            }
            rounds.part = (rounds.part + 1) % PARTS;
            if looked_at >= LOOKED_AT {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// After a start: takes up orders that were interrupted, at once instead of when they are claimed. Those that
    /// another node works on have its lease, and are left to it.
    async fn take_up_interrupted(self: &Arc<Self>) -> Result<(), StoreError> {
        for name in self.core.store.open_orders().await? {
            let record = match self.core.store.domain(&name).await {
                Err(StoreError::Unreadable { .. }) => None,
                record => record?,
            };
            if let Some(record) = record
                && record.ssl.reason.is_in_progress()
            {
                self.take_up(name, Priority::Bulk);
            }
        }
        for reason in [Reason::Ordering, Reason::Validating, Reason::Renewing] {
            let query = DomainQuery {
                reason: Some(reason),
                limit: MAX_IN_PROGRESS,
                ..DomainQuery::default()
            };
            for record in self.core.store.list(&query).await? {
                self.take_up(record.name, Priority::Bulk);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_claims_what_there_is_room_for_and_nothing_twice_at_once() {
        let start = Instant::now();
        let mut rounds: Rounds<u32> = Rounds::default();
        assert_eq!(rounds.begin(0, start), Some(BATCH));
        assert_eq!(rounds.begin(MAX_IN_PROGRESS - 2, start), Some(2));
        assert_eq!(rounds.begin(MAX_IN_PROGRESS, start), None);
        assert_eq!(rounds.begin(MAX_IN_PROGRESS * 2, start), None);
        assert!(!rounds.rests(&1, start) && !rounds.rests(&2, start));
        // Still due, but taken up a moment ago.
        let soon = start + REST / 2;
        assert_eq!(rounds.begin(1, soon), Some(BATCH));
        assert!(rounds.rests(&1, soon));
        assert_eq!(rounds.begin(1, start + REST), Some(BATCH));
        assert!(!rounds.rests(&1, start + REST));
    }

    #[test]
    fn the_sleep_ends_when_a_name_is_due() {
        let soon = Duration::from_secs(3);
        assert_eq!(sleep_after(Some(soon)), soon);
        assert_eq!(sleep_after(Some(LONGEST * 2)), LONGEST);
        assert_eq!(sleep_after(None), LONGEST);
    }
}
