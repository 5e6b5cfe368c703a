//! Finds what is due, at any number of domains: one indexed query, then sleep until the next.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::ssl::Reason;
use linkseal_store::{DomainQuery, StoreError};
use tokio::time::Instant;

use super::{Control, Priority};

/// How many names are taken up in one round beyond those in hand.
const BATCH: usize = 256;
/// How many names may be in hand at once; the rest waits in the store.
pub(super) const MAX_IN_HAND: usize = 2_048;
/// Shortest time between two rounds, so that a burst of changes is one round.
pub const PAUSE: Duration = Duration::from_millis(10);
/// Longest sleep: what another node stored is found by then.
pub const LONGEST: Duration = Duration::from_secs(30);
/// A name is not taken up again sooner: what stays due (another node has its lease, the store
/// refuses the change) must not become a busy loop.
const REST: Duration = Duration::from_secs(1);
/// Sleep after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Which of the names that are due are taken up, round by round, and how long to sleep then.
///
/// `N` is what names a domain.
pub struct Rounds<N = DomainName> {
    /// Names taken up lately, and when.
    recent: HashMap<N, Instant>,
    /// When all domains were searched for certificates that run out.
    searched: Option<Instant>,
}

impl<N> Default for Rounds<N> {
    fn default() -> Self {
        Self {
            recent: HashMap::new(),
            searched: None,
        }
    }
}

impl<N: Clone + Eq + Hash> Rounds<N> {
    /// Begins a round: how many of the names that are due to read. `None`: the hands are full, and
    /// anyone who is done wakes us.
    pub fn begin(&mut self, in_hand: usize, now: Instant) -> Option<usize> {
        self.recent
            .retain(|_, taken| now.saturating_duration_since(*taken) < REST);
        (in_hand < MAX_IN_HAND).then(|| in_hand + self.recent.len() + BATCH)
    }

    /// Whether all domains may be searched for certificates that run out: it takes a while where
    /// there are many.
    fn may_search(&mut self, now: Instant) -> bool {
        let may = self
            .searched
            .is_none_or(|at| now.saturating_duration_since(at) >= LONGEST);
        if may {
            self.searched = Some(now);
        }
        may
    }

