//! The domains: their records and certificates, and everything that becomes durable with them.

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, DomainRecord};
use std::time::Duration;

use crate::StoreError;
use crate::history::{AuditEntry, TimelineEntry};
use crate::leases::Fence;
use crate::outbox::OutboxEvent;
use crate::query::DomainQuery;

/// Domains and what is stored with them.
#[async_trait]
pub trait DomainStore: Send + Sync + 'static {
    /// Adds a domain. [`StoreError::Exists`] if the name is taken. Its version is higher than any that a
    /// domain of this name had before, so that a version identifies one state of one domain.
    async fn create(&self, new: Creation) -> Result<DomainRecord, StoreError>;

    /// Reads one domain.
    async fn domain(&self, name: &DomainName) -> Result<Option<DomainRecord>, StoreError>;

    /// Reads several domains, in no particular order, without those that there are not or that cannot be read.
    async fn domains(&self, names: &[DomainName]) -> Result<Vec<DomainRecord>, StoreError>;

    /// Replaces a domain's record, if it still has the version it was read with and the fence
    /// still holds; everything in the change becomes durable together or not at all. Returns the
    /// record with its new version. A fence holds while it is the newest grant of the domain's lease
    /// ([`crate::LeaseKey::Domain`]), even after that has expired: no other node has begun.
    async fn transition(&self, change: Transition) -> Result<DomainRecord, StoreError>;

    /// Deletes a domain, if it still has the version it was read with: record, certificate, order,
    /// timeline, lease, redirects, outbox events. The audit log keeps the entry given. `version`: `None`
    /// for a record that cannot be read. [`StoreError::NotFound`] if there is no such domain. Returns a
    /// version above those that the domain had and below those of any later domain of this name.
    async fn purge(&self, name: &DomainName, version: Option<u64>, audit: AuditEntry) -> Result<u64, StoreError>;

    /// Deletes a domain whose name or record cannot be read, by its stored name. [`StoreError::Conflict`]
    /// if it can be read; [`StoreError::NotFound`] if there is none.
    async fn purge_unreadable(&self, name: &str, audit: AuditEntry) -> Result<(), StoreError>;

    /// The names of the records that were found unreadable, and why. Calls that read many records skip
    /// them; reading one of them fails with [`StoreError::Unreadable`].
    fn unreadable(&self) -> Vec<(String, String)>;

    /// A page of domains, sorted by name; shorter than the limit only if it is the last.
    async fn list(&self, query: &DomainQuery) -> Result<Vec<DomainRecord>, StoreError>;

    /// Some of all domains, in the order in which they are stored: the fastest way to read all of them, since
    /// each page of the file is read once. `after`: [`Stored::last`] of the call before; `None` to begin. A
    /// domain that is created meanwhile comes later.
    async fn stored(&self, after: Option<Position>, limit: usize) -> Result<Stored, StoreError>;

    /// How many domains are in each state and reason; maintained with every change, not counted. `tenant`:
    /// `None` for all.
    async fn counts(&self, tenant: Option<&str>) -> Result<Vec<Count>, StoreError>;

    /// The certificate of a domain, as last stored by a transition.
    async fn certificate(&self, name: &DomainName) -> Result<Option<StoredCertificate>, StoreError>;

    /// How many domains are to be renewed ([`DomainRecord::renewal_due`]) on each day up to that of
    /// `until`, earliest first, without the days that have none; maintained with every change, not counted.
    async fn renewals(&self, until: Timestamp) -> Result<Vec<RenewalDay>, StoreError>;
}

/// Some of all domains, in the order in which they are stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Without those that cannot be read.
    pub records: Vec<DomainRecord>,
    /// Where they end; `None` if there are no more.
    pub last: Option<Position>,
}

/// A place in the order in which domains are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub(crate) i64);

/// A new domain.
#[derive(Clone, Debug)]
pub struct Creation {
    /// The record; its version is ignored: the store assigns one.
    pub record: DomainRecord,
    /// First lines of its timeline.
    pub timeline: Vec<TimelineEntry>,
    /// Who added it. `None`: linkseal itself.
    pub audit: Option<AuditEntry>,
}

/// A change of one domain.
#[derive(Clone, Debug)]
pub struct Transition {
    /// The new record, still with the version that was read.
    pub record: DomainRecord,
    /// The lease under which it was computed. `None`: a change by an operator needs none.
    pub fence: Option<Fence>,
    /// A certificate that is stored with it.
    pub certificate: Option<StoredCertificate>,
    /// Whether the domain's order has ended with it and is deleted.
    pub order_ended: bool,
    /// Lines for its timeline.
    pub timeline: Vec<TimelineEntry>,
    /// Lifecycle events for the journal; stored until it has taken them.
    pub outbox_events: Vec<OutboxEvent>,
    /// Who did it. `None`: linkseal itself.
    pub audit: Option<AuditEntry>,
}

impl Transition {
    /// A change of the record alone.
    pub fn of(record: DomainRecord) -> Self {
        Self {
            record,
            fence: None,
            certificate: None,
            order_ended: false,
            timeline: Vec::new(),
            outbox_events: Vec::new(),
            audit: None,
        }
    }
}

/// A certificate with its sealed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCertificate {
    /// The chain as PEM, leaf first.
    pub chain_pem: String,
    /// The PKCS#8 private key, sealed for `certificates/{name}`.
    pub sealed_key: Vec<u8>,
}

/// How many domains are in one state for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The state follows from it.
    pub reason: Reason,
    pub domains: u64,
}

/// The renewals of one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalDay {
    /// Midnight UTC at its start.
    pub day: Timestamp,
    /// How many domains are to be renewed.
    pub renewals: u64,
}

/// The length of a [`RenewalDay`].
pub const DAY: Duration = Duration::from_secs(86_400);
