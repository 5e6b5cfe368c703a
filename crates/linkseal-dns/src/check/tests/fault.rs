//! Failures: which zone fails, and whose fault it is.

use super::*;

#[tokio::test]
async fn failures_name_the_zone_that_fails() {
    let servfail = || LookupError::ServFail { text: None };
    let error = |zone: &str, error: &str| DnsVerdict::Error {
        zone: zone.into(),
        error: error.into(),
    };
    let bogus = LookupError::DnssecBogus {
        text: Some("Signature Expired".into()),
    };
    for (what, records, failures, verdict) in [
        (
            "the CNAME",
            vec![],
            vec![(NAME, Kind::Cname, LookupError::Timeout)],
            error("customer.example", "timeout"),
        ),
        (
            "DNSSEC",
            vec![],
            vec![(NAME, Kind::Cname, bogus)],
            error("customer.example", "DNSSEC bogus (Signature Expired)"),
        ),
        (
            "a target's zone",
            vec![(NAME, Kind::Cname, "t.other.example")],
            vec![("t.other.example", Kind::Cname, servfail())],
            error("other.example", "SERVFAIL"),
        ),
        (
            "both addresses",
            vec![(NAME, Kind::Txt, "x")],
            vec![(NAME, Kind::A, servfail()), (NAME, Kind::Aaaa, servfail())],
            error("customer.example", "SERVFAIL"),
        ),
        (
            "AAAA alone",
            vec![(EDGE, Kind::A, OURS[0]), (NAME, Kind::A, OURS[0])],
            vec![(NAME, Kind::Aaaa, servfail())],
            DnsVerdict::Right,
        ),
        (
            "the edge's own addresses, behind its name",
            vec![(NAME, Kind::Cname, EDGE)],
            vec![(EDGE, Kind::A, servfail()), (EDGE, Kind::Aaaa, servfail())],
            DnsVerdict::Right,
        ),
        (
            "the edge's own addresses, compared with",
            vec![(NAME, Kind::A, "192.0.2.9")],
            vec![(EDGE, Kind::A, servfail()), (EDGE, Kind::Aaaa, servfail())],
            error("platform.example", "SERVFAIL"),
        ),
    ] {
        let script = script(&records);
        for (name, kind, failure) in failures {
            script.fail(name, kind, failure);
        }
        let (checker, _) = checker(script, &[]);
        assert_eq!(checker.https(&name(NAME)).await.verdict, verdict, "{what}");
    }
}

#[tokio::test]
async fn an_error_is_ours_if_the_edges_own_name_fails_too() {
    for (edge_fails, fault) in [(true, Fault::Ours), (false, Fault::CustomerDns)] {
        let script = Script::new();
        script.fail(NAME, Kind::Cname, LookupError::Timeout);
        if edge_fails {
            script.fail(EDGE, Kind::A, LookupError::Timeout);
        }
        let (checker, _) = checker(script, &[]);
        assert_eq!(checker.https(&name(NAME)).await.fault, Some(fault));
    }
    let (checker, _) = checker(script(&[(NAME, Kind::Cname, EDGE)]), &[]);
    assert_eq!(checker.https(&name(NAME)).await.fault, None);
}

#[tokio::test]
async fn an_error_is_ours_if_the_edges_zone_fails_or_its_addresses_are_unknown() {
    let servfail = || LookupError::ServFail { text: None };
    // The name has an address; edge.name has none of its family, fails, or does not exist.
    for (address, edge, failing, fault) in [
        ("192.0.2.9", None, None, Some(Fault::Ours)),
        (
            "192.0.2.9",
            Some((Kind::Aaaa, OURS[1])),
            Some(Kind::A),
            Some(Fault::Ours),
        ),
        ("192.0.2.9", Some((Kind::Aaaa, OURS[1])), None, None),
        (
            "2001:db8::9",
            Some((Kind::A, OURS[0])),
            Some(Kind::Aaaa),
            Some(Fault::Ours),
        ),
        // The address belongs to a known network, so it is not ours.
        ("104.16.0.1", None, None, None),
    ] {
        let ip: IpAddr = address.parse().unwrap();
        let kind = if ip.is_ipv6() { Kind::Aaaa } else { Kind::A };
        let script = script(&[(NAME, kind, address)]);
        if let Some((kind, value)) = edge {
            script.add(EDGE, kind, value);
        }
        if let Some(kind) = failing {
            script.fail(EDGE, kind, servfail());
        }
        let (checker, _) = checker(script, &[]);
        let finding = checker.https(&name(NAME)).await;
        assert_eq!(finding.fault, fault, "{address} {edge:?} {failing:?} {finding:?}");
        let is_error = matches!(finding.verdict, DnsVerdict::Error { .. });
        assert_eq!(is_error, fault.is_some(), "{finding:?}");
    }
    // Resolvers follow the CNAME for CAA: the customer's zone fails, or ours.
    for (ours, fault) in [(true, Fault::Ours), (false, Fault::CustomerDns)] {
        let script = script(&[(NAME, Kind::Cname, EDGE), (EDGE, Kind::A, OURS[0])]);
        script.fail(NAME, Kind::Caa, servfail());
        if ours {
            script.fail(EDGE, Kind::Caa, servfail());
        }
        let (checker, _) = checker(script, &[]);
        checker.set_cas(vec![ca()]);
        assert_eq!(checker.https(&name(NAME)).await.fault, Some(fault));
    }
}
