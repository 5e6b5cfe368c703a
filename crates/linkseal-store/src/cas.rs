//! What is known about each CA: its account, its outages, and what holds back its orders.

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;

use crate::StoreError;
use crate::history::AuditEntry;

/// Accounts, outages and hold-backs of the CAs, and the freeze of all orders.
#[async_trait]
pub trait CaStore: Send + Sync + 'static {
    /// The account at a CA, by directory URL.
    async fn ca_account(&self, directory: &str) -> Result<Option<CaAccount>, StoreError>;

    /// Writes the account at a CA in place of `before` (`None`: there is none). [`StoreError::Conflict`] if another
    /// one is stored.
    async fn put_ca_account(&self, account: &CaAccount, before: Option<&CaAccount>) -> Result<(), StoreError>;

    /// Holds back all orders at a CA until a time, in place of the hold-back `before`, even if that lasts longer
    /// ([`CaStore::held_back`]). [`StoreError::Conflict`] if another one is in force.
    async fn hold_back(&self, ca: &str, until: Timestamp, before: Option<Timestamp>) -> Result<(), StoreError>;

    /// Until when orders at a CA are held back. `None`: they are not, or no longer.
    async fn held_back(&self, ca: &str) -> Result<Option<Timestamp>, StoreError>;

    /// The failures of a CA, by directory URL. `None`: it works.
    async fn ca_trouble(&self, directory: &str) -> Result<Option<CaTrouble>, StoreError>;

    /// Replaces the failures of a CA (`None`: it works), if they are still `before`. [`StoreError::Conflict`] if
    /// they are not.
    async fn change_ca_trouble(
        &self,
        directory: &str,
        before: Option<&CaTrouble>,
        after: Option<&CaTrouble>,
    ) -> Result<(), StoreError>;

    /// Deletes the failures of a CA and its hold-back, so that orders no longer wait.
    async fn release_ca(&self, directory: &str, audit: AuditEntry) -> Result<(), StoreError>;

    /// The freeze of all orders, if one is in force.
    async fn freeze(&self) -> Result<Option<Freeze>, StoreError>;

    /// Freezes all orders. Replaces an earlier freeze. Both are changes in the feed.
    async fn put_freeze(&self, freeze: &Freeze, audit: AuditEntry) -> Result<(), StoreError>;

    /// Ends the freeze. [`StoreError::NotFound`] if there is none.
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

/// A CA that fails by its own fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaTrouble {
    /// The directory URL.
    pub directory: String,
    /// Orders in a row that failed by its fault.
    pub failures: u32,
    /// How often in a row it was taken out of use for that.
    pub outages: u32,
    /// Until when it is out of use; after that, one order tries it. `None`: it is in use.
    pub out_until: Option<Timestamp>,
    /// When the first of these orders failed.
    pub since: Timestamp,
    /// The error of the last one.
    pub why: String,
}

/// A freeze of all orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// The reason, for other operators.
    pub note: Option<String>,
    /// Who began it: the name of a token.
    pub by: String,
    pub since: Timestamp,
}
