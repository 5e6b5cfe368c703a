//! What is known about each CA: its account, its outages, and what holds back its orders.

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;

use crate::StoreError;
use crate::history::AuditEntry;

/// CAs and the state of their orders.
#[async_trait]
pub trait CaStore: Send + Sync + 'static {
    /// The account at a CA, by directory URL.
    async fn ca_account(&self, directory: &str) -> Result<Option<CaAccount>, StoreError>;

    /// Writes the account at a CA.
    async fn put_ca_account(&self, account: &CaAccount) -> Result<(), StoreError>;

    /// Holds back all orders at a CA until a time, over what was said before: earlier too.
    async fn hold_back(&self, ca: &str, until: Timestamp) -> Result<(), StoreError>;

    /// Until when orders at a CA are held back. `None`: they are not, or no longer at `now`.
    async fn held_back(&self, ca: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

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
