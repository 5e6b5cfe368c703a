//! Whether a person or a machine asked, judged from one request: a class, the reasons, and the
//! version of the rules. The data plane calls it for every event, and serves the same whatever it
//! says. What several requests say together is in `memory`; `watch` puts both together.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use arc_swap::ArcSwap;
use http::{HeaderMap, Method, header};

use super::EventType;
use super::burst::BurstDetector;
use super::networks::Networks;
use super::rules::{self, AgentRule, Signal};

/// The version of the built-in rules.
pub const RULES: &str = rules::VERSION;

/// Longest part of a User-Agent that is searched, in bytes; real ones are under 512.
const MAX_AGENT: usize = 1024;

/// Who asked. In order of distance from a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing speaks against a person.
    Human,
    /// A mail provider's proxy, on behalf of a person who opened the message.
    Proxy,
    /// The signs contradict each other or say nothing.
    Unknown,
    /// Fetched ahead, whether or not a person will look.
    Prefetch,
    /// A security gateway, a crawler or another program.
    Scanner,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Human, Self::Proxy, Self::Unknown, Self::Prefetch, Self::Scanner];

    /// As events and metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Proxy => "proxy",
            Self::Unknown => "unknown",
            Self::Prefetch => "prefetch",
            Self::Scanner => "scanner",
        }
    }

    /// From how events and metrics spell it. `None`: it is none of them.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }
}

/// What was judged, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who it was.
    pub class: Class,
    signs: Signals,
    /// The version of the rules.
    pub rules: &'static str,
}

impl Verdict {
    /// A person, as far as can be seen.
    pub fn unremarkable() -> Self {
        Self::of(Signals::default())
    }

    /// What signs come to: the class furthest from a person that one of them means, and
    /// `scanner` when together they say enough. A person's own decision outweighs them all.
    pub(super) fn of(signs: Signals) -> Self {
        let class = signs.iter().map(Signal::class).max().unwrap_or(Class::Human);
        let weight: u32 = signs.iter().map(Signal::weight).sum();
        Self {
            class: if signs.has(Signal::OneClick) {
                Class::Human
            } else if weight >= rules::CERTAIN {
                Class::Scanner
            } else {
                class
            },
            signs,
            rules: RULES,
        }
    }

    /// Why, in the order of the rules.
    pub fn reasons(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.signs.iter().map(Signal::reason)
    }

    pub(super) fn signs(&self) -> Signals {
        self.signs
    }
}

/// A set of signs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signals(u64);

impl Signals {
    /// Adds one.
    pub(super) fn add(&mut self, sign: Signal) {
        self.0 |= 1 << sign as u8;
    }

    /// Whether one is in it.
    pub(super) fn has(self, sign: Signal) -> bool {
        self.0 & (1 << sign as u8) != 0
    }

    fn iter(self) -> impl Iterator<Item = Signal> {
        Signal::ALL.iter().copied().filter(move |sign| self.has(*sign))
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Signal::reason)).finish()
    }
}

/// A verdict, and the mail provider's proxy that was recognised on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// For `client.proxy`. `None`: no known proxy.
    pub proxy: Option<&'static str>,
}

/// The rules, made ready to search with, and what they remember. One for the whole program;
/// clones share it.
#[derive(Clone)]
pub struct Classifier {
    parts: AhoCorasick,
    networks: Arc<ArcSwap<Networks>>,
    pub(super) memory: Arc<BurstDetector>,
}

impl Classifier {
    /// The rules that come with this version, and no networks.
    ///
    /// # Errors
    /// When the table of rules cannot be compiled, which a test excludes.
    pub fn builtin() -> Result<Self, aho_corasick::BuildError> {
        let parts = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            // The table is small and searched for every event: the fastest form.
            .kind(Some(AhoCorasickKind::DFA))
            .build(rules::PARTS.iter().map(|r| r.text))?;
        Ok(Self {
            parts,
            networks: Arc::default(),
            memory: Arc::new(BurstDetector::new()),
        })
    }

    /// Takes over what is known of networks, from now on.
    pub fn set_networks(&self, networks: Networks) {
        self.networks.store(Arc::new(networks));
    }

    /// What the networks' list says of an address.
    pub(super) fn network(&self, ip: IpAddr) -> Option<(Signal, Arc<str>)> {
        let networks = self.networks.load();
        networks.find(ip).map(|n| (n.sign(), Arc::clone(&n.label)))
    }

