//! Where everything durable lives. The trait is made for a fleet: every change names the version
//! it was computed from, and work on a domain is fenced by a lease, so that a node which lost its
//! lease can no longer write. A call that returns `Ok` is durable.
//!
//! The store never sees a secret in the clear: keys come sealed ([`linkseal_domain::cert::sealed`]).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::links::Kill;
use linkseal_domain::ssl::{Reason, State};
use linkseal_domain::{DomainName, DomainRecord, LifecycleEvent};
use linkseal_link::Slug;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub mod bucket;
#[cfg(test)]
mod conformance;
mod error;
pub mod metrics;
mod pages;
mod query;
pub mod sqlite;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod unreadable;

pub use error::StoreError;
pub use pages::Pages;
pub use query::DomainQuery;

/// How many lines of a domain's timeline are kept: the newest. A line is at most some hundred
/// bytes, and a domain that fails for a month has about a hundred.
pub const TIMELINE_KEPT: u64 = 200;
/// How many changes are kept for followers: more than a node misses in any short absence.
pub const CHANGES_KEPT: u64 = 100_000;
/// How many outbox_events wait for the journal at most, about 1 KiB each; beyond, the oldest go,
/// loudly: a journal that has taken none of so many will not be mended unseen.
pub const OUTBOX_KEPT: u64 = 100_000;

/// How many kill switches there may be: every node has all of them in memory, some 100 bytes each.
pub const KILLS_KEPT: usize = 10_000;

/// The key of the lease under which a domain is worked on.
pub fn domain_lease(name: &DomainName) -> String {
    format!("domain/{name}")
}

/// A store shared by everything that needs one.
pub type SharedStore = Arc<dyn Store>;

