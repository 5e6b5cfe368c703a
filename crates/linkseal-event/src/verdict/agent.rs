//! What a User-Agent says about a request.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};

use super::rules::{self, AgentRule};
use super::signal::{Signal, Signals};
use crate::event_type::EventType;

/// How much of a User-Agent is searched, in bytes; real ones are under 512.
const MAX_AGENT: usize = 1024;

/// The rules about User-Agents, compiled for searching.
#[derive(Clone)]
pub(super) struct AgentMatcher {
    parts: AhoCorasick,
}

impl AgentMatcher {
    pub(super) fn new() -> Result<Self, BuildError> {
        let parts = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            // The table is small and searched for every event: use the fastest form.
            .kind(Some(AhoCorasickKind::DFA))
            .build(rules::PARTS.iter().map(|r| r.text))?;
        Ok(Self { parts })
    }

    /// Adds the signals of a User-Agent; returns the mail provider if it is one's proxy.
    pub(super) fn judge(&self, kind: EventType, agent: &[u8], signals: &mut Signals) -> Option<&'static str> {
        let agent = agent.trim_ascii();
        if agent.is_empty() {
            signals.add(Signal::AgentEmpty);
            return None;
        }
        let mut proxy = None;
        let mut take = |rule: &AgentRule, signals: &mut Signals| {
            signals.add(rule.signal);
            proxy = proxy.or(rule.proxy);
        };
        if let Some(rule) = rules::EXACT
            .iter()
            .find(|r| agent.eq_ignore_ascii_case(r.text.as_bytes()))
        {
            take(rule, signals);
        }
        let searched = agent.get(..MAX_AGENT).unwrap_or(agent);
        for hit in self.parts.find_overlapping_iter(searched) {
            if let Some(rule) = rules::PARTS.get(hit.pattern().as_usize()) {
                take(rule, signals);
            }
        }
        if ends_with_ignoring_case(agent, rules::AMBIGUOUS_END.as_bytes()) {
            signals.add(Signal::AgentAmbiguous);
        }
        let follows = matches!(kind, EventType::Click | EventType::Redirect);
        if follows && contains_any(searched, rules::OFFICE) {
            signals.add(Signal::AgentOfficeLookup);
        }
        // A request that already has a signal needs no guess.
        if *signals == Signals::default()
            && let Some(signal) = guess(searched, follows)
        {
            signals.add(signal);
        }
        proxy
    }
}

/// Guesses what an agent is that no rule knows by name; `None` when nothing speaks against a person.
/// `follows`: the request follows a link, which mail programs leave to browsers.
fn guess(agent: &[u8], follows: bool) -> Option<Signal> {
    let kind_of = |words: &[(&str, Signal)]| {
        words
            .iter()
            .find(|(word, _)| contains_any(agent, &[*word]))
            .map(|(_, signal)| *signal)
    };
    if let Some(signal) = kind_of(rules::PROGRAM_WORDS) {
        return Some(signal);
    }
    if contains_any(agent, rules::ABOUT) {
        return Some(Signal::AgentCrawler);
    }
    if is_browser(agent) {
        return None;
    }
    kind_of(rules::NON_BROWSER_WORDS)
        .or_else(|| (follows || !names_mail_program(agent)).then_some(Signal::AgentProgram))
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
    // Programs that pretend to be a browser begin with `Mozilla/5.0 (compatible; …`.
    let comment = agent.iter().position(|b| *b == b'(').and_then(|at| agent.get(at..));
    let compatible = comment.is_some_and(|c| c.get(..11).is_some_and(|c| c.eq_ignore_ascii_case(b"(compatible")));
    !compatible || contains_any(agent, rules::ENGINES)
}

/// Whether an agent contains the name of a mail program, as words of their own.
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

fn contains_any(agent: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| {
        agent
            .windows(word.len())
            .any(|w| w.eq_ignore_ascii_case(word.as_bytes()))
    })
}

fn ends_with_ignoring_case(text: &[u8], end: &[u8]) -> bool {
    text.len()
        .checked_sub(end.len())
        .and_then(|at| text.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}
