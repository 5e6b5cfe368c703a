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
    /// What the journal has not taken yet of [`crate::Transition::outbox_events`], oldest first; at most
    /// [`OUTBOX_KEPT`] are kept.
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEvent>, StoreError>;

    /// Deletes events that the journal has taken, by their place in the outbox.
    async fn ack_outbox(&self, seqs: &[u64]) -> Result<(), StoreError>;
}

/// A lifecycle event on its way to the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEvent {
    /// Its place in the outbox; given by the store.
    pub seq: u64,
    /// The event's id (UUIDv7); stable across redeliveries.
    pub id: Uuid,
    /// What happened.
    pub what: LifecycleEvent,
    /// When.
    pub at: Timestamp,
    /// To which domain.
    pub domain: DomainName,
    /// Whose it was then.
    pub tenant: String,
    /// The SSL state it came to, as the admin API shows it.
    pub ssl: serde_json::Value,
}
