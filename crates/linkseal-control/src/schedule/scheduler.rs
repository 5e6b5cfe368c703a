//! Finds what is due, at any number of domains: one indexed query, then sleep until the next one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::registry::PARTS;
use linkseal_domain::ssl::Reason;
use linkseal_store::{DomainQuery, StoreError};
use tokio::time::Instant;

use super::Schedule;
use crate::core::Priority;

/// Due names read in one round, beyond those in progress.
const BATCH: usize = 256;
/// Names in progress at the same time; the rest waits in the store. The fast lane and certificates about
/// to expire may double it.
const MAX_IN_PROGRESS: usize = 2_048;
/// Shortest time between two rounds, so that a burst of changes is handled in one.
pub const PAUSE: Duration = Duration::from_millis(10);
/// Longest sleep: what another node stored is found by then.
pub const LONGEST: Duration = Duration::from_secs(30);
/// A name is not taken up again sooner: one that stays due (another node has its lease, the store
/// refuses the change) must not cause a busy loop.
const REST: Duration = Duration::from_secs(1);
/// A search ends after a part of the registry once it has read this many records of certificates about to expire: the
/// next one goes on there.
const LOOKED_AT: usize = 4 * MAX_IN_PROGRESS;
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
    /// Begins a round: how many due names to read, or `None` if there is no room; the end of any
    /// name's work wakes the scheduler.
    pub fn begin(&mut self, in_progress: usize, now: Instant) -> Option<usize> {
        self.recent
            .retain(|_, taken| now.saturating_duration_since(*taken) < REST);
        (in_progress < MAX_IN_PROGRESS).then(|| in_progress + self.recent.len() + BATCH)
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

    /// The names to take up out of `due` (most overdue first), and the longest sleep after it.
    pub fn choose(
        &mut self,
        due: Vec<N>,
        in_progress: usize,
        is_in_progress: impl Fn(&N) -> bool,
        now: Instant,
    ) -> (Vec<N>, Duration) {
        let room = MAX_IN_PROGRESS.saturating_sub(in_progress);
        let mut longest = LONGEST;
        let mut taken = Vec::new();
        for name in due {
            if taken.len() == room {
                break;
            }
            if is_in_progress(&name) {
                continue;
            }
            if self.recent.contains_key(&name) {
                longest = REST;
                continue;
            }
            self.recent.insert(name.clone(), now);
            taken.push(name);
        }
        (taken, longest)
    }
}

/// How long to sleep after a round. `next` is when the next name will be due.
pub fn sleep_after(next: Option<Timestamp>, now: Timestamp, longest: Duration) -> Duration {
    next.and_then(|at| at.since(now))
        .map_or(longest, |wait| wait.min(longest))
}

impl Schedule {
    /// Runs rounds until shutdown.
    pub(crate) async fn run(self: Arc<Self>) {
        if let Err(error) = self.take_up_interrupted().await {
            tracing::error!(%error, "reading interrupted orders failed; they resume when they are due");
        }
        let mut rounds = Rounds::default();
        loop {
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

    /// Takes up what is due; returns how long to sleep.
    async fn round(self: &Arc<Self>, rounds: &mut Rounds) -> Result<Duration, StoreError> {
        self.take_up_fast_lane().await?;
        let now = self.core.clock.now();
        let in_progress = self.in_progress_len();
        let Some(limit) = rounds.begin(in_progress, Instant::now()) else {
            self.take_up_expiring(rounds).await?;
            return Ok(LONGEST);
        };
        let due = self.core.store.due(now, limit).await?;
        let (taken, longest) = rounds.choose(due, in_progress, |name| self.is_in_progress(name), Instant::now());
        let full = in_progress + taken.len() >= MAX_IN_PROGRESS;
        for name in taken {
            self.take_up(name, Priority::Bulk);
        }
        if full {
            self.take_up_expiring(rounds).await?;
        }
        Ok(sleep_after(self.core.store.next_due(now).await?, now, longest))
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

    /// After a start: takes up what this node was working on when it stopped, at once instead of when
    /// its leases end.
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
    fn a_round_takes_what_there_is_room_for_and_nothing_twice() {
        let names: Vec<_> = (0..300)
            .map(|n| DomainName::parse(&format!("d{n}.example")).unwrap())
            .collect();
        let start = Instant::now();
        let mut rounds: Rounds = Rounds::default();
        assert_eq!(rounds.begin(0, start), Some(BATCH));
        let busy = names[0].clone();
        let (taken, longest) = rounds.choose(names.clone(), MAX_IN_PROGRESS - 2, |n| *n == busy, start);
        assert_eq!((taken.as_slice(), longest), (&names[1..3], LONGEST));
        // Still due, but taken up a moment ago.
        assert_eq!(rounds.begin(1, start), Some(1 + 2 + BATCH));
        let (taken, longest) = rounds.choose(names[..3].to_vec(), 1, |n| *n == busy, start);
        assert_eq!((taken.as_slice(), longest), (&[][..], REST));
        assert_eq!(rounds.begin(1, start + REST), Some(1 + BATCH));
        let (taken, _) = rounds.choose(names[..3].to_vec(), 1, |n| *n == busy, start + REST);
        assert_eq!(taken, names[1..3]);
        assert_eq!(rounds.begin(MAX_IN_PROGRESS, start), None);
    }

    #[test]
    fn the_sleep_ends_when_a_name_is_due() {
        let now = Timestamp::from_secs(1_795_305_600);
        let soon = Duration::from_secs(3);
        assert_eq!(sleep_after(Some(now + soon), now, LONGEST), soon);
        assert_eq!(sleep_after(Some(now + LONGEST * 2), now, LONGEST), LONGEST);
        assert_eq!(sleep_after(Some(now), now, REST), REST);
        assert_eq!(sleep_after(None, now, LONGEST), LONGEST);
    }
}
