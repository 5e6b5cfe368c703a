//! What a caller may see (the whole fleet, one tenant's domains, one domain), and which callers an
//! endpoint or a page is for.

use linkseal_config::admin::Role;
use linkseal_domain::{DomainName, DomainRecord};

use crate::problem::Problem;

/// Which domains a caller may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything.
    All,
    /// This tenant's domains.
    Tenant(String),
    /// One domain: what a share link opens.
    Domain(DomainName),
}

/// Which scopes an endpoint or a page accepts, beside the role it needs. The default is
/// [`Reach::Fleet`], so that a new endpoint is closed to callers with a limited scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only callers who see everything.
    Fleet,
    /// The path names a domain as `{name}`. Whether the domain is within the caller's scope is
    /// checked before the handler runs; one outside the scope is answered as one that does not exist.
    Domain,
    /// The handler limits what it shows and changes to [`Scope::tenant`].
    Narrowed,
    /// All callers: nothing in it belongs to a tenant.
    General,
}

/// Which callers an endpoint or a page is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// The least role; `None` where no token is needed.
    pub(crate) role: Option<Role>,
    pub(crate) reach: Reach,
}

impl Rule {
    /// For paths without an endpoint.
    pub(crate) const UNKNOWN: Self = Self {
        role: Some(Role::Viewer),
        reach: Reach::General,
    };
}

impl Scope {
    pub(crate) fn holds(&self, record: &DomainRecord) -> bool {
        self.covers(&record.name, &record.tenant)
    }

    /// Whether it includes the domain of this name and tenant.
    pub(crate) fn covers(&self, domain: &DomainName, owner: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(tenant) => owner == tenant,
            Self::Domain(name) => domain == name,
        }
    }

    /// The record as this scope may see it: a limited scope does not see the time before the present
    /// tenant.
    pub(crate) fn shown(&self, record: DomainRecord) -> DomainRecord {
        match self {
            Self::All => record,
            Self::Tenant(_) | Self::Domain(_) => record.for_its_tenant(),
        }
    }

    /// The tenant it is limited to.
    pub(crate) fn tenant(&self) -> Option<&str> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::All | Self::Domain(_) => None,
        }
    }

    /// The tenant to filter by, given the one that was asked for; `None` for all tenants.
    pub(crate) fn narrow(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        match (self.tenant(), asked) {
            (None, asked) => Ok(asked),
            (Some(own), Some(asked)) if asked != own => Err(Problem::forbidden(format!(
                "tenant: this token is limited to \"{own}\""
            ))),
            (Some(own), _) => Ok(Some(own.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_scope_cannot_ask_for_another_tenant() {
        let all = Scope::All;
        assert_eq!(all.narrow(None).unwrap(), None);
        assert_eq!(all.narrow(Some("b".to_owned())).unwrap().as_deref(), Some("b"));
        let own = Scope::Tenant("a".to_owned());
        assert_eq!(own.narrow(None).unwrap().as_deref(), Some("a"));
        assert_eq!(own.narrow(Some("a".to_owned())).unwrap().as_deref(), Some("a"));
        assert!(own.narrow(Some("b".to_owned())).is_err());
    }
}
