//! What callers of the admin port give, and what of it is allowed.

use linkseal_domain::name::registered_domain;
use linkseal_domain::record::{AppLinks, Hsts, MAX_TENANT, RequestedRecord, is_tenant};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::Destination;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{OperatorError, strict};

/// A domain to register.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"name": "links.customer.example", "tenant": "acme", "sending_domain": "customer.example"}))]
pub struct NewDomain {
    /// The domain name.
    pub name: DomainName,
    /// Its tenant; null for the name itself or, if the domain exists, for its present tenant.
    #[serde(default)]
    #[schemars(length(min = 1, max = MAX_TENANT))]
    pub tenant: Option<String>,
    /// The domain of the sender address; null if mail records are not to be checked.
    #[serde(default)]
    pub sending_domain: Option<DomainName>,
    /// Further DNS records that the customer is asked to publish; null for none.
    #[serde(default, deserialize_with = "strict::records")]
    #[schemars(with = "Option<Vec<strict::Record>>", length(max = MAX_LIST))]
    pub records: Option<Vec<RequestedRecord>>,
}

/// Changes to a domain; absent members keep their values. null removes `sending_domain`, `fallback_url` and `hsts`.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(example = json!({"paused": true}))]
pub struct Patch {
    /// The new tenant; links of the old one keep verifying.
    #[schemars(length(min = 1, max = MAX_TENANT))]
    pub tenant: Option<String>,
    /// The former tenants whose links still verify.
    #[schemars(length(max = MAX_LIST))]
    pub former_tenants: Option<Vec<String>>,
    /// The domain of the sender address.
    #[serde(deserialize_with = "present")]
    pub sending_domain: Option<Option<DomainName>>,
    /// The URL that broken click links redirect to.
    #[serde(deserialize_with = "present")]
    pub fallback_url: Option<Option<String>>,
    /// The app-link files.
    #[serde(deserialize_with = "strict::app_links")]
    #[schemars(with = "Option<strict::Links>")]
    pub app_links: Option<AppLinks>,
    /// Further DNS records that the customer is asked to publish.
    #[serde(deserialize_with = "strict::records")]
    #[schemars(with = "Option<Vec<strict::Record>>", length(max = MAX_LIST))]
    pub records: Option<Vec<RequestedRecord>>,
    /// Whether certificate orders are paused.
    pub paused: Option<bool>,
    /// Whether tracking works over HTTP as long as there is no certificate.
    pub http_while_pending: Option<bool>,
    /// Strict-Transport-Security (RFC 6797), sent over HTTPS only.
    #[serde(deserialize_with = "strict::hsts")]
    #[schemars(with = "Option<strict::StrictTransport>")]
    pub hsts: Option<Option<Hsts>>,
}

/// Distinguishes a present `null` from an absent key.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// The outcome of a registration.
#[derive(Clone, Debug)]
pub struct Registered {
    pub record: DomainRecord,
    /// Whether the domain is new.
    pub created: bool,
}

/// The longest URL and list: bounded, because they are in memory for every domain.
const MAX_URL: usize = 4_096;
pub(super) const MAX_LIST: usize = 32;
const MAX_APP_LINKS: usize = 64 * 1024;
/// The longest `max-age`, in seconds: two years, the most that browsers' preload lists ask for.
const MAX_HSTS: u32 = 63_072_000;

impl NewDomain {
    /// Assigns it to the only tenant that the actor may register for, if there is one.
    ///
    /// # Errors
    /// If it names another tenant, or records outside of its own domains.
    pub(super) fn limit_to(&mut self, only: Option<&str>) -> Result<(), OperatorError> {
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

    /// Refuses values that are not allowed.
    pub(super) fn check(&self) -> Result<(), OperatorError> {
        self.name.registrable()?;
        check_tenant(self.tenant.as_deref())?;
        check_records(self.records.as_deref())
    }
}

impl Patch {
    /// Whether an actor limited to one tenant may make this change to `record`.
    ///
    /// # Errors
    /// If DNS names of others would be checked.
    pub fn stays_within(&self, record: &DomainRecord) -> Result<(), OperatorError> {
        if self.records.is_none() && self.sending_domain.is_none() {
            return Ok(());
        }
        let sending = self.sending_domain.as_ref().unwrap_or(&record.sending_domain);
        let records = self.records.as_ref().unwrap_or(&record.records);
        stays_within(&record.name, sending.as_ref(), records)
    }

    /// Removes blanks around a pasted URL.
    pub(super) fn trimmed(mut self) -> Self {
        if let Some(Some(url)) = &mut self.fallback_url
            && let Ok(destination) = Destination::new(url)
        {
            *url = destination.as_str().to_owned();
        }
        self
    }

    /// Refuses values that are not allowed.
    pub(super) fn check(&self) -> Result<(), OperatorError> {
        check_tenant(self.tenant.as_deref())?;
        check_records(self.records.as_deref())?;
        let former = self.former_tenants.as_deref().unwrap_or_default();
        if former.len() > MAX_LIST {
            return Err(OperatorError::Invalid(format!("former_tenants: at most {MAX_LIST}")));
        }
        former.iter().try_for_each(|t| check_tenant(Some(t)))?;
        if let Some(Some(url)) = &self.fallback_url {
            // A fallback has to obey the same rules as the destination of a link.
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

/// The names checked for a tenant must be below its own registered domains: the edge's resolver may know
/// internal names of the platform.
fn stays_within(
    name: &DomainName,
    sending: Option<&DomainName>,
    records: &[RequestedRecord],
) -> Result<(), OperatorError> {
    let own = registered_domain(name.as_str());
    let sending = sending.map(|s| registered_domain(s.as_str()));
    // Names below a suffix that is not on the public suffix list may be internal ones, except below
    // those reserved for examples and tests (RFC 6761).
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
