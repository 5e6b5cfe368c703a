//! The record of one domain: the platform's settings and the SSL state.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::dns::DnsSummary;
use super::name::DomainName;
use super::ssl::{Intent, Reason, SslEvent, SslStatus, State};
use super::stored;

/// Everything stored about a domain. Only the control plane changes it, always through a transition of
/// the store. What has its default is left out of the stored text: that of an issued domain takes half the
/// space, and half the time to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// The key of the record.
    pub name: DomainName,
    /// Whose links are served here; part of every link's key (docs/specification.md §5).
    pub tenant: String,
    /// Earlier tenants whose links still verify.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_tenants: Vec<String>,
    /// The domain in the sender's address, for SPF, DKIM and DMARC. `None`: mail records are not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending_domain: Option<DomainName>,
    /// Further DNS records that the customer is asked to publish. Reported, but HTTPS does not depend on
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RequestedRecord>,
    /// Where a broken click link of this domain redirects to. `None`: as configured for all domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_url: Option<String>,
    /// The app-link files served under `/.well-known/`.
    #[serde(default)]
    pub app_links: AppLinks,
    /// Whether tracking URLs are served over plain HTTP while there is no certificate.
    #[serde(default = "yes")]
    pub http_while_pending: bool,
    /// Strict Transport Security, sent over HTTPS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// How it was registered.
    #[serde(deserialize_with = "stored::known_or_default")]
    pub origin: Origin,
    /// When it was added.
    pub created: Timestamp,
    /// Since when it belongs to its tenant, who must not see anything earlier. `None`: since it was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_since: Option<Timestamp>,
    /// Since when an operator has paused issuance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Timestamp>,
    /// Since when it is retired: served until its certificate expires, never renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Timestamp>,
    /// How often the links to its page were invalidated: taken back, or by a move to another tenant. A link
    /// made before the last time does not open it.
    #[serde(default, skip_serializing_if = "stored::is_default")]
    pub share_generation: u32,
    pub ssl: SslStatus,
    /// The result of the last DNS check.
    #[serde(default)]
    pub dns: DnsSummary,
    /// Whether it counts as pointing here although its zone's servers fail: less than a day ago it did.
    #[serde(default, rename = "still_leads_here", skip_serializing_if = "stored::is_default")]
    pub still_points_here: bool,
    /// The result of the last TLS handshake with it from outside.
    #[serde(default, deserialize_with = "stored::known", skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// Grows with every change; the store refuses a change that was computed from an older version.
    pub version: u64,
}

/// The longest tenant in bytes: tenants are kept in memory for every domain.
pub const MAX_TENANT: usize = 253;

/// Whether a text is a valid tenant: 1 to [`MAX_TENANT`] bytes, no control characters, no slash.
pub fn is_tenant(text: &str) -> bool {
    (1..=MAX_TENANT).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c == '/')
}

impl DomainRecord {
    /// A new record, for which nothing has been requested yet. `tenant`: `None` for the name itself.
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

    /// Reads a stored record, even if a newer version wrote it.
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

    /// Moves it to another tenant. The previous one becomes a former tenant, so that its links still verify;
    /// the links to the domain's page end for good.
    pub fn move_to(&mut self, tenant: String, now: Timestamp) {
        let old = std::mem::replace(&mut self.tenant, tenant);
        self.former_tenants.retain(|t| *t != self.tenant && *t != old);
        self.former_tenants.push(old);
        self.own_since = Some(now);
        self.end_shares();
    }

    /// Invalidates all links to its page made so far.
    pub fn end_shares(&mut self) {
        self.share_generation = self.share_generation.wrapping_add(1);
    }

    /// Whether `at` lies before the domain belonged to its tenant.
    fn is_before_tenant(&self, at: Timestamp) -> bool {
        self.own_since.is_some_and(|since| at <= since)
    }

    /// The record as its tenant may see it: without what former tenants left in it.
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

    /// What the operators want for it.
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

    /// Applies an event to its SSL state.
    pub fn apply(&mut self, event: SslEvent, now: Timestamp) {
        self.ssl = self.ssl.apply(event, self.intent(), now);
    }

