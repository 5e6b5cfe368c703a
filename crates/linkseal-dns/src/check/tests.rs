//! Tests of [`super`], in a file of their own for their length.

use linkseal_domain::EdgeNames;
use prometheus::Registry;

use super::*;
use crate::check::cname_chain::Target;
use crate::lookup::LookupError;
use crate::testing::{NEGATIVE_TTL, Script, TTL};
use crate::{Resolver, ResolverSettings};

const NAME: &str = "links.customer.example";
const EDGE: &str = "track.platform.example";
const OLD: &str = "old.platform.example";
/// The edge's configured address, and one edge.name resolves to.
const OURS: [&str; 2] = ["203.0.113.1", "2001:db8::1"];

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn checker(script: Script, addresses: &[&str]) -> (Checker, Registry) {
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let target = Target {
        names: EdgeNames {
            name: name(EDGE),
            aliases: vec![name(OLD)],
        },
        addresses,
    };
    let settings = CheckerSettings {
        target,
        spf_include: None,
        dkim: Vec::new(),
        dmarc: None,
    };
    let registry = Registry::new();
    let metrics = Metrics::register(&registry);
    (
        Checker::new(settings, Arc::new(script), Clock::system(), metrics),
        registry,
    )
}

fn script(records: &[(&str, Kind, &str)]) -> Script {
    let script = Script::new();
    for (name, kind, value) in records {
        script.add(name, *kind, value);
    }
    script
}

fn elsewhere(found: &str) -> DnsVerdict {
    DnsVerdict::Elsewhere { found: found.into() }
}

fn proxied(provider: &str) -> DnsVerdict {
    DnsVerdict::Proxied {
        provider: provider.into(),
    }
}

