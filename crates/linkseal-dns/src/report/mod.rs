//! The report on a domain's DNS: every requested record, what is published, what to change.

mod caa;
mod pointing;

use std::time::Duration;

use futures_util::future::{join, join3};
use futures_util::stream::{self, StreamExt};
use linkseal_base::clock::Timestamp;
use linkseal_base::fault::Fault;
use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::record::RequestedRecord;
use linkseal_domain::{DomainName, DomainRecord, Text};

use crate::check::{Checker, Finding};
use crate::lookup::{Kind, zone_of};
use crate::mail::dkim::{self, Dkim};
use crate::mail::dmarc::{self, DmarcWanted};
use crate::mail::spf;
use crate::providers::{self, ProviderHelp};
use crate::query::{Queries, QueryMemo};
use crate::record_report::{self, Purpose, RecordReport, RecordStatus};
use crate::requested;

/// Records of one report that are checked at once.
const AT_ONCE: usize = 8;
/// Sockets to budget for a report: two each for the records checked at once, for HTTPS and for the
/// provider.
pub const SOCKETS_OF_REPORT: usize = 2 * (AT_ONCE + 2);
/// A domain's own records that are checked; further ones are listed as not checked.
const MAX_REQUESTED: usize = 50;

/// A domain's DNS records, expected and found (docs/specification.md §7, `GET …/dns`).
#[derive(Clone, Debug)]
pub struct DnsReport {
    /// Whether the name points here, so that HTTPS can work.
    pub https: bool,
    /// Whether all requested records are published.
    pub verified: bool,
    /// When DNS was checked.
    pub checked: Timestamp,
    /// The requested records, and those that have to be removed.
    pub records: Vec<RecordReport>,
    /// The DNS provider and the steps in its panel. `None`: not known.
    pub provider: Option<ProviderHelp>,
    /// The result of the check before an order, which is part of the report.
    pub finding: Finding,
}

impl DnsReport {
    /// Records that the challenge arrives here through a proxy: the name works, so wrong records for
    /// HTTPS become warnings.
    pub fn works_through(&mut self, provider: &str) {
        self.https = true;
        let wrong = |r: &&mut RecordReport| r.purpose == Purpose::Https && r.verdict == RecordStatus::Wrong;
        for entry in self.records.iter_mut().filter(wrong) {
            entry.verdict = RecordStatus::Warning;
            entry.hint = Text::new(
                format!(
                    "It works through the {provider} proxy, but turning the proxy off (\"DNS only\") is safer: a proxy setting can block renewals."
                ),
                format!(
                    "Über den Proxy von {provider} funktioniert es, sicherer ist es aber, ihn auszuschalten („Nur DNS“): Eine Proxy-Einstellung kann Erneuerungen verhindern."
                ),
            );
        }
    }
}

impl Checker {
    /// Checks all records requested of a domain concurrently, within [`crate::check::CHECK_TIME`].
    pub async fn report(&self, record: &DomainRecord) -> DnsReport {
        let memo = QueryMemo::default();
        let queries = self.queries(&memo);
        let requests = self.requests(record);
        let mut others = Vec::new();
        for request in &requests {
            others.push(self.request(&queries, request));
        }
        let others = stream::iter(others).buffered(AT_ONCE).collect::<Vec<_>>();
        let https = self.https_with(&queries, &record.name);
        let host = provider(&queries, &record.name);
        let (finding, others, provider) = join3(https, others, host).await;

        let mut records = self.https_records(&queries, &record.name, &finding).await;
        records.extend(others);
        let checked = self.clock.now();
        for entry in &mut records {
            if entry.verdict == RecordStatus::Error && finding.fault == Some(Fault::Ours) {
                entry.verdict = RecordStatus::NotChecked;
                entry.hint = Text::new(
                    "DNS cannot be checked at the moment; the problem is on our side. Please try again later.",
                    "DNS lässt sich derzeit nicht prüfen; die Ursache liegt bei uns. Versuchen Sie es später erneut.",
                );
            }
            if !entry.verdict.is_fine() && entry.visible_by.is_none() {
                entry.visible_by = visible_by(entry.ttl, checked);
            }
        }
        let https = finding.verdict == DnsVerdict::Right;
        let verified = https && records.iter().all(|r| r.verdict.is_fine());
        DnsReport {
            https,
            verified,
            checked,
            records,
            provider,
            finding,
        }
    }

