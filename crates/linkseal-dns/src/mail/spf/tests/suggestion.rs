//! The suggested record.

use super::*;

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "(v=spf1)?( [-+~?]?(include|redirect|a|mx|all|exists|\\PC{0,6})[:=/]?\\PC{0,12}){0,8}") {
        steps(&text);
        // The suggestion is one valid record with the include before `all`.
        let record = Draft::read(&[text], OURS).text();
        proptest::prop_assert!(record.starts_with("v=spf1 include:spf.platform.example "), "{}", record);
        proptest::prop_assert!(terms(&record).iter().all(Result::is_ok), "{}", record);
        // Once published, it is not changed again.
        proptest::prop_assert_eq!(Draft::read(std::slice::from_ref(&record), OURS).text(), record);
    }
}

#[tokio::test]
async fn a_published_suggestion_is_correct() {
    for texts in [
        vec!["v=spf1 mx -all"],
        vec!["v=spf1 Redirect=_spf.other.example"],
        vec!["v=spf1 redirect=_spf.other.example ~all"],
        vec!["v=spf1 ip4:300.1.1.1 ?all nonsense"],
        vec!["v=spf1 a -all", "v=spf1 redirect=_spf.other.example"],
        vec!["\"v=spf1 mx -all\""],
    ] {
        let before = world();
        texts.iter().for_each(|t| before.add(DOMAIN, Kind::Txt, t));
        let row = report(&before).await;
        assert_ne!(row.verdict, RecordStatus::Ok);
        let after = world();
        after.add(DOMAIN, Kind::Txt, &row.expected[0]);
        let again = report(&after).await;
        assert_eq!(
            again.verdict,
            RecordStatus::Ok,
            "{texts:?} -> {}: {}",
            row.expected[0],
            again.hint.en
        );
    }
}

