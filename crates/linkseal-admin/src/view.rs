//! What the API shows of a domain (docs/specification.md §7). Keys are always present; a missing value
//! is null.

use std::borrow::Cow;

use linkseal_base::clock::Timestamp;
use linkseal_control::{Control, Everywhere, MessageContext};
use linkseal_dns::{DnsReport, ProviderHelp, RecordReport};
use linkseal_domain::dns::DnsSummary;
use linkseal_domain::handshakes::{Failures, HandshakeFailures};
use linkseal_domain::record::{AppLinks, Hsts, Origin, Probe, RequestedRecord};
use linkseal_domain::ssl::Reason;
use linkseal_domain::ssl::State;
use linkseal_domain::view::SslView;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_domain::{Text, messages};
use linkseal_store::{Count, Freeze};
use schemars::JsonSchema;
use serde::Serialize;

use crate::scope::Scope;

/// Makes views. Holds what messages and readiness depend on, taken once per answer.
pub(crate) struct Viewer {
    messages: MessageContext,
    failures: HandshakeFailures,
    everywhere: Everywhere,
    now: Timestamp,
}

impl Viewer {
    pub(crate) fn new(control: &Control) -> Self {
        Self {
            messages: control.messages(),
            failures: control.handshake_failures().clone(),
            everywhere: control.everywhere().clone(),
            now: control.clock().now(),
        }
    }

    pub(crate) fn domain<'a>(&self, record: &'a DomainRecord) -> DomainView<'a> {
        DomainView {
            name: &record.name,
            unicode_name: record.name.to_unicode(),
            tenant: &record.tenant,
            former_tenants: &record.former_tenants,
            sending_domain: record.sending_domain.as_ref(),
            created: record.created,
            https_ready: record.https_ready(self.now) && self.everywhere.serves(&record.name),
            paused: record.paused.is_some(),
            retired: record.retired,
            origin: record.origin,
            records: &record.records,
            fallback_url: record.fallback_url.as_deref(),
            app_links: &record.app_links,
            http_while_pending: record.http_while_pending,
            hsts: record.hsts,
            ssl: self.ssl(record),
            dns: &record.dns,
            probe: record.probe.as_ref(),
            handshakes: HandshakesView::of(self.failures.of(&record.name)),
        }
    }

    pub(crate) fn ssl<'a>(&self, record: &'a DomainRecord) -> SslView<'a> {
        SslView::of(record, self.messages.borrow())
    }

    /// `freeze`: also `None` for a page, which shows a banner instead.
    pub(crate) fn report<'a>(
        &self,
        record: &'a DomainRecord,
        report: &'a DnsReport,
        freeze: Option<FreezeView<'a>>,
    ) -> DnsView<'a> {
        DnsView {
            https: report.https,
            verified: report.verified,
            checked: report.checked,
            records: &report.records,
            provider: report.provider.as_ref(),
            // An issued certificate proves that challenges arrive; then only our own probe fails.
            preflight: record
                .ssl
                .facts
                .preflight
                .as_ref()
                .filter(|found| found.miss.is_none() || record.ssl.reason != Reason::Ok)
                .map(|found| PreflightView {
                    at: found.at,
                    arrives: found.miss.is_none(),
                    through: found.through.as_deref(),
                    message: messages::preflight(found),
                }),
            freeze,
            ssl: self.ssl(record),
        }
    }
}

/// A domain.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Domain")]
pub(crate) struct DomainView<'a> {
    /// The name; internationalized names as A-labels.
    pub(crate) name: &'a DomainName,
    /// The name for display: Unicode, except for labels that could be mistaken for others.
    pub(crate) unicode_name: Cow<'a, str>,
    /// The tenant whose links are served there.
    pub(crate) tenant: &'a str,
    /// Former tenants whose links still work; empty for a token limited to one tenant.
    pub(crate) former_tenants: &'a [String],
    /// The domain in the sender's address; null if mail records are not checked.
    pub(crate) sending_domain: Option<&'a DomainName>,
    /// When it was registered.
    pub(crate) created: Timestamp,
    /// Whether https links work: a certificate is issued and DNS points here.
    pub(crate) https_ready: bool,
    /// Whether an operator paused issuance.
    pub(crate) paused: bool,
    /// Since when it is retired (served until its certificate expires); null if it is not.
    pub(crate) retired: Option<Timestamp>,
    /// How it was registered.
    pub(crate) origin: Origin,
    /// Further DNS records that the customer is asked to publish.
    pub(crate) records: &'a [RequestedRecord],
    /// The destination of broken click links; null for that of the configuration.
    pub(crate) fallback_url: Option<&'a str>,
    /// The app-link files.
    pub(crate) app_links: &'a AppLinks,
    /// Whether links work over HTTP while there is no certificate.
    pub(crate) http_while_pending: bool,
    /// Strict-Transport-Security over HTTPS; null if the header is not sent.
    pub(crate) hsts: Option<Hsts>,
    /// The SSL state.
    pub(crate) ssl: SslView<'a>,
    /// The result of the last DNS check.
    pub(crate) dns: &'a DnsSummary,
    /// The result of the last probe of its HTTPS from outside; null before the first.
    pub(crate) probe: Option<&'a Probe>,
    /// Its failed TLS handshakes with this node since the node started.
    pub(crate) handshakes: HandshakesView,
}

