//! The record of one domain: what the platform asked for, and the SSL state it has come to.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::dns::DnsSummary;
use super::name::DomainName;
use super::ssl::{Intent, Reason, SslEvent, SslStatus, State};
use super::stored;

/// Everything that is kept about a domain. The store holds it whole; the control plane alone
/// changes it, always through a transition of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// The name; the key of the record.
    pub name: DomainName,
    /// Whose links are served here; part of every link's key (docs/specification.md §5).
    pub tenant: String,
    /// Earlier tenants whose links still verify.
    #[serde(default)]
    pub former_tenants: Vec<String>,
    /// The domain in the sender's address, for SPF, DKIM and DMARC. `None`: mail records are not checked.
    #[serde(default)]
    pub sending_domain: Option<DomainName>,
    /// Further DNS records this customer is asked for. Reported, never a gate for HTTPS.
    #[serde(default)]
    pub records: Vec<RequestedRecord>,
    /// Where a broken click link of this domain leads. `None`: as configured for all.
    #[serde(default)]
    pub fallback_url: Option<String>,
    /// The app-link files served under `/.well-known/`.
    #[serde(default)]
    pub app_links: AppLinks,
    /// Whether tracking URLs are served over plain HTTP while no certificate is held.
    #[serde(default = "yes")]
    pub http_while_pending: bool,
    /// Strict Transport Security, sent over HTTPS only. `None`: none is sent.
    #[serde(default)]
    pub hsts: Option<Hsts>,
    /// How it came to be here.
    #[serde(deserialize_with = "stored::known_or_default")]
    pub origin: Origin,
    /// When it was added.
    pub created: Timestamp,
    /// Since when it is its tenant's: what came before is no business of theirs. `None`: since it was added.
    #[serde(default)]
    pub own_since: Option<Timestamp>,
    /// Since when issuance is paused by an operator. `None`: it is not.
    #[serde(default)]
    pub paused: Option<Timestamp>,
    /// Since when it is retired: served while its certificate lives, never renewed. `None`: it is wanted.
    #[serde(default)]
    pub retired: Option<Timestamp>,
    /// Counts how often the links to its page were taken back; one made before opens nothing.
    #[serde(default)]
    pub share_generation: u32,
    /// Its SSL state.
    pub ssl: SslStatus,
    /// What its DNS looked like the last time.
    #[serde(default)]
    pub dns: DnsSummary,
    /// Whether it is taken to point here though its zone's servers fail: it did before, less than a day
    /// ago.
    #[serde(default, rename = "still_leads_here")]
    pub still_points_here: bool,
    /// What the last handshake with it from outside found. `None`: it was not probed yet.
    #[serde(default, deserialize_with = "stored::known")]
    pub probe: Option<Probe>,
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
            hsts: None,
            origin,
            created: now,
            own_since: None,
            paused: None,
            retired: None,
            share_generation: 0,
            ssl: SslStatus::new(now),
            dns: DnsSummary::default(),
            still_points_here: false,
            probe: None,
            version: 0,
        }
    }

    /// A record as it is stored, also by a newer version.
    pub fn from_stored(text: &str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Peek<'t> {
            #[serde(borrow)]
            ssl: PeekSsl<'t>,
        }
        #[derive(Deserialize)]
        struct PeekSsl<'t> {
            reason: std::borrow::Cow<'t, str>,
        }
        let mut record: Self = serde_json::from_str(text)?;
        let fallback = Reason::default();
        if record.ssl.reason == fallback && serde_json::from_str::<Peek<'_>>(text)?.ssl.reason != fallback.as_str() {
            record.ssl.replace_unknown_reason();
        }
        Ok(record)
    }

    /// Makes it another tenant's; the one before stays among the former ones, so that its links work.
    pub fn move_to(&mut self, tenant: String, now: Timestamp) {
        let old = std::mem::replace(&mut self.tenant, tenant);
        self.former_tenants.retain(|t| *t != self.tenant && *t != old);
        self.former_tenants.push(old);
        self.own_since = Some(now);
    }

    /// Whether something of that time was there before its tenant was.
    fn is_before_tenant(&self, at: Timestamp) -> bool {
        self.own_since.is_some_and(|since| at <= since)
    }

    /// As its tenant may see it: without what is left of those before.
    pub fn for_its_tenant(mut self) -> Self {
        self.former_tenants.clear();
        if self
            .ssl
            .last_error
            .as_ref()
            .is_some_and(|e| self.is_before_tenant(e.at))
        {
            self.ssl.last_error = None;
        }
        self
    }

    /// What the operators want of it.
    pub fn intent(&self) -> Intent {
        match (self.paused, self.retired) {
            (Some(_), _) => Intent::Paused,
            (None, Some(_)) => Intent::Retired,
            (None, None) => Intent::Wanted,
        }
    }

    /// Whether certificates are to be ordered and renewed for it.
    pub fn is_wanted(&self) -> bool {
        self.intent() == Intent::Wanted
    }

    /// Lets something happen to its SSL state.
    pub fn apply(&mut self, event: SslEvent, now: Timestamp) {
        self.ssl = self.ssl.apply(event, self.intent(), now);
    }

    /// Whether a mailer may send https links: an unexpired certificate is held and the name leads
    /// here. What is held is served: on a single node, its store is where every handshake looks.
    pub fn https_ready(&self, now: Timestamp) -> bool {
        self.https_works() && self.ssl.holds(now)
    }

    /// The same, while the certificate lives. Other names point to the edge's own
    /// name, so its DNS need not be checked.
    pub(super) fn https_works(&self) -> bool {
        let never_looked_at = self.origin == Origin::Edge && self.dns.checked.is_none();
        let leads_here = self.dns.https || self.still_points_here || never_looked_at;
        self.ssl.state() == State::Issued && self.ssl.reason != Reason::Moved && leads_here
    }

    /// When the certificate held is to be renewed. `None`: none is held, or it is not to be, since
    /// the domain is not wanted or has left.
    pub fn renewal_due(&self) -> Option<Timestamp> {
        let renewed = self.is_wanted() && self.ssl.state() == State::Issued && self.ssl.reason != Reason::Moved;
        self.ssl.certificate.as_ref().filter(|_| renewed).map(|c| c.renew_at)
    }

    /// When the scheduler has to look at it next. `None`: never by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        let work = self.ssl.next_due(self.is_wanted());
        [work, self.forget_at()].into_iter().flatten().min()
    }

    /// Whether an operator has set anything on it that would be lost.
    fn has_something_of_its_own(&self) -> bool {
        !self.former_tenants.is_empty()
            || !self.records.is_empty()
            || self.sending_domain.is_some()
            || self.fallback_url.is_some()
            || self.app_links != AppLinks::default()
            || self.hsts.is_some()
    }

    /// When it is forgotten because nothing has come of it. A name that its DNS or the platform's
    /// word has admitted at a handshake is here only as long as it has, or is about to have, a
    /// certificate; its next handshake admits it again, if it still may. `None`: it stays,
    /// registered, set aside by an operator, or with something of its own.
    pub fn forget_at(&self) -> Option<Timestamp> {
        // What a freeze has stopped goes on after it.
        let frozen = self.ssl.reason == Reason::Paused;
        let admitted = matches!(self.origin, Origin::Cname | Origin::Asked) && !self.has_something_of_its_own();
        let idle = admitted && self.is_wanted() && self.ssl.state() == State::Unknown && !frozen;
        idle.then(|| self.ssl.since + FORGOTTEN_AFTER)
    }
}

