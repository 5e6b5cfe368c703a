//! The whole report on a domain's DNS: every record asked for, what is there, what to change.

use std::time::Duration;

use futures_util::future::{join, join3};
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use serde_json::Value;

use super::caa::Caa;
use super::check::{Checker, Finding};
use super::dkim::{self, Dkim};
use super::dmarc::{self, DmarcWanted};
use super::look::{Look, Memo};
use super::lookup::{Kind, zone_of};
use super::providers::{self, ProviderHelp};
use super::row::{self, Hint, Purpose, RecordReport, Word};
use super::{spf, wanted};
use crate::clock::Timestamp;
use crate::domain::record::{DnsSummary, DnsVerdict, WantedRecord};
use crate::domain::{DomainName, DomainRecord};

/// How many records of one report are looked at at a time.
const AT_ONCE: usize = 8;
/// How many of a domain's own records are looked at; the others are listed as not checked.
const MAX_WANTED: usize = 50;

/// What a domain's DNS holds and should hold (contract, section 7, `GET …/dns`).
#[derive(Clone, Debug, Serialize)]
pub struct DnsReport {
    /// Whether the name leads here, so that HTTPS can work.
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
        let (_turn, memo) = (self.turn().await, Memo::default());
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
            if !row.verdict.is_fine() && row.visible_by.is_none() {
                row.visible_by = row.ttl.map(|s| checked + Duration::from_secs(s.into()));
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
    async fn wish(&self, look: &Look<'_>, wish: &Wish<'_>) -> RecordReport {
        let cached = wish.check(look).await;
        match cached.verdict {
            Word::Ok | Word::NotChecked | Word::Error => cached,
            _ => row::prefer(cached, wish.check(&look.fresh()).await, self.clock.now()),
        }
    }

    /// The rows HTTPS depends on.
    async fn https_rows(&self, look: &Look<'_>, name: &DomainName, finding: &Finding) -> Vec<RecordReport> {
        let (mut leads, caa) = join(self.leading_row(look, name, finding), self.caa_row(look, name, finding)).await;
        leads.extend(caa);
        leads
    }

    /// The CNAME, or the addresses of an apex, and an AAAA that has to go.
    async fn leading_row(&self, look: &Look<'_>, name: &DomainName, finding: &Finding) -> Vec<RecordReport> {
        let target = &self.settings.target;
        let apex = zone_of(name.as_str()) == name.as_str();
        let addresses: Vec<String> = target.addresses.iter().map(ToString::to_string).collect();
        let row = if apex && !addresses.is_empty() {
            RecordReport::new("A", Purpose::Https, name.as_str(), addresses)
        } else {
            RecordReport::new("CNAME", Purpose::Https, name.as_str(), vec![target.name.to_string()])
        };
        let row = row.found(finding.found(), finding.ttl);
        let mut rows = Vec::new();
        match &finding.leads {
            DnsVerdict::Right | DnsVerdict::CaaForbids { .. } => rows.push(match &finding.stale {
                Some(stale) if !stale.caa => RecordReport {
                    visible_by: stale.until,
                    ..row
                }
                .is(Word::Ok, row::still_cached(stale.until)),
                _ => row,
            }),
            DnsVerdict::Missing if apex => rows.push(apex_row(row, Word::Missing)),
            DnsVerdict::Missing => {
                // The error is asked for again, from memory, to tell a name entered in the wrong place.
                let error = look.get(name.as_str(), Kind::Cname).await.err();
                let absent = super::lookup::LookupError::NoData { ttl: finding.ttl };
                rows.push(
                    row.without(look, Kind::Cname, &error.filter(|e| e.is_absent()).unwrap_or(absent))
                        .await,
                );
            }
            DnsVerdict::Elsewhere { .. } if apex => rows.push(apex_row(row, Word::Wrong)),
            DnsVerdict::Elsewhere { found } => rows.push(row.leads_elsewhere(found, target.name.as_str())),
            DnsVerdict::Proxied { provider } => rows.push(row.is(
                Word::Wrong,
                Hint::new(
                    format!("Switch off the {provider} proxy for {name} (\"DNS only\")."),
                    format!("Schalten Sie den {provider}-Proxy für {name} aus („nur DNS“)."),
                ),
            )),
            DnsVerdict::StrayAaaa { found } => {
                let extra = RecordReport::new("AAAA", Purpose::Https, name.as_str(), Vec::new());
                rows.push(row);
                rows.push(extra.found([found], finding.ttl).is(
                    Word::Extra,
                    Hint::new(
                        format!("Delete the AAAA record {found} of {name}."),
                        format!("Löschen Sie den AAAA-Eintrag {found} von {name}."),
                    ),
                ));
            }
            DnsVerdict::Error { zone, error } => rows.push(row.is(Word::Error, row::servers_fail(zone, error))),
        }
        rows
    }

    /// The CAA records. `None`: the CA is not known, so that nothing can be asked for.
    async fn caa_row(&self, look: &Look<'_>, name: &DomainName, finding: &Finding) -> Option<RecordReport> {
        let ca = self.ca();
        let expected = format!("0 issue \"{}\"", ca.identities.first()?);
        let row = |host: &str| RecordReport::new("CAA", Purpose::Https, host, vec![expected.clone()]);
        // The check before an order stops at a name that leads elsewhere; the report goes on.
        let caa = match &finding.caa {
            Caa::NotJudged => super::caa::check(look, name.as_str(), &ca).await,
            known => known.clone(),
        };
        Some(match caa {
            Caa::NotJudged => return None,
            Caa::Allows { found } if found.is_empty() => row(name.as_str()).is(
                Word::Ok,
                Hint::new(
                    "No CAA record restricts certificates.",
                    "Kein CAA-Eintrag schränkt Zertifikate ein.",
                ),
            ),
            Caa::Allows { found } => {
                let row = row(name.as_str()).found(found, None);
                match &finding.stale {
                    Some(stale) if stale.caa => RecordReport {
                        visible_by: stale.until,
                        ..row
                    }
                    .is(Word::Ok, row::still_cached(stale.until)),
                    _ => row,
                }
            }
            Caa::Forbids { host, found, ttl } => row(&host).found(found, ttl).is(
                Word::Wrong,
                Hint::new(
                    format!("Add this record at {host}: CAA {expected}."),
                    format!("Ergänzen Sie bei {host} den Eintrag CAA {expected}."),
                ),
            ),
            Caa::Error { zone, error } => {
                row(name.as_str()).is(Word::Error, row::servers_fail(&zone, &error.to_string()))
            }
        })
    }
}

/// The row of a name at the top of its zone, where a CNAME is not possible (RFC 1034 §3.6.2).
fn apex_row(row: RecordReport, verdict: Word) -> RecordReport {
    let (host, wanted) = (row.host.clone(), row.expected.join(", "));
    let hint = if row.kind == "CNAME" {
        Hint::new(
            format!(
                "{host} is the top of its zone, where a CNAME is not possible: use a subdomain, or an ALIAS record (CNAME flattening) to {wanted}."
            ),
            format!(
                "{host} ist die Spitze ihrer Zone, wo ein CNAME nicht möglich ist: Nutzen Sie eine Subdomain oder einen ALIAS-Eintrag (CNAME-Flattening) auf {wanted}."
            ),
        )
    } else {
        Hint::new(
            format!("Set the A and AAAA records of {host} to these addresses only: {wanted}."),
            format!("Setzen Sie die A- und AAAA-Einträge von {host} auf genau diese Adressen: {wanted}."),
        )
    };
    row.is(verdict, hint)
}

/// Something asked for beside HTTPS.
enum Wish<'a> {
    Spf { domain: &'a str, include: &'a str },
    Dkim { domain: &'a str, key: &'a Dkim },
    Dmarc { domain: &'a str, policy: DmarcWanted },
    Own(&'a WantedRecord),
    TooMany(&'a WantedRecord),
}

impl Wish<'_> {
    async fn check(&self, look: &Look<'_>) -> RecordReport {
        match self {
            Self::Spf { domain, include } => spf::check(look, domain, include).await,
            Self::Dkim { domain, key } => dkim::check(look, domain, key).await,
            Self::Dmarc { domain, policy } => dmarc::check(look, domain, *policy).await,
            Self::Own(wanted) => wanted::check(look, wanted).await,
            Self::TooMany(wanted) => {
                let row = RecordReport::new(&wanted.kind, Purpose::Domain, &wanted.host, vec![wanted.value.clone()]);
                row.is(
                    Word::NotChecked,
                    Hint::new(
                        format!("Not looked at: at most {MAX_WANTED} records a domain are."),
                        format!("Nicht geprüft: Je Domain werden höchstens {MAX_WANTED} Einträge geprüft."),
                    ),
                )
            }
        }
    }
}

async fn provider(look: &Look<'_>, name: &DomainName) -> Option<ProviderHelp> {
    let servers = look.get(zone_of(name.as_str()), Kind::Ns).await.ok()?;
    providers::detect(servers.names())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::Registry;
    use serde_json::json;

    use super::super::check::CheckerSettings;
    use super::super::lookup::LookupError;
    use super::super::metrics::Metrics;
    use super::super::script::{NEGATIVE_TTL, Script};
    use super::super::testing::DnsServer;
    use super::super::trace::Target;
    use super::super::{CaIdentity, Resolver, ResolverSettings};
    use super::*;
    use crate::clock::Clock;
    use crate::domain::record::Origin;
    use crate::shutdown::Tasks;

    const NAME: &str = "links.customer.example";
    const EDGE: &str = "track.platform.example";

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn checker(lookup: Arc<dyn super::super::Lookup>, addresses: &[&str]) -> Checker {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let settings = CheckerSettings {
            target: Target {
                name: name(EDGE),
                aliases: Vec::new(),
                addresses,
            },
            spf_include: Some("spf.platform.example".into()),
            dkim: vec![Dkim {
                selector: "ps1".into(),
                cname: "ps1.dkim.platform.example".into(),
            }],
            dmarc: Some(DmarcWanted::Present),
        };
        let checker = Checker::new(settings, lookup, Clock::system(), Metrics::register(&Registry::new()));
        checker.set_ca(CaIdentity {
            identities: vec!["ca.example".into()],
            account_uri: None,
        });
        checker
    }

    fn record(text: &str, sending: Option<&str>) -> DomainRecord {
        let mut record = DomainRecord::new(name(text), None, Origin::Registered, Timestamp::from_secs(0));
        record.sending_domain = sending.map(name);
        record
    }

    fn rows(report: &DnsReport) -> Vec<(&str, &str, Word)> {
        report
            .records
            .iter()
            .map(|r| (r.kind.as_str(), r.host.as_str(), r.verdict))
            .collect()
    }

    #[tokio::test]
    async fn everything_right_is_verified() {
        let tasks = Tasks::new();
        let dns = DnsServer::start(&tasks).await.unwrap();
        dns.add(NAME, Kind::Cname, EDGE);
        dns.add(
            "customer.example",
            Kind::Txt,
            "v=spf1 include:spf.platform.example -all",
        );
        dns.add("spf.platform.example", Kind::Txt, "v=spf1 ip4:192.0.2.0/24 -all");
        dns.add(
            "ps1._domainkey.customer.example",
            Kind::Cname,
            "ps1.dkim.platform.example",
        );
        dns.add("_dmarc.customer.example", Kind::Txt, "v=DMARC1; p=none");
        dns.add("customer.example", Kind::Ns, "ns5.kasserver.com");
        dns.add("token.customer.example", Kind::Txt, "abc");
        let timeout = Duration::from_secs(20);
        let resolver = Resolver::new(ResolverSettings {
            resolvers: vec![dns.address()],
            timeout,
            ..Default::default()
        });
        let mut record = record(NAME, Some("customer.example"));
        let own = WantedRecord {
            kind: "TXT".into(),
            host: "token.customer.example".into(),
            value: "abc".into(),
        };
        record.records.push(own);
        let checker = checker(Arc::new(resolver.unwrap()), &[]);
        let report = checker.report(&record).await;
        assert_eq!(
            rows(&report),
            [
                ("CNAME", NAME, Word::Ok),
                ("CAA", NAME, Word::Ok),
                ("TXT", "customer.example", Word::Ok),
                ("CNAME", "ps1._domainkey.customer.example", Word::Ok),
                ("TXT", "_dmarc.customer.example", Word::Ok),
                ("TXT", "token.customer.example", Word::Ok),
            ]
        );
        assert!(report.https && report.verified);
        assert_eq!(report.provider.as_ref().map(|p| p.name), Some("ALL-INKL.COM"));
        assert_eq!(
            report.summary(),
            DnsSummary {
                checked: Some(report.checked),
                https: true,
                verified: true
            }
        );
        let first = serde_json::to_value(&report).unwrap();
        assert_eq!(
            first["records"][0],
            json!({"type": "CNAME", "purpose": "https", "host": NAME, "host_short": "links", "expected": [EDGE],
                   "found": [EDGE], "verdict": "ok", "ttl": 300, "visible_by": null,
                   "hint": {"en": "This record is right.", "de": "Dieser Eintrag stimmt."}})
        );
        assert_eq!((&first["ssl"], first.get("finding")), (&Value::Null, None));
    }

    #[tokio::test]
    async fn mail_records_never_gate_https() {
        let script = Script::new();
        script.add(NAME, Kind::Cname, EDGE);
        let report = checker(Arc::new(script), &[])
            .report(&record(NAME, Some("customer.example")))
            .await;
        assert!(report.https && !report.verified);
        let mail: Vec<Word> = report
            .records
            .iter()
            .filter(|r| r.purpose == Purpose::Mail)
            .map(|r| r.verdict)
            .collect();
        assert_eq!(mail, [Word::Missing; 3]);
        for row in report.records.iter().filter(|r| r.verdict == Word::Missing) {
            let by = report.checked + Duration::from_secs(NEGATIVE_TTL.into());
            assert_eq!(row.visible_by, Some(by), "{}", row.host);
            assert!(row.hint.en.starts_with("Create the record") && row.hint.de.starts_with("Legen Sie"));
        }
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_name_is_explained() {
        for (what, records, expected, hint) in [
            (
                "missing",
                vec![],
                vec![("CNAME", Word::Missing), ("CAA", Word::Ok)],
                "Create the record links.customer.example CNAME track.platform.example.",
            ),
            (
                "entered twice",
                vec![("links.customer.example.customer.example", Kind::Cname, EDGE)],
                vec![("CNAME", Word::Missing), ("CAA", Word::Ok)],
                "enter only links as the host",
            ),
            (
                "no final dot",
                vec![(NAME, Kind::Cname, "track.platform.example.customer.example")],
                vec![("CNAME", Word::Wrong), ("CAA", Word::Ok)],
                "with a final dot",
            ),
            (
                "elsewhere and CAA",
                vec![
                    (NAME, Kind::A, "192.0.2.9"),
                    ("customer.example", Kind::Caa, "0 issue other.example"),
                ],
                vec![("CNAME", Word::Wrong), ("CAA", Word::Wrong)],
                "links.customer.example points to 192.0.2.9; change it to CNAME track.platform.example.",
            ),
            (
                "proxied",
                vec![(NAME, Kind::A, "104.16.1.1")],
                vec![("CNAME", Word::Wrong), ("CAA", Word::Ok)],
                "Switch off the Cloudflare proxy for links.customer.example",
            ),
            (
                "stray AAAA",
                vec![(NAME, Kind::A, "203.0.113.1"), (NAME, Kind::Aaaa, "2001:db8::9")],
                vec![("CNAME", Word::Ok), ("AAAA", Word::Extra), ("CAA", Word::Ok)],
                "Delete the AAAA record 2001:db8::9 of links.customer.example.",
            ),
        ] {
            let script = Script::new();
            script.add(EDGE, Kind::A, "203.0.113.1");
            for (name, kind, value) in records {
                script.add(name, kind, value);
            }
            let report = checker(Arc::new(script), &[]).report(&record(NAME, None)).await;
            let got: Vec<(&str, Word)> = report.records.iter().map(|r| (r.kind.as_str(), r.verdict)).collect();
            assert_eq!(got, expected, "{what}");
            assert!(
                report.records.iter().any(|r| r.hint.en.contains(hint)),
                "{what}: {:?}",
                report.records[0].hint.en
            );
            assert!(!report.https && !report.verified);
        }
    }

    #[tokio::test]
    async fn an_apex_is_asked_for_addresses() {
        let script = Script::new();
        script.add("customer.example", Kind::A, "192.0.2.9");
        let script = Arc::new(script);
        let report = checker(script.clone(), &["203.0.113.1"])
            .report(&record("customer.example", None))
            .await;
        let row = &report.records[0];
        assert_eq!(
            (row.kind.as_str(), row.host_short.as_str(), row.verdict),
            ("A", "@", Word::Wrong)
        );
        assert_eq!(
            (&row.expected, &row.found),
            (&vec!["203.0.113.1".to_owned()], &vec!["192.0.2.9".to_owned()])
        );
        script.add(EDGE, Kind::A, "203.0.113.1");
        let report = checker(script, &[]).report(&record("customer.example", None)).await;
        assert!(
            report.records[0].hint.en.contains("ALIAS"),
            "{}",
            report.records[0].hint.en
        );
    }

    #[tokio::test]
    async fn repaired_records_are_right_before_the_caches_know() {
        let script = Script::new();
        script.add_fresh(NAME, Kind::Cname, EDGE);
        script.add_fresh("_dmarc.customer.example", Kind::Txt, "v=DMARC1; p=none");
        let report = checker(Arc::new(script), &[])
            .report(&record(NAME, Some("customer.example")))
            .await;
        for host in [NAME, "_dmarc.customer.example"] {
            let row = report.records.iter().find(|r| r.host == host).unwrap();
            assert_eq!(row.verdict, Word::Ok, "{host}");
            assert!(row.visible_by.is_some_and(|t| t > report.checked), "{host}");
            assert!(row.hint.en.contains("right"));
        }
    }

    #[tokio::test]
    async fn failures_are_errors_and_too_many_records_are_listed() {
        let script = Script::new();
        script.fail(NAME, Kind::Cname, LookupError::Refused { text: None });
        let mut record = record(NAME, None);
        let own = |i| WantedRecord {
            kind: "TXT".into(),
            host: format!("t{i}.customer.example"),
            value: "x".into(),
        };
        record.records = (0..MAX_WANTED + 1).map(own).collect();
        let report = checker(Arc::new(script), &[]).report(&record).await;
        assert_eq!(report.records[0].verdict, Word::Error);
        assert_eq!(
            report.records[0].hint.en,
            "The DNS servers of customer.example fail (REFUSED): ask your DNS provider."
        );
        assert_eq!(report.records.last().map(|r| r.verdict), Some(Word::NotChecked));
        assert_eq!(
            report.records.iter().filter(|r| r.verdict == Word::Missing).count(),
            MAX_WANTED
        );
    }

    #[test]
    fn reports_can_be_made_on_any_thread() {
        fn send<T: Send>(_: T) {}
        let checker = checker(Arc::new(Script::new()), &[]);
        let (name, record) = (name(NAME), record(NAME, None));
        send(checker.https(&name));
        send(checker.report(&record));
    }
}
