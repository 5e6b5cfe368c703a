//! How far somebody sees: the whole fleet, one tenant's domains, or one domain.

use crate::domain::{DomainName, DomainRecord};

/// What somebody may see of all domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything.
    All,
    /// This tenant's domains.
    Tenant(String),
    /// One domain: what a share link opens.
    Domain(DomainName),
}

/// Who an endpoint or a page is for, beside the role it needs. What says nothing is for
/// [`Reach::Fleet`]: a new one is closed to those who see a part only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Only who sees everything.
    Fleet,
    /// Also who sees a part: the path names a domain as `{name}`, and before anything is done it
    /// is looked up whether that is one of theirs. Another's is as unknown as one that is not there.
    Domain,
    /// Also who sees a part: the handler keeps what it shows and changes to [`Scope::tenant`].
    Narrowed,
    /// Everybody who may come in: it tells nothing of anybody's.
    General,
}

impl Scope {
    /// Whether a domain is within it.
    pub(super) fn holds(&self, record: &DomainRecord) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(tenant) => record.tenant == *tenant,
            Self::Domain(name) => record.name == *name,
        }
    }

    /// The tenant it is kept to. `None`: to none.
    pub(super) fn tenant(&self) -> Option<&str> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::All | Self::Domain(_) => None,
        }
    }
}
