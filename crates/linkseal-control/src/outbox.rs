//! What happens to domains, on its way to the event plane: stored with the change itself, and
//! forgotten when the journal has it. A crash in between has it told twice, with one id.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_base::uuid7;
use linkseal_domain::view::SslView;
use linkseal_domain::{DomainRecord, LifecycleEvent};
use linkseal_store::{OutboxEvent, StoreError};
use serde_json::Value;

use super::Control;

/// Happenings told at once: one wait for the journal's disk.
const BATCH: usize = 256;
/// The lease under which they are told: in a fleet, by one node at a time, so that they stay in order.
const LEASE: &str = "outbox";
/// How long that lease holds: far longer than a batch takes.
const LEASE_TIME: Duration = Duration::from_secs(60);
/// Longest sleep: what another node stored and did not tell is found by then.
const LONGEST: Duration = Duration::from_secs(30);
/// Wait after the journal or the store refused.
const RETRY: Duration = Duration::from_secs(2);

/// Who takes on what happens to domains: the event plane.
#[async_trait]
pub trait OutboxPublisher: Send + Sync + 'static {
    /// Takes outbox_events on, in their order; returns how many of the first are durable there.
    async fn tell(&self, outbox_events: &[OutboxEvent]) -> usize;
}

impl Control {
    /// Tells what happens, for ever.
    pub async fn tell_happenings(self, teller: Arc<dyn OutboxPublisher>) {
        loop {
            let pause = match self.tell_some(&*teller).await {
                Ok(pause) => pause,
                Err(error) => {
                    self.store_fails("tell the journal what happened to domains", None, &error);
                    RETRY
                }
            };
            if pause.is_zero() {
                continue;
            }
            tokio::select! {
                () = self.inner.told.notified() => {}
                () = self.inner.clock.sleep(pause) => {}
            }
        }
    }

    /// Tells a batch; returns when to come again.
    async fn tell_some(&self, teller: &dyn OutboxPublisher) -> Result<Duration, StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        if store.outbox(1).await?.is_empty() {
            return Ok(LONGEST);
        }
        let lease = store.acquire_lease(LEASE, &self.inner.node, LEASE_TIME, now).await?;
        let Some(fence) = lease else { return Ok(LONGEST) };
        // Read under the lease: what another node has told is gone by now.
        let waiting = store.outbox(BATCH).await?;
        let taken = teller.tell(&waiting).await;
        let told: Vec<u64> = waiting.iter().take(taken).map(|h| h.seq).collect();
        store.ack_outbox(&told).await?;
        store.release_lease(LEASE, fence).await?;
        Ok(if taken < waiting.len() { RETRY } else { Duration::ZERO })
    }

    /// The milestones a change came to, as they are stored with it.
    pub(super) fn outbox_events(
        &self,
        record: &DomainRecord,
        milestones: &[LifecycleEvent],
        at: Timestamp,
    ) -> Vec<OutboxEvent> {
        if milestones.is_empty() {
            return Vec::new();
        }
        let messages = self.messages();
        let ssl = serde_json::to_value(SslView::of(record, messages.borrow())).unwrap_or(Value::Null);
        let of = |what: &LifecycleEvent| OutboxEvent {
            seq: 0,
            id: uuid7::at(at),
            what: *what,
            at,
            domain: record.name.clone(),
            tenant: record.tenant.clone(),
            ssl: ssl.clone(),
        };
        milestones.iter().map(of).collect()
    }
}
