//! Everything durable, behind one trait per concern.
//!
//! The traits are made for a fleet: every change names the version it was computed from, and work on
//! a domain is fenced by a lease, so that a node which lost its lease can no longer write. A call that
//! returns `Ok` is durable.
//!
//! | module | holds |
//! |---|---|
//! | `domains` | records, certificates, transitions, listing, what is due |
//! | `orders`, `leases` | open orders; leases and claims: which process works on what |
//! | `budgets`, `bucket` | limits of the CAs as token buckets, and their arithmetic |
//! | `cas` | accounts, outages and hold-backs of the CAs, the freeze |
//! | `outbox` | lifecycle events that wait for the journal |
//! | `links` | stored redirects and kill switches |
//! | `secrets` | sealed secrets and session-ticket keys |
//! | `history` | timelines, audit log |
//! | `feed` | the change feed that the caches of every node follow |
//! | `nodes` | the nodes that share the store |
//! | `pages` | all domains, or those that match a query, page by page |
//! | `copy` | a node's own copy of what it serves, for when the fleet's store is away |
//! | `sqlite` | the embedded implementation: one file, one process |
//! | `postgres` | the implementation for a fleet |
//!
//! [`Store`] is the sum of the traits; the control plane and the admin API hold a [`SharedStore`].
//! The conformance tests in `conformance` state what every implementation must do. The store never
//! sees a secret in the clear: keys arrive sealed ([`linkseal_domain::cert::sealed`]).

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;

pub mod bucket;
mod budgets;
mod cas;
#[cfg(test)]
mod conformance;
pub mod copy;
mod domains;
mod error;
mod feed;
mod history;
mod leases;
mod links;
pub mod metrics;
mod nodes;
mod orders;
mod outbox;
mod pages;
pub mod postgres;
mod query;
mod secrets;
pub mod sqlite;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod unreadable;
mod values;

pub use budgets::{BudgetAnswer, BudgetStore, BudgetTake};
pub use cas::{CaAccount, CaStore, CaTrouble, Freeze};
pub use domains::{Count, Creation, DAY, DomainStore, Position, RenewalDay, Stored, StoredCertificate, Transition};
pub use error::StoreError;
pub use feed::{Changed, Feed, FeedPosition, FeedStore, NotAPosition};
pub use history::{AuditEntry, HistoryStore, TIMELINE_KEPT, TimelineEntry};
pub use leases::{Claim, Fence, Lease, LeaseKey, LeaseStore, Owner};
pub use links::{LinkStore, RedirectQuery, StoredKill, StoredRedirect};
pub use nodes::{NODE_GONE, NewNode, Node, NodeStore};
pub use orders::{OrderRecord, OrderStep, OrderStore};
pub use outbox::{OutboxEvent, OutboxStore};
pub use pages::Pages;
pub use query::DomainQuery;
pub use secrets::{NewTicketKey, SecretStore, TicketKeyRow};
pub(crate) use {feed::CHANGES_KEPT, links::KILLS_KEPT, outbox::OUTBOX_KEPT};

/// All traits of the store, for callers of a concrete store. A [`SharedStore`] needs no import.
pub mod prelude {
    pub use super::{
        BudgetStore as _, CaStore as _, DomainStore as _, FeedStore as _, HistoryStore as _, LeaseStore as _,
        LinkStore as _, NodeStore as _, OrderStore as _, OutboxStore as _, SecretStore as _, Store as _,
    };
}

/// The durable state of one edge or fleet.
#[async_trait]
pub trait Store:
    DomainStore
    + OrderStore
    + LeaseStore
    + NodeStore
    + BudgetStore
    + CaStore
    + OutboxStore
    + LinkStore
    + SecretStore
    + HistoryStore
    + FeedStore
{
    /// The time by the clock that leases, budgets and due work are measured with.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Checks that the store can be written, by a row that is written and read back. Called before an
    /// order, since a certificate that cannot be stored must not be ordered.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Writes a consistent copy to a new file while the store is in use. Fails if the file exists.
    async fn backup(&self, to: &Path) -> Result<(), StoreError>;
}

/// A shared store of any kind.
pub type SharedStore = Arc<dyn Store>;
