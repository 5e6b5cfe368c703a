//! The verdict on published records, and whose fault a failure is.

use super::*;

#[tokio::test]
async fn each_record_has_a_verdict_and_an_expected_record() {
    let ten = "v=spf1 include:spf.platform.example a mx ptr exists:e.example a:1.example a:2.example a:3.example a:4.example mx:5.example -all";
    for (texts, verdict, expected) in [
        (
            vec![],
            RecordStatus::Missing,
            "v=spf1 include:spf.platform.example ~all",
        ),
        (
            vec!["other text", "v=spf10 no"],
            RecordStatus::Missing,
            "v=spf1 include:spf.platform.example ~all",
        ),
        (
            vec!["v=spf1 include:spf.platform.example -all"],
            RecordStatus::Ok,
            "v=spf1 include:spf.platform.example -all",
        ),
        (
            vec!["V=SPF1 mx Include:SPF.platform.example. ?all"],
            RecordStatus::Ok,
            "V=SPF1 mx Include:SPF.platform.example. ?all",
        ),
        (
            vec!["v=spf1 mx -all"],
            RecordStatus::Wrong,
            "v=spf1 include:spf.platform.example mx -all",
        ),
        (
            vec!["v=spf1 -all include:spf.platform.example"],
            RecordStatus::Wrong,
            "v=spf1 include:spf.platform.example -all",
        ),
        (
            vec!["v=spf1 -include:spf.platform.example ~all"],
            RecordStatus::Wrong,
            "v=spf1 include:spf.platform.example ~all",
        ),
        (
            vec!["v=spf1 REDIRECT=_spf.other.example"],
            RecordStatus::Wrong,
            "v=spf1 include:spf.platform.example redirect=_spf.other.example",
        ),
        (
            vec!["v=spf1 redirect=_spf.other.example ~all exp=why.customer.example"],
            RecordStatus::Wrong,
            "v=spf1 include:spf.platform.example ~all exp=why.customer.example",
        ),
        (
            vec!["v=spf1 mx -all a:late.example"],
            RecordStatus::Wrong,
            "v=spf1 include:spf.platform.example mx -all",
        ),
        (
            vec!["v=spf1 include:spf.platform.example ip4:192.0.2 mx -all"],
            RecordStatus::Wrong,
            "v=spf1 include:spf.platform.example mx ~all",
        ),
        (
            vec!["v=spf1 mx -all", "v=spf1 redirect=_spf.other.example"],
            RecordStatus::Wrong,
            "v=spf1 include:spf.platform.example mx include:_spf.other.example -all",
        ),
        (
            vec!["v=spf1 mx -all", "v=spf1 include:spf.platform.example a mx ~all"],
            RecordStatus::Wrong,
            "v=spf1 include:spf.platform.example mx a ~all",
        ),
        (vec![ten], RecordStatus::Ok, ten),
        (
            vec!["v=spf1 include:spf.platform.example include:gone.example -all"],
            RecordStatus::Wrong,
            "v=spf1 include:spf.platform.example ~all",
        ),
    ] {
        let script = world();
        for text in &texts {
            script.add(DOMAIN, Kind::Txt, text);
        }
        let row = report(&script).await;
        assert_eq!(
            (row.verdict, row.expected.as_slice()),
            (verdict, [expected.to_owned()].as_slice()),
            "{texts:?}: {}",
            row.hint.en
        );
        assert_eq!((row.host.as_str(), row.host_short.as_str()), (DOMAIN, "@"));
    }
}

#[tokio::test]
async fn a_nested_include_counts_and_loops_end() {
    let script = Script::new();
    script.add(DOMAIN, Kind::Txt, "v=spf1 redirect=_spf.customer.example");
    script.add("_spf.customer.example", Kind::Txt, "v=spf1 include:a.example -all");
    script.add("a.example", Kind::Txt, "v=spf1 include:spf.platform.example ~all");
    assert_eq!(report(&script).await.verdict, RecordStatus::Ok);

    let looping = Script::new();
    looping.add(
        DOMAIN,
        Kind::Txt,
        "v=spf1 include:spf.platform.example include:customer.example -all",
    );
    let row = report(&looping).await;
    assert_eq!(row.verdict, RecordStatus::Wrong);
    assert!(row.hint.en.contains("more than 10"), "{}", row.hint.en);
    assert!(looping.asked().len() <= 12);
}

#[tokio::test]
async fn a_failing_zone_is_an_error_not_a_missing_record() {
    let script = Script::new();
    script.fail(DOMAIN, Kind::Txt, LookupError::Timeout);
    let row = report(&script).await;
    assert_eq!(row.verdict, RecordStatus::Error);
    assert!(row.hint.de.contains("customer.example"));
    let nested = Script::new();
    nested.add(
        DOMAIN,
        Kind::Txt,
        "v=spf1 include:spf.platform.example include:slow.example -all",
    );
    nested.fail("slow.example", Kind::Txt, LookupError::ServFail { text: None });
    assert_eq!(report(&nested).await.verdict, RecordStatus::Error);
}

#[tokio::test]
async fn near_misses_are_shown() {
    for text in ["\"v=spf1 mx -all\"", " v=spf1 mx", "v=spf1; mx", "spf1 mx -all"] {
        let script = Script::new();
        script.add(DOMAIN, Kind::Txt, text);
        let row = report(&script).await;
        assert_eq!((row.verdict, row.found), (RecordStatus::Missing, vec![text.to_owned()]));
        assert!(row.hint.en.starts_with("Create the DNS record"), "{}", row.hint.en);
    }
}

#[tokio::test]
async fn a_failure_is_attributed_to_the_zone_that_fails() {
    let servfail = || LookupError::ServFail { text: None };
    let fails = |name: &'static str| move |script: &Script| script.fail(name, Kind::Txt, servfail());
    type Change = Box<dyn Fn(&Script)>;
    let cases: [(&str, Change, RecordStatus, &str); 5] = [
        ("", Box::new(fails(OURS)), RecordStatus::NotChecked, "our own record"),
        (
            "",
            Box::new(|script| script.fail(OURS, Kind::Txt, LookupError::NxDomain { ttl: None })),
            RecordStatus::NotChecked,
            "our own record",
        ),
        (
            " include:v1.example",
            Box::new(fails("v1.example")),
            RecordStatus::Error,
            "The DNS servers of v1.example fail (SERVFAIL), and the SPF record of customer.example refers to them",
        ),
        (
            " include:deep.example",
            Box::new(fails("_spf.other.example")),
            RecordStatus::Error,
            "The DNS servers of other.example fail",
        ),
        (
            " include:s.customer.example",
            Box::new(fails("s.customer.example")),
            RecordStatus::Error,
            "The DNS servers of customer.example fail (SERVFAIL). Contact your DNS provider.",
        ),
    ];
    for (term, change, verdict, says) in cases {
        let script = world();
        script.add(OURS, Kind::Txt, "v=spf1 ip4:192.0.2.0/24 -all");
        script.add(DOMAIN, Kind::Txt, &format!("v=spf1 include:{OURS}{term} -all"));
        change(&script);
        let row = script
            .with_queries(async |queries| check(queries, DOMAIN, OURS).await)
            .await;
        assert_eq!(row.verdict, verdict, "{term}: {}", row.hint.en);
        assert!(row.hint.en.contains(says), "{term}: {}", row.hint.en);
        assert!(!row.hint.en.contains("emove spf.platform"), "{}", row.hint.en);
    }
}
