//! Finds what is due, at any number of domains: one indexed query, then sleep until the next.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Control, Priority};
use crate::domain::DomainName;
use crate::domain::ssl::Reason;
use crate::store::{DomainQuery, StoreError};

/// How many names are taken up in one round beyond those in hand.
const BATCH: usize = 256;
/// How many names may be in hand at once; the rest waits in the store.
const MAX_IN_HAND: usize = 2_048;
/// Shortest time between two rounds, so that a burst of changes is one round.
const PAUSE: Duration = Duration::from_millis(10);
/// Longest sleep: what another node stored is found by then.
const LONGEST: Duration = Duration::from_secs(30);
/// A name is not taken up again sooner: what stays due (another node has its lease, the store
/// refuses the change) must not become a busy loop.
const REST: Duration = Duration::from_secs(1);
/// Sleep after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

impl Control {
    /// Runs rounds for ever.
    pub(super) async fn run_scheduler(self) {
        if let Err(error) = self.take_up_interrupted().await {
            tracing::error!(%error, "interrupted orders could not be read; they are taken up when they are due");
        }
        let mut recent = HashMap::new();
        loop {
            let wait = match self.round(&mut recent).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(%error, "the scheduler cannot read the store");
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
    async fn round(&self, recent: &mut HashMap<DomainName, Instant>) -> Result<Duration, StoreError> {
        let now = self.inner.clock.now();
        let in_hand = self.inner.in_hand.len();
        if in_hand >= MAX_IN_HAND {
            // Whoever is done wakes us.
            return Ok(LONGEST);
        }
        recent.retain(|_, taken| taken.elapsed() < REST);
        let mut room = MAX_IN_HAND - in_hand;
        let mut longest = LONGEST;
        for name in self.inner.store.due(now, in_hand + recent.len() + BATCH).await? {
            if room == 0 {
                return Ok(LONGEST);
            }
            if self.inner.in_hand.contains_key(&name) {
                continue;
            }
            if recent.contains_key(&name) {
                longest = REST;
                continue;
            }
            room -= 1;
            recent.insert(name.clone(), Instant::now());
            self.attend(name, Priority::Bulk, None);
        }
        let next = self.inner.store.next_due().await?;
        // What is due and in hand wakes us when it is done.
        Ok(next
            .and_then(|at| at.since(now))
            .map_or(longest, |wait| wait.min(longest)))
    }

    /// After a start: what this node was working on when it ended, at once and not when it is
    /// found abandoned.
    async fn take_up_interrupted(&self) -> Result<(), StoreError> {
        for name in self.inner.store.open_orders().await? {
            if let Some(record) = self.inner.store.domain(&name).await?
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
