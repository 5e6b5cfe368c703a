//! What the API shows of a domain (contract, section 7). Keys are always present, null when empty.

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::control::{Control, MessageContext};
use crate::dns::{DnsReport, ProviderHelp, RecordReport};
use crate::domain::record::{AppLinks, DnsSummary, Origin, WantedRecord};
use crate::domain::ssl::{Reason, State};
use crate::domain::view::SslView;
use crate::domain::{DomainName, DomainRecord};
use crate::store::Count;

/// Makes views: what the sentences and the readiness need to know, taken once for a page.
pub(super) struct Viewer {
    messages: MessageContext,
    now: Timestamp,
}

impl Viewer {
    pub(super) fn new(control: &Control) -> Self {
        Self {
            messages: control.messages(),
            now: control.clock().now(),
        }
    }

    pub(super) fn domain<'a>(&self, record: &'a DomainRecord) -> DomainView<'a> {
        DomainView {
            name: &record.name,
            tenant: &record.tenant,
            former_tenants: &record.former_tenants,
            sending_domain: record.sending_domain.as_ref(),
            created: record.created,
            https_ready: self.is_ready(record),
            paused: record.paused.is_some(),
            retired: record.retired,
            origin: record.origin,
            records: &record.records,
            fallback_url: record.fallback_url.as_deref(),
            app_links: &record.app_links,
            http_while_pending: record.http_while_pending,
            ssl: self.ssl(record),
            dns: &record.dns,
        }
    }

    pub(super) fn ssl<'a>(&self, record: &'a DomainRecord) -> SslView<'a> {
        SslView::of(record, self.messages.borrow())
    }

    pub(super) fn report<'a>(&self, record: &'a DomainRecord, report: &'a DnsReport) -> DnsView<'a> {
        DnsView {
            https: report.https,
            verified: report.verified,
            checked: report.checked,
            records: &report.records,
            provider: report.provider.as_ref(),
            ssl: self.ssl(record),
        }
    }

    /// Whether a mailer may send https links: an unexpired certificate is served, and the name
    /// leads here. The edge's own name is where others lead; its DNS is not looked at.
    fn is_ready(&self, record: &DomainRecord) -> bool {
        let ssl = &record.ssl;
        let valid = ssl.certificate.as_ref().is_some_and(|c| c.not_after > self.now);
        let leads_here = record.dns.https || (record.origin == Origin::Edge && record.dns.checked.is_none());
        ssl.state() == State::Issued && ssl.reason != Reason::Moved && valid && leads_here
    }
}

/// A domain.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Domain")]
pub(super) struct DomainView<'a> {
    /// Its name, internationalized ones as A-labels.
    name: &'a DomainName,
    /// Whose links are served there.
    tenant: &'a str,
    /// Earlier tenants whose links still verify.
    former_tenants: &'a [String],
    /// The domain in the sender's address. `None`: mail records are not looked at.
    sending_domain: Option<&'a DomainName>,
    /// When it was added.
    created: Timestamp,
    /// Whether https links to it work: issued, and leading here.
    https_ready: bool,
    /// Whether an operator paused issuance.
    paused: bool,
    /// Since when it is retired: served while its certificate lives. `None`: it is wanted.
    retired: Option<Timestamp>,
    /// How it came to be known.
    origin: Origin,
    /// Further DNS records the customer is asked for.
    records: &'a [WantedRecord],
    /// Where a broken click link leads. `None`: as configured for all.
    fallback_url: Option<&'a str>,
    /// The app-link files.
    app_links: &'a AppLinks,
    /// Whether tracking works over HTTP while no certificate is held.
    http_while_pending: bool,
    /// Its SSL state.
    ssl: SslView<'a>,
    /// What its DNS looked like the last time.
    dns: &'a DnsSummary,
}

/// A domain's DNS: what it should hold and what it holds.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DnsReport")]
pub(super) struct DnsView<'a> {
    /// Whether the name leads here, so that HTTPS can work.
    https: bool,
    /// Whether everything that is asked for is published.
    verified: bool,
    /// When it was looked at.
    checked: Timestamp,
    /// Every record asked for, and those that have to go.
    records: &'a [RecordReport],
    /// Where the zone is hosted and what to click there. `None`: not known.
    provider: Option<&'a ProviderHelp>,
    /// The SSL state.
    ssl: SslView<'a>,
}

/// How many domains are in each state.
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct Counts {
    issued: u64,
    pending: u64,
    unknown: u64,
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