    /// Whether a mailer may send https links: there is an unexpired certificate, and the name points here.
    /// A stored certificate is served: handshakes load it from the same store. Whether every node of a fleet knows it
    /// already, the control plane says.
    pub fn https_ready(&self, now: Timestamp) -> bool {
        self.https_works() && self.ssl.holds(now)
    }

    /// [`Self::https_ready`] as long as the certificate is valid. The edge's own name counts as pointing
    /// here until its first DNS check.
    pub(super) fn https_works(&self) -> bool {
        let unchecked_edge = self.origin == Origin::Edge && self.dns.checked.is_none();
        let points_here = self.dns.https || self.still_points_here || unchecked_edge;
        self.ssl.state() == State::Issued && self.ssl.reason != Reason::Moved && points_here
    }

    /// When the certificate is to be renewed. `None`: there is none, or it will not be renewed because the
    /// domain is not wanted or has moved.
    pub fn renewal_due(&self) -> Option<Timestamp> {
        let renewed = self.is_wanted() && self.ssl.state() == State::Issued && self.ssl.reason != Reason::Moved;
        self.ssl.certificate.as_ref().filter(|_| renewed).map(|c| c.renew_at)
    }

    /// When the scheduler has to process it next. `None`: not before another change.
    pub fn next_due(&self) -> Option<Timestamp> {
        let work = self.ssl.next_due(self.is_wanted());
        [work, self.forget_at()].into_iter().flatten().min()
    }

    /// Whether it has settings that would be lost with it.
    fn has_own_settings(&self) -> bool {
        !self.former_tenants.is_empty()
            || !self.records.is_empty()
            || self.sending_domain.is_some()
            || self.fallback_url.is_some()
            || self.app_links != AppLinks::default()
            || self.hsts.is_some()
    }

    /// When it is forgotten because no certificate was issued. A name admitted at a handshake, by its CNAME
    /// or by the platform's `ask` endpoint, is kept only while it has a certificate or is about to get one;
    /// its next handshake admits it again if it still may. `None`: it is kept, because it was registered,
    /// was set aside by an operator, or has settings of its own.
    pub fn forget_at(&self) -> Option<Timestamp> {
        // What a freeze has stopped resumes after it.
        let frozen = self.ssl.reason == Reason::Paused;
        let admitted = matches!(self.origin, Origin::Cname | Origin::Asked) && !self.has_own_settings();
        let idle = admitted && self.is_wanted() && self.ssl.state() == State::Unknown && !frozen;
        idle.then(|| self.ssl.since + FORGOTTEN_AFTER)
    }
}

/// How long a name admitted at a handshake is kept without a certificate or an order for one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// HTTP Strict Transport Security (RFC 6797): browsers that received it use HTTPS for the name, even for
/// http links. It cannot be revoked before `max_age` has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Hsts {
    /// How long browsers remember it, in seconds; 0 makes them forget it.
    pub max_age: u32,
    /// Whether it also applies to all subdomains.
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
    pub const ALL: [Self; 5] = [
        Self::Ok,
        Self::WrongCertificate,
        Self::Expired,
        Self::TlsFailed,
        Self::Unreachable,
    ];

    /// Its spelling in metrics.
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
    fn a_reason_that_only_a_newer_version_knows_claims_nothing() {
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
    fn a_move_to_another_tenant_and_back_revives_no_link_to_its_page() {
        let mut moved = record();
        moved.move_to("other".to_owned(), NOW);
        moved.move_to(record().tenant, NOW);
        assert_eq!(moved.tenant, record().tenant);
        assert_eq!(moved.share_generation, 2);
    }

    #[test]
    fn a_record_of_an_older_version_belongs_to_its_tenant_since_it_was_added() {
        let mut stored = serde_json::to_value(record()).unwrap();
        stored.as_object_mut().unwrap().remove("own_since");
        let read = DomainRecord::from_stored(&stored.to_string()).unwrap();
        assert_eq!(read, record());
        assert!(!read.is_before_tenant(NOW));
    }
}
