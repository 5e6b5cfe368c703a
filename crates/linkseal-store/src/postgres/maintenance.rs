//! What one node of the fleet does for all: adds up the count deltas, and deletes what is no longer needed. Which
//! node, a lease decides.

use std::time::Duration;

use linkseal_base::random;

use super::call::Repeat;
use super::params::int;
use super::pools::Purpose;
use super::{PostgresStore, budgets, counts, nodes, outbox};
use crate::values::sql_int;
use crate::{CHANGES_KEPT, LeaseKey, LeaseStore, OUTBOX_KEPT, Owner, StoreError};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// The lease lasts over some rounds, so that the work stays with one node.
const LEASE: Duration = Duration::from_secs(10);
/// Deltas added up in one transaction.
const DELTAS: i64 = 5_000;
/// Rounds between two in which old rows are deleted.
const CLEAN_EVERY: u32 = 60;
/// Full buckets deleted at once.
const BUCKETS: i64 = 10_000;

impl PostgresStore {
    /// Does this node's share of the upkeep until it is dropped.
    pub async fn maintain(&self) {
        let (owner, key) = (Owner::unique(), LeaseKey::task("upkeep"));
        let mut round = 0u32;
        loop {
            match self.acquire_lease(&key, owner, LEASE).await {
                Ok(Some(_)) => {
                    if let Err(error) = self.upkeep(round).await {
                        tracing::warn!(%error, "upkeep of the store failed; will retry");
                    }
                    round = round.wrapping_add(1);
                }
                Ok(None) => tokio::time::sleep(LEASE / 2).await,
                // Others say that the store is away.
                Err(error) => tracing::debug!(%error, "no upkeep of the store"),
            }
            tokio::time::sleep(random::jitter(INTERVAL, 0.2)).await;
        }
    }

    /// One round.
    pub(super) async fn upkeep(&self, round: u32) -> Result<(), StoreError> {
        while self.write("fold_counts", |db| counts::fold(db, DELTAS)).await? >= DELTAS.unsigned_abs() {}
        if !round.is_multiple_of(CLEAN_EVERY) {
            return Ok(());
        }
        self.write("drop_full_budgets", |db| budgets::drop_full(db, BUCKETS))
            .await?;
        self.write("forget_nodes", nodes::forget).await?;
        let lost = self.write("prune_outbox", outbox::prune).await?;
        if lost > 0 {
            tracing::error!(
                lost,
                "lifecycle events dropped: more than {OUTBOX_KEPT} wait for a journal"
            );
        }
        self.trim_feed(CHANGES_KEPT).await
    }

    /// Deletes the changes of each shard beyond the newest `kept`.
    pub(super) async fn trim_feed(&self, kept: u64) -> Result<(), StoreError> {
        let trim = move |db: super::call::Db| async move {
            let sql = "DELETE FROM linkseal.changes c USING linkseal.feed_heads h
                WHERE h.shard = c.shard AND c.seq <= h.seq - $1";
            db.execute(sql, &[int(&sql_int(kept))]).await
        };
        self.write_for(Purpose::Work, Repeat::Harmless, "trim_feed", trim)
            .await?;
        Ok(())
    }
}
