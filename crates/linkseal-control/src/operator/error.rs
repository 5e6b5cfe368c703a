//! Why an operation is refused. The texts are shown to API clients and say what to do.

use linkseal_domain::{DomainName, NameError};
use linkseal_store::StoreError;

use super::input::MAX_LIST;
use super::ownership::OwnerRecord;

/// Why an operation was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OperatorError {
    #[error("the domain is not registered")]
    NotFound,
    #[error("the domain belongs to another tenant; PATCH it to move it")]
    OtherTenant,
    /// The same for a caller limited to one tenant, who cannot move it.
    #[error("another tenant has this name; ask the operator of the platform to move it")]
    NotForYou,
    /// A caller limited to one tenant has not proven that the name's owner agrees.
    #[error(
        "{0} can be registered with this token once its owner has published this DNS record: host {host}, type TXT, value {value}; have the owner create it, wait until it is visible, and register again",
        host = .1.host,
        value = .1.value
    )]
    NotShown(DomainName, Box<OwnerRecord>),
    /// The record of the owner could not be looked up.
    #[error(
        "the owner's record could not be looked up, and nothing was registered: the DNS servers of {host} gave no answer ({error}); register again later, and have the servers fixed if that persists"
    )]
    NotAnswered { host: String, error: String },
    #[error("the domain has {MAX_LIST} former tenants, which is the maximum; remove some first: PATCH former_tenants")]
    FormerTenants,
    /// It is paused or retired.
    #[error("the domain is {0}, so no certificate is ordered for it; {1}")]
    SetAside(&'static str, &'static str),
    #[error("this is the edge's own name; it cannot be retired or purged")]
    OwnName,
    #[error("this token registers domains of the tenant \"{0}\" only; leave tenant out, or give that one")]
    NotYourTenant(String),
    #[error(
        "the tenant \"{tenant}\" has {most} domains, which is the maximum for tokens of one tenant \
         (admission.max_domains_per_tenant): purge some that are no longer needed (DELETE /v1/domains/NAME?purge=true), \
         or have an operator raise the limit"
    )]
    TenantFull { tenant: String, most: u64 },
    #[error("acme.issue is \"off\": no certificates are ordered")]
    IssueOff,
    #[error("all orders are frozen; DELETE /v1/issuer/freeze ends the freeze")]
    Frozen,
    /// The caller, or others of its tenant or zone, use all places for checks.
    #[error("too many DNS checks are in progress for this token, tenant or zone; try again in a few seconds")]
    Busy,
    #[error(
        "the certificate was not revoked ({0}), and nothing was purged: the domain, its key and its certificate are unchanged; try again, or purge without revoke"
    )]
    NotRevoked(String),
    #[error("the certificate is revoked, but the domain was not purged ({0}); purge again, without revoke")]
    RevokedOnly(StoreError),
    #[error("name: {0}")]
    Name(#[from] NameError),
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}