    /// Judges one request by itself. `since_issue` is the time since its link was minted;
    /// `None`: not known.
    pub fn judge(
        &self,
        kind: EventType,
        method: &Method,
        headers: &HeaderMap,
        since_issue: Option<Duration>,
    ) -> Judged {
        let mut found = Found::default();
        if method == Method::HEAD {
            found.signs.add(Signal::MethodHead);
        }
        let agent = headers.get(header::USER_AGENT).map_or(&[][..], |v| v.as_bytes());
        self.judge_agent(kind, agent, &mut found);
        if rules::PURPOSE_HEADERS
            .iter()
            .any(|h| headers.get(*h).is_some_and(|v| says_ahead(v.as_bytes())))
        {
            found.signs.add(Signal::HeaderPurpose);
        }
        if kind == EventType::Unsubscribe && method == Method::POST {
            // Mail providers send it for a person, without an agent or under that of their proxies.
            found.signs = Signals::default();
            found.signs.add(Signal::OneClick);
        }
        // Opens are left out: a mail program may show a message the moment it arrives.
        if kind == EventType::Click && since_issue.is_some_and(|t| t < rules::SOONEST_READ) {
            found.signs.add(Signal::RightAfterIssue);
        }
        Judged {
            verdict: Verdict::of(found.signs),
            proxy: found.proxy,
        }
    }

    fn judge_agent(&self, kind: EventType, agent: &[u8], found: &mut Found) {
        let agent = agent.trim_ascii();
        if agent.is_empty() {
            found.signs.add(Signal::AgentEmpty);
            return;
        }
        if let Some(rule) = rules::EXACT
            .iter()
            .find(|r| agent.eq_ignore_ascii_case(r.text.as_bytes()))
        {
            found.take(rule);
        }
        let searched = agent.get(..MAX_AGENT).unwrap_or(agent);
        for hit in self.parts.find_overlapping_iter(searched) {
            if let Some(rule) = rules::PARTS.get(hit.pattern().as_usize()) {
                found.take(rule);
            }
        }
        if ends_with_ignoring_case(agent, rules::AMBIGUOUS_END.as_bytes()) {
            found.signs.add(Signal::AgentAmbiguous);
        }
        let follows = matches!(kind, EventType::Click | EventType::Redirect);
        if follows && holds_any(searched, rules::OFFICE) {
            found.signs.add(Signal::AgentOfficeLookup);
        }
        // Whose name is known needs no guess.
        if found.signs == Signals::default()
            && let Some(sign) = guess(searched, follows)
        {
            found.signs.add(sign);
        }
    }
}

/// What an agent is that no rule knows by name. `follows`: it follows a link, which mail programs
/// leave to browsers. `None`: nothing speaks against a person.
fn guess(agent: &[u8], follows: bool) -> Option<Signal> {
    let trade = |words: &[(&str, Signal)]| {
        words
            .iter()
            .find(|(word, _)| holds_any(agent, &[*word]))
            .map(|(_, sign)| *sign)
    };
    if let Some(sign) = trade(rules::TRADES) {
        return Some(sign);
    }
    if holds_any(agent, rules::ABOUT) {
        return Some(Signal::AgentCrawler);
    }
    if is_browser(agent) {
        return None;
    }
    trade(rules::TRADES_OF_PROGRAMS).or_else(|| (follows || !names_mail_program(agent)).then_some(Signal::AgentProgram))
}

/// Whether an agent has the form of a browser's.
fn is_browser(agent: &[u8]) -> bool {
    let begins = |text: &&str| {
        agent
            .get(..text.len())
            .is_some_and(|a| a.eq_ignore_ascii_case(text.as_bytes()))
    };
    if !rules::BROWSERS.iter().any(begins) {
        return false;
    }
    // `Mozilla/5.0 (compatible; …` is how programs begin that want to be taken for a browser.
    let comment = agent.iter().position(|b| *b == b'(').and_then(|at| agent.get(at..));
    let compatible = comment.is_some_and(|c| c.get(..11).is_some_and(|c| c.eq_ignore_ascii_case(b"(compatible")));
    !compatible || holds_any(agent, rules::ENGINES)
}

