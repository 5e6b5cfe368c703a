//! Verdicts of single requests.

mod agents;

use std::time::Duration;

use http::{HeaderMap, Method};

use self::agents::AGENTS;
use super::*;
use crate::event_type::EventType;

fn judge(kind: EventType, method: Method, headers: &[(&'static str, &str)], since_ms: u64) -> Judged {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    Classifier::builtin()
        .unwrap()
        .judge(kind, &method, &map, Some(Duration::from_millis(since_ms)))
}

#[test]
fn agents_are_classed_with_their_reasons() {
    for (agent, class, reasons, proxy) in AGENTS {
        let j = judge(EventType::Open, Method::GET, &[("user-agent", agent)], 60_000);
        assert_eq!(j.verdict.class, *class, "{agent}");
        assert_eq!(j.verdict.reasons().collect::<Vec<_>>(), *reasons, "{agent}");
        assert_eq!(j.proxy, *proxy, "{agent}");
        assert_eq!(j.verdict.rules, RULES);
    }
}

#[test]
fn office_lookups_before_a_click_are_recognised() {
    for agent in [
        "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/8.0; .NET4.0C; .NET4.0E; Microsoft Outlook 16.0.5422; ms-office; MSOffice 16)",
        "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17928; Pro)",
        "Microsoft Office Existence Discovery",
    ] {
        for kind in [EventType::Click, EventType::Redirect] {
            let j = judge(kind, Method::GET, &[("user-agent", agent)], 60_000);
            assert_eq!(j.verdict.class, Class::Prefetch, "{agent}");
            assert_eq!(
                j.verdict.reasons().collect::<Vec<_>>(),
                ["agent_office_lookup"],
                "{agent}"
            );
        }
    }
    // Outlook displays messages with the same agent.
    let agent = "Mozilla/4.0 (compatible; ms-office; MSOffice 16)";
    let j = judge(EventType::Open, Method::GET, &[("user-agent", agent)], 60_000);
    assert_eq!(j.verdict.class, Class::Human);
    let j = judge(EventType::Unsubscribe, Method::POST, &[("user-agent", agent)], 60_000);
    assert_eq!(j.verdict.class, Class::Human);
    // Outlook for Mac opens links in its own browser.
    let mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15) AppleWebKit/537.36 (KHTML, like Gecko) Microsoft Outlook/16.78 Chrome/116.0.0.0 Safari/537.36";
    let j = judge(EventType::Click, Method::GET, &[("user-agent", mac)], 60_000);
    assert_eq!(j.verdict.class, Class::Human);
}

#[test]
fn mail_in_its_name_does_not_make_a_program_a_person() {
    const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
    for (agent, class) in [
        ("MailScanner/5.5.3", Class::Scanner),
        ("EmailSecurityGateway/2.0 (link scan)", Class::Scanner),
        ("mail-link-checker/1.0", Class::Scanner),
        ("Mailgun/1.0", Class::Scanner),
        ("EmailSiphon", Class::Scanner),
        ("SpamAssassin-MailCheck/1", Class::Scanner),
        ("Email-Link-Preview/1.0", Class::Prefetch),
        ("Rspamd/3.8 mail url resolver", Class::Scanner),
        ("Mozilla/5.0 (compatible; EmailWolf 1.00)", Class::Scanner),
        ("Outlook-Link-Filter/1.0", Class::Scanner),
        ("Sparkle/2.0", Class::Scanner),
        ("SeznamEmailProxy/2.0.156", Class::Proxy),
        (
            "Yahoo Link Preview; https://help.yahoo.com/kb/mail/yahoo-link-preview-SLN23615.html",
            Class::Prefetch,
        ),
        (&format!("{CHROME} Cisco-IronPort"), Class::Scanner),
        (&format!("{CHROME} Trellix"), Class::Scanner),
        (&format!("{CHROME} ImageProxy"), Class::Proxy),
    ] {
        for kind in [EventType::Click, EventType::Redirect, EventType::Open] {
            let j = judge(kind, Method::GET, &[("user-agent", agent)], 3_600_000);
            assert_eq!(j.verdict.class, class, "{agent} {kind:?} {:?}", j.verdict);
        }
    }
    // A mail program displays messages, and leaves links to a browser.
    for agent in [
        "Mail/3774.300.61.1.2 CFNetwork/1490.0.4 Darwin/23.2.0",
        "YahooMobileMail/1.0 (Android Mail; 7.41.1)",
        "Evolution/3.52.3",
        "Dalvik/2.1.0 (Linux; U; Android 14; SM-S918B Build/UP1A.231005.007)",
    ] {
        let of = |kind| judge(kind, Method::GET, &[("user-agent", agent)], 3_600_000).verdict;
        assert_eq!(of(EventType::Open).class, Class::Human, "{agent}");
        assert_eq!(of(EventType::Click).reasons().collect::<Vec<_>>(), ["agent_program"]);
    }
    for agent in [
        "Lynx/2.8.9rel.1 libwww-FM/2.14 SSL-MM/1.4.1 GNUTLS/3.6.13",
        "w3m/0.5.3+git20230121",
        "ELinks/0.13.2 (textmode; Linux 5.10.0 x86_64; 80x24-2)",
        "BlackBerry9700/5.0.0.862 Profile/MIDP-2.1 Configuration/CLDC-1.1 VendorID/331",
        CHROME,
    ] {
        for kind in [EventType::Click, EventType::Open] {
            let j = judge(kind, Method::GET, &[("user-agent", agent)], 3_600_000);
            assert_eq!(j.verdict.class, Class::Human, "{agent}");
        }
    }
}

#[test]
fn one_click_unsubscription_counts_as_a_person() {
    let yahoo = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html";
    for (agent, proxy) in [
        ("Google-UnsubscribeBot", None),
        ("", None),
        (yahoo, Some("yahoo")),
        ("Mozilla/5.0", Some("apple")),
        ("curl/8.5.0", None),
    ] {
        let purpose = ("sec-purpose", "prefetch");
        let j = judge(
            EventType::Unsubscribe,
            Method::POST,
            &[("user-agent", agent), purpose],
            100,
        );
        assert_eq!(j.verdict.class, Class::Human, "{agent}");
        assert_eq!(j.verdict.reasons().collect::<Vec<_>>(), ["one_click"], "{agent}");
        assert_eq!(j.proxy, proxy, "{agent}");
        // The list of networks does not change that either.
        let mut signals = j.verdict.signals();
        signals.add(Signal::NetworkScanner);
        assert_eq!(Verdict::from_signals(signals).class, Class::Human);
    }
}

#[test]
fn every_rule_of_agents_has_a_real_agent_in_the_table() {
    for rule in rules::EXACT.iter().chain(rules::PARTS) {
        assert_eq!(rule.text, rule.text.to_ascii_lowercase());
        let found = AGENTS.iter().any(|(agent, _, reasons, _)| {
            agent.to_ascii_lowercase().contains(rule.text) && reasons.contains(&rule.signal.reason())
        });
        assert!(found, "no agent for `{}`", rule.text);
    }
}

#[test]
fn reasons_are_distinct() {
    let reasons: std::collections::HashSet<_> = Signal::ALL.iter().map(|s| s.reason()).collect();
    assert_eq!(reasons.len(), Signal::ALL.len());
    for signal in Signal::ALL {
        assert_eq!(
            signal.class() == Class::Scanner,
            signal.weight() >= rules::CERTAIN,
            "{signal:?}"
        );
        assert_eq!(
            signal.class() == Class::Unknown,
            (1..rules::CERTAIN).contains(&signal.weight()),
            "{signal:?}"
        );
    }
}

const BROWSER: (&str, &str) = (
    "user-agent",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
);

#[test]
fn method_headers_and_timing_count() {
    let of = |j: Judged| (j.verdict.class, j.verdict.reasons().collect::<Vec<_>>());
    assert_eq!(
        of(judge(EventType::Click, Method::GET, &[], 60_000)),
        (Class::Scanner, vec!["agent_empty"])
    );
    assert_eq!(
        of(judge(EventType::Click, Method::HEAD, &[BROWSER], 60_000)),
        (Class::Scanner, vec!["method_head"])
    );
    for (name, value) in [
        ("sec-purpose", "prefetch;prerender"),
        ("x-moz", "Prefetch"),
        ("x-purpose", "preview"),
    ] {
        let j = judge(EventType::Click, Method::GET, &[BROWSER, (name, value)], 60_000);
        assert_eq!(of(j), (Class::Prefetch, vec!["header_purpose"]), "{name}");
    }
    let j = judge(EventType::Click, Method::GET, &[BROWSER], 500);
    assert_eq!(of(j), (Class::Unknown, vec!["right_after_issue"]));
    assert_eq!(
        of(judge(EventType::Open, Method::GET, &[BROWSER], 500)),
        (Class::Human, vec![])
    );
}

#[test]
fn a_weaker_signal_never_softens_a_verdict() {
    let j = judge(
        EventType::Click,
        Method::GET,
        &[("user-agent", "Mimecast GoogleImageProxy")],
        100,
    );
    assert_eq!(j.verdict.class, Class::Scanner);
    assert_eq!(
        j.verdict.reasons().collect::<Vec<_>>(),
        ["agent_gmail_proxy", "agent_mimecast", "right_after_issue"]
    );
}