/// The durable state of one edge or fleet.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // --- domains -------------------------------------------------------------------------------

    /// Adds a domain. [`StoreError::Exists`] when the name is taken. Its version is higher than any
    /// that a domain of this name had before: a version names one state of one domain.
    async fn create(&self, new: Creation) -> Result<DomainRecord, StoreError>;

    /// Reads one domain.
    async fn domain(&self, name: &DomainName) -> Result<Option<DomainRecord>, StoreError>;

    /// Replaces a domain's record, if it still has the version it was read with and the fence
    /// still holds; everything in the change becomes durable together or not at all. Returns the
    /// record with its new version. A fence holds while it is the newest grant of
    /// [`domain_lease`], also past its time: no one else has begun.
    async fn transition(&self, change: Transition) -> Result<DomainRecord, StoreError>;

    /// Forgets a domain, if it still has the version it was read with: record, certificate, order,
    /// timeline, lease, redirects, outbox_events. The audit log keeps the entry given. `version`: `None`
    /// for a record that cannot be read. [`StoreError::NotFound`] when there is no such domain. Returns
    /// a version between those that the domain had and those of one that is added later by this name.
    async fn purge(&self, name: &DomainName, version: Option<u64>, audit: AuditEntry) -> Result<u64, StoreError>;

    /// Forgets a domain whose name or record cannot be read, by the name as it is stored.
    /// [`StoreError::Conflict`] when it can be read; [`StoreError::NotFound`] when there is none.
    async fn purge_unreadable(&self, name: &str, audit: AuditEntry) -> Result<(), StoreError>;

    /// The records that were found unreadable: names, and why. They are passed over by all that
    /// reads many; to read one alone is [`StoreError::Unreadable`].
    fn unreadable(&self) -> Vec<(String, String)>;

    /// A page of domains, sorted by name; shorter than the limit only when it is the last.
    async fn list(&self, query: &DomainQuery) -> Result<Vec<DomainRecord>, StoreError>;

    /// How many domains are in each state and reason; maintained, not counted.
    /// `tenant`: only that tenant's. `None`: all.
    async fn counts(&self, tenant: Option<&str>) -> Result<Vec<Count>, StoreError>;

    /// Names whose [`DomainRecord::next_due`] is not after `now`, most overdue first.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<DomainName>, StoreError>;

    /// The earliest [`DomainRecord::next_due`] after `now`. `None`: nothing more is ever due.
    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    // --- the outbox ----------------------------------------------------------------------------

    /// What the journal has not taken yet of [`Transition::outbox_events`], oldest first; at most
    /// [`OUTBOX_KEPT`] are kept.
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEvent>, StoreError>;

    /// Forgets outbox_events that the journal has taken, by their place in the outbox.
    async fn ack_outbox(&self, seqs: &[u64]) -> Result<(), StoreError>;

    // --- certificates --------------------------------------------------------------------------

    /// The certificate of a domain, as last stored by a transition.
    async fn certificate(&self, name: &DomainName) -> Result<Option<StoredCertificate>, StoreError>;

    // --- orders --------------------------------------------------------------------------------

    /// Writes the order of a domain before a step that cannot be repeated. The fence must hold,
    /// as in [`Store::transition`].
    async fn put_order(&self, order: &OrderRecord, fence: Fence) -> Result<(), StoreError>;

    /// The order of a domain that has not ended.
    async fn order(&self, name: &DomainName) -> Result<Option<OrderRecord>, StoreError>;

    /// Names with an order that has not ended: what a crash interrupted.
    async fn open_orders(&self) -> Result<Vec<DomainName>, StoreError>;

    // --- leases --------------------------------------------------------------------------------

    /// Takes the lease `key` for `owner` when it is free, has expired, or is `owner`'s already.
    /// Every grant has a larger fence than the one before. `None`: another holds it.
    async fn acquire_lease(
        &self,
        key: &str,
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Fence>, StoreError>;

    /// Gives a lease back, if the fence still holds.
    async fn release_lease(&self, key: &str, fence: Fence) -> Result<(), StoreError>;

    // --- budgets -------------------------------------------------------------------------------

    /// Takes from several token buckets at once: from all of them or from none. Where some are
    /// lacking, the answer gives the caller a turn, after those of everybody who was sent away
    /// before; where several buckets lack some, it names the one that takes longest. A bucket too
    /// small to ever hold the amount is to be asked again after the time it fills in.
    async fn take_budgets(&self, takes: &[BudgetTake], now: Timestamp) -> Result<BudgetAnswer, StoreError>;

    /// Gives tokens back (an order that did not count after all), never above the bucket's size.
    async fn return_budgets(&self, takes: &[BudgetTake], now: Timestamp) -> Result<(), StoreError>;

    /// What a bucket holds now, without taking.
    async fn budget_left(&self, take: &BudgetTake, now: Timestamp) -> Result<f64, StoreError>;

    /// Holds back all orders at a CA until a time, over what was said before: earlier too.
    async fn hold_back(&self, ca: &str, until: Timestamp) -> Result<(), StoreError>;

    /// Until when orders at a CA are held back. `None`: they are not, or no longer at `now`.
    async fn held_back(&self, ca: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    // --- CAs and their orders ------------------------------------------------------------------

    /// The troubles with a CA, by directory URL. `None`: it works.
    async fn ca_trouble(&self, directory: &str) -> Result<Option<CaTrouble>, StoreError>;

    /// Writes the troubles with a CA over those there were.
    async fn put_ca_trouble(&self, trouble: &CaTrouble) -> Result<(), StoreError>;

    /// A CA works (again).
    async fn end_ca_trouble(&self, directory: &str) -> Result<(), StoreError>;

    /// Orders at a CA wait no longer: neither is it held back nor in trouble.
    async fn release_ca(&self, directory: &str, audit: AuditEntry) -> Result<(), StoreError>;

    /// The freeze of all orders. `None`: they go on.
    async fn freeze(&self) -> Result<Option<Freeze>, StoreError>;

    /// Freezes all orders, over an earlier freeze.
    async fn put_freeze(&self, freeze: &Freeze, audit: AuditEntry) -> Result<(), StoreError>;

    /// Lets orders go on. [`StoreError::NotFound`] when they are not frozen.
    async fn end_freeze(&self, audit: AuditEntry) -> Result<(), StoreError>;

    /// How many domains are to be renewed ([`DomainRecord::renewal_due`]) on each day up to `until`
    /// and before, earliest first, days without any left out; maintained, not counted.
    async fn renewals(&self, until: Timestamp) -> Result<Vec<RenewalDay>, StoreError>;

    // --- stored redirects ----------------------------------------------------------------------

    /// The stored redirect of a domain, or with `None` the one for all domains. A domain's own
    /// and the one for all are two: which wins is not decided here.
    async fn redirect(&self, domain: Option<&DomainName>, slug: &Slug) -> Result<Option<StoredRedirect>, StoreError>;

    /// A page of stored redirects: those for all domains first, then by domain; by slug in each.
    async fn redirects(&self, query: &RedirectQuery) -> Result<Vec<StoredRedirect>, StoreError>;

    /// Stores a redirect, over one of the same domain and slug. [`StoreError::NotFound`] when there
    /// is no such domain.
    async fn put_redirect(&self, redirect: &StoredRedirect, audit: AuditEntry) -> Result<(), StoreError>;

    /// Forgets a redirect. [`StoreError::NotFound`] when there is none.
    async fn delete_redirect(
        &self,
        domain: Option<&DomainName>,
        slug: &Slug,
        audit: AuditEntry,
    ) -> Result<(), StoreError>;

    // --- kill switches -------------------------------------------------------------------------

    /// All kill switches, sorted by kind and value; [`KILLS_KEPT`] at most.
    async fn kills(&self) -> Result<Vec<StoredKill>, StoreError>;

    /// Stores a kill switch, over one of the same kind and value. [`StoreError::TooMany`] when
    /// there are [`KILLS_KEPT`] others.
    async fn put_kill(&self, kill: &StoredKill, audit: AuditEntry) -> Result<(), StoreError>;

    /// Forgets a kill switch. [`StoreError::NotFound`] when there is none.
    async fn delete_kill(&self, kill: &Kill, audit: AuditEntry) -> Result<(), StoreError>;

    // --- secrets of the fleet ------------------------------------------------------------------

    /// A sealed secret by name (the ACME account key).
    async fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Stores a sealed secret unless there is one; returns the one that is stored then.
    async fn secret_or_insert(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// The account at a CA, by directory URL.
    async fn ca_account(&self, directory: &str) -> Result<Option<CaAccount>, StoreError>;

    /// Writes the account at a CA.
    async fn put_ca_account(&self, account: &CaAccount) -> Result<(), StoreError>;

    /// The session-ticket keys, newest first.
    async fn ticket_keys(&self) -> Result<Vec<TicketKeyRow>, StoreError>;

    /// Adds a ticket key if the newest is still `after` (`None`: if there is none), and drops
    /// those made before `drop_before`. Returns whether it was added: one node of a fleet wins.
    async fn add_ticket_key(
        &self,
        key: &TicketKeyRow,
        after: Option<u64>,
        drop_before: Timestamp,
    ) -> Result<bool, StoreError>;

    // --- history -------------------------------------------------------------------------------

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

    /// Lets audit lines go that are older than `before`, and the oldest beyond `keep`. Returns how
    /// many went.
    async fn prune_audit(&self, before: Timestamp, keep: u64) -> Result<u64, StoreError>;

    /// Changes after `seq`, oldest first: what another node's caches must follow. Only the newest
    /// [`CHANGES_KEPT`] are kept: who is further behind [`Store::change_head`] reads everything again.
    async fn changes_since(&self, seq: u64, limit: usize) -> Result<Vec<Change>, StoreError>;

    /// The sequence of the newest change; 0 when there was none.
    async fn change_head(&self) -> Result<u64, StoreError>;

    // --- the store itself ----------------------------------------------------------------------

    /// Writes and reads back a row: whether what is stored now would last. Asked before an order,
    /// since a certificate that cannot be stored must not be ordered.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Writes a consistent copy to a new file while the store is in use. Never over an existing one.
    async fn backup(&self, to: &Path) -> Result<(), StoreError>;
}

/// A new domain.
#[derive(Clone, Debug)]
pub struct Creation {
    /// The record; its version is ignored: the store gives one.
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
    /// The lease under which it was computed. `None`: a change by an operator, which needs none.
    pub fence: Option<Fence>,
    /// A certificate that is stored with it.
    pub certificate: Option<StoredCertificate>,
    /// Whether the domain's order has ended with it and is deleted.
    pub order_ended: bool,
    /// Lines for its timeline.
    pub timeline: Vec<TimelineEntry>,
    /// What the event plane is to be told of; kept until it is.
    pub outbox_events: Vec<OutboxEvent>,
    /// Who did it. `None`: linkseal itself.
    pub audit: Option<AuditEntry>,
}

/// A lifecycle_event in a domain's life, on its way to the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEvent {
    /// Its place in the outbox; given by the store.
    pub seq: u64,
    /// The id of its event (UUIDv7): the same however often it is told.
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

/// Grows with every grant of a lease; an old one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub u64);

/// A certificate with its sealed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCertificate {
    /// The chain as PEM, leaf first.
    pub chain_pem: String,
    /// The PKCS#8 private key, sealed for `certificates/{name}`.
    pub sealed_key: Vec<u8>,
}

/// An order on its way (RFC 8555 §7.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRecord {
    /// The domain.
    pub name: DomainName,
    /// The directory URL of the CA.
    pub ca: String,
    /// The order's URL. `None`: newOrder was about to be sent; a crash there may cost one order.
    pub url: Option<String>,
    /// The PKCS#8 key of the certificate to be, sealed for `orders/{name}`.
    pub sealed_key: Vec<u8>,
    /// How far it got.
    pub step: OrderStep,
    /// When it was begun.
    pub created: Timestamp,
}