#[tokio::test]
async fn where_a_name_leads_decides() {
    use Kind::{A, Aaaa, Cname};
    let edge = [(EDGE, A, OURS[0]), (EDGE, Aaaa, OURS[1])];
    let long: Vec<(String, String)> = (0..12)
        .map(|i| (format!("h{i}.example.com"), format!("h{}.example.com", i + 1)))
        .collect();
    let mut too_long: Vec<(&str, Kind, &str)> = long.iter().map(|(a, b)| (a.as_str(), Cname, b.as_str())).collect();
    too_long.push((NAME, Cname, "h0.example.com"));
    for (what, records, verdict) in [
        ("nothing", vec![], DnsVerdict::Missing),
        ("only a text", vec![(NAME, Kind::Txt, "hello")], DnsVerdict::Missing),
        ("the edge", vec![(NAME, Cname, EDGE)], DnsVerdict::Right),
        (
            "the edge in capitals",
            vec![(NAME, Cname, "Track.Platform.Example.")],
            DnsVerdict::Right,
        ),
        ("an old target", vec![(NAME, Cname, OLD)], DnsVerdict::Right),
        (
            "the edge by a detour",
            vec![(NAME, Cname, "t.customer.example"), ("t.customer.example", Cname, EDGE)],
            DnsVerdict::Right,
        ),
        ("the edge's address", vec![(NAME, A, OURS[0])], DnsVerdict::Right),
        (
            "both addresses",
            vec![(NAME, A, OURS[0]), (NAME, Aaaa, OURS[1])],
            DnsVerdict::Right,
        ),
        ("only IPv6", vec![(NAME, Aaaa, OURS[1])], DnsVerdict::Right),
        (
            "a detour to the address",
            vec![(NAME, Cname, "t.customer.example"), ("t.customer.example", A, OURS[0])],
            DnsVerdict::Right,
        ),
        (
            "another target",
            vec![
                (NAME, Cname, "www.other.example"),
                ("www.other.example", A, "192.0.2.9"),
            ],
            elsewhere("www.other.example"),
        ),
        (
            "a target that does not exist",
            vec![(NAME, Cname, "gone.other.example")],
            elsewhere("gone.other.example"),
        ),
        (
            "a target without address",
            vec![(NAME, Cname, "t.other.example"), ("t.other.example", Kind::Txt, "x")],
            elsewhere("t.other.example"),
        ),
        (
            "another address",
            vec![(NAME, A, "192.0.2.9"), (NAME, Aaaa, "2001:db8::9")],
            elsewhere("192.0.2.9, 2001:db8::9"),
        ),
        (
            "ours and another",
            vec![(NAME, A, OURS[0]), (NAME, A, "192.0.2.9")],
            elsewhere("192.0.2.9"),
        ),
        (
            "another IPv6 only",
            vec![(NAME, Aaaa, "2001:db8::9")],
            elsewhere("2001:db8::9"),
        ),
        (
            "a stray AAAA",
            vec![(NAME, A, OURS[0]), (NAME, Aaaa, "2001:db8::9")],
            DnsVerdict::StrayAaaa {
                found: "2001:db8::9".parse().unwrap(),
                host: NAME.into(),
            },
        ),
        (
            "a stray AAAA at the end of a detour",
            vec![
                (NAME, Cname, "t.customer.example"),
                ("t.customer.example", A, OURS[0]),
                ("t.customer.example", Aaaa, "2001:db8::9"),
            ],
            DnsVerdict::StrayAaaa {
                found: "2001:db8::9".parse().unwrap(),
                host: "t.customer.example".into(),
            },
        ),
        (
            "ours and a network's",
            vec![(NAME, A, OURS[0]), (NAME, A, "104.21.3.4")],
            elsewhere("104.21.3.4"),
        ),
        (
            "ours and an alien one, of both families",
            vec![(NAME, A, OURS[0]), (NAME, A, "192.0.2.9"), (NAME, Aaaa, "2001:db8::9")],
            elsewhere("192.0.2.9, 2001:db8::9"),
        ),
        (
            "an orange cloud",
            vec![(NAME, A, "104.21.3.4"), (NAME, Aaaa, "2606:4700::1")],
            proxied("Cloudflare"),
        ),
        (
            "a CDN's target",
            vec![
                (NAME, Cname, "d1.cloudfront.net"),
                ("d1.cloudfront.net", A, "192.0.2.9"),
            ],
            proxied("Amazon CloudFront"),
        ),
        (
            "a CDN's target without address",
            vec![(NAME, Cname, "x.edgekey.net")],
            proxied("Akamai"),
        ),
        (
            "a circle",
            vec![(NAME, Cname, "b.example.com"), ("b.example.com", Cname, NAME)],
            elsewhere("b.example.com"),
        ),
        ("itself", vec![(NAME, Cname, NAME)], elsewhere(NAME)),
        ("too long a chain", too_long.clone(), elsewhere("h0.example.com")),
    ] {
        for addresses in [&OURS[..], &[]] {
            let (checker, _) = checker(script(&[&edge[..], &records].concat()), addresses);
            assert_eq!(
                checker.https(&name(NAME)).await.verdict,
                verdict,
                "{what}, addresses {addresses:?}"
            );
        }
    }
}

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
async fn an_error_is_ours_when_not_even_the_edges_name_can_be_asked_for() {
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
async fn it_is_our_fault_when_the_edges_own_zone_fails_or_does_not_say_where_the_edge_is() {
    let servfail = || LookupError::ServFail { text: None };
    // An address, and edge.name has none of the family, fails, or does not exist.
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
        // An address of a known network is not ours.
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
    // CAA through the CNAME: the customer's zone or ours.
    for (ours, fault) in [(true, Fault::Ours), (false, Fault::CustomerDns)] {
        let script = script(&[(NAME, Kind::Cname, EDGE), (EDGE, Kind::A, OURS[0])]);
        script.fail(NAME, Kind::Caa, servfail());
        if ours {
            script.fail(EDGE, Kind::Caa, servfail());
        }
        let (checker, _) = checker(script, &[]);
        checker.set_cas(vec![CaIdentity {
            identities: vec!["ca.example".into()],
            account_uri: None,
        }]);
        assert_eq!(checker.https(&name(NAME)).await.fault, Some(fault));
    }
}

#[tokio::test]
async fn the_edges_own_names_and_localhost_are_right() {
    let (checker, _) = checker(script(&[(EDGE, Kind::A, "192.0.2.200")]), &[]);
    assert_eq!(checker.https(&name(EDGE)).await.verdict, DnsVerdict::Right);
    assert_eq!(checker.https(&name(OLD)).await.verdict, DnsVerdict::Missing);

    let target = Target {
        names: name("edge.localhost").into(),
        addresses: Vec::new(),
    };
    let settings = CheckerSettings {
        target,
        spf_include: None,
        dkim: Vec::new(),
        dmarc: None,
    };
    let metrics = Metrics::register(&Registry::new());
    // A resolver that is never asked: nothing listens on the discard port.
    let resolvers = vec!["127.0.0.1:9".parse().unwrap()];
    let resolver = Resolver::new(ResolverSettings {
        resolvers,
        ..ResolverSettings::default()
    })
    .unwrap();
    let demo = Checker::new(settings, Arc::new(resolver), Clock::system(), metrics);
    demo.set_cas(vec![CaIdentity {
        identities: vec!["ca.example".into()],
        account_uri: None,
    }]);
    for local in ["edge.localhost", "links.localhost"] {
        assert_eq!(demo.https(&name(local)).await.verdict, DnsVerdict::Right, "{local}");
    }
}

#[tokio::test]
async fn caa_is_judged_once_the_ca_is_known_and_the_name_leads_here() {
    let script = script(&[
        (NAME, Kind::Cname, EDGE),
        ("customer.example", Kind::Caa, "0 issue other.example"),
    ]);
    let (checker, _) = checker(script, &[]);
    let unjudged = checker.https(&name(NAME)).await;
    assert_eq!((unjudged.verdict, unjudged.caa), (DnsVerdict::Right, Caa::NotJudged));
    let ca = CaIdentity {
        identities: vec!["ca.example".into()],
        account_uri: None,
    };
    checker.set_cas(vec![ca.clone()]);
    let forbidden = checker.https(&name(NAME)).await;
    assert_eq!(
        forbidden.verdict,
        DnsVerdict::CaaForbids {
            host: "customer.example".into()
        }
    );
    assert_eq!(forbidden.leads, DnsVerdict::Right);
    assert!(matches!(checker.caa(&name(EDGE), &ca).await, Caa::Allows { .. }));
}

#[tokio::test]
async fn a_failing_caa_lookup_is_an_error() {
    let script = script(&[(NAME, Kind::Cname, EDGE)]);
    script.fail("customer.example", Kind::Caa, LookupError::ServFail { text: None });
    let (checker, _) = checker(script, &[]);
    checker.set_cas(vec![CaIdentity {
        identities: vec!["ca.example".into()],
        account_uri: None,
    }]);
    let verdict = checker.https(&name(NAME)).await.verdict;
    assert_eq!(
        verdict,
        DnsVerdict::Error {
            zone: "customer.example".into(),
            error: "SERVFAIL".into()
        }
    );
}

#[tokio::test]
async fn the_zones_own_servers_overrule_old_answers() {
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
async fn the_zones_own_servers_are_not_asked_where_they_cannot_help() {
    let right = script(&[(NAME, Kind::Cname, EDGE)]);
    right.add_fresh(NAME, Kind::Cname, "b.other.example");
    let (checker_, _) = checker(right, &[]);
    assert_eq!(checker_.https(&name(NAME)).await.verdict, DnsVerdict::Right);

    // A bogus zone is dark for the CA, whatever its own servers say.
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
    checker.set_cas(vec![CaIdentity {
        identities: vec!["ca.example".into()],
        account_uri: None,
    }]);
    let finding = checker.https(&name(NAME)).await;
    assert_eq!(finding.verdict, DnsVerdict::Right);
    assert!(finding.stale.unwrap().caa);
}

#[tokio::test]
async fn the_common_case_costs_one_question_and_is_counted() {
    let script = Arc::new(script(&[(NAME, Kind::Cname, EDGE)]));
    let (mut checker, registry) = checker(Script::new(), &[]);
    checker.lookup = script.clone();
    let finding = checker.https(&name(NAME)).await;
    assert_eq!(script.asked(), [(NAME.to_owned(), Kind::Cname)]);
    assert_eq!(
        finding.chain,
        [Alias {
            from: NAME.into(),
            to: EDGE.into(),
            ttl: TTL
        }]
    );
    let right = registry.gather()[0]
        .get_metric()
        .iter()
        .find(|m| m.get_label()[0].value() == "right")
        .map(|m| m.get_counter().get_value());
    assert_eq!(right, Some(1.0));
}

/// Never answers.
struct Dark;

#[async_trait::async_trait]
impl Lookup for Dark {
    async fn lookup(&self, _: &str, _: Kind) -> Result<Answer, LookupError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_check_ends_when_its_time_is_up() {
    let (mut checker, _) = checker(Script::new(), &[]);
    checker.lookup = Arc::new(Dark);
    checker.time = Duration::from_millis(20);
    let timed_out = DnsVerdict::Error {
        zone: "customer.example".into(),
        error: "timeout".into(),
    };
    assert_eq!(checker.https(&name(NAME)).await.verdict, timed_out);
}
