//! The whole report on a domain's DNS: every record asked for, what is there, what to change.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::{join, join3};
use futures_util::stream::{self, StreamExt};
use linkseal_base::clock::Timestamp;
use linkseal_base::fault::Fault;
use linkseal_base::random;
use linkseal_domain::dns::{DnsSummary, DnsVerdict};
use linkseal_domain::pointing::{Pointing, is_platforms_caa};
use linkseal_domain::record::RequestedRecord;
use linkseal_domain::{DomainName, DomainRecord};
use serde::Serialize;
use serde_json::Value;

use crate::caa::{Caa, Flaw};
use crate::check::{Checker, Finding};
use crate::lookup::{Kind, LookupError, zone_of};
use crate::mail::dkim::{self, Dkim};
use crate::mail::dmarc::{self, DmarcWanted};
use crate::mail::spf;
use crate::near_miss;
use crate::providers::{self, ProviderHelp};
use crate::query::{Queries, QueryMemo};
use crate::record_report::{self, Purpose, RecordReport, RecordStatus};
use crate::requested;
use linkseal_domain::Text;

/// How many records of one report are checked at once.
const AT_ONCE: usize = 8;
/// Sockets that a report has open at most: two questions for each record, for HTTPS and for the provider.
pub const SOCKETS_OF_REPORT: usize = 2 * (AT_ONCE + 2);
/// How many of a domain's own records are checked; the others are listed as not checked.
const MAX_REQUESTED: usize = 50;

/// What a domain's DNS holds and should hold (docs/specification.md §7, `GET …/dns`).
#[derive(Clone, Debug, Serialize)]
pub struct DnsReport {
    /// Whether the name points here, so that HTTPS can work.
    pub https: bool,
    /// Whether everything that is asked for is published.
    pub verified: bool,
    /// When DNS was checked.
    pub checked: Timestamp,
    /// Every record asked for, and those that have to go.
    pub records: Vec<RecordReport>,
    /// Where the zone is hosted and what to click there. `None`: not known.
    pub provider: Option<ProviderHelp>,
    /// The domain's SSL state; null until the admin API fills it in.
    pub ssl: Value,
    /// The check before an order that the report includes.
    #[serde(skip)]
    pub finding: Finding,
}

impl DnsReport {
    /// Takes note that the challenge arrives here although a proxy stands in front: the name works,
    /// and the records that HTTPS depends on are a warning.
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

    /// What the domain's record keeps of it.
    pub fn summary(&self) -> DnsSummary {
        DnsSummary {
            checked: Some(self.checked),
            https: self.https,
            verified: self.verified,
        }
    }
}