/// The last step of an order that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStep {
    /// newOrder is being sent.
    Creating,
    /// The order exists; its authorizations are worked on.
    Authorizing,
    /// The CSR is being sent.
    Finalizing,
}

/// The account at one CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaAccount {
    /// The directory URL.
    pub directory: String,
    /// The account's URL (`kid`).
    pub kid: String,
    /// When it was registered.
    pub created: Timestamp,
}

/// A CA that fails: by itself, not for one customer's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaTrouble {
    /// The directory URL.
    pub directory: String,
    /// Orders in a row that failed by its fault.
    pub failures: u32,
    /// How often in a row it was taken out of use for that.
    pub outages: u32,
    /// Until when it is out of use; past that, one order tries it. `None`: it still is in use.
    pub out_until: Option<Timestamp>,
    /// When the first of these orders failed.
    pub since: Timestamp,
    /// What it said to the last one, or did.
    pub why: String,
}

/// A stop of all orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Why, for other operators. `None`: no one said.
    pub note: Option<String>,
    /// Who did it: the name of a token.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

/// The renewals of one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalDay {
    /// Its begin, at midnight UTC.
    pub day: Timestamp,
    /// How many domains are to be renewed on it.
    pub renewals: u64,
}

/// The length of a [`RenewalDay`].
pub const DAY: Duration = Duration::from_secs(86_400);

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

