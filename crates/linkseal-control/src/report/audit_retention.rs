//! Keeps the audit log bounded in time and number.

use std::sync::Arc;
use std::time::Duration;

use super::Report;

/// How long audit entries are kept.
const RETENTION: Duration = Duration::from_secs(400 * 86_400);
/// Entries at most, of a few hundred bytes each; the oldest are deleted first.
const MAX_ENTRIES: u64 = 1_000_000;
const INTERVAL: Duration = Duration::from_secs(3_600);

impl Report {
    /// Deletes old audit entries until shutdown.
    pub async fn prune_audit(self: Arc<Self>) {
        loop {
            let before = self.core.clock.now().minus(RETENTION);
            match self.core.store.prune_audit(before, MAX_ENTRIES).await {
                // There may be more: one short write at a time.
                Ok(deleted) if deleted > 0 => tokio::task::yield_now().await,
                Ok(_) => tokio::time::sleep(INTERVAL).await,
                Err(error) => {
                    tracing::warn!(%error, "deleting old audit entries failed; will retry in an hour");
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        }
    }
}
