//! The report as a whole: rows of every purpose, faults, limits.

use super::*;

#[tokio::test]
async fn a_domain_with_all_records_is_verified() {
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
        serde_json::to_value(&report.records[0]).unwrap(),
        json!({"type": "CNAME", "purpose": "https", "host": NAME, "host_short": "links", "expected": [EDGE],
               "found": [EDGE], "verdict": "ok", "ttl": 300, "visible_by": null,
               "hint": {"en": "This record is correct.", "de": "Dieser Eintrag ist korrekt."}})
    );
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
async fn fixed_records_are_correct_while_caches_have_older_ones() {
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
async fn failures_are_errors_and_records_beyond_the_limit_are_listed() {
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
async fn a_failure_of_ours_is_not_blamed_on_the_customer() {
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
fn checks_and_reports_can_run_on_any_thread() {
    fn send<T: Send>(_: T) {}
    let checker = checker(Arc::new(Script::new()), &[]);
    let (name, record) = (name(NAME), record(NAME, None));
    send(checker.https(&name));
    send(checker.report(&record));
}

#[test]
fn without_a_positive_ttl_there_is_no_visible_by() {
    let now = Timestamp::from_secs(1_000);
    assert_eq!(visible_by(Some(60), now), Some(Timestamp::from_secs(1_060)));
    assert_eq!((visible_by(Some(0), now), visible_by(None, now)), (None, None));
}
