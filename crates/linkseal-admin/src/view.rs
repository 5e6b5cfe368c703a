//! What the API shows of a domain (contract, section 7). Keys are always present, null when empty.

use std::borrow::Cow;

use linkseal_base::clock::Timestamp;
use linkseal_control::{Control, MessageContext};
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

use super::scope::Scope;

/// Makes views: what the sentences and the readiness need to know, taken once for a page.
pub(super) struct Viewer {
    messages: MessageContext,
    failures: HandshakeFailures,
    now: Timestamp,
}

impl Viewer {
    pub(super) fn new(control: &Control) -> Self {
        Self {
            messages: control.messages(),
            failures: control.handshake_failures().clone(),
            now: control.clock().now(),
        }
    }

    pub(super) fn domain<'a>(&self, record: &'a DomainRecord) -> DomainView<'a> {
        DomainView {
            name: &record.name,
            unicode_name: record.name.to_unicode(),
            tenant: &record.tenant,
            former_tenants: &record.former_tenants,
            sending_domain: record.sending_domain.as_ref(),
            created: record.created,
            https_ready: record.https_ready(self.now),
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

    pub(super) fn ssl<'a>(&self, record: &'a DomainRecord) -> SslView<'a> {
        SslView::of(record, self.messages.borrow())
    }

    /// `freeze`: `None` where orders go on, or where the page says it by its banner.
    pub(super) fn report<'a>(
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
            // A certificate that was issued shows that the challenge gets here; only our way out does not.
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
pub(super) struct DomainView<'a> {
    /// Its name, internationalized ones as A-labels.
    pub(super) name: &'a DomainName,
    /// Its name as people read it: labels that cannot pass for others in Unicode.
    pub(super) unicode_name: Cow<'a, str>,
    /// Whose links are served there.
    pub(super) tenant: &'a str,
    /// Earlier tenants whose links still verify. Empty for who sees one tenant.
    pub(super) former_tenants: &'a [String],
    /// The domain in the sender's address. `None`: mail records are not looked at.
    pub(super) sending_domain: Option<&'a DomainName>,
    /// When it was added.
    pub(super) created: Timestamp,
    /// Whether https links to it work: issued, and leading here.
    pub(super) https_ready: bool,
    /// Whether an operator paused issuance.
    pub(super) paused: bool,
    /// Since when it is retired: served while its certificate lives. `None`: it is wanted.
    pub(super) retired: Option<Timestamp>,
    /// How it came to be known.
    pub(super) origin: Origin,
    /// Further DNS records the customer is asked for.
    pub(super) records: &'a [RequestedRecord],
    /// Where a broken click link leads. `None`: as configured for all.
    pub(super) fallback_url: Option<&'a str>,
    /// The app-link files.
    pub(super) app_links: &'a AppLinks,
    /// Whether tracking works over HTTP while no certificate is held.
    pub(super) http_while_pending: bool,
    /// Strict Transport Security, sent over HTTPS. `None`: none is sent.
    pub(super) hsts: Option<Hsts>,
    /// Its SSL state.
    pub(super) ssl: SslView<'a>,
    /// What its DNS looked like the last time.
    pub(super) dns: &'a DnsSummary,
    /// What the last handshake with it from outside found. `None`: it was not probed yet.
    pub(super) probe: Option<&'a Probe>,
    /// Its TLS handshakes with this node, since that was started.
    pub(super) handshakes: HandshakesView,
}

/// What is counted of a domain's TLS handshakes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Handshakes")]
pub(super) struct HandshakesView {
    /// How many failed.
    pub(super) failed: u64,
    /// When the last one failed. `None`: none did.
    pub(super) last_failed: Option<Timestamp>,
    /// Why that one failed. `None`: none did.
    pub(super) last_error: Option<String>,
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

/// A domain's DNS: what it should hold and what it holds.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DnsReport")]
pub(super) struct DnsView<'a> {
    /// Whether the name points here, so that HTTPS can work.
    pub(super) https: bool,
    /// Whether everything that is asked for is published.
    pub(super) verified: bool,
    /// When it was looked at.
    pub(super) checked: Timestamp,
    /// Every record asked for, and those that have to go.
    pub(super) records: &'a [RecordReport],
    /// Where the zone is hosted and what to click there. `None`: not known.
    pub(super) provider: Option<&'a ProviderHelp>,
    /// Whether the URL of a CA's challenge gets here, tried from here. `None`: not tried.
    pub(super) preflight: Option<PreflightView<'a>>,
    /// The stop of all orders. `None`: they go on.
    pub(super) freeze: Option<FreezeView<'a>>,
    /// The SSL state.
    pub(super) ssl: SslView<'a>,
}

/// A stop of all orders, as far as it concerns who asks.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OrdersFrozen")]
pub(super) struct FreezeView<'a> {
    /// Since when.
    pub(super) since: Timestamp,
    /// Why. `None`: nothing was said, or it is for the platform alone.
    pub(super) note: Option<&'a str>,
    /// The name of the token that did it. `None`: it is for the platform alone.
    pub(super) by: Option<&'a str>,
}

impl<'a> FreezeView<'a> {
    /// What someone with this scope sees of it.
    pub(super) fn of(freeze: &'a Freeze, scope: &Scope) -> Self {
        let is_platform = *scope == Scope::All;
        Self {
            since: freeze.since,
            note: freeze.note.as_deref().filter(|_| is_platform),
            by: Some(freeze.by.as_str()).filter(|_| is_platform),
        }
    }
}

/// What came of fetching the URL of a challenge from here. It is advice: it forbids no order.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Preflight")]
pub(super) struct PreflightView<'a> {
    /// When it was tried.
    pub(super) at: Timestamp,
    /// Whether this fleet's answer came.
    pub(super) arrives: bool,
    /// Whose proxy stands between. `None`: none is known of.
    pub(super) through: Option<&'a str>,
    /// The same for people.
    pub(super) message: Text,
}

/// How many domains are in each state.
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct Counts {
    pub(super) issued: u64,
    pub(super) pending: u64,
    pub(super) unknown: u64,
}

impl Counts {
    pub(super) fn of(counts: &[Count]) -> Self {
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