    /// Whether any record beyond those for HTTPS is requested of a domain.
    pub fn asks_more(&self, record: &DomainRecord) -> bool {
        !self.requests(record).is_empty()
    }

    fn requests<'a>(&'a self, record: &'a DomainRecord) -> Vec<Request<'a>> {
        let mut requests = Vec::new();
        if let Some(domain) = record.sending_domain.as_ref().map(DomainName::as_str) {
            requests.extend(
                self.settings
                    .spf_include
                    .as_deref()
                    .map(|include| Request::Spf { domain, include }),
            );
            requests.extend(self.settings.dkim.iter().map(|key| Request::Dkim { domain, key }));
            requests.extend(self.settings.dmarc.map(|policy| Request::Dmarc { domain, policy }));
        }
        let own = record.records.iter().enumerate();
        requests.extend(own.map(|(at, wanted)| {
            if at < MAX_REQUESTED {
                Request::Own(wanted)
            } else {
                Request::TooMany(wanted)
            }
        }));
        requests
    }

    /// Checks one record. If it is wrong according to the resolvers, the authoritative servers are
    /// asked too.
    async fn request(&self, queries: &Queries<'_>, request: &Request<'_>) -> RecordReport {
        let cached = request.check(queries).await;
        match cached.verdict {
            RecordStatus::Ok | RecordStatus::NotChecked | RecordStatus::Error => cached,
            _ => record_report::prefer(cached, request.check(&queries.fresh()).await, self.clock.now()),
        }
    }

    /// The rows of the records that HTTPS depends on.
    async fn https_records(&self, queries: &Queries<'_>, name: &DomainName, finding: &Finding) -> Vec<RecordReport> {
        let (mut rows, caa) = join(
            self.pointing_records(queries, name, finding),
            self.caa_records(queries, name, finding),
        )
        .await;
        rows.extend(caa);
        rows
    }
}

/// When a change made now is visible everywhere. `None`: not known, or immediately.
fn visible_by(ttl: Option<u32>, checked: Timestamp) -> Option<Timestamp> {
    let ttl = ttl.filter(|seconds| *seconds > 0)?;
    Some(checked + Duration::from_secs(ttl.into()))
}

/// A requested record beyond those for HTTPS.
enum Request<'a> {
    Spf { domain: &'a str, include: &'a str },
    Dkim { domain: &'a str, key: &'a Dkim },
    Dmarc { domain: &'a str, policy: DmarcWanted },
    Own(&'a RequestedRecord),
    TooMany(&'a RequestedRecord),
}

impl Request<'_> {
    async fn check(&self, queries: &Queries<'_>) -> RecordReport {
        match self {
            Self::Spf { domain, include } => spf::check(queries, domain, include).await,
            Self::Dkim { domain, key } => dkim::check(queries, domain, key).await,
            Self::Dmarc { domain, policy } => dmarc::check(queries, domain, *policy).await,
            Self::Own(wanted) => requested::check(queries, wanted).await,
            Self::TooMany(wanted) => {
                let entry = RecordReport::new(&wanted.kind, Purpose::Domain, &wanted.host, vec![wanted.value.clone()]);
                entry.is(
                    RecordStatus::NotChecked,
                    Text::new(
                        format!("Not checked: at most {MAX_REQUESTED} records are checked per domain."),
                        format!("Nicht geprüft: Pro Domain werden höchstens {MAX_REQUESTED} Einträge geprüft."),
                    ),
                )
            }
        }
    }
}

async fn provider(queries: &Queries<'_>, name: &DomainName) -> Option<ProviderHelp> {
    let zone = zone_of(name.as_str());
    let servers = queries.get(zone, Kind::Ns).await.ok()?;
    providers::detect(zone, servers.names())
}

#[cfg(test)]
mod tests;
