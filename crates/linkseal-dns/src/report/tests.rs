//! Tests of [`super`], in a file of their own for their length.

use std::sync::Arc;

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_domain::messages::{self, Context};
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Reason, SslEvent};
use prometheus::Registry;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::check::CheckerSettings;
use crate::check::Target;
use crate::lookup::LookupError;
use crate::metrics::Metrics;
use crate::testing::DnsServer;
use crate::testing::{NEGATIVE_TTL, Script};
use crate::{CaIdentity, Resolver, ResolverSettings};

const NAME: &str = "links.customer.example";
const EDGE: &str = "track.platform.example";

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn checker(lookup: Arc<dyn crate::Lookup>, addresses: &[&str]) -> Checker {
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let settings = CheckerSettings {
        target: Target {
            names: name(EDGE).into(),
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
    checker.set_cas(vec![CaIdentity {
        identities: vec!["ca.example".into()],
        account_uri: None,
    }]);
    checker
}

fn record(text: &str, sending: Option<&str>) -> DomainRecord {
    let mut record = DomainRecord::new(name(text), None, Origin::Registered, Timestamp::from_secs(0));
    record.sending_domain = sending.map(name);
    record
}

fn rows(report: &DnsReport) -> Vec<(&str, &str, RecordStatus)> {
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
    let own = RequestedRecord {
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
            ("CNAME", NAME, RecordStatus::Ok),
            ("CAA", NAME, RecordStatus::Ok),
            ("TXT", "customer.example", RecordStatus::Ok),
            ("CNAME", "ps1._domainkey.customer.example", RecordStatus::Ok),
            ("TXT", "_dmarc.customer.example", RecordStatus::Ok),
            ("TXT", "token.customer.example", RecordStatus::Ok),
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
               "hint": {"en": "This record is correct.", "de": "Dieser Eintrag ist korrekt."}})
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
    let mail: Vec<RecordStatus> = report
        .records
        .iter()
        .filter(|r| r.purpose == Purpose::Mail)
        .map(|r| r.verdict)
        .collect();
    assert_eq!(mail, [RecordStatus::Missing; 3]);
    for row in report.records.iter().filter(|r| r.verdict == RecordStatus::Missing) {
        let by = report.checked + Duration::from_secs(NEGATIVE_TTL.into());
        assert_eq!(row.visible_by, Some(by), "{}", row.host);
        assert!(row.hint.en.starts_with("Create the DNS record") && row.hint.de.starts_with("Legen Sie"));
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_name_is_explained() {
    for (what, records, expected, hint) in [
        (
            "missing",
            vec![],
            vec![("CNAME", RecordStatus::Missing), ("CAA", RecordStatus::Ok)],
            "Create the DNS record links.customer.example CNAME track.platform.example.",
        ),
        (
            "entered twice",
            vec![("links.customer.example.customer.example", Kind::Cname, EDGE)],
            vec![("CNAME", RecordStatus::Missing), ("CAA", RecordStatus::Ok)],
            "enter only links as the host",
        ),
        (
            "as text",
            vec![(NAME, Kind::Txt, EDGE)],
            vec![("CNAME", RecordStatus::Missing), ("CAA", RecordStatus::Ok)],
            "choose the type CNAME",
        ),
        (
            "no final dot",
            vec![(NAME, Kind::Cname, "track.platform.example.customer.example")],
            vec![("CNAME", RecordStatus::Wrong), ("CAA", RecordStatus::Ok)],
            "with a dot at the end",
        ),
        (
            "elsewhere and CAA",
            vec![
                (NAME, Kind::A, "192.0.2.9"),
                ("customer.example", Kind::Caa, "0 issue other.example"),
            ],
            vec![("CNAME", RecordStatus::Wrong), ("CAA", RecordStatus::Wrong)],
            "links.customer.example points to 192.0.2.9. Change the record to CNAME track.platform.example.",
        ),
        (
            "a wildcard",
            vec![("*.customer.example", Kind::Cname, "shop.other.example")],
            vec![("CNAME", RecordStatus::Wrong), ("CAA", RecordStatus::Ok)],
            "The wildcard record *.customer.example answers for this name",
        ),
        (
            "proxied",
            vec![(NAME, Kind::A, "104.16.1.1")],
            vec![("CNAME", RecordStatus::Wrong), ("CAA", RecordStatus::Ok)],
            "Turn off the Cloudflare proxy for links.customer.example",
        ),
        (
            "stray AAAA",
            vec![(NAME, Kind::A, "203.0.113.1"), (NAME, Kind::Aaaa, "2001:db8::9")],
            vec![
                ("CNAME", RecordStatus::Ok),
                ("AAAA", RecordStatus::Extra),
                ("CAA", RecordStatus::Ok),
            ],
            "Delete the AAAA record 2001:db8::9 of links.customer.example.",
        ),
    ] {
        let script = Script::new();
        script.add(EDGE, Kind::A, "203.0.113.1");
        for (name, kind, value) in records {
            script.add(name, kind, value);
        }
        let report = checker(Arc::new(script), &[]).report(&record(NAME, None)).await;
        let got: Vec<(&str, RecordStatus)> = report.records.iter().map(|r| (r.kind.as_str(), r.verdict)).collect();
        assert_eq!(got, expected, "{what}");
        assert!(
            report.records.iter().any(|r| r.hint.en.contains(hint)),
            "{what}: {:?}",
            report.records[0].hint.en
        );
        assert!(!report.https && !report.verified);
        let wildcard = report.records.iter().any(|r| r.hint.de.contains("Wildcard-Eintrag"));
        assert_eq!(wildcard, what == "a wildcard", "{what}");
    }
}

#[tokio::test]
async fn a_caa_spelling_that_some_cas_refuse_is_a_warning() {
    let script = Script::new();
    script.add(NAME, Kind::Cname, EDGE);
    script.add(NAME, Kind::Caa, "0 issue CA.Example");
    let report = checker(Arc::new(script), &[]).report(&record(NAME, None)).await;
    let row = report.records.iter().find(|r| r.kind == "CAA").unwrap();
    assert_eq!((report.https, row.verdict), (true, RecordStatus::Warning));
    assert!(
        row.hint.en.contains("Write it as CAA 0 issue \"ca.example\""),
        "{}",
        row.hint.en
    );
}

#[tokio::test]
async fn a_caa_record_of_the_platforms_is_not_laid_on_the_customer() {
    let script = Script::new();
    script.add(NAME, Kind::Cname, EDGE);
    script.add_at(NAME, EDGE, Kind::Caa, "0 issue other.example");
    let report = checker(Arc::new(script), &[]).report(&record(NAME, None)).await;
    let row = report.records.iter().find(|r| r.kind == "CAA").unwrap();
    assert_eq!((row.verdict, row.host.as_str()), (RecordStatus::Wrong, EDGE));
    assert!(row.hint.en.contains("Contact support"), "{}", row.hint.en);
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
        ("A", "@", RecordStatus::Wrong)
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
        assert_eq!(row.verdict, RecordStatus::Ok, "{host}");
        assert!(row.visible_by.is_some_and(|t| t > report.checked), "{host}");
        assert!(row.hint.en.contains("correct"));
    }
}

#[tokio::test]
async fn failures_are_errors_and_too_many_records_are_listed() {
    let script = Script::new();
    script.fail(NAME, Kind::Cname, LookupError::Refused { text: None });
    let mut record = record(NAME, None);
    let own = |i| RequestedRecord {
        kind: "TXT".into(),
        host: format!("t{i}.customer.example"),
        value: "x".into(),
    };
    record.records = (0..MAX_REQUESTED + 1).map(own).collect();
    let report = checker(Arc::new(script), &[]).report(&record).await;
    assert_eq!(report.records[0].verdict, RecordStatus::Error);
    assert_eq!(
        report.records[0].hint.en,
        "The DNS servers of customer.example fail (REFUSED). Contact your DNS provider."
    );
    assert_eq!(report.records.last().map(|r| r.verdict), Some(RecordStatus::NotChecked));
    assert_eq!(
        report
            .records
            .iter()
            .filter(|r| r.verdict == RecordStatus::Missing)
            .count(),
        MAX_REQUESTED
    );
}

#[tokio::test]
async fn a_failure_of_ours_is_not_laid_on_the_customer() {
    let script = Script::new();
    script.fail(NAME, Kind::Cname, LookupError::Timeout);
    script.fail(EDGE, Kind::A, LookupError::Timeout);
    let report = checker(Arc::new(script), &[]).report(&record(NAME, None)).await;
    let row = &report.records[0];
    assert_eq!(
        (row.verdict, row.hint.en.contains("on our side")),
        (RecordStatus::NotChecked, true),
        "{}",
        row.hint.en
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

#[test]
fn what_no_cache_keeps_has_no_time_of_its_own() {
    let now = Timestamp::from_secs(1_000);
    assert_eq!(visible_by(Some(60), now), Some(Timestamp::from_secs(1_060)));
    assert_eq!((visible_by(Some(0), now), visible_by(None, now)), (None, None));
}

/// A record, or a failure, of one of the names that matter; some of it contradicts the rest.
fn answers() -> impl Strategy<Value = Vec<(&'static str, Kind, Option<&'static str>)>> {
    const VIA: &str = "t.customer.example";
    let names = prop::sample::select(vec![NAME, VIA, EDGE, "customer.example", "other.example"]);
    let data = prop::sample::select(vec![
        (Kind::Cname, Some(EDGE)),
        (Kind::Cname, Some(VIA)),
        (Kind::Cname, Some("other.example")),
        (Kind::Cname, Some("x.cdn.cloudflare.net")),
        (Kind::Cname, None),
        (Kind::A, Some("203.0.113.1")),
        (Kind::A, Some("192.0.2.9")),
        (Kind::A, Some("104.16.0.1")),
        (Kind::A, None),
        (Kind::Aaaa, Some("2001:db8::1")),
        (Kind::Aaaa, Some("2001:db8::9")),
        (Kind::Aaaa, Some("2606:4700::1")),
        (Kind::Aaaa, None),
        (Kind::Caa, Some("0 issue ca.example")),
        (Kind::Caa, Some("0 issue other.example")),
        (Kind::Caa, None),
    ]);
    let one = (names, data).prop_map(|(name, (kind, value))| (name, kind, value));
    prop::collection::vec(one, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn verdict_rows_state_and_sentence_agree_whatever_dns_answers(
        answers in answers(),
        name in prop::sample::select(vec![NAME, "customer.example"]),
        configured in any::<bool>(),
    ) {
        let script = Script::new();
        for (name, kind, value) in &answers {
            match value {
                Some(value) => script.add(name, *kind, value),
                None => script.fail(name, *kind, LookupError::ServFail { text: None }),
            }
        }
        let ours = ["203.0.113.1", "2001:db8::1"];
        let addresses = if configured { &ours[..] } else { &[] };
        let checker = checker(Arc::new(script), addresses);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let mut record = record(name, None);
        let report = runtime.block_on(checker.report(&record));
        let leads_here = runtime.block_on(checker.leads_here(&record.name));
        let finding = &report.finding;

        prop_assert_eq!(report.https, finding.verdict == DnsVerdict::Right);
        prop_assert_eq!(finding.fault.is_some(), matches!(finding.verdict, DnsVerdict::Error { .. }));
        prop_assert_eq!(leads_here.unwrap_or(finding.leads == DnsVerdict::Right), finding.leads == DnsVerdict::Right);
        prop_assert_eq!(leads_here.is_none(), matches!(finding.leads, DnsVerdict::Error { .. }));
        let not_right = report.records.iter().filter(|r| r.verdict != RecordStatus::Ok);
        prop_assert_eq!(not_right.count() == 0, report.https);

        if finding.fault == Some(Fault::Ours) {
            // Nothing is said against the customer's servers.
            prop_assert!(report.records.iter().all(|r| r.verdict != RecordStatus::Error && !r.hint.en.contains("DNS provider")));
            return Ok(());
        }
        record.apply(SslEvent::DnsChecked(finding.verdict.clone()), Timestamp::from_secs(1));
        prop_assert_eq!(record.ssl.reason.is_dns(), !report.https);
        let context = Context { target: EDGE, addresses: &checker.target().addresses, ca_id: Some("ca.example"), ca: "ca.example" };
        let text = messages::message(&record, context);
        prop_assert!(!text.en.contains('…') && !text.de.contains('…'), "{}", text.en);
        if !report.https {
            let facts = &record.ssl.facts;
            let known = match record.ssl.reason {
                Reason::Proxied => &facts.provider,
                Reason::CaaForbids => &facts.host,
                Reason::DnsError => &facts.zone,
                _ => &facts.found,
            };
            // What the sentence is about is to be seen in a row, and nothing is asked of it that DNS forbids.
            let known = known.clone().unwrap_or_default();
            let shows = |r: &&RecordReport| {
                let parts: Vec<&str> = known.split(", ").collect();
                parts.iter().all(|k| r.hint.en.contains(k) || r.found.iter().any(|f| f == k) || r.host == *k)
            };
            prop_assert!(report.records.iter().filter(|r| r.verdict != RecordStatus::Ok).any(|r| shows(&r)), "{known}: {report:?}");
            prop_assert!(text.en.contains(&known), "{known}: {}", text.en);
            if name == "customer.example" {
                prop_assert!(!text.en.contains(" CNAME track"), "{}", text.en);
            }
        }
    }
}

#[tokio::test]
async fn a_target_that_is_no_host_name_is_the_customers_slip_not_a_failure() {
    let tasks = Tasks::new();
    let dns = DnsServer::start(&tasks).await.unwrap();
    dns.add(EDGE, Kind::A, "203.0.113.1");
    let resolver = Resolver::new(ResolverSettings {
        resolvers: vec![dns.address()],
        timeout: Duration::from_secs(20),
        ..Default::default()
    });
    let checker = checker(Arc::new(resolver.unwrap()), &[]);
    for (target, typed) in [
        ("https\\:\\/\\/track.platform.example", "https://track.platform.example"),
        ("track.platform.example\\/", "track.platform.example/"),
        ("track.platform.example\\,", "track.platform.example,"),
        ("CNAME\\040track.platform.example", "cname track.platform.example"),
    ] {
        dns.remove(NAME, Kind::Cname);
        dns.add(NAME, Kind::Cname, target);
        let report = checker.report(&record(NAME, None)).await;
        let row = &report.records[0];
        assert_eq!(
            (row.verdict, row.found.as_slice()),
            (RecordStatus::Wrong, [typed.to_owned()].as_slice()),
            "{}",
            row.hint.en
        );
        assert!(
            row.hint.en.contains("enter only track.platform.example as the target"),
            "{}",
            row.hint.en
        );
        assert!(row.hint.de.contains("nur track.platform.example"), "{}", row.hint.de);
        assert_eq!(rows(&report)[1], ("CAA", NAME, RecordStatus::Ok), "{target}");
    }
    tasks.stop();
}

#[tokio::test]
async fn strays_are_named_all_at_once_and_where_they_are() {
    for (records, row_is, hint) in [
        (
            vec![
                (NAME, Kind::A, "203.0.113.1"),
                (NAME, Kind::Aaaa, "2001:db8::5"),
                (NAME, Kind::Aaaa, "2001:db8::6"),
            ],
            ("AAAA", NAME, RecordStatus::Extra),
            "Delete the AAAA records 2001:db8::5, 2001:db8::6 of links.customer.example.",
        ),
        (
            vec![
                (NAME, Kind::Cname, "a.customer.example"),
                ("a.customer.example", Kind::A, "203.0.113.1"),
                ("a.customer.example", Kind::Aaaa, "2001:db8::5"),
            ],
            ("AAAA", "a.customer.example", RecordStatus::Extra),
            "Delete the AAAA record 2001:db8::5 of a.customer.example.",
        ),
        (
            vec![
                (NAME, Kind::Cname, "a.vendor.example"),
                ("a.vendor.example", Kind::A, "203.0.113.1"),
                ("a.vendor.example", Kind::Aaaa, "2001:db8::5"),
            ],
            ("CNAME", NAME, RecordStatus::Wrong),
            "Change the record to CNAME track.platform.example",
        ),
        // The resolver's own, for networks without IPv4.
        (
            vec![(NAME, Kind::A, "203.0.113.1"), (NAME, Kind::Aaaa, "64:ff9b::cb00:7101")],
            ("CNAME", NAME, RecordStatus::Ok),
            "correct",
        ),
    ] {
        let script = Script::new();
        script.add(EDGE, Kind::A, "203.0.113.1");
        records
            .iter()
            .for_each(|(name, kind, value)| script.add(name, *kind, value));
        let report = checker(Arc::new(script), &[]).report(&record(NAME, None)).await;
        let row = report
            .records
            .iter()
            .find(|r| (r.kind.as_str(), r.host.as_str(), r.verdict) == row_is);
        let row = row.unwrap_or_else(|| panic!("{row_is:?}: {:?}", rows(&report)));
        assert!(row.hint.en.contains(hint), "{}", row.hint.en);
        assert_eq!(report.https, row_is.2 == RecordStatus::Ok);
    }
}

#[tokio::test]
async fn what_keeps_caa_from_allowing_is_named() {
    for (values, expected, words) in [
        (
            vec!["128 tbs x", "0 issue ca.example"],
            vec![(RecordStatus::Extra, vec!["128 tbs \"x\""])],
            "Delete this record at customer.example: CAA 128 tbs \"x\"",
        ),
        (
            vec!["128 issuevmc ;"],
            vec![(RecordStatus::Extra, vec!["128 issuevmc \";\""])],
            "marked critical",
        ),
        (
            vec!["128 tbs x", "0 issue other.example"],
            vec![
                (RecordStatus::Wrong, vec!["128 tbs \"x\"", "0 issue \"other.example\""]),
                (RecordStatus::Extra, vec!["128 tbs \"x\""]),
            ],
            "Add this record at customer.example: CAA 0 issue \"ca.example\".",
        ),
        (
            vec!["0 issue ca.example."],
            vec![(RecordStatus::Wrong, vec!["0 issue \"ca.example.\""])],
            "a dot at the end",
        ),
        (
            vec!["0 issue \"ca.example\""],
            vec![(RecordStatus::Wrong, vec!["0 issue \"\"ca.example\"\""])],
            "quotation marks",
        ),
        (
            vec!["0 issue ca.example; validationmethods=dns-01"],
            vec![(
                RecordStatus::Wrong,
                vec!["0 issue \"ca.example; validationmethods=dns-01\""],
            )],
            "does not allow the method http-01",
        ),
        (
            vec!["0 issue ca.example; bogus"],
            vec![(RecordStatus::Wrong, vec!["0 issue \"ca.example; bogus\""])],
            "invalid or duplicate parameter",
        ),
    ] {
        let script = Script::new();
        script.add(NAME, Kind::Cname, EDGE);
        values
            .iter()
            .for_each(|value| script.add("customer.example", Kind::Caa, value));
        let report = checker(Arc::new(script), &[]).report(&record(NAME, None)).await;
        let caa: Vec<&RecordReport> = report.records.iter().filter(|r| r.kind == "CAA").collect();
        let got: Vec<(RecordStatus, Vec<&str>)> = caa
            .iter()
            .map(|r| (r.verdict, r.found.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(got, expected, "{values:?}");
        assert!(
            caa.iter().any(|r| r.hint.en.contains(words)),
            "{values:?}: {}",
            caa[0].hint.en
        );

        // What is suggested is right once it is done.
        let after = Script::new();
        after.add(NAME, Kind::Cname, EDGE);
        let extra: Vec<&str> = caa
            .iter()
            .filter(|r| r.verdict == RecordStatus::Extra)
            .flat_map(|r| &r.found)
            .map(String::as_str)
            .collect();
        let plain = |value: &&&str| !extra.iter().any(|e| e.replace('"', "") == value.replace('"', ""));
        values
            .iter()
            .filter(plain)
            .for_each(|value| after.add("customer.example", Kind::Caa, value));
        if caa.iter().any(|r| r.verdict == RecordStatus::Wrong) {
            after.add("customer.example", Kind::Caa, "0 issue ca.example");
        }
        let again = checker(Arc::new(after), &[]).report(&record(NAME, None)).await;
        assert!(again.https && again.verified, "{values:?}: {:?}", rows(&again));
    }
}

#[tokio::test]
async fn a_failure_of_caa_names_the_zone_that_fails_and_a_circle_is_none() {
    let servfail = || LookupError::ServFail { text: None };
    let behind = Script::new();
    behind.add(NAME, Kind::Cname, "a.mid.example");
    behind.add("a.mid.example", Kind::Cname, EDGE);
    behind.fail(NAME, Kind::Caa, servfail());
    behind.fail("a.mid.example", Kind::Caa, servfail());
    let report = checker(Arc::new(behind), &[]).report(&record(NAME, None)).await;
    let row = report.records.iter().find(|r| r.kind == "CAA").unwrap();
    assert!(
        row.hint.en.contains("The DNS servers of mid.example fail"),
        "{}",
        row.hint.en
    );

    let circle = Script::new();
    circle.add(NAME, Kind::Cname, "a.customer.example");
    circle.add("a.customer.example", Kind::Cname, NAME);
    circle.fail(NAME, Kind::Caa, servfail());
    let report = checker(Arc::new(circle), &[]).report(&record(NAME, None)).await;
    assert_eq!(
        rows(&report),
        [("CNAME", NAME, RecordStatus::Wrong), ("CAA", NAME, RecordStatus::Ok)]
    );
}

#[tokio::test]
async fn names_typed_wrong_and_records_in_the_way_are_shown() {
    for (records, hint) in [
        (
            vec![("_links.customer.example", Kind::Cname, EDGE)],
            "created as _links.customer.example",
        ),
        (
            vec![("www.links.customer.example", Kind::Cname, EDGE)],
            "created as www.links.customer.example",
        ),
        (
            vec![("link.customer.example", Kind::Cname, EDGE)],
            "created as link.customer.example",
        ),
        (
            vec![(NAME, Kind::Txt, "https://track.platform.example/")],
            "choose the type CNAME",
        ),
        (
            vec![(NAME, Kind::Txt, "CNAME track.platform.example")],
            "choose the type CNAME",
        ),
        (
            vec![(NAME, Kind::Txt, "hello"), (NAME, Kind::Mx, "10 mail.example")],
            "other records (TXT and MX)",
        ),
    ] {
        let script = Script::new();
        records
            .iter()
            .for_each(|(name, kind, value)| script.add(name, *kind, value));
        let report = checker(Arc::new(script), &[]).report(&record(NAME, None)).await;
        let row = &report.records[0];
        assert_eq!(row.verdict, RecordStatus::Missing);
        assert!(row.hint.en.contains(hint), "{records:?}: {}", row.hint.en);
    }
    let script = Script::new();
    let report = checker(Arc::new(script), &["203.0.113.1", "2001:db8::1"])
        .report(&record("customer.example", None))
        .await;
    let row = &report.records[0];
    assert_eq!(
        (row.kind.as_str(), row.expected.as_slice()),
        ("A", ["203.0.113.1".to_owned()].as_slice())
    );
    assert!(row.hint.en.contains("203.0.113.1, 2001:db8::1"), "{}", row.hint.en);
}
