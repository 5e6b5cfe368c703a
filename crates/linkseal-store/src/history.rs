//! History: each domain's timeline, and the audit log.

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::ssl::Reason;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// How many lines of a domain's timeline are kept: the newest. A line is at most some hundred
/// bytes, and a domain that fails for a month has about a hundred.
pub const TIMELINE_KEPT: u64 = 200;

/// Timelines and audit log.
#[async_trait]
pub trait HistoryStore: Send + Sync + 'static {
    /// What happened to a domain, newest first, before the entry `before` (`None`: from the newest).
    async fn timeline(
        &self,
        name: &DomainName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<TimelineEntry>, StoreError>;

    /// Adds an audit line for a change that is no domain transition.
    async fn append_audit(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// Audit lines, newest first, before the line `before` (`None`: from the newest).
    async fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StoreError>;

    /// Deletes audit lines that are older than `before`, and the oldest beyond `keep`; a bounded number
    /// per call. Returns how many were deleted.
    async fn prune_audit(&self, before: Timestamp, keep: u64) -> Result<u64, StoreError>;
}

/// An entry of a domain's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TimelineEntry {
    /// Its number; assigned by the store.
    pub id: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The event, such as `registered`, `dns_right`, `order_started`, `issued`, `failed`.
    pub event: String,
    /// The reason of the SSL state after the event.
    pub reason: Reason,
    /// Details for people; null if there are none.
    pub detail: Option<String>,
}

/// Who changed what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditEntry {
    /// Its number; assigned by the store.
    pub id: u64,
    /// When it was done.
    pub at: Timestamp,
    /// The name of the token, `local` on a tokenless loopback port.
    pub who: String,
    /// The address it came from.
    pub from: String,
    /// What was done, as one word: `create`, `update`, `verify`, `reissue`, `retire`, `purge`, …
    pub action: String,
    /// What was changed, such as a domain's name.
    pub subject: String,
    /// The values before; `null` if there were none.
    pub before: serde_json::Value,
    /// The values after; `null` if there are none.
    pub after: serde_json::Value,
}