/// The failed TLS handshakes of a domain.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Handshakes")]
pub(crate) struct HandshakesView {
    /// The number of failed handshakes.
    pub(crate) failed: u64,
    /// When the last one failed; null if none did.
    pub(crate) last_failed: Option<Timestamp>,
    /// Why the last one failed; null if none did.
    pub(crate) last_error: Option<String>,
}

impl HandshakesView {
    fn of(failures: Option<Failures>) -> Self {
        Self {
            failed: failures.as_ref().map_or(0, |f| f.count),
            last_failed: failures.as_ref().map(|f| f.last),
            last_error: failures.map(|f| f.error),
        }
    }
}

/// A domain's DNS records, expected and found.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DnsReport")]
pub(crate) struct DnsView<'a> {
    /// Whether the name points here, so that HTTPS can work.
    pub(crate) https: bool,
    /// Whether all expected records are published.
    pub(crate) verified: bool,
    /// When DNS was checked.
    pub(crate) checked: Timestamp,
    /// The expected records, and those that have to be removed.
    pub(crate) records: &'a [RecordReport],
    /// The DNS provider and the steps there; null if it is not known.
    pub(crate) provider: Option<&'a ProviderHelp>,
    /// Whether a request for the challenge of a CA arrives here, tried from this node; null if not tried.
    pub(crate) preflight: Option<PreflightView<'a>>,
    /// The freeze of all orders; null if there is none.
    pub(crate) freeze: Option<FreezeView<'a>>,
    /// The SSL state.
    pub(crate) ssl: SslView<'a>,
}

/// A freeze of all orders, as far as the caller may see it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OrdersFrozen")]
pub(crate) struct FreezeView<'a> {
    /// Since when.
    pub(crate) since: Timestamp,
    /// The reason; null if none was given, or for a token limited to one tenant.
    pub(crate) note: Option<&'a str>,
    /// The name of the token that froze the orders; null for a token limited to one tenant.
    pub(crate) by: Option<&'a str>,
}

impl<'a> FreezeView<'a> {
    /// What a scope may see of it.
    pub(crate) fn of(freeze: &'a Freeze, scope: &Scope) -> Self {
        let is_platform = *scope == Scope::All;
        Self {
            since: freeze.since,
            note: freeze.note.as_deref().filter(|_| is_platform),
            by: Some(freeze.by.as_str()).filter(|_| is_platform),
        }
    }
}

/// The result of fetching the URL of a challenge from this node. It is only advice: no order waits for
/// it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Preflight")]
pub(crate) struct PreflightView<'a> {
    /// When it was tried.
    pub(crate) at: Timestamp,
    /// Whether a node of this fleet answered.
    pub(crate) arrives: bool,
    /// The provider of a proxy in between; null if none was detected.
    pub(crate) through: Option<&'a str>,
    /// The result for people.
    pub(crate) message: Text,
}

/// The number of domains in each state.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct Counts {
    pub(crate) issued: u64,
    pub(crate) pending: u64,
    pub(crate) unknown: u64,
}

impl Counts {
    pub(crate) fn of(counts: &[Count]) -> Self {
        let mut all = Self::default();
        for count in counts {
            *match count.reason.state() {
                State::Issued => &mut all.issued,
                State::Pending => &mut all.pending,
                State::Unknown => &mut all.unknown,
            } += count.domains;
        }
        all
    }
}
