//! How far someone sees: the whole fleet, one tenant's domains, or one domain.

use linkseal_domain::{DomainName, DomainRecord};

use super::problem::Problem;

/// What someone may see of all domains.
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
        self.covers(&record.name, &record.tenant)
    }

    /// Whether the domain of that name and tenant is within it.
    pub(super) fn covers(&self, domain: &DomainName, owner: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(tenant) => owner == tenant,
            Self::Domain(name) => domain == name,
        }
    }

    /// A domain as it is shown: anyone who sees a part does not see the time before its tenant.
    pub(super) fn shown(&self, record: DomainRecord) -> DomainRecord {
        match self {
            Self::All => record,
            Self::Tenant(_) | Self::Domain(_) => record.for_its_tenant(),
        }
    }

    /// The tenant it is kept to. `None`: to none.
    pub(super) fn tenant(&self) -> Option<&str> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::All | Self::Domain(_) => None,
        }
    }

    /// The tenant to look for, when one may be asked for. `None`: all.
    pub(super) fn narrow(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        match (self.tenant(), asked) {
            (None, asked) => Ok(asked),
            (Some(own), Some(asked)) if asked != own => {
                Err(Problem::forbidden(format!("tenant: this token sees \"{own}\" only")))
            }
            (Some(own), _) => Ok(Some(own.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_kept_to_itself() {
        let all = Scope::All;
        assert_eq!(all.narrow(None).unwrap(), None);
        assert_eq!(all.narrow(Some("b".to_owned())).unwrap().as_deref(), Some("b"));
        let own = Scope::Tenant("a".to_owned());
        assert_eq!(own.narrow(None).unwrap().as_deref(), Some("a"));
        assert_eq!(own.narrow(Some("a".to_owned())).unwrap().as_deref(), Some("a"));
        assert!(own.narrow(Some("b".to_owned())).is_err());
    }
}
