//! The rows of the record that points here: CNAME or addresses.

use super::*;

#[tokio::test]
async fn the_hint_says_what_is_wrong_with_the_name() {
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
async fn an_apex_needs_addresses_or_an_alias_record() {
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
async fn a_target_that_is_not_a_host_name_is_wrong_and_not_a_failure() {
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
async fn all_stray_aaaa_records_are_named_with_their_host() {
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
        // Synthesized by a DNS64 resolver.
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
async fn misspelt_names_and_conflicting_records_are_shown() {
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
