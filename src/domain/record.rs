//! The record of one domain: what the platform asked for, and the SSL state it has come to.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::name::DomainName;
use super::ssl::{SslStatus, State};
use crate::clock::Timestamp;

/// Everything that is kept about a domain. The store holds it whole; the control plane alone
/// changes it, always through [`crate::store::Store::transition`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// The name; the key of the record.
    pub name: DomainName,
    /// Whose links are served here; part of every link's key (contract, section 5).
    pub tenant: String,
    /// Earlier tenants whose links still verify.
    #[serde(default)]
    pub former_tenants: Vec<String>,
    /// The domain in the sender's address, for SPF, DKIM and DMARC. `None`: mail records are not looked at.
    #[serde(default)]
    pub sending_domain: Option<DomainName>,
    /// Further DNS records this customer is asked for. Reported, never a gate for HTTPS.
    #[serde(default)]
    pub records: Vec<WantedRecord>,
    /// Where a broken click link of this domain leads. `None`: as configured for all.
    #[serde(default)]
    pub fallback_url: Option<String>,
    /// The app-link files served under `/.well-known/`.
    #[serde(default)]
    pub app_links: AppLinks,
    /// Whether tracking URLs are served over plain HTTP while no certificate is held.
    #[serde(default = "yes")]
    pub http_while_pending: bool,
    /// How it came to be here.
    pub origin: Origin,
    /// When it was added.
    pub created: Timestamp,
    /// Since when issuance is paused by an operator. `None`: it is not.
    #[serde(default)]
    pub paused: Option<Timestamp>,
    /// Since when it is retired: served while its certificate lives, never renewed. `None`: it is wanted.
    #[serde(default)]
    pub retired: Option<Timestamp>,
    /// Its SSL state.
    pub ssl: SslStatus,
    /// What its DNS looked like the last time.
    #[serde(default)]
    pub dns: DnsSummary,
    /// Counts the changes; the store refuses a change that was computed from an older one.
    pub version: u64,
}

/// The longest tenant in bytes: tenants are kept in memory for every domain.
pub const MAX_TENANT: usize = 253;

/// Whether a tenant may be called so: 1 to [`MAX_TENANT`] bytes, no control characters, no slash.
pub fn is_tenant(text: &str) -> bool {
    (1..=MAX_TENANT).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c == '/')
}

impl DomainRecord {
    /// A new record that nothing has been done for yet.
    pub fn new(name: DomainName, tenant: Option<String>, origin: Origin, now: Timestamp) -> Self {
        Self {
            tenant: tenant.unwrap_or_else(|| name.to_string()),
            name,
            former_tenants: Vec::new(),
            sending_domain: None,
            records: Vec::new(),
            fallback_url: None,
            app_links: AppLinks::default(),
            http_while_pending: true,
            origin,
            created: now,
            paused: None,
            retired: None,
            ssl: SslStatus::new(now),
            dns: DnsSummary::default(),
            version: 0,
        }
    }

    /// Whether certificates are to be ordered and renewed for it.
    pub fn is_wanted(&self) -> bool {
        self.retired.is_none() && self.paused.is_none()
    }

    /// When the scheduler has to look at it next. `None`: never by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        let work = self.ssl.next_due(self.is_wanted());
        [work, self.forget_at()].into_iter().flatten().min()
    }

    /// When it is forgotten because nothing has come of it. A name that DNS alone has admitted is
    /// here only as long as it has, or is about to have, a certificate; its next handshake, if its
    /// DNS leads here again, admits it anew. `None`: it stays, registered or set aside by an operator.
    pub fn forget_at(&self) -> Option<Timestamp> {
        let idle = self.origin == Origin::Cname && self.is_wanted() && self.ssl.state() == State::Unknown;
        idle.then(|| self.ssl.since + FORGOTTEN_AFTER)
    }
}

/// How long a name that DNS alone has admitted may be without a certificate and without hope of one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

fn yes() -> bool {
    true
}

/// How a domain came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The edge's own name, or one of its aliases.
    Edge,
    /// Registered through the admin API.
    Registered,
    /// Allowed by the platform's `ask` endpoint at a handshake.
    Asked,
    /// Admitted because its CNAME leads here.
    Cname,
}

/// A DNS record a customer is asked to publish, beside the CNAME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedRecord {
    /// The record's type, such as `TXT` or `CNAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name at which it stands.
    pub host: String,
    /// Its value.
    pub value: String,
}

/// The app-link files of a domain, as the platform gave them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppLinks {
    /// `apple-app-site-association`. `None`: 404.
    #[serde(default)]
    pub apple: Option<serde_json::Value>,
    /// `assetlinks.json`. `None`: 404.
    #[serde(default)]
    pub android: Option<serde_json::Value>,
}

/// What the last DNS check found, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DnsSummary {
    /// When it was looked at. `None`: never.
    pub checked: Option<Timestamp>,
    /// Whether the name leads here, so that HTTPS can work.
    pub https: bool,
    /// Whether everything that was asked for is published.
    pub verified: bool,
}

/// The verdict of a DNS check on whether a name leads here; what an order depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsVerdict {
    /// The CNAME chain or the addresses lead to this edge.
    Right,
    /// Nothing is published at the name.
    Missing,
    /// It leads elsewhere; `found` is what people see in their zone.
    Elsewhere {
        /// The CNAME target or the addresses found.
        found: String,
    },
    /// A content delivery network's proxy stands in front.
    Proxied {
        /// Whose proxy it is.
        provider: String,
    },
    /// The A records are right, an AAAA record is not; a CA tries IPv6 first.
    StrayAaaa {
        /// The address that is wrong.
        found: IpAddr,
    },
    /// A CAA record forbids the CA in use.
    CaaForbids {
        /// Where the record that decides stands.
        host: String,
    },
    /// The servers of the zone gave no usable answer.
    Error {
        /// The zone whose servers fail.
        zone: String,
        /// What they said: SERVFAIL, REFUSED, timeout, DNSSEC bogus.
        error: String,
    },
}
