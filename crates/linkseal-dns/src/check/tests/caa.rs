//! CAA in the check before an order.

use super::*;

#[tokio::test]
async fn caa_is_judged_if_the_ca_is_known_and_the_name_points_here() {
    let script = script(&[
        (NAME, Kind::Cname, EDGE),
        ("customer.example", Kind::Caa, "0 issue other.example"),
    ]);
    let (checker, _) = checker(script, &[]);
    let unjudged = checker.https(&name(NAME)).await;
    assert_eq!((unjudged.verdict, unjudged.caa), (DnsVerdict::Right, Caa::NotJudged));
    checker.set_cas(vec![ca()]);
    let forbidden = checker.https(&name(NAME)).await;
    assert_eq!(
        forbidden.verdict,
        DnsVerdict::CaaForbids {
            host: "customer.example".into()
        }
    );
    assert_eq!(forbidden.pointing, DnsVerdict::Right);
    assert!(matches!(checker.caa(&name(EDGE), &ca()).await, Caa::Allows { .. }));
}

#[tokio::test]
async fn a_failing_caa_lookup_is_an_error() {
    let script = script(&[(NAME, Kind::Cname, EDGE)]);
    script.fail("customer.example", Kind::Caa, LookupError::ServFail { text: None });
    let (checker, _) = checker(script, &[]);
    checker.set_cas(vec![ca()]);
    let verdict = checker.https(&name(NAME)).await.verdict;
    assert_eq!(
        verdict,
        DnsVerdict::Error {
            zone: "customer.example".into(),
            error: "SERVFAIL".into()
        }
    );
}