#[tokio::test]
async fn a_suggestion_stays_within_the_limits_and_names_the_senders_it_leaves_out() {
    let ten = "v=spf1 a mx a:1.example a:2.example a:3.example a:4.example mx:5.example a:6.example exists:e.example include:v1.example -all";
    for (texts, says, expected) in [
        // Eleven look-ups: addresses replace hosts.
        (vec![ten], "was replaced with its addresses", None),
        // Within ten look-ups, but with too many hosts that do not exist.
        (
            vec!["v=spf1 a:g1.example a:g2.example a:g3.example mx -all"],
            "these hosts do not exist: a:g1.example",
            Some("v=spf1 include:spf.platform.example mx -all"),
        ),
        (
            vec!["v=spf1 include:spf.platform.example mx mx:many.example -all"],
            "which has more than 10 mail servers",
            None,
        ),
        (
            vec!["v=spf1 ip4: 192.0.2.1 include:spf.platform.example -all"],
            "\"ip4: 192.0.2.1\" is now \"ip4:192.0.2.1\"",
            Some("v=spf1 include:spf.platform.example ip4:192.0.2.1 -all"),
        ),
        (
            vec!["v=spf1 mxinclude:spf.platform.example -all"],
            "is now \"mx include:spf.platform.example\"",
            Some("v=spf1 include:spf.platform.example mx -all"),
        ),
        (
            vec!["v=spf1 ip4:192.0.2 include:spf.platform.example -all"],
            "receivers cannot use it: ip4:192.0.2.",
            Some("v=spf1 include:spf.platform.example ~all"),
        ),
        (
            vec!["v=spf1 include:spf.platfrom.example -all"],
            "receivers cannot use it: include:spf.platfrom.example",
            Some("v=spf1 include:spf.platform.example ~all"),
        ),
        (
            vec!["v=spf1 include:spf.platform.example include:_spf.gogle.example ?all"],
            "refers to _spf.gogle.example",
            Some("v=spf1 include:spf.platform.example ?all"),
        ),
        (
            vec!["v=spf1 include:spf.platform.example redirect=gone.example"],
            "refers to gone.example",
            Some("v=spf1 include:spf.platform.example ~all"),
        ),
        (
            vec!["v=spf1 include:half.example ip4:192.0.2.1 -all"],
            "receivers cannot use it: include:half.example",
            Some("v=spf1 include:spf.platform.example ip4:192.0.2.1 ~all"),
        ),
        (
            vec!["v=spf1 include:@spf.platform.example -all"],
            "refers to @spf.platform.example",
            Some("v=spf1 include:spf.platform.example ~all"),
        ),
        (
            vec!["v=spf1 include:spf.platform.example-all"],
            "is now \"include:spf.platform.example -all\"",
            Some("v=spf1 include:spf.platform.example -all"),
        ),
        (
            vec!["v=spf1 mx -all", "v=spf1 a ?all"],
            "ends in ?all, the less strict",
            Some("v=spf1 include:spf.platform.example mx a ?all"),
        ),
        (
            vec!["v=spf1 include:spf.platform.example +all"],
            "lets anyone send mail",
            Some("v=spf1 include:spf.platform.example ?all"),
        ),
        (
            vec!["v=spf1 ?include:inner.example -all"],
            "Add include:spf.platform.example",
            Some("v=spf1 include:spf.platform.example ?include:inner.example -all"),
        ),
        (
            vec!["v=spf1 include=spf.platform.example mx ~all"],
            "Add include:spf.platform.example",
            Some("v=spf1 include:spf.platform.example mx ~all"),
        ),
    ] {
        let with = |record: &[&str]| {
            let script = world();
            script.add("inner.example", Kind::Txt, "v=spf1 include:spf.platform.example -all");
            record.iter().for_each(|t| script.add(DOMAIN, Kind::Txt, t));
            script
        };
        let row = report(&with(&texts)).await;
        assert!(row.hint.en.contains(says), "{texts:?}: {}", row.hint.en);
        assert_ne!(row.hint.en, row.hint.de);
        let [suggested] = row.expected.as_slice() else {
            panic!("{texts:?}: {:?}", row.expected)
        };
        assert_ne!(texts, [suggested.as_str()], "{texts:?}");
        if let Some(expected) = expected {
            assert_eq!(suggested, expected, "{texts:?}");
        }
        let again = report(&with(&[suggested])).await;
        assert_eq!(
            again.verdict,
            RecordStatus::Ok,
            "{texts:?} -> {suggested}: {}",
            again.hint.en
        );
    }
}

#[tokio::test]
async fn without_a_suggestion_the_hint_names_the_lookups_of_each_term() {
    let script = world();
    let mut record = "v=spf1".to_owned();
    for i in 0..10 {
        script.add(
            &format!("s{i}.example"),
            Kind::Txt,
            &format!("v=spf1 ip4:203.0.113.{i} -all"),
        );
        record += &format!(" include:s{i}.example");
    }
    script.add(DOMAIN, Kind::Txt, &format!("{record} -all"));
    let row = report(&script).await;
    assert_eq!((row.verdict, row.expected.len()), (RecordStatus::Wrong, 0));
    for says in ["would need 11 DNS lookups", "include:s3.example (1)"] {
        assert!(row.hint.en.contains(says), "{}", row.hint.en);
    }
}

#[tokio::test]
async fn an_include_inside_another_is_left_out() {
    let script = world();
    let own = "include:deep.example include:_spf.other.example a:3.example a:4.example a:6.example a:e.example a";
    script.add(DOMAIN, Kind::Txt, &format!("v=spf1 {own} -all"));
    let row = report(&script).await;
    assert!(
        row.hint
            .en
            .contains("another include already contains it: include:_spf.other.example"),
        "{}",
        row.hint.en
    );
    assert_eq!(
        row.expected,
        [
            "v=spf1 include:spf.platform.example include:deep.example a:3.example a:4.example a:6.example a:e.example a -all"
        ]
    );
}