/// A redirect that is stored instead of signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRedirect {
    /// The domain it is of. `None`: all domains that have none of their own with this slug.
    pub domain: Option<DomainName>,
    /// Its name in the path.
    pub slug: Slug,
    /// Where it leads.
    pub url: String,
    /// From when on it leads nowhere. `None`: never.
    pub expires: Option<Timestamp>,
    /// When it was put there.
    pub changed: Timestamp,
}

/// Which redirects to list.
#[derive(Clone, Debug, Default)]
pub struct RedirectQuery {
    /// Only this domain's. `None`: all there are, those for all domains too.
    pub domain: Option<DomainName>,
    /// Only those after this domain (`None`: the ones for all domains) and slug. `None`: from the first.
    pub after: Option<(Option<DomainName>, Slug)>,
    /// At most so many.
    pub limit: usize,
}

/// A kill switch as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKill {
    /// What is killed.
    pub kill: Kill,
    /// Why, for other operators. `None`: no one said.
    pub note: Option<String>,
    /// Who did it: the name of a token.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

/// How many domains are in one state for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The reason; the state follows.
    pub reason: Reason,
    /// How many.
    pub domains: u64,
}

/// Tokens to take from one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetTake {
    /// The bucket's name, such as `failed/https://ca.example/dir/links.customer.example`.
    pub key: String,
    /// Its size.
    pub size: u32,
    /// In what time it fills from empty.
    pub per: Duration,
    /// How many tokens to take.
    pub amount: u32,
    /// Whether who is sent away stands in the short line: that of tenants with only a few domains
    /// waiting, beside the one of large imports. SlugTargets are served at once.
    pub small_tenant: bool,
}

impl BudgetTake {
    /// The turn that anyone who takes this and finds the bucket empty is given: it can be given back
    /// by [`Store::return_budgets`], where no one will come for it.
    #[must_use]
    pub fn slot(&self) -> Self {
        Self {
            key: bucket::line_key(self),
            ..self.clone()
        }
    }
}

/// Whether the tokens were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetAnswer {
    /// All of them.
    Taken,
    /// None: this bucket lacks some until the time given.
    Exhausted {
        /// The bucket.
        key: String,
        /// When it will hold enough for the caller: its turn.
        until: Timestamp,
    },
}

/// An entry of a domain's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TimelineEntry {
    /// Its number; given by the store.
    pub id: u64,
    /// When.
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
    /// Its number; given by the store.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// The name of the token, `local` on a tokenless loopback port.
    pub who: String,
    /// The address it came from.
    pub from: String,
    /// What was done, as one word: `create`, `update`, `verify`, `reissue`, `retire`, `purge`, …
    pub action: String,
    /// To what: a domain's name.
    pub subject: String,
    /// As it was; `null` when there was nothing.
    pub before: serde_json::Value,
    /// As it is now; `null` when nothing is left.
    pub after: serde_json::Value,
}

/// Something in the store that caches must follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in the sequence.
    pub seq: u64,
    /// What changed.
    pub what: Changed,
}

/// What a [`Change`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// A domain's record; its certificate too, when `certificate` is set. Gone when purged.
    Domain {
        /// Which.
        name: DomainName,
        /// Whether the certificate changed with it.
        certificate: bool,
    },
    /// The ticket keys.
    TicketKeys,
    /// A stored redirect.
    Redirect {
        /// Whose. `None`: the one for all domains.
        domain: Option<DomainName>,
        /// Its slug.
        slug: Slug,
    },
    /// The kill switches.
    Kills,
}
