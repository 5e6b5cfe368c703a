//! What people and the platform's back end give to the control plane, and what of it is allowed.

use std::net::{IpAddr, Ipv4Addr};

use linkseal_base::clock::Timestamp;
use linkseal_domain::name::registered_domain;
use linkseal_domain::record::{AppLinks, Hsts, MAX_TENANT, RequestedRecord, is_tenant};
use linkseal_domain::{DomainName, DomainRecord, NameError};
use linkseal_link::Destination;
use linkseal_store::StoreError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ownership::OwnerRecord;
use super::strict;

/// Who does it, and from where.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The name of the token; `local` on a tokenless loopback port.
    pub who: String,
    /// The address.
    pub from: IpAddr,
    /// The tenant whose domains alone they may have. `None`: they are kept to none.
    pub tenant: Option<String>,
}

/// Anyone who comes by the link to a domain's page. No token can be named so.
pub const GUEST: &str = "share link";

impl Actor {
    /// Whether it is someone with a link alone.
    pub(super) fn is_guest(&self) -> bool {
        self.who == GUEST
    }

    /// linkseal itself.
    pub(super) fn own() -> Self {
        Self {
            who: "linkseal".to_owned(),
            from: Ipv4Addr::LOCALHOST.into(),
            tenant: None,
        }
    }
}

/// A domain to register.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"name": "links.customer.example", "tenant": "acme", "sending_domain": "customer.example"}))]
pub struct NewDomain {
    /// The name.
    pub name: DomainName,
    /// Its tenant. `None`: the name itself, or as it is.
    #[serde(default)]
    #[schemars(length(min = 1, max = MAX_TENANT))]
    pub tenant: Option<String>,
    /// The domain in the sender's address. `None`: mail records are not looked at.
    #[serde(default)]
    pub sending_domain: Option<DomainName>,
    /// Further DNS records the customer is asked for. `None`: none.
    #[serde(default, deserialize_with = "strict::records")]
    #[schemars(with = "Option<Vec<strict::Record>>", length(max = MAX_LIST))]
    pub records: Option<Vec<RequestedRecord>>,
}

/// Changes to a domain; what is absent stays. `null` in `sending_domain`, `fallback_url` and `hsts` takes the value away.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(example = json!({"paused": true}))]
pub struct Patch {
    /// The new tenant; the old one's links keep verifying.
    #[schemars(length(min = 1, max = MAX_TENANT))]
    pub tenant: Option<String>,
    /// Which former tenants' links still verify.
    #[schemars(length(max = MAX_LIST))]
    pub former_tenants: Option<Vec<String>>,
    /// The sending domain.
    #[serde(deserialize_with = "present")]
    pub sending_domain: Option<Option<DomainName>>,
    /// Where a broken click link leads.
    #[serde(deserialize_with = "present")]
    pub fallback_url: Option<Option<String>>,
    /// The app-link files.
    #[serde(deserialize_with = "strict::app_links")]
    #[schemars(with = "Option<strict::Links>")]
    pub app_links: Option<AppLinks>,
    /// Further DNS records.
    #[serde(deserialize_with = "strict::records")]
    #[schemars(with = "Option<Vec<strict::Record>>", length(max = MAX_LIST))]
    pub records: Option<Vec<RequestedRecord>>,
    /// Whether issuance is paused.
    pub paused: Option<bool>,
    /// Whether tracking works over HTTP while no certificate is held.
    pub http_while_pending: Option<bool>,
    /// Strict Transport Security, sent over HTTPS only.
    #[serde(deserialize_with = "strict::hsts")]
    #[schemars(with = "Option<strict::StrictTransport>")]
    pub hsts: Option<Option<Hsts>>,
}

/// Tells a present `null` from an absent key.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// What came of a registration.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The record.
    pub record: DomainRecord,
    /// Whether it is new.
    pub created: bool,
}

/// What came of a wish for a new certificate.
#[derive(Clone, Debug)]
pub enum Reissue {
    /// It is on its way.
    Accepted(Box<DomainRecord>),
    /// The CA's limits allow it only then.
    NotBefore(Timestamp),
}

