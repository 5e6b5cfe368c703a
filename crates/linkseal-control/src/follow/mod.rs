//! What other nodes store, brought into this node's memory: in a fleet only.
//!
//! The follower reads the store's change feed a few times a second. A change is a hint: what it names is read
//! again, so that a change that comes twice, late or after a newer one does no harm. A feed that cannot be
//! followed on (too far behind, or the store lost its last commits) is followed from its end, and everything is
//! read again, while what is in memory goes on being served.
//!
//! | file | does |
//! |---|---|
//! | `apply` | what a change means for this node's memory |
//! | `certificates` | brings in the certificates that this node serves |
//! | `copy` | what a change means for this node's copy on disk |
//! | `reread` | reads everything again |
//! | `membership` | this process as a node of the fleet |
//!
//! What is lost if the store is away: nothing; this node serves what it has, and follows on when the store is back.
//! Its lag is exported, and other nodes learn from its heartbeat how far it has come.

mod apply;
mod certificates;
mod copy;
mod membership;
mod reread;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::random;
use linkseal_domain::DomainName;
use linkseal_store::{Feed, FeedPosition, StoreError};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::core::{Core, Lag};
use crate::operator::Operator;
use crate::watch::tickets::TicketKeeper;

pub(crate) use self::membership::Membership;
pub use self::membership::NodeOfFleet;

/// Between two looks at the feed when nothing was changed; jittered.
const INTERVAL: Duration = Duration::from_millis(300);
/// Changes read at once.
const AT_ONCE: usize = 1_000;
/// A node that follows no changes says at this interval that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two heartbeats at least.
const HEARTBEAT_PAUSE: Duration = Duration::from_millis(250);

/// Follows the change feed.
pub(crate) struct Follower {
    core: Arc<Core>,
    operator: Arc<Operator>,
    tickets: Arc<TicketKeeper>,
    node: Arc<Membership>,
    lag: Lag,
    /// Domains that were purged while the registry was being loaded, which may put them there from a page that was
    /// read before.
    purged_while_loading: Mutex<HashSet<DomainName>>,
    /// Up to which change the node's copy is known to have everything.
    copied: Mutex<Option<FeedPosition>>,
}

impl Follower {
    pub(crate) fn new(
        core: Arc<Core>,
        operator: Arc<Operator>,
        tickets: Arc<TicketKeeper>,
        node: Arc<Membership>,
        lag: Lag,
    ) -> Self {
        Self {
            core,
            operator,
            tickets,
            node,
            lag,
            purged_while_loading: Mutex::default(),
            copied: Mutex::default(),
        }
    }

    /// Waits until this process has joined the fleet.
    pub(crate) async fn joined(&self) {
        self.node.joined().await;
    }

    /// Follows from a position until shutdown: that of the copy which the registry was loaded from, or the feed's
    /// end before it was loaded from the store.
    pub(crate) async fn run(self, mut position: FeedPosition) {
        let mut told: Option<(Instant, FeedPosition)> = None;
        let mut failing_since = None;
        loop {
            let more = match self.step(&mut position).await {
                Ok(more) => {
                    if let Some(since) = failing_since.take() {
                        let after = self.core.clock.uptime().saturating_sub(since);
                        tracing::warn!(?after, "the store answers again; following the changes of other nodes");
                    }
                    more
                }
                Err(error) => {
                    failing_since.get_or_insert_with(|| self.core.clock.uptime());
                    self.core
                        .store_failed("follow the changes of other nodes", None, &error);
                    false
                }
            };
            let is_due = told.as_ref().is_none_or(|(at, last)| {
                at.elapsed() >= HEARTBEAT || *last != position && at.elapsed() >= HEARTBEAT_PAUSE
            });
            if is_due && self.node.tell(&self.core, &position).await {
                told = Some((Instant::now(), position.clone()));
            }
            if let Err(error) = self.settle().await {
                self.core.store_failed("read how far the nodes have come", None, &error);
            }
            if !more {
                tokio::time::sleep(random::jitter(INTERVAL, 0.3)).await;
            }
        }
    }

    /// Finds out which certificates have reached every node.
    async fn settle(&self) -> Result<(), StoreError> {
        let everywhere = &self.core.everywhere;
        if everywhere.is_settled() {
            return Ok(());
        }
        let nodes = self.core.store.nodes().await?;
        let positions: Vec<_> = nodes.into_iter().map(|node| node.position).collect();
        everywhere.settle(&positions);
        Ok(())
    }

    /// Applies the next changes; returns whether there are more.
    async fn step(&self, position: &mut FeedPosition) -> Result<bool, StoreError> {
        let loaded = self.core.registry.is_loaded();
        self.forget_what_was_purged_while_loading().await?;
        let asked = self.core.clock.uptime();
        match self.core.store.changes_after(position, AT_ONCE).await? {
            Feed::Changes {
                changes,
                position: next,
                more,
            } => {
                self.apply(changes, &next).await?;
                *position = next;
                if loaded {
                    self.copy_is_at(position).await;
                }
                if !more {
                    self.lag.caught_up(asked);
                }
                Ok(more)
            }
            Feed::Broken => {
                tracing::warn!(
                    "the changes of other nodes cannot be followed on (too far behind, or the store lost its last ones); reading everything again"
                );
                let end = self.core.store.feed_end().await?;
                self.reread().await?;
                *position = end;
                if loaded {
                    self.copy_is_at(position).await;
                }
                Ok(true)
            }
        }
    }
}