impl Checker {
    /// Looks at everything that is asked of a domain, at once, within [`crate::check::CHECK_TIME`].
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
            ssl: Value::Null,
            finding,
        }
    }

    /// Whether anything is asked of a domain beside what HTTPS depends on.
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

    /// One record; if the resolvers' answer is wrong, the zone's own servers are asked too.
    async fn request(&self, queries: &Queries<'_>, request: &Request<'_>) -> RecordReport {
        let cached = request.check(queries).await;
        match cached.verdict {
            RecordStatus::Ok | RecordStatus::NotChecked | RecordStatus::Error => cached,
            _ => record_report::prefer(cached, request.check(&queries.fresh()).await, self.clock.now()),
        }
    }

    /// The entries HTTPS depends on.
    async fn https_records(&self, queries: &Queries<'_>, name: &DomainName, finding: &Finding) -> Vec<RecordReport> {
        let (mut leads, caa) = join(
            self.pointing_records(queries, name, finding),
            self.caa_records(queries, name, finding),
        )
        .await;
        leads.extend(caa);
        leads
    }

    /// The CNAME, or the addresses of an apex, and an AAAA that has to go.
    async fn pointing_records(&self, queries: &Queries<'_>, name: &DomainName, finding: &Finding) -> Vec<RecordReport> {
        let target = &self.settings.target;
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = target.addresses.iter().partition(|ip| ip.is_ipv4());
        let (family, addresses) = if v4.is_empty() { ("AAAA", v6) } else { ("A", v4) };
        let pointing = Pointing::of(name.as_str(), target.names.name.as_str(), !addresses.is_empty());
        let (kind, expected) = match pointing {
            Pointing::Cname | Pointing::Alias => ("CNAME", vec![target.names.name.to_string()]),
            Pointing::Addresses | Pointing::Target => (family, addresses.iter().map(ToString::to_string).collect()),
        };
        let entry = RecordReport::new(kind, Purpose::Https, name.as_str(), expected);
        let entry = entry.found(finding.found(), finding.ttl);
        let mut entries = Vec::new();
        match &finding.leads {
            DnsVerdict::Right | DnsVerdict::CaaForbids { .. } => entries.push(match &finding.stale {
                Some(stale) if !stale.caa => RecordReport {
                    visible_by: stale.until,
                    ..entry
                }
                .is(RecordStatus::Ok, record_report::still_cached(stale.until)),
                _ => entry,
            }),
            DnsVerdict::Missing if pointing != Pointing::Cname => {
                entries.push(without_cname(entry, RecordStatus::Missing, pointing, &target.addresses))
            }
            DnsVerdict::Missing => {
                // The error is asked for again, from memory, to tell a name entered in the wrong place.
                let error = queries.get(name.as_str(), Kind::Cname).await.err();
                let absent = LookupError::NoData { ttl: finding.ttl };
                let error = error.filter(|e| e.is_absent()).unwrap_or(absent);
                let as_text = near_miss::target_as_text(queries, name.as_str(), target.names.name.as_str()).await;
                let in_the_way = match (&as_text, &error) {
                    (None, LookupError::NoData { .. }) => near_miss::in_the_way(queries, name.as_str()).await,
                    _ => None,
                };
                let entry = entry.without(queries, Kind::Cname, &error).await;
                entries.push(entry.near(as_text).also(in_the_way));
            }
            DnsVerdict::Elsewhere { .. } if pointing != Pointing::Cname => {
                entries.push(without_cname(entry, RecordStatus::Wrong, pointing, &target.addresses));
            }
            DnsVerdict::Elsewhere { found } => {
                let wildcard = wildcard(queries, name, finding).await;
                entries.push(entry.leads_elsewhere(found, target.names.name.as_str()).also(wildcard));
            }
            DnsVerdict::Proxied { provider } => entries.push(entry.is(
                RecordStatus::Wrong,
                Text::new(
                    format!("Turn off the {provider} proxy for {name} (\"DNS only\")."),
                    format!("Schalten Sie den Proxy von {provider} für {name} aus („Nur DNS“)."),
                ),
            )),
            // Another's zone cannot be edited, the way there can.
            DnsVerdict::StrayAaaa { found, host } if zone_of(host) != zone_of(name.as_str()) => {
                let entry = match pointing {
                    Pointing::Cname => entry.leads_elsewhere(&finding.found().join(", "), target.names.name.as_str()),
                    _ => without_cname(entry, RecordStatus::Wrong, pointing, &target.addresses),
                };
                entries.push(entry.also(Some(Text::new(
                    format!("{host} has the AAAA record {found}, which points elsewhere."),
                    format!("{host} hat den AAAA-Eintrag {found}, der auf einen anderen Server zeigt."),
                ))));
            }
            DnsVerdict::StrayAaaa { .. } => {
                entries.push(entry);
                entries.push(stray_record(finding));
            }
            DnsVerdict::Error { zone, error } => {
                entries.push(entry.is(RecordStatus::Error, record_report::servers_fail(zone, error)))
            }
        }
        entries
    }

    /// The CAA records; none where the CA is not known, so that nothing can be asked for.
    async fn caa_records(&self, queries: &Queries<'_>, name: &DomainName, finding: &Finding) -> Vec<RecordReport> {
        let cas = self.cas();
        let Some(identity) = self.caa_identity() else {
            return Vec::new();
        };
        let expected = format!("0 issue \"{identity}\"");
        let entry = |host: &str| RecordReport::new("CAA", Purpose::Https, host, vec![expected.clone()]);
        // The check before an order stops at a name that leads elsewhere; the report goes on.
        let caa = match &finding.caa {
            Caa::NotJudged => crate::caa::check(queries, name.as_str(), &cas).await,
            known => known.clone(),
        };
        let entry = match caa {
            Caa::NotJudged => return Vec::new(),
            Caa::Allows { found, .. } if found.is_empty() => entry(name.as_str()).is(
                RecordStatus::Ok,
                Text::new(
                    "No CAA record restricts certificates.",
                    "Kein CAA-Eintrag schränkt die Ausstellung von Zertifikaten ein.",
                ),
            ),
            Caa::Allows { found, doubtful } => {
                let entry = entry(name.as_str()).found(found, None);
                match &finding.stale {
                    _ if doubtful => entry.is(
                        RecordStatus::Warning,
                        Text::new(
                            format!("Some certificate authorities reject this spelling. Write it as CAA {expected}."),
                            format!("Manche Zertifizierungsstellen lehnen diese Schreibweise ab. Schreiben Sie CAA {expected}."),
                        ),
                    ),
                    Some(stale) if stale.caa => RecordReport {
                        visible_by: stale.until,
                        ..entry
                    }
                    .is(RecordStatus::Ok, record_report::still_cached(stale.until)),
                    _ => entry,
                }
            }
            Caa::Forbids { host, found, ttl, .. } if self.is_ours(&host, name) => entry(&host)
                .found(found, ttl)
                .is(RecordStatus::Wrong, ours_forbids(&host)),
            Caa::Forbids {
                host,
                found,
                critical,
                granted,
                near,
                ttl,
            } => {
                let mut entries = Vec::new();
                if !granted {
                    let hint = add_caa(&host, &expected, near);
                    entries.push(entry(&host).found(found, ttl).is(RecordStatus::Wrong, hint));
                }
                if !critical.is_empty() {
                    let entry = RecordReport::new("CAA", Purpose::Https, &host, Vec::new());
                    let hint = delete_critical(&host, &critical);
                    entries.push(entry.found(critical, ttl).is(RecordStatus::Extra, hint));
                }
                return entries;
            }
            Caa::Error { zone, error } => entry(name.as_str()).is(
                RecordStatus::Error,
                record_report::servers_fail(&zone, &error.to_string()),
            ),
        };
        vec![entry]
    }
}

