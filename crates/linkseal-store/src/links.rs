//! Stored redirects and kill switches.

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::links::Kill;
use linkseal_link::Slug;

use crate::StoreError;
use crate::history::AuditEntry;

/// How many kill switches there may be: every node has all of them in memory, some 100 bytes each.
pub(crate) const KILLS_KEPT: usize = 10_000;

/// Stored redirects and kill switches.
#[async_trait]
pub trait LinkStore: Send + Sync + 'static {
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

    /// All kill switches, sorted by kind and value; [`KILLS_KEPT`] at most.
    async fn kills(&self) -> Result<Vec<StoredKill>, StoreError>;

    /// Stores a kill switch, over one of the same kind and value. [`StoreError::TooMany`] when
    /// there are [`KILLS_KEPT`] others.
    async fn put_kill(&self, kill: &StoredKill, audit: AuditEntry) -> Result<(), StoreError>;

    /// Forgets a kill switch. [`StoreError::NotFound`] when there is none.
    async fn delete_kill(&self, kill: &Kill, audit: AuditEntry) -> Result<(), StoreError>;
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
    /// The page size.
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
