//! Stored redirects and kill switches.

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::links::Kill;
use linkseal_link::Slug;

use crate::StoreError;
use crate::history::AuditEntry;

/// The most kill switches there can be: every node has all of them in memory, some 100 bytes each.
pub(crate) const KILLS_KEPT: usize = 10_000;

/// Stored redirects and kill switches.
#[async_trait]
pub trait LinkStore: Send + Sync + 'static {
    /// The stored redirect of a domain, or with `None` the one for all domains. The caller decides which
    /// of the two wins.
    async fn redirect(&self, domain: Option<&DomainName>, slug: &Slug) -> Result<Option<StoredRedirect>, StoreError>;

    /// A page of stored redirects: those for all domains first, then by domain; by slug in each.
    async fn redirects(&self, query: &RedirectQuery) -> Result<Vec<StoredRedirect>, StoreError>;

    /// Stores a redirect in place of `before` (`None`: there is none of its domain and slug), so that the audit
    /// entry shows what it replaced. [`StoreError::Conflict`] if another one is stored; [`StoreError::NotFound`]
    /// if there is no such domain.
    async fn put_redirect(
        &self,
        redirect: &StoredRedirect,
        before: Option<&StoredRedirect>,
        audit: AuditEntry,
    ) -> Result<(), StoreError>;

    /// Deletes a redirect, if it is stored like this. [`StoreError::Conflict`] if it was changed;
    /// [`StoreError::NotFound`] if there is none.
    async fn delete_redirect(&self, redirect: &StoredRedirect, audit: AuditEntry) -> Result<(), StoreError>;

    /// All kill switches, sorted by kind and value; [`KILLS_KEPT`] at most.
    async fn kills(&self) -> Result<Vec<StoredKill>, StoreError>;

    /// Stores a kill switch in place of `before` (`None`: there is none of its kind and value).
    /// [`StoreError::Conflict`] if another one is stored; [`StoreError::TooMany`] if there are [`KILLS_KEPT`]
    /// others.
    async fn put_kill(
        &self,
        kill: &StoredKill,
        before: Option<&StoredKill>,
        audit: AuditEntry,
    ) -> Result<(), StoreError>;

    /// Deletes a kill switch, if it is stored like this. [`StoreError::Conflict`] if it was changed;
    /// [`StoreError::NotFound`] if there is none.
    async fn delete_kill(&self, kill: &StoredKill, audit: AuditEntry) -> Result<(), StoreError>;
}

/// A redirect that is stored instead of signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRedirect {
    /// `None`: all domains that have none of their own with this slug.
    pub domain: Option<DomainName>,
    /// Its name in the path.
    pub slug: Slug,
    pub url: String,
    pub expires: Option<Timestamp>,
    /// When it was last stored.
    pub changed: Timestamp,
}

/// Which redirects to list.
#[derive(Clone, Debug, Default)]
pub struct RedirectQuery {
    /// Only this domain's. `None`: those of all domains, and those for all domains.
    pub domain: Option<DomainName>,
    /// Only those after this domain (`None`: those for all domains) and slug.
    pub after: Option<(Option<DomainName>, Slug)>,
    /// The page size.
    pub limit: usize,
}

/// A kill switch as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKill {
    pub kill: Kill,
    /// The reason, for other operators.
    pub note: Option<String>,
    /// Who set it: the name of a token.
    pub by: String,
    pub since: Timestamp,
}
