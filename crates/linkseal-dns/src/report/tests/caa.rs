//! The rows of CAA records.

use super::*;

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
async fn a_caa_record_of_the_platform_is_not_blamed_on_the_customer() {
    let script = Script::new();
    script.add(NAME, Kind::Cname, EDGE);
    script.add_at(NAME, EDGE, Kind::Caa, "0 issue other.example");
    let report = checker(Arc::new(script), &[]).report(&record(NAME, None)).await;
    let row = report.records.iter().find(|r| r.kind == "CAA").unwrap();
    assert_eq!((row.verdict, row.host.as_str()), (RecordStatus::Wrong, EDGE));
    assert!(row.hint.en.contains("Contact support"), "{}", row.hint.en);
}

#[tokio::test]
async fn the_hint_says_why_caa_forbids_the_certificate() {
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

        // CAA is correct once the hints are followed.
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
async fn a_caa_failure_names_the_zone_that_fails_and_an_alias_loop_is_not_one() {
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

    let alias_loop = Script::new();
    alias_loop.add(NAME, Kind::Cname, "a.customer.example");
    alias_loop.add("a.customer.example", Kind::Cname, NAME);
    alias_loop.fail(NAME, Kind::Caa, servfail());
    let report = checker(Arc::new(alias_loop), &[]).report(&record(NAME, None)).await;
    assert_eq!(
        rows(&report),
        [("CNAME", NAME, RecordStatus::Wrong), ("CAA", NAME, RecordStatus::Ok)]
    );
}