/// Whether a mail program's name is in an agent, as words of their own.
fn names_mail_program(agent: &[u8]) -> bool {
    let letter = |at: Option<usize>| at.and_then(|at| agent.get(at)).is_some_and(u8::is_ascii_alphabetic);
    let found = |word: &str, starts: bool| {
        let mut places = agent.windows(word.len()).enumerate();
        places.any(|(at, w)| {
            w.eq_ignore_ascii_case(word.as_bytes())
                && !letter(at.checked_add(word.len()))
                && !(starts && letter(at.checked_sub(1)))
        })
    };
    rules::MAIL_PROGRAMS.iter().any(|word| found(word, true)) || found(rules::MAIL_END, false)
}

fn holds_any(agent: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| {
        agent
            .windows(word.len())
            .any(|w| w.eq_ignore_ascii_case(word.as_bytes()))
    })
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    signs: Signals,
    proxy: Option<&'static str>,
}

impl Found {
    fn take(&mut self, rule: &AgentRule) {
        self.signs.add(rule.sign);
        self.proxy = self.proxy.or(rule.proxy);
    }
}

/// Whether a purpose header says that the fetch is ahead of a person.
fn says_ahead(value: &[u8]) -> bool {
    rules::PURPOSES
        .iter()
        .any(|p| value.windows(p.len()).any(|w| w.eq_ignore_ascii_case(p.as_bytes())))
}

fn ends_with_ignoring_case(text: &[u8], end: &[u8]) -> bool {
    text.len()
        .checked_sub(end.len())
        .and_then(|at| text.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

#[cfg(test)]
mod tests {
    use super::super::agents::AGENTS;
    use super::*;

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
    fn office_looks_before_the_browser_opens() {
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
        // Outlook shows messages under the same name.
        let agent = "Mozilla/4.0 (compatible; ms-office; MSOffice 16)";
        let j = judge(EventType::Open, Method::GET, &[("user-agent", agent)], 60_000);
        assert_eq!(j.verdict.class, Class::Human);
        let j = judge(EventType::Unsubscribe, Method::POST, &[("user-agent", agent)], 60_000);
        assert_eq!(j.verdict.class, Class::Human);
        // Outlook for Mac opens links in a browser of its own.
        let mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15) AppleWebKit/537.36 (KHTML, like Gecko) Microsoft Outlook/16.78 Chrome/116.0.0.0 Safari/537.36";
        let j = judge(EventType::Click, Method::GET, &[("user-agent", mac)], 60_000);
        assert_eq!(j.verdict.class, Class::Human);
    }

    #[test]
    fn mail_in_a_name_makes_no_person_of_a_program() {
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
        // A mail program shows a message, and leaves links to a browser.
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
    fn who_unsubscribes_is_a_person_whatever_sends_it() {
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
            // Nor does what is known of its network change that.
            let mut signs = j.verdict.signs();
            signs.add(Signal::NetworkScanner);
            assert_eq!(Verdict::of(signs).class, Class::Human);
        }
    }

    #[test]
    fn every_rule_of_agents_has_a_real_agent_in_the_table() {
        for rule in rules::EXACT.iter().chain(rules::PARTS) {
            assert_eq!(rule.text, rule.text.to_ascii_lowercase());
            let found = AGENTS.iter().any(|(agent, _, reasons, _)| {
                agent.to_ascii_lowercase().contains(rule.text) && reasons.contains(&rule.sign.reason())
            });
            assert!(found, "no agent for `{}`", rule.text);
        }
    }

    #[test]
    fn reasons_are_told_apart() {
        let reasons: std::collections::HashSet<_> = Signal::ALL.iter().map(|s| s.reason()).collect();
        assert_eq!(reasons.len(), Signal::ALL.len());
        for sign in Signal::ALL {
            assert_eq!(
                sign.class() == Class::Scanner,
                sign.weight() >= rules::CERTAIN,
                "{sign:?}"
            );
            assert_eq!(
                sign.class() == Class::Unknown,
                (1..rules::CERTAIN).contains(&sign.weight()),
                "{sign:?}"
            );
        }
    }

    const BROWSER: (&str, &str) = (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    );

    #[test]
    fn method_headers_and_haste_count() {
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
    fn a_weaker_sign_never_lifts_a_stronger_one() {
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
}
