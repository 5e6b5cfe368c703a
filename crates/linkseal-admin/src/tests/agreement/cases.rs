//! DNS answers, and what report, state, message and page must say about them.

use linkseal_dns::Kind;

use super::{APEX, EDGE, NAME, OURS};

/// What DNS answers, and what must be shown.
pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) name: &'static str,
    pub(super) records: Vec<(&'static str, Kind, &'static str)>,
    pub(super) failing: Vec<(&'static str, Kind)>,
    /// The reason without a certificate and with one; `None` if DNS is correct.
    pub(super) reasons: Option<(&'static str, &'static str)>,
    /// Part of both the message and the hint of a row that has to be changed.
    pub(super) says: &'static str,
    /// Whether the resolver or zone of this node fails.
    pub(super) ours: bool,
}

fn case(
    what: &'static str,
    records: &[(&'static str, Kind, &'static str)],
    reasons: Option<(&'static str, &'static str)>,
    says: &'static str,
) -> Case {
    Case {
        what,
        name: NAME,
        records: records.to_vec(),
        failing: Vec::new(),
        reasons,
        says,
        ours: false,
    }
}

impl Case {
    fn failing(mut self, failing: &[(&'static str, Kind)]) -> Self {
        self.failing = failing.to_vec();
        self
    }

    fn at(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    fn ours(mut self) -> Self {
        self.ours = true;
        self
    }
}

pub(super) fn cases() -> Vec<Case> {
    use Kind::{A, Aaaa, Caa, Cname};
    let everything = [A, Aaaa, Cname, Caa, Kind::Txt, Kind::Ns].map(|kind| (NAME, kind));
    let moved = |reason| Some((reason, "moved"));
    // Failing DNS servers do not affect a certificate long before its renewal.
    let failing = |reason| Some((reason, "ok"));
    let via = "t.customer.example";
    vec![
        case("right", &[(NAME, Cname, EDGE)], None, ""),
        case(
            "several hops",
            &[
                (NAME, Cname, via),
                (via, Cname, "u.other.example"),
                ("u.other.example", Cname, EDGE),
            ],
            None,
            "",
        ),
        case(
            "a hop to our address",
            &[(NAME, Cname, via), (via, A, OURS[0])],
            None,
            "",
        ),
        case(
            "the apex at our addresses",
            &[(APEX, A, OURS[0]), (APEX, Aaaa, OURS[1])],
            None,
            "",
        )
        .at(APEX),
        case("missing", &[], moved("dns_missing"), "CNAME track.platform.example"),
        case(
            "the apex without records",
            &[],
            moved("dns_missing"),
            "203.0.113.1, 2001:db8::1",
        )
        .at(APEX),
        case(
            "the apex elsewhere",
            &[(APEX, A, "192.0.2.9")],
            moved("dns_elsewhere"),
            "203.0.113.1, 2001:db8::1",
        )
        .at(APEX),
        case(
            "elsewhere",
            &[(NAME, Cname, "other.example")],
            moved("dns_elsewhere"),
            "points to other.example",
        ),
        case(
            "several hops elsewhere",
            &[
                (NAME, Cname, via),
                (via, Cname, "u.other.example"),
                ("u.other.example", A, "192.0.2.9"),
            ],
            moved("dns_elsewhere"),
            "points to t.customer.example",
        ),
        case(
            "right and wrong addresses",
            &[(NAME, A, OURS[0]), (NAME, A, "192.0.2.9")],
            moved("dns_elsewhere"),
            "points to 192.0.2.9",
        ),
        case(
            "proxied, by address",
            &[(NAME, A, "104.16.0.1"), (NAME, Aaaa, "2606:4700::1")],
            moved("proxied"),
            "Cloudflare proxy",
        ),
        case(
            "proxied, by target",
            &[(NAME, Cname, "d1.cloudfront.net")],
            moved("proxied"),
            "Amazon CloudFront proxy",
        ),
        case(
            "a stray AAAA",
            &[(NAME, A, OURS[0]), (NAME, Aaaa, "2001:db8::9")],
            failing("stray_aaaa"),
            "AAAA record 2001:db8::9 of links.customer.example",
        ),
        case(
            "a stray AAAA behind a hop",
            &[(NAME, Cname, via), (via, A, OURS[0]), (via, Aaaa, "2001:db8::9")],
            failing("stray_aaaa"),
            "AAAA record 2001:db8::9 of t.customer.example",
        ),
        case(
            "CAA at the name",
            &[(NAME, Cname, EDGE), (NAME, Caa, "0 issue other.example")],
            failing("caa_forbids"),
            "Add this record at links.customer.example: CAA 0 issue \"ca.example\"",
        ),
        case(
            "CAA above",
            &[(NAME, Cname, EDGE), (APEX, Caa, "0 issue other.example")],
            failing("caa_forbids"),
            "Add this record at customer.example: CAA 0 issue \"ca.example\"",
        ),
        case(
            "the zone fails",
            &[],
            failing("dns_error"),
            "DNS servers of customer.example fail (SERVFAIL)",
        )
        .failing(&everything),
        case(
            "a hop's zone fails",
            &[(NAME, Cname, "u.other.example")],
            failing("dns_error"),
            "DNS servers of other.example fail (SERVFAIL)",
        )
        .failing(&[("u.other.example", Cname)]),
        case(
            "CAA fails",
            &[(NAME, Cname, EDGE)],
            failing("dns_error"),
            "DNS servers of customer.example fail (SERVFAIL)",
        )
        .failing(&[(APEX, Caa)]),
        case("our resolver fails", &[], Some(("never_requested", "ok")), "")
            .failing(&[everything.as_slice(), &[(EDGE, A)]].concat())
            .ours(),
        case(
            "our zone fails for CAA",
            &[(NAME, Cname, EDGE)],
            Some(("never_requested", "ok")),
            "",
        )
        .failing(&[(NAME, Caa), (EDGE, Caa)])
        .ours(),
    ]
}
