//! The outbox: lifecycle events that became durable with a transition and wait for the journal.

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, LifecycleEvent};
use uuid::Uuid;

use crate::StoreError;

/// How many events may wait for the journal, about 1 KiB each. Beyond that the oldest are dropped and
/// an error is logged.
pub(crate) const OUTBOX_KEPT: u64 = 100_000;

/// The outbox.
#[async_trait]
pub trait OutboxStore: Send + Sync + 'static {
    /// The [`crate::Transition::outbox_events`] that the journal has not taken yet, those of a domain oldest
    /// first; at most [`OUTBOX_KEPT`] are kept.
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEvent>, StoreError>;

    /// Deletes events that the journal has taken, by [`OutboxEvent::seq`].
    async fn ack_outbox(&self, seqs: &[u64]) -> Result<(), StoreError>;
}

/// A lifecycle event that waits for the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEvent {
    /// Its place in the outbox; assigned by the store.
    pub seq: u64,
    /// The event's id (UUIDv7); stable across redeliveries.
    pub id: Uuid,
    pub what: LifecycleEvent,
    pub at: Timestamp,
    pub domain: DomainName,
    /// The domain's tenant at that time.
    pub tenant: String,
    /// The SSL state after the event, as the admin API shows it.
    pub ssl: serde_json::Value,
}
