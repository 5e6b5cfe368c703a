//! What a User-Agent says about a request. Few agents make most requests: `recent` remembers them.

mod recent;

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};

use super::rules::{self, AgentRule};
use super::signal::{Signal, Signals};
use crate::event_type::EventType;

/// How much of a User-Agent is searched, in bytes; real ones are under 512.
const MAX_AGENT: usize = 1024;

/// The rules about User-Agents, compiled for searching: one pass over an agent finds all their words.
#[derive(Clone)]
pub(super) struct AgentMatcher {
    words: AhoCorasick,
    /// What each pattern of `words` means.
    meanings: Arc<[Meaning]>,
}

/// What a word in an agent means.
#[derive(Clone, Copy)]
enum Meaning {
    /// One of [`rules::PARTS`].
    Part(&'static AgentRule),
    /// One of [`rules::OFFICE`].
    Office,
    /// One of [`rules::ABOUT`].
    About,
    /// One of [`rules::PROGRAM_WORDS`]: its place there.
    Program(usize),
    /// One of [`rules::NON_BROWSER_WORDS`]: its place there.
    NonBrowser(usize),
    /// One of [`rules::ENGINES`].
    Engine,
    /// One of [`rules::MAIL_PROGRAMS`].
    MailProgram,
    /// [`rules::MAIL_END`].
    MailEnd,
}

/// What an agent says by itself.
#[derive(Clone, Copy, Default)]
struct Found {
    signals: Signals,
    /// The mail provider, if it is one's proxy.
    proxy: Option<&'static str>,
    words: Words,
    /// Whether it has the form of a browser's.
    is_browser: bool,
}

/// The words in an agent, except those of [`rules::PARTS`].
#[derive(Clone, Copy, Default)]
struct Words {
    office: bool,
    about: bool,
    engine: bool,
    mail: bool,
    /// The first of [`rules::PROGRAM_WORDS`], in the order of that list.
    program: Option<usize>,
    /// The first of [`rules::NON_BROWSER_WORDS`].
    non_browser: Option<usize>,
}

impl AgentMatcher {
    pub(super) fn new() -> Result<Self, BuildError> {
        let all: Vec<_> = patterns().collect();
        let words = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            // The table is small and searched for every event: use the fastest form.
            .kind(Some(AhoCorasickKind::DFA))
            .build(all.iter().map(|(text, _)| text))?;
        let meanings = all.iter().map(|(_, meaning)| *meaning).collect();
        Ok(Self { words, meanings })
    }

    /// Adds the signals of a User-Agent; returns the mail provider if it is one's proxy.
    pub(super) fn judge(&self, kind: EventType, agent: &[u8], signals: &mut Signals) -> Option<&'static str> {
        let agent = agent.trim_ascii();
        if agent.is_empty() {
            signals.add(Signal::AgentEmpty);
            return None;
        }
        let found = recent::found(agent, || self.search(agent));
        signals.join(found.signals);
        let follows = matches!(kind, EventType::Click | EventType::Redirect);
        if follows && found.words.office {
            signals.add(Signal::AgentOfficeLookup);
        }
        // A request that already has a signal needs no guess.
        if *signals == Signals::default()
            && let Some(signal) = found.words.guess(found.is_browser, follows)
        {
            signals.add(signal);
        }
        found.proxy
    }

    /// What an agent says by itself, whatever it asks for.
    fn search(&self, agent: &[u8]) -> Found {
        let mut found = Found::default();
        if let Some(rule) = rules::EXACT
            .iter()
            .find(|r| agent.eq_ignore_ascii_case(r.text.as_bytes()))
        {
            found.take(rule);
        }
        let searched = agent.get(..MAX_AGENT).unwrap_or(agent);
        for hit in self.words.find_overlapping_iter(searched) {
            match self.meanings.get(hit.pattern().as_usize()) {
                Some(Meaning::Part(rule)) => found.take(rule),
                Some(meaning) => found.words.add(*meaning, searched, hit.range()),
                None => {}
            }
        }
        if ends_with_ignoring_case(agent, rules::AMBIGUOUS_END.as_bytes()) {
            found.signals.add(Signal::AgentAmbiguous);
        }
        found.is_browser = found.words.is_browser(searched);
        found
    }
}

