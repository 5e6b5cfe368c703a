//! Keeps the audit log bounded, in time and in number.

use std::time::Duration;

use super::Control;

/// How long audit lines are kept.
const AUDIT_KEPT: Duration = Duration::from_secs(400 * 86_400);
/// How many at most, a few hundred bytes each: the oldest beyond go before their time.
const AUDIT_LINES: u64 = 1_000_000;
/// Between two rounds.
const EVERY: Duration = Duration::from_secs(3_600);

impl Control {
    /// Lets old audit lines go, for ever.
    pub async fn prune_history(self) {
        loop {
            let before = self.inner.clock.now().minus(AUDIT_KEPT);
            match self.inner.store.prune_audit(before, AUDIT_LINES).await {
                // More may be waiting: one short write at a time.
                Ok(gone) if gone > 0 => tokio::task::yield_now().await,
                Ok(_) => tokio::time::sleep(EVERY).await,
                Err(error) => {
                    tracing::warn!(%error, "old audit lines are still there");
                    tokio::time::sleep(EVERY).await;
                }
            }
        }
    }
}
