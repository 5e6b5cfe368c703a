//! Authoritative servers overrule old answers.

use super::*;

#[tokio::test]
async fn authoritative_servers_overrule_old_answers() {
    let repaired = Script::new();
    repaired.add_fresh(NAME, Kind::Cname, EDGE);
    let (checker_, _) = checker(repaired, &[]);
    let before = checker_.clock.now();
    let finding = checker_.https(&name(NAME)).await;
    assert_eq!(finding.verdict, DnsVerdict::Right);
    let stale = finding.stale.unwrap();
    assert_eq!((stale.found.len(), stale.caa), (0, false));
    assert!(stale.until.unwrap() >= before + Duration::from_secs(NEGATIVE_TTL.into()));

    let changed = script(&[(NAME, Kind::Cname, "a.other.example")]);
    changed.add_fresh(NAME, Kind::Cname, "b.other.example");
    let (checker_, _) = checker(changed, &[]);
    let finding = checker_.https(&name(NAME)).await;
    assert_eq!(finding.verdict, elsewhere("b.other.example"));
    assert_eq!(finding.stale.unwrap().found, ["a.other.example"]);
}

#[tokio::test]
async fn authoritative_servers_overrule_neither_right_answers_nor_failures() {
    let right = script(&[(NAME, Kind::Cname, EDGE)]);
    right.add_fresh(NAME, Kind::Cname, "b.other.example");
    let (checker_, _) = checker(right, &[]);
    assert_eq!(checker_.https(&name(NAME)).await.verdict, DnsVerdict::Right);

    // The CA cannot resolve a bogus zone, whatever its authoritative servers answer.
    let bogus = Script::new();
    bogus.fail(NAME, Kind::Cname, LookupError::DnssecBogus { text: None });
    bogus.add_fresh(NAME, Kind::Cname, EDGE);
    let (checker_, _) = checker(bogus, &[]);
    assert!(matches!(
        checker_.https(&name(NAME)).await.verdict,
        DnsVerdict::Error { .. }
    ));

    let failing = script(&[(NAME, Kind::Cname, "a.other.example")]);
    failing.fail_fresh(NAME, Kind::Cname, LookupError::Refused { text: None });
    let (checker_, _) = checker(failing, &[]);
    let finding = checker_.https(&name(NAME)).await;
    assert_eq!((finding.verdict, finding.stale), (elsewhere("a.other.example"), None));
}

#[tokio::test]
async fn old_caa_records_are_overruled_too() {
    let script = script(&[(NAME, Kind::Cname, EDGE), (NAME, Kind::Caa, "0 issue other.example")]);
    script.add_fresh(NAME, Kind::Caa, "0 issue ca.example");
    let (checker, _) = checker(script, &[]);
    checker.set_cas(vec![ca()]);
    let finding = checker.https(&name(NAME)).await;
    assert_eq!(finding.verdict, DnsVerdict::Right);
    assert!(finding.stale.unwrap().caa);
}
