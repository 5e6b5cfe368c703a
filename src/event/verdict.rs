//! Whether a person or a machine asked, judged from one request alone: a class, the reasons, and
//! the version of the rules. Pure; the data plane calls it for every event, and serves the same
//! whatever it says.

use std::time::Duration;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use http::{HeaderMap, Method, header};

use super::EventType;
use super::rules::{self, AgentRule};

/// The version of the built-in rules.
pub const RULES: &str = rules::VERSION;

/// Most reasons one verdict gives: enough to understand it.
const MAX_REASONS: usize = 6;
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
}

/// What was judged, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who it was.
    pub class: Class,
    reasons: [Option<&'static str>; MAX_REASONS],
    /// The version of the rules.
    pub rules: &'static str,
}

impl Verdict {
    /// A person, as far as can be seen.
    pub fn unremarkable() -> Self {
        Self {
            class: Class::Human,
            reasons: [None; MAX_REASONS],
            rules: RULES,
        }
    }

    /// Why, in the order found.
    pub fn reasons(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.reasons.iter().map_while(|r| *r)
    }

    /// Adds a sign: the class moves away from a person, never back.
    fn add(&mut self, class: Class, reason: &'static str) {
        self.class = self.class.max(class);
        if self.reasons().any(|r| r == reason) {
            return;
        }
        if let Some(free) = self.reasons.iter_mut().find(|r| r.is_none()) {
            *free = Some(reason);
        }
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

/// The rules, made ready to search with. One for the whole program.
#[derive(Clone, Debug)]
pub struct Rules {
    parts: AhoCorasick,
}

impl Rules {
    /// The rules that come with this version.
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
        Ok(Self { parts })
    }

    /// Judges one request. `since_issue` is the time since its link was minted; `None`: not known.
    pub fn judge(
        &self,
        kind: EventType,
        method: &Method,
        headers: &HeaderMap,
        since_issue: Option<Duration>,
    ) -> Judged {
        let mut judged = Judged {
            verdict: Verdict::unremarkable(),
            proxy: None,
        };
        if method == Method::HEAD {
            judged.verdict.add(Class::Scanner, "method_head");
        }
        let agent = headers.get(header::USER_AGENT).map_or(&[][..], |v| v.as_bytes());
        self.judge_agent(agent, &mut judged);
        if rules::PURPOSE_HEADERS
            .iter()
            .any(|h| headers.get(*h).is_some_and(|v| says_ahead(v.as_bytes())))
        {
            judged.verdict.add(Class::Prefetch, "header_purpose");
        }
        // Opens are left out: a mail program may show a message the moment it arrives.
        let soonest = Duration::from_millis(rules::SOONEST_READ_MS);
        if kind == EventType::Click && since_issue.is_some_and(|t| t < soonest) {
            judged.verdict.add(Class::Unknown, "right_after_issue");
        }
        judged
    }

    fn judge_agent(&self, agent: &[u8], judged: &mut Judged) {
        let agent = agent.trim_ascii();
        if agent.is_empty() {
            judged.verdict.add(Class::Scanner, "agent_empty");
            return;
        }
        let mut found = |rule: &AgentRule| {
            judged.verdict.add(rule.class, rule.reason);
            judged.proxy = judged.proxy.or(rule.proxy);
        };
        if let Some(rule) = rules::EXACT
            .iter()
            .find(|r| agent.eq_ignore_ascii_case(r.text.as_bytes()))
        {
            found(rule);
        }
        let searched = agent.get(..MAX_AGENT).unwrap_or(agent);
        for hit in self.parts.find_overlapping_iter(searched) {
            if let Some(rule) = rules::PARTS.get(hit.pattern().as_usize()) {
                found(rule);
            }
        }
        if ends_with_ignoring_case(agent, rules::AMBIGUOUS_END.as_bytes()) {
            judged.verdict.add(Class::Unknown, "agent_ambiguous");
        }
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
    use super::*;

    fn judge(kind: EventType, method: Method, headers: &[(&'static str, &str)], since_ms: u64) -> Judged {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Rules::builtin()
            .unwrap()
            .judge(kind, &method, &map, Some(Duration::from_millis(since_ms)))
    }

    /// Real User-Agents and what they are.
    const AGENTS: &[(&str, Class, &[&str], Option<&str>)] = &[
        ("Mozilla/5.0", Class::Prefetch, &["agent_apple_privacy"], Some("apple")),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
            Class::Prefetch,
            &["agent_gmail_prefetch"],
            Some("gmail"),
        ),
        (
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            Class::Proxy,
            &["agent_gmail_proxy"],
            Some("gmail"),
        ),
        (
            "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
            Class::Proxy,
            &["agent_yahoo_proxy"],
            Some("yahoo"),
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
            Class::Unknown,
            &["agent_ambiguous"],
            None,
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)",
            Class::Unknown,
            &["agent_ambiguous"],
            None,
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
            Class::Human,
            &[],
            None,
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
            Class::Human,
            &[],
            None,
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/119.0.6045.105 Safari/537.36",
            Class::Scanner,
            &["agent_headless"],
            None,
        ),
        (
            "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
            Class::Prefetch,
            &["agent_skypeuripreview"],
            None,
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            Class::Scanner,
            &["agent_crawler"],
            None,
        ),
        (
            "BarracudaCentral/1.0 (Barracuda Sentinel (EE))",
            Class::Scanner,
            &["agent_barracuda"],
            None,
        ),
        ("curl/8.5.0", Class::Scanner, &["agent_tool"], None),
        ("Go-http-client/1.1", Class::Scanner, &["agent_tool"], None),
        ("  ", Class::Scanner, &["agent_empty"], None),
    ];

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
            ["agent_mimecast", "agent_gmail_proxy", "right_after_issue"]
        );
    }
}