impl Found {
    fn take(&mut self, rule: &AgentRule) {
        self.signals.add(rule.signal);
        self.proxy = self.proxy.or(rule.proxy);
    }
}

/// All words that are searched for.
fn patterns() -> impl Iterator<Item = (&'static str, Meaning)> {
    fn of(words: &'static [&'static str], meaning: Meaning) -> impl Iterator<Item = (&'static str, Meaning)> {
        words.iter().map(move |word| (*word, meaning))
    }
    fn numbered(
        words: &'static [(&'static str, Signal)],
        meaning: fn(usize) -> Meaning,
    ) -> impl Iterator<Item = (&'static str, Meaning)> {
        words.iter().enumerate().map(move |(i, (word, _))| (*word, meaning(i)))
    }
    let parts = rules::PARTS.iter().map(|rule| (rule.text, Meaning::Part(rule)));
    parts
        .chain(of(rules::OFFICE, Meaning::Office))
        .chain(of(rules::ABOUT, Meaning::About))
        .chain(numbered(rules::PROGRAM_WORDS, Meaning::Program))
        .chain(numbered(rules::NON_BROWSER_WORDS, Meaning::NonBrowser))
        .chain(of(rules::ENGINES, Meaning::Engine))
        .chain(of(rules::MAIL_PROGRAMS, Meaning::MailProgram))
        .chain([(rules::MAIL_END, Meaning::MailEnd)])
}

impl Words {
    /// Adds a word that was found at a place of the agent.
    fn add(&mut self, meaning: Meaning, agent: &[u8], at: Range<usize>) {
        let first = |known: Option<usize>, new: usize| Some(known.map_or(new, |known| known.min(new)));
        match meaning {
            Meaning::Part(_) => {}
            Meaning::Office => self.office = true,
            Meaning::About => self.about = true,
            Meaning::Engine => self.engine = true,
            Meaning::Program(place) => self.program = first(self.program, place),
            Meaning::NonBrowser(place) => self.non_browser = first(self.non_browser, place),
            // Names of mail programs count as words of their own only.
            Meaning::MailProgram => {
                let before = at.start.checked_sub(1);
                self.mail |= !is_letter(agent, before) && !is_letter(agent, Some(at.end));
            }
            Meaning::MailEnd => self.mail |= !is_letter(agent, Some(at.end)),
        }
    }

    /// Guesses what an agent is that no rule knows by name; `None` when nothing speaks against a person.
    /// `follows`: the request follows a link, which mail programs leave to browsers.
    fn guess(&self, is_browser: bool, follows: bool) -> Option<Signal> {
        let signal = |words: &[(&str, Signal)], place| words.get(place).map(|(_, signal)| *signal);
        if let Some(place) = self.program {
            return signal(rules::PROGRAM_WORDS, place);
        }
        if self.about {
            return Some(Signal::AgentCrawler);
        }
        if is_browser {
            return None;
        }
        match self.non_browser {
            Some(place) => signal(rules::NON_BROWSER_WORDS, place),
            None => (follows || !self.mail).then_some(Signal::AgentProgram),
        }
    }

    /// Whether an agent has the form of a browser's.
    fn is_browser(&self, agent: &[u8]) -> bool {
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
        !compatible || self.engine
    }
}

fn is_letter(agent: &[u8], at: Option<usize>) -> bool {
    at.and_then(|at| agent.get(at)).is_some_and(u8::is_ascii_alphabetic)
}

fn ends_with_ignoring_case(text: &[u8], end: &[u8]) -> bool {
    text.len()
        .checked_sub(end.len())
        .and_then(|at| text.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}