impl Checker {
    /// Whether records at `host`, which decide about `name` through an alias, are the platform's.
    fn is_ours(&self, host: &str, name: &DomainName) -> bool {
        is_platforms_caa(host, name.as_str(), self.settings.target.names.name.as_str())
    }
}

fn ours_forbids(host: &str) -> Text {
    Text::new(
        format!("The CAA record at {host} belongs to the platform and forbids the certificate. Contact support."),
        format!(
            "Der CAA-Eintrag bei {host} gehört zur Plattform und verbietet das Zertifikat. Wenden Sie sich an den Support."
        ),
    )
}

fn delete_critical(host: &str, critical: &[String]) -> Text {
    let named = critical.join(", ");
    Text::new(
        format!(
            "Delete this record at {host}: CAA {named}. It is marked critical (128) and the certificate authority does not know it, so it refuses every certificate."
        ),
        format!(
            "Löschen Sie bei {host} diesen Eintrag: CAA {named}. Er ist als kritisch markiert (128) und der Zertifizierungsstelle unbekannt; deshalb lehnt sie jedes Zertifikat ab."
        ),
    )
}

/// Which record to add, and what is wrong with one that looks like it.
fn add_caa(host: &str, expected: &str, near: Option<(String, Flaw)>) -> Text {
    let add = Text::new(
        format!("Add this record at {host}: CAA {expected}."),
        format!("Fügen Sie bei {host} diesen DNS-Eintrag hinzu: CAA {expected}."),
    );
    let Some((record, flaw)) = near else {
        return add;
    };
    let (en, de) = match flaw {
        Flaw::Spelling => (
            "contains characters that do not belong there (quotation marks, a dot at the end or https://)",
            "enthält Zeichen, die dort nicht hingehören (Anführungszeichen, einen Punkt am Ende oder https://)",
        ),
        Flaw::Parameters => (
            "has an invalid or duplicate parameter",
            "hat einen ungültigen oder doppelten Parameter",
        ),
        Flaw::Account => (
            "allows only a different account (accounturi)",
            "erlaubt nur ein anderes Konto (accounturi)",
        ),
        Flaw::Method => (
            "does not allow the method http-01 (validationmethods)",
            "erlaubt die Methode http-01 nicht (validationmethods)",
        ),
    };
    add.and(Some(Text::new(
        format!("The existing record CAA {record} {en}."),
        format!("Der vorhandene Eintrag CAA {record} {de}."),
    )))
}