/// Why an operation was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OperatorError {
    /// No such domain.
    #[error("the domain is not registered")]
    NotFound,
    /// It belongs to another tenant.
    #[error("the domain belongs to another tenant; PATCH it to move it")]
    OtherTenant,
    /// The caller is kept to one tenant and cannot have this name: another has it.
    #[error("another tenant has this name; ask the operator of the platform to move it")]
    NotForYou,
    /// The caller is kept to one tenant and has not shown that the name's owner wants it so.
    #[error(
        "{0} is registered with this token when its owner has published a record for that: host {host}, type TXT, value {value}; let the owner create it, wait until it can be seen, and register again",
        host = .1.host,
        value = .1.value
    )]
    NotShown(DomainName, Box<OwnerRecord>),
    /// Whether the owner has published that record could not be found out.
    #[error(
        "the owner's record could not be looked up, and nothing was registered: the DNS servers of {host} gave no answer ({error}); have them put right if that stays so, and register again"
    )]
    NotAnswered {
        /// Where the record was looked for.
        host: String,
        /// What the servers did instead.
        error: String,
    },
    /// The list of former tenants is full.
    #[error(
        "the domain has {MAX_LIST} former tenants, which is all there may be; take some out first: PATCH former_tenants"
    )]
    FormerTenants,
    /// It is paused or retired, so nothing is ordered for it.
    #[error("the domain is {0}, so no certificate is ordered for it; {1}")]
    SetAside(&'static str, &'static str),
    /// The edge's own name cannot be retired or purged.
    #[error("this is the edge's own name; it stays")]
    OwnName,
    /// The caller is kept to one tenant.
    #[error("this token registers domains of the tenant \"{0}\" only; leave tenant out, or give that one")]
    NotYourTenant(String),
    /// The tenant that whoever registers it is kept to has as many domains as it may.
    #[error(
        "the tenant \"{tenant}\" has {most} domains, which is all that a token of one tenant may register \
         (admission.max_domains_per_tenant): forget some that are not needed any more (DELETE /v1/domains/NAME?purge=true), \
         or have an operator raise the limit"
    )]
    TenantFull {
        /// The tenant.
        tenant: String,
        /// How many it may have.
        most: u64,
    },
    /// Certificates are not ordered at all.
    #[error("acme.issue is \"off\": no certificates are ordered")]
    IssueOff,
    /// All orders are frozen.
    #[error("all orders are frozen; DELETE /v1/issuer/freeze lets them go on")]
    Frozen,
    /// The caller has more looks under way than others leave room for.
    #[error("too many looks at DNS are under way for this token, tenant or zone; try again in a few seconds")]
    Busy,
    /// The CA has not revoked the certificate; nothing was forgotten.
    #[error(
        "the certificate was not revoked ({0}), and nothing was forgotten: the domain, its key and its certificate are as they were; try again, or purge without revoke"
    )]
    NotRevoked(String),
    /// The certificate is revoked, and the store forgot nothing.
    #[error("the certificate is revoked, but nothing was forgotten ({0}); purge again, without revoke")]
    RevokedOnly(StoreError),
    /// No customer can have that name.
    #[error("name: {0}")]
    Name(#[from] NameError),
    /// A value is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The longest URL and list taken: bounded, since they are kept in memory for every domain.
const MAX_URL: usize = 4_096;
pub(super) const MAX_LIST: usize = 32;
const MAX_APP_LINKS: usize = 64 * 1024;
/// The longest promise of HTTPS, in seconds: two years, which is what browsers' lists ask for at most.
const MAX_HSTS: u32 = 63_072_000;

impl NewDomain {
    /// Makes it a domain of the tenant that anyone who registers it is kept to. `None`: to none.
    ///
    /// # Errors
    /// When it is to be another tenant's.
    pub(super) fn keep_to(&mut self, only: Option<&str>) -> Result<(), OperatorError> {
        match (only, &self.tenant) {
            (Some(only), Some(tenant)) if tenant != only => Err(OperatorError::NotYourTenant(only.to_owned())),
            (Some(only), _) => {
                self.tenant = Some(only.to_owned());
                let records = self.records.as_deref().unwrap_or_default();
                stays_within(&self.name, self.sending_domain.as_ref(), records)
            }
            (None, _) => Ok(()),
        }
    }

    /// Whether every value is allowed.
    pub(super) fn check(&self) -> Result<(), OperatorError> {
        self.name.registrable()?;
        check_tenant(self.tenant.as_deref())?;
        check_records(self.records.as_deref())
    }
}

impl Patch {
    /// Whether someone who is kept to one tenant may change `record` so.
    ///
    /// # Errors
    /// When names of others would be looked at.
    pub fn stays_within(&self, record: &DomainRecord) -> Result<(), OperatorError> {
        if self.records.is_none() && self.sending_domain.is_none() {
            return Ok(());
        }
        let sending = self.sending_domain.as_ref().unwrap_or(&record.sending_domain);
        let records = self.records.as_ref().unwrap_or(&record.records);
        stays_within(&record.name, sending.as_ref(), records)
    }

    /// Without the blanks that were pasted around a URL.
    pub(super) fn trimmed(mut self) -> Self {
        if let Some(Some(url)) = &mut self.fallback_url
            && let Ok(destination) = Destination::new(url)
        {
            *url = destination.as_str().to_owned();
        }
        self
    }

    /// Whether every value is allowed.
    pub(super) fn check(&self) -> Result<(), OperatorError> {
        check_tenant(self.tenant.as_deref())?;
        check_records(self.records.as_deref())?;
        let former = self.former_tenants.as_deref().unwrap_or_default();
        if former.len() > MAX_LIST {
            return Err(OperatorError::Invalid(format!("former_tenants: at most {MAX_LIST}")));
        }
        former.iter().try_for_each(|t| check_tenant(Some(t)))?;
        if let Some(Some(url)) = &self.fallback_url {
            // The rules for destinations hold here too: what a link may not lead to, a fallback may not.
            Destination::new(url).map_err(|e| OperatorError::Invalid(format!("fallback_url: {e}")))?;
        }
        if let Some(Some(hsts)) = &self.hsts
            && hsts.max_age > MAX_HSTS
        {
            return Err(OperatorError::Invalid(format!("hsts.max_age: 0 to {MAX_HSTS} seconds")));
        }
        if let Some(links) = &self.app_links {
            let size = |v: &Option<Value>| v.as_ref().map_or(0, |v| v.to_string().len());
            if size(&links.apple).max(size(&links.android)) > MAX_APP_LINKS {
                return Err(OperatorError::Invalid(format!(
                    "app_links: each file at most {MAX_APP_LINKS} bytes"
                )));
            }
        }
        Ok(())
    }
}

/// What a tenant has looked up stays below its own registered domains: the edge may ask a resolver
/// that knows the platform's internal names.
fn stays_within(
    name: &DomainName,
    sending: Option<&DomainName>,
    records: &[RequestedRecord],
) -> Result<(), OperatorError> {
    let own = registered_domain(name.as_str());
    let sending = sending.map(|s| registered_domain(s.as_str()));
    // A suffix of the list is one of the public DNS; names under others may be internal ones, except
    // under those that are for examples and tests (RFC 6761).
    let is_public = |domain: &str| {
        psl::suffix(domain.as_bytes())
            .is_some_and(|suffix| suffix.is_known() || ["example", "test"].iter().any(|s| suffix == *s))
    };
    if let Some(sending) = sending.filter(|s| *s != own && !is_public(s)) {
        return Err(OperatorError::Invalid(format!(
            "sending_domain: {sending} has no public suffix; with a token of one tenant it must, or lie below {own}"
        )));
    }
    let within = |host: &str, domain: &str| {
        let host = host.trim().trim_end_matches('.').to_ascii_lowercase();
        let above = host.strip_suffix(domain);
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    };
    let outside = records
        .iter()
        .find(|r| !within(&r.host, own) && !sending.is_some_and(|s| within(&r.host, s)));
    match outside {
        Some(record) => Err(OperatorError::Invalid(format!(
            "records: with a token of one tenant the host must be {own}, its sending domain's {}, or below; {} is not",
            sending.unwrap_or("registered domain"),
            record.host
        ))),
        None => Ok(()),
    }
}

fn check_tenant(tenant: Option<&str>) -> Result<(), OperatorError> {
    match tenant {
        Some(t) if !is_tenant(t) => Err(OperatorError::Invalid(format!(
            "tenant: 1 to {MAX_TENANT} bytes, no control characters, no slash"
        ))),
        _ => Ok(()),
    }
}

fn check_records(records: Option<&[RequestedRecord]>) -> Result<(), OperatorError> {
    let records = records.unwrap_or_default();
    if records.len() > MAX_LIST {
        return Err(OperatorError::Invalid(format!("records: at most {MAX_LIST}")));
    }
    for record in records {
        if !matches!(record.kind.as_str(), "CNAME" | "TXT" | "A" | "AAAA" | "MX") {
            return Err(OperatorError::Invalid(
                "records: type is one of CNAME, TXT, A, AAAA, MX".into(),
            ));
        }
        if record.host.is_empty() || record.host.len() > 253 || record.value.is_empty() || record.value.len() > MAX_URL
        {
            return Err(OperatorError::Invalid(
                "records: host is 1 to 253 bytes, value 1 to 4096 bytes".into(),
            ));
        }
    }
    Ok(())
}
