//! Lifecycle events on their way to the event plane: stored in an outbox together with the change that
//! caused them, and deleted once the journal has them. After a crash in between they are published
//! again, with the same id.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linkseal_store::{Lease, LeaseKey, OutboxEvent, StoreError};

use super::Report;

/// Events published at once, with a single sync of the journal.
const BATCH: usize = 256;
/// The lease under which they are published: by one node of a fleet at a time, so that they stay in order.
const LEASE: &str = "outbox";
/// Far longer than a batch takes.
const LEASE_TIME: Duration = Duration::from_secs(60);
/// The longest sleep: events that another node stored but did not publish are found by then.
const LONGEST: Duration = Duration::from_secs(30);
/// Wait after the journal or the store failed.
const RETRY: Duration = Duration::from_secs(2);

/// The event plane, which takes lifecycle events.
#[async_trait]
pub trait OutboxPublisher: Send + Sync + 'static {
    /// Publishes events in their order; returns how many of the first ones are durable.
    async fn publish(&self, events: &[OutboxEvent]) -> usize;
}

impl Report {
    /// Publishes lifecycle events until shutdown.
    pub async fn publish_outbox(self: Arc<Self>, publisher: Arc<dyn OutboxPublisher>) {
        loop {
            let pause = match self.publish_batch(&*publisher).await {
                Ok(pause) => pause,
                Err(error) => {
                    self.core.store_failed("publish lifecycle events", None, &error);
                    RETRY
                }
            };
            if pause.is_zero() {
                continue;
            }
            tokio::select! {
                () = self.core.outbox_ready.notified() => {}
                () = self.core.clock.sleep(pause) => {}
            }
        }
    }

    /// Publishes a batch; returns how long to wait before the next one.
    async fn publish_batch(&self, publisher: &dyn OutboxPublisher) -> Result<Duration, StoreError> {
        let store = &self.core.store;
        if store.outbox(1).await?.is_empty() {
            return Ok(LONGEST);
        }
        let key = LeaseKey::task(LEASE);
        let Some(fence) = store.acquire_lease(&key, self.core.owner, LEASE_TIME).await? else {
            return Ok(LONGEST);
        };
        // Read under the lease: what another node has published is deleted by now.
        let events = store.outbox(BATCH).await?;
        let durable = publisher.publish(&events).await;
        let published: Vec<u64> = events.iter().take(durable).map(|e| e.seq).collect();
        store.ack_outbox(&published).await?;
        store.release_lease(&Lease { key, fence }).await?;
        Ok(if durable < events.len() { RETRY } else { Duration::ZERO })
    }
}