    /// The names to take up of those that are due, most overdue first, and the longest sleep after it.
    pub fn choose(
        &mut self,
        due: Vec<N>,
        in_hand: usize,
        is_in_hand: impl Fn(&N) -> bool,
        now: Instant,
    ) -> (Vec<N>, Duration) {
        let room = MAX_IN_HAND.saturating_sub(in_hand);
        let mut longest = LONGEST;
        let mut taken = Vec::new();
        for name in due {
            if taken.len() == room {
                break;
            }
            if is_in_hand(&name) {
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

/// How long to sleep after a round. `next`: when a name will be due; what is due and in hand wakes
/// us when it is done.
pub fn sleep_after(next: Option<Timestamp>, now: Timestamp, longest: Duration) -> Duration {
    next.and_then(|at| at.since(now))
        .map_or(longest, |wait| wait.min(longest))
}

impl Control {
    /// Runs rounds for ever.
    pub(super) async fn run_scheduler(self) {
        if let Err(error) = self.take_up_interrupted().await {
            tracing::error!(%error, "interrupted orders could not be read; they are taken up when they are due");
        }
        let mut rounds = Rounds::default();
        loop {
            let wait = match self.round(&mut rounds).await {
                Ok(wait) => wait,
                Err(error) => {
                    self.store_fails("find what is due", None, &error);
                    STORE_RETRY
                }
            };
            // Woken by a change, by what becomes due, or by a clock that was moved.
            tokio::select! {
                () = self.inner.wake.notified() => {}
                () = self.inner.clock.sleep(wait) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes up what is due; returns how long nothing else will be.
    async fn round(&self, rounds: &mut Rounds) -> Result<Duration, StoreError> {
        self.take_up_newcomers().await?;
        let now = self.inner.clock.now();
        let in_hand = self.inner.in_hand.len();
        let Some(limit) = rounds.begin(in_hand, Instant::now()) else {
            self.take_up_expiring(rounds).await?;
            return Ok(LONGEST);
        };
        let due = self.inner.store.due(now, limit).await?;
        let is_in_hand = |name: &DomainName| self.inner.in_hand.contains_key(name);
        let (taken, longest) = rounds.choose(due, in_hand, is_in_hand, Instant::now());
        let full = in_hand + taken.len() >= MAX_IN_HAND;
        for name in taken {
            self.attend(name, Priority::Bulk, None);
        }
        if full {
            self.take_up_expiring(rounds).await?;
        }
        Ok(sleep_after(self.inner.store.next_due(now).await?, now, longest))
    }

    /// Takes up the certificates that run out when the hands are full of other work: what is due
    /// longer must not stand in front of them.
    async fn take_up_expiring(&self, rounds: &mut Rounds) -> Result<(), StoreError> {
        if !rounds.may_search(Instant::now()) {
            return Ok(());
        }
        let now = self.inner.clock.now();
        let mut names = Vec::new();
        self.inner.registry.for_each(|entry| {
            if entry.is_at_risk(now) && !self.inner.in_hand.contains_key(&entry.name) {
                names.push(entry.name.clone());
            }
        });
        for name in names {
            if self.inner.in_hand.len() >= 2 * MAX_IN_HAND {
                break;
            }
            let due = match self.inner.store.domain(&name).await {
                // One bad record stops one domain.
                Err(StoreError::Unreadable { .. }) => None,
                record => record?.and_then(|r| r.next_due()),
            };
            if due.is_some_and(|at| at <= now) {
                self.attend(name, Priority::Bulk, None);
            }
        }
        Ok(())
    }

    /// After a start: what this node was working on when it ended, at once and not when it is
    /// found abandoned.
    async fn take_up_interrupted(&self) -> Result<(), StoreError> {
        for name in self.inner.store.open_orders().await? {
            let record = match self.inner.store.domain(&name).await {
                Err(StoreError::Unreadable { .. }) => None,
                record => record?,
            };
            if let Some(record) = record
                && record.ssl.reason.is_in_progress()
            {
                self.attend(name, Priority::Bulk, None);
            }
        }
        for reason in [Reason::Ordering, Reason::Validating, Reason::Renewing] {
            let query = DomainQuery {
                reason: Some(reason),
                limit: MAX_IN_HAND,
                ..DomainQuery::default()
            };
            for record in self.inner.store.list(&query).await? {
                self.attend(record.name, Priority::Bulk, None);
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
        let hand = names[0].clone();
        let (taken, longest) = rounds.choose(names.clone(), MAX_IN_HAND - 2, |n| *n == hand, start);
        assert_eq!((taken.as_slice(), longest), (&names[1..3], LONGEST));
        // Still due, but taken up a moment ago.
        assert_eq!(rounds.begin(1, start), Some(1 + 2 + BATCH));
        let (taken, longest) = rounds.choose(names[..3].to_vec(), 1, |n| *n == hand, start);
        assert_eq!((taken.as_slice(), longest), (&[][..], REST));
        assert_eq!(rounds.begin(1, start + REST), Some(1 + BATCH));
        let (taken, _) = rounds.choose(names[..3].to_vec(), 1, |n| *n == hand, start + REST);
        assert_eq!(taken, names[1..3]);
        assert_eq!(rounds.begin(MAX_IN_HAND, start), None);
    }

    #[test]
    fn the_sleep_ends_when_something_is_due() {
        let now = Timestamp::from_secs(1_795_305_600);
        let soon = Duration::from_secs(3);
        assert_eq!(sleep_after(Some(now + soon), now, LONGEST), soon);
        assert_eq!(sleep_after(Some(now + LONGEST * 2), now, LONGEST), LONGEST);
        assert_eq!(sleep_after(Some(now), now, REST), REST);
        assert_eq!(sleep_after(None, now, LONGEST), LONGEST);
    }
}
