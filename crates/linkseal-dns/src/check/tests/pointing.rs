//! Where a name points.

use super::*;

#[tokio::test]
async fn the_verdict_says_where_a_name_points() {
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
            "the edge through another CNAME",
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
            "the edge's address through a CNAME",
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
            "a stray AAAA at the end of a chain",
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
            "ours and a CDN's",
            vec![(NAME, A, OURS[0]), (NAME, A, "104.21.3.4")],
            elsewhere("104.21.3.4"),
        ),
        (
            "ours and others of both families",
            vec![(NAME, A, OURS[0]), (NAME, A, "192.0.2.9"), (NAME, Aaaa, "2001:db8::9")],
            elsewhere("192.0.2.9, 2001:db8::9"),
        ),
        (
            "a Cloudflare proxy",
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
            "a loop",
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
    // The resolver is never asked: no server listens on the discard port.
    let resolvers = vec!["127.0.0.1:9".parse().unwrap()];
    let resolver = Resolver::new(ResolverSettings {
        resolvers,
        ..ResolverSettings::default()
    })
    .unwrap();
    let demo = Checker::new(settings, Arc::new(resolver), Clock::system(), metrics);
    demo.set_cas(vec![ca()]);
    for local in ["edge.localhost", "links.localhost"] {
        assert_eq!(demo.https(&name(local)).await.verdict, DnsVerdict::Right, "{local}");
    }
}