/// How long a name that was admitted at a handshake may be without a certificate and without hope of one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// HTTP Strict Transport Security (RFC 6797): browsers that received it use HTTPS for the name, even for
/// http links. It cannot be revoked before `max_age` has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Hsts {
    /// How long browsers remember it, in seconds; 0 makes them forget it.
    pub max_age: u32,
    /// Whether it applies to all subdomains, too.
    #[serde(default)]
    pub include_subdomains: bool,
}

impl Hsts {
    /// The value of `Strict-Transport-Security` (RFC 6797 §6.1).
    pub fn value(self) -> String {
        let below = if self.include_subdomains {
            "; includeSubDomains"
        } else {
            ""
        };
        format!("max-age={}{below}", self.max_age)
    }
}

fn yes() -> bool {
    true
}

/// How a domain was registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The edge's own name, or one of its aliases.
    Edge,
    /// Through the admin API, or in a way that only a newer version knows.
    #[default]
    Registered,
    /// At a handshake, allowed by the platform's `ask` endpoint.
    Asked,
    /// At a handshake, because its CNAME points here.
    Cname,
}

/// A DNS record that the customer is asked to publish, beside the CNAME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RequestedRecord {
    /// The record's type, such as `TXT` or `CNAME`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["CNAME", "TXT", "A", "AAAA", "MX"]))]
    pub kind: String,
    /// The name of the record.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// The value.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
}

