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

use super::caa::Caa;
use super::caa_value::Flaw;
use super::check::{Checker, Finding};
use super::dkim::{self, Dkim};
use super::dmarc::{self, DmarcWanted};
use super::lookup::{Kind, LookupError, zone_of};
use super::near_miss;
use super::providers::{self, ProviderHelp};
use super::query::{Queries, QueryMemo};
use super::record_report::{self, Hint, Purpose, RecordReport, RecordStatus};
use super::{requested, spf};

/// How many records of one report are looked at at a time.
const AT_ONCE: usize = 8;
/// Sockets that a report has open at most: two questions for each record, for HTTPS and for the provider.
pub const SOCKETS_OF_REPORT: usize = 2 * (AT_ONCE + 2);
/// How many of a domain's own records are looked at; the others are listed as not checked.
const MAX_WANTED: usize = 50;

/// What a domain's DNS holds and should hold (contract, section 7, `GET …/dns`).
#[derive(Clone, Debug, Serialize)]
pub struct DnsReport {
    /// Whether the name points here, so that HTTPS can work.
    pub https: bool,
    /// Whether everything that is asked for is published.
    pub verified: bool,
    /// When it was looked at.
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
        for row in self.records.iter_mut().filter(wrong) {
            row.verdict = RecordStatus::Warning;
            row.hint = Hint::new(
                format!(
                    "It works through the {provider} proxy. Better switch that off (\"DNS only\"): a setting there can stop renewals."
                ),
                format!(
                    "Es funktioniert durch den {provider}-Proxy. Besser schalten Sie ihn aus („nur DNS“): Eine Einstellung dort kann Erneuerungen verhindern."
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
    /// Looks at everything that is asked of a domain, at once, within [`super::check::CHECK_TIME`].
    pub async fn report(&self, record: &DomainRecord) -> DnsReport {
        let memo = QueryMemo::default();
        let look = self.look(&memo);
        let wishes = self.wishes(record);
        let mut others = Vec::new();
        for wish in &wishes {
            others.push(self.wish(&look, wish));
        }
        let others = stream::iter(others).buffered(AT_ONCE).collect::<Vec<_>>();
        let https = self.https_with(&look, &record.name);
        let host = provider(&look, &record.name);
        let (finding, others, provider) = join3(https, others, host).await;

        let mut records = self.https_rows(&look, &record.name, &finding).await;
        records.extend(others);
        let checked = self.clock.now();
        for row in &mut records {
            if row.verdict == RecordStatus::Error && finding.fault == Some(Fault::Ours) {
                row.verdict = RecordStatus::NotChecked;
                row.hint = Hint::new(
                    "DNS cannot be asked at the moment (not your fault): please try again later.",
                    "DNS kann gerade nicht abgefragt werden (kein Fehler bei Ihnen): Bitte versuchen Sie es später erneut.",
                );
            }
            if !row.verdict.is_fine() && row.visible_by.is_none() {
                row.visible_by = visible_by(row.ttl, checked);
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
        !self.wishes(record).is_empty()
    }

    fn wishes<'a>(&'a self, record: &'a DomainRecord) -> Vec<Wish<'a>> {
        let mut wishes = Vec::new();
        if let Some(domain) = record.sending_domain.as_ref().map(DomainName::as_str) {
            wishes.extend(
                self.settings
                    .spf_include
                    .as_deref()
                    .map(|include| Wish::Spf { domain, include }),
            );
            wishes.extend(self.settings.dkim.iter().map(|key| Wish::Dkim { domain, key }));
            wishes.extend(self.settings.dmarc.map(|policy| Wish::Dmarc { domain, policy }));
        }
        let own = record.records.iter().enumerate();
        wishes.extend(own.map(|(at, wanted)| {
            if at < MAX_WANTED {
                Wish::Own(wanted)
            } else {
                Wish::TooMany(wanted)
            }
        }));
        wishes
    }

    /// One record, looked at behind the caches too when what they hold is wrong.
    async fn wish(&self, look: &Queries<'_>, wish: &Wish<'_>) -> RecordReport {
        let cached = wish.check(look).await;
        match cached.verdict {
            RecordStatus::Ok | RecordStatus::NotChecked | RecordStatus::Error => cached,
            _ => record_report::prefer(cached, wish.check(&look.fresh()).await, self.clock.now()),
        }
    }

    /// The rows HTTPS depends on.
    async fn https_rows(&self, look: &Queries<'_>, name: &DomainName, finding: &Finding) -> Vec<RecordReport> {
        let (mut leads, caa) = join(
            self.leading_row(look, name, finding),
            self.caa_rows(look, name, finding),
        )
        .await;
        leads.extend(caa);
        leads
    }

    /// The CNAME, or the addresses of an apex, and an AAAA that has to go.
    async fn leading_row(&self, look: &Queries<'_>, name: &DomainName, finding: &Finding) -> Vec<RecordReport> {
        let target = &self.settings.target;
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = target.addresses.iter().partition(|ip| ip.is_ipv4());
        let (family, addresses) = if v4.is_empty() { ("AAAA", v6) } else { ("A", v4) };
        let pointing = Pointing::of(name.as_str(), target.name.as_str(), !addresses.is_empty());
        let (kind, expected) = match pointing {
            Pointing::Cname | Pointing::Alias => ("CNAME", vec![target.name.to_string()]),
            Pointing::Addresses | Pointing::Target => (family, addresses.iter().map(ToString::to_string).collect()),
        };
        let row = RecordReport::new(kind, Purpose::Https, name.as_str(), expected);
        let row = row.found(finding.found(), finding.ttl);
        let mut rows = Vec::new();
        match &finding.leads {
            DnsVerdict::Right | DnsVerdict::CaaForbids { .. } => rows.push(match &finding.stale {
                Some(stale) if !stale.caa => RecordReport {
                    visible_by: stale.until,
                    ..row
                }
                .is(RecordStatus::Ok, record_report::still_cached(stale.until)),
                _ => row,
            }),
            DnsVerdict::Missing if pointing != Pointing::Cname => {
                rows.push(without_cname(row, RecordStatus::Missing, pointing, &target.addresses))
            }
            DnsVerdict::Missing => {
                // The error is asked for again, from memory, to tell a name entered in the wrong place.
                let error = look.get(name.as_str(), Kind::Cname).await.err();
                let absent = LookupError::NoData { ttl: finding.ttl };
                let error = error.filter(|e| e.is_absent()).unwrap_or(absent);
                let as_text = near_miss::target_as_text(look, name.as_str(), target.name.as_str()).await;
                let in_the_way = match (&as_text, &error) {
                    (None, LookupError::NoData { .. }) => near_miss::in_the_way(look, name.as_str()).await,
                    _ => None,
                };
                let row = row.without(look, Kind::Cname, &error).await;
                rows.push(row.near(as_text).also(in_the_way));
            }
            DnsVerdict::Elsewhere { .. } if pointing != Pointing::Cname => {
                rows.push(without_cname(row, RecordStatus::Wrong, pointing, &target.addresses));
            }
            DnsVerdict::Elsewhere { found } => {
                let wildcard = wildcard(look, name, finding).await;
                rows.push(row.leads_elsewhere(found, target.name.as_str()).also(wildcard));
            }
            DnsVerdict::Proxied { provider } => rows.push(row.is(
                RecordStatus::Wrong,
                Hint::new(
                    format!("Switch off the {provider} proxy for {name} (\"DNS only\")."),
                    format!("Schalten Sie den {provider}-Proxy für {name} aus („nur DNS“)."),
                ),
            )),
            // Another's zone cannot be edited, the way there can.
            DnsVerdict::StrayAaaa { found, host } if zone_of(host) != zone_of(name.as_str()) => {
                let row = match pointing {
                    Pointing::Cname => row.leads_elsewhere(&finding.found().join(", "), target.name.as_str()),
                    _ => without_cname(row, RecordStatus::Wrong, pointing, &target.addresses),
                };
                rows.push(row.also(Some(Hint::new(
                    format!("{host} has the AAAA record {found}, which leads elsewhere."),
                    format!("{host} hat den AAAA-Eintrag {found}, der woanders hinführt."),
                ))));
            }
            DnsVerdict::StrayAaaa { .. } => {
                rows.push(row);
                rows.push(stray_row(finding));
            }
            DnsVerdict::Error { zone, error } => {
                rows.push(row.is(RecordStatus::Error, record_report::servers_fail(zone, error)))
            }
        }
        rows
    }

    /// The CAA records; none where the CA is not known, so that nothing can be asked for.
    async fn caa_rows(&self, look: &Queries<'_>, name: &DomainName, finding: &Finding) -> Vec<RecordReport> {
        let cas = self.cas();
        let Some(identity) = self.caa_identity() else {
            return Vec::new();
        };
        let expected = format!("0 issue \"{identity}\"");
        let row = |host: &str| RecordReport::new("CAA", Purpose::Https, host, vec![expected.clone()]);
        // The check before an order stops at a name that leads elsewhere; the report goes on.
        let caa = match &finding.caa {
            Caa::NotJudged => super::caa::check(look, name.as_str(), &cas).await,
            known => known.clone(),
        };
        let row = match caa {
            Caa::NotJudged => return Vec::new(),
            Caa::Allows { found, .. } if found.is_empty() => row(name.as_str()).is(
                RecordStatus::Ok,
                Hint::new(
                    "No CAA record restricts certificates.",
                    "Kein CAA-Eintrag schränkt Zertifikate ein.",
                ),
            ),
            Caa::Allows { found, doubtful } => {
                let row = row(name.as_str()).found(found, None);
                match &finding.stale {
                    _ if doubtful => row.is(
                        RecordStatus::Warning,
                        Hint::new(
                            format!("Some CAs refuse this spelling: write it as CAA {expected}."),
                            format!("Manche Zertifizierungsstellen lehnen diese Schreibweise ab: Schreiben Sie CAA {expected}."),
                        ),
                    ),
                    Some(stale) if stale.caa => RecordReport {
                        visible_by: stale.until,
                        ..row
                    }
                    .is(RecordStatus::Ok, record_report::still_cached(stale.until)),
                    _ => row,
                }
            }
            Caa::Forbids { host, found, ttl, .. } if self.is_ours(&host, name) => row(&host)
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
                let mut rows = Vec::new();
                if !granted {
                    let hint = add_caa(&host, &expected, near);
                    rows.push(row(&host).found(found, ttl).is(RecordStatus::Wrong, hint));
                }
                if !critical.is_empty() {
                    let row = RecordReport::new("CAA", Purpose::Https, &host, Vec::new());
                    let hint = delete_critical(&host, &critical);
                    rows.push(row.found(critical, ttl).is(RecordStatus::Extra, hint));
                }
                return rows;
            }
            Caa::Error { zone, error } => row(name.as_str()).is(
                RecordStatus::Error,
                record_report::servers_fail(&zone, &error.to_string()),
            ),
        };
        vec![row]
    }
}

impl Checker {
    /// Whether records at `host`, which decide about `name` through an alias, are the platform's.
    fn is_ours(&self, host: &str, name: &DomainName) -> bool {
        is_platforms_caa(host, name.as_str(), self.settings.target.name.as_str())
    }
}

fn ours_forbids(host: &str) -> Hint {
    Hint::new(
        format!("The CAA record at {host} is the platform's and forbids certificates: contact support."),
        format!(
            "Der CAA-Eintrag bei {host} gehört der Plattform und verbietet Zertifikate: Bitte wenden Sie sich an den Support."
        ),
    )
}

fn delete_critical(host: &str, critical: &[String]) -> Hint {
    let named = critical.join(", ");
    Hint::new(
        format!(
            "Delete this record at {host}: CAA {named}. It is marked as critical (128) and the CA does not know it, so that it refuses every certificate."
        ),
        format!(
            "Löschen Sie bei {host} diesen Eintrag: CAA {named}. Er ist als kritisch markiert (128) und der Zertifizierungsstelle unbekannt, sie lehnt daher jedes Zertifikat ab."
        ),
    )
}

/// Which record to add, and what is wrong with one that looks like it.
fn add_caa(host: &str, expected: &str, near: Option<(String, Flaw)>) -> Hint {
    let add = Hint::new(
        format!("Add this record at {host}: CAA {expected}."),
        format!("Ergänzen Sie bei {host} den Eintrag CAA {expected}."),
    );
    let Some((record, flaw)) = near else {
        return add;
    };
    let (en, de) = match flaw {
        Flaw::Spelling => (
            "has characters that do not belong there (quotation marks, a final dot or https://)",
            "enthält Zeichen, die dort nicht hingehören (Anführungszeichen, einen Punkt am Ende oder https://)",
        ),
        Flaw::Parameters => (
            "has a parameter that cannot be read or stands twice",
            "hat einen Parameter, der nicht lesbar ist oder doppelt vorkommt",
        ),
        Flaw::Account => (
            "allows another account only (accounturi)",
            "erlaubt nur ein anderes Konto (accounturi)",
        ),
        Flaw::Method => (
            "leaves out the method http-01 (validationmethods)",
            "erlaubt die Methode http-01 nicht (validationmethods)",
        ),
    };
    add.and(Some(Hint::new(
        format!("The record there, CAA {record}, {en}."),
        format!("Der vorhandene Eintrag CAA {record} {de}."),
    )))
}

/// When a change made now is seen everywhere. `None`: not known, or at once.
fn visible_by(ttl: Option<u32>, checked: Timestamp) -> Option<Timestamp> {
    let ttl = ttl.filter(|seconds| *seconds > 0)?;
    Some(checked + Duration::from_secs(ttl.into()))
}

/// The row of a name that can have no CNAME.
fn without_cname(row: RecordReport, verdict: RecordStatus, pointing: Pointing, addresses: &[IpAddr]) -> RecordReport {
    let (host, wanted) = (row.host.clone(), row.expected.join(", "));
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let all = all.join(", ");
    let hint = match pointing {
        Pointing::Cname | Pointing::Alias => Hint::new(
            format!(
                "{host} is the top of its zone, where a CNAME is not possible: use a subdomain, or an ALIAS record (CNAME flattening) to {wanted}."
            ),
            format!(
                "{host} ist die Spitze ihrer Zone, wo ein CNAME nicht möglich ist: Nutzen Sie eine Subdomain oder einen ALIAS-Eintrag (CNAME-Flattening) auf {wanted}."
            ),
        ),
        Pointing::Addresses => Hint::new(
            format!("Set the A and AAAA records of {host} to these addresses only: {all}."),
            format!("Setzen Sie die A- und AAAA-Einträge von {host} auf genau diese Adressen: {all}."),
        ),
        Pointing::Target => Hint::new(
            format!("Create A and AAAA records of {host} with the public addresses of this edge."),
            format!("Legen Sie A- und AAAA-Einträge von {host} mit den öffentlichen Adressen dieses Servers an."),
        ),
    };
    row.is(verdict, hint)
}

/// The row of the AAAA records that have to go, at the name that has them.
fn stray_row(finding: &Finding) -> RecordReport {
    let (host, strays) = (&finding.end, &finding.strays);
    let named: Vec<String> = strays.iter().map(ToString::to_string).collect();
    let named = named.join(", ");
    let (records, entries) = match strays.len() {
        1 => ("record", "den AAAA-Eintrag"),
        _ => ("records", "die AAAA-Einträge"),
    };
    let row = RecordReport::new("AAAA", Purpose::Https, host, Vec::new()).found(strays, finding.ttl);
    row.is(
        RecordStatus::Extra,
        Hint::new(
            format!("Delete the AAAA {records} {named} of {host}."),
            format!("Löschen Sie {entries} {named} von {host}."),
        ),
    )
}

/// Something asked for beside HTTPS.
enum Wish<'a> {
    Spf { domain: &'a str, include: &'a str },
    Dkim { domain: &'a str, key: &'a Dkim },
    Dmarc { domain: &'a str, policy: DmarcWanted },
    Own(&'a RequestedRecord),
    TooMany(&'a RequestedRecord),
}

impl Wish<'_> {
    async fn check(&self, look: &Queries<'_>) -> RecordReport {
        match self {
            Self::Spf { domain, include } => spf::check(look, domain, include).await,
            Self::Dkim { domain, key } => dkim::check(look, domain, key).await,
            Self::Dmarc { domain, policy } => dmarc::check(look, domain, *policy).await,
            Self::Own(wanted) => requested::check(look, wanted).await,
            Self::TooMany(wanted) => {
                let row = RecordReport::new(&wanted.kind, Purpose::Domain, &wanted.host, vec![wanted.value.clone()]);
                row.is(
                    RecordStatus::NotChecked,
                    Hint::new(
                        format!("Not looked at: at most {MAX_WANTED} records a domain are."),
                        format!("Nicht geprüft: Je Domain werden höchstens {MAX_WANTED} Einträge geprüft."),
                    ),
                )
            }
        }
    }
}

/// The sentence about a wildcard, when it is one that answers for the name: its owner will look
/// for a record that is not there. Told by a label that no one has.
async fn wildcard(look: &Queries<'_>, name: &DomainName, finding: &Finding) -> Option<Hint> {
    let (_, parent) = name.as_str().split_once('.')?;
    let nobody = format!("x{}.{parent}", hex::encode(random::bytes::<8>()));
    let kind = if finding.chain.is_empty() { Kind::A } else { Kind::Cname };
    let answer = look.get(&nobody, kind).await.ok()?;
    let found: Vec<String> = answer.records.iter().map(|r| r.data.to_string()).collect();
    found.iter().any(|f| finding.found().contains(f)).then(|| {
        Hint::new(
            format!("It is the wildcard *.{parent} that answers: add a record for {name}, which goes before it."),
            format!("Es antwortet der Platzhalter *.{parent}: Legen Sie für {name} einen eigenen Eintrag an, er hat Vorrang."),
        )
    })
}

async fn provider(look: &Queries<'_>, name: &DomainName) -> Option<ProviderHelp> {
    let zone = zone_of(name.as_str());
    let servers = look.get(zone, Kind::Ns).await.ok()?;
    providers::detect(zone, servers.names())
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