/// When a change made now is seen everywhere. `None`: not known, or at once.
fn visible_by(ttl: Option<u32>, checked: Timestamp) -> Option<Timestamp> {
    let ttl = ttl.filter(|seconds| *seconds > 0)?;
    Some(checked + Duration::from_secs(ttl.into()))
}

/// The row of a name that can have no CNAME.
fn without_cname(entry: RecordReport, verdict: RecordStatus, pointing: Pointing, addresses: &[IpAddr]) -> RecordReport {
    let (host, wanted) = (entry.host.clone(), entry.expected.join(", "));
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let all = all.join(", ");
    let hint = match pointing {
        Pointing::Cname | Pointing::Alias => Text::new(
            format!(
                "{host} is the top of its zone and cannot have a CNAME. Use a subdomain, or an ALIAS record (CNAME flattening) that points to {wanted}."
            ),
            format!(
                "{host} ist die Hauptdomain und kann keinen CNAME haben. Verwenden Sie eine Subdomain oder einen ALIAS-Eintrag (CNAME-Flattening) auf {wanted}."
            ),
        ),
        Pointing::Addresses => Text::new(
            format!("Set the A and AAAA records of {host} to exactly these addresses: {all}."),
            format!("Setzen Sie die A- und AAAA-Einträge von {host} auf genau diese Adressen: {all}."),
        ),
        Pointing::Target => Text::new(
            format!("Create A and AAAA records for {host} with the public addresses of this server."),
            format!("Legen Sie für {host} A- und AAAA-Einträge mit den öffentlichen Adressen dieses Servers an."),
        ),
    };
    entry.is(verdict, hint)
}

/// The row of the AAAA records that have to go, at the name that has them.
fn stray_record(finding: &Finding) -> RecordReport {
    let (host, strays) = (&finding.end, &finding.strays);
    let named: Vec<String> = strays.iter().map(ToString::to_string).collect();
    let named = named.join(", ");
    let (records, entries) = match strays.len() {
        1 => ("record", "den AAAA-Eintrag"),
        _ => ("records", "die AAAA-Einträge"),
    };
    let entry = RecordReport::new("AAAA", Purpose::Https, host, Vec::new()).found(strays, finding.ttl);
    entry.is(
        RecordStatus::Extra,
        Text::new(
            format!("Delete the AAAA {records} {named} of {host}."),
            format!("Löschen Sie bei {host} {entries} {named}."),
        ),
    )
}

/// Something asked for beside HTTPS.
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

/// The sentence about a wildcard, when it is one that answers for the name: its owner will look
/// for a record that is not there. Told by a label that no one has.
async fn wildcard(queries: &Queries<'_>, name: &DomainName, finding: &Finding) -> Option<Text> {
    let (_, parent) = name.as_str().split_once('.')?;
    let unused = format!("x{}.{parent}", hex::encode(random::bytes::<8>()));
    let kind = if finding.chain.is_empty() { Kind::A } else { Kind::Cname };
    let answer = queries.get(&unused, kind).await.ok()?;
    let found: Vec<String> = answer.records.iter().map(|r| r.data.to_string()).collect();
    found.iter().any(|f| finding.found().contains(f)).then(|| {
        Text::new(
            format!("The wildcard record *.{parent} answers for this name: create a record for {name}, which takes precedence."),
            format!("Für diesen Namen antwortet der Wildcard-Eintrag *.{parent}: Legen Sie für {name} einen eigenen DNS-Eintrag an, er hat Vorrang."),
        )
    })
}

async fn provider(queries: &Queries<'_>, name: &DomainName) -> Option<ProviderHelp> {
    let zone = zone_of(name.as_str());
    let servers = queries.get(zone, Kind::Ns).await.ok()?;
    providers::detect(zone, servers.names())
}

#[cfg(test)]
mod tests;