/// The app-link files of a domain, as configured by the platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AppLinks {
    /// `apple-app-site-association`; null for a 404.
    #[serde(default)]
    pub apple: Option<serde_json::Value>,
    /// `assetlinks.json`; null for a 404.
    #[serde(default)]
    pub android: Option<serde_json::Value>,
}

/// The result of a handshake with the domain from outside, at the addresses in DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Probe {
    /// The result.
    pub result: ProbeResult,
    /// Since when the result has been the same.
    pub since: Timestamp,
    /// Details for people; null if the result is `ok`.
    pub detail: Option<String>,
}

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeResult {
    /// The stored certificate, or another one that is valid for the name.
    Ok,
    /// A certificate for another name.
    WrongCertificate,
    /// An expired certificate.
    Expired,
    /// A connection, but no handshake.
    TlsFailed,
    /// No connection.
    Unreachable,
}

impl ProbeResult {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Ok,
        Self::WrongCertificate,
        Self::Expired,
        Self::TlsFailed,
        Self::Unreachable,
    ];

    /// As metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::WrongCertificate => "wrong_certificate",
            Self::Expired => "expired",
            Self::TlsFailed => "tls_failed",
            Self::Unreachable => "unreachable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssl::CertificateInfo;

    const NOW: Timestamp = Timestamp::from_secs(1_795_305_600);

    fn record() -> DomainRecord {
        let name = DomainName::parse("links.customer.example").unwrap();
        DomainRecord::new(name, None, Origin::Registered, NOW)
    }

    fn holding(mut record: DomainRecord, until: Timestamp) -> DomainRecord {
        record.ssl.certificate = Some(CertificateInfo {
            not_before: NOW,
            not_after: until,
            obtained: None,
            issuer: "CA".to_owned(),
            serial: "01".to_owned(),
            sans: Vec::new(),
            ca: "https://ca.example/directory".to_owned(),
            ari_id: None,
            renew_at: until,
            ari_check_at: None,
        });
        record
    }

    fn stored_with(record: &DomainRecord, reason: &str) -> DomainRecord {
        let mut stored = serde_json::to_value(record).unwrap();
        stored["ssl"]["reason"] = reason.into();
        DomainRecord::from_stored(&stored.to_string()).unwrap()
    }

    #[test]
    fn a_reason_of_a_newer_version_claims_nothing_that_is_not_known() {
        for &reason in Reason::ALL {
            let read = stored_with(&record(), reason.as_str());
            assert_eq!(
                (read.ssl.reason, read.ssl.next_attempt),
                (reason, None),
                "as it is stored"
            );
        }
        let mut waiting = record();
        let read = stored_with(&waiting, "quarantined");
        assert_eq!((read.ssl.reason, read.next_due()), (Reason::NeverRequested, Some(NOW)));
        waiting.ssl.next_attempt = Some(NOW + Duration::from_secs(60));
        let read = stored_with(&waiting, "quarantined");
        assert_eq!(
            (read.ssl.state(), read.next_due()),
            (State::Unknown, waiting.ssl.next_attempt)
        );
        let day = Duration::from_secs(86_400);
        let held = stored_with(&holding(record(), NOW + day), "quarantined");
        assert_eq!((held.ssl.state(), held.ssl.holds(NOW)), (State::Issued, true));
        let gone = stored_with(&holding(record(), NOW.minus(day)), "quarantined");
        assert_eq!(gone.ssl.state(), State::Unknown);
    }

    #[test]
    fn a_record_of_an_older_version_is_its_tenants_since_it_was_added() {
        let mut stored = serde_json::to_value(record()).unwrap();
        stored.as_object_mut().unwrap().remove("own_since");
        let read = DomainRecord::from_stored(&stored.to_string()).unwrap();
        assert_eq!(read, record());
        assert!(!read.is_before_tenant(NOW));
    }
}
