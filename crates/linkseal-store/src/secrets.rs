//! Secrets that the whole fleet shares. They arrive sealed and are never stored in the clear.

use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;

use crate::StoreError;

/// Sealed secrets and session-ticket keys.
#[async_trait]
pub trait SecretStore: Send + Sync + 'static {
    /// A sealed secret by name (the ACME account key).
    async fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Stores a sealed secret unless there is one; returns the stored one.
    async fn secret_or_insert(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// The session-ticket keys, newest first.
    async fn ticket_keys(&self) -> Result<Vec<TicketKeyRow>, StoreError>;

    /// Adds a ticket key if the newest is still `after` (`None`: if there is none) and at least as old as
    /// `rotate`, and deletes those that are older than `keep`. The key counts as made now. Returns whether it was
    /// added: only one node of a fleet can add it.
    async fn add_ticket_key(
        &self,
        key: &NewTicketKey,
        after: Option<u64>,
        rotate: Duration,
        keep: Duration,
    ) -> Result<bool, StoreError>;
}

/// A key that seals session tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketKeyRow {
    /// Its id, sent in clear with every ticket; grows by one.
    pub id: u64,
    /// The key, sealed for `ticket_keys/{id}`.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
}

/// A ticket key that is to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTicketKey {
    /// One more than that of the newest.
    pub id: u64,
    /// The key, sealed for `ticket_keys/{id}`.
    pub sealed: Vec<u8>,
}
