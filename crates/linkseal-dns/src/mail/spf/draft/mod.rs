//! The SPF record as it should be: what has an effect today, in one, with the include in front,
//! and tried before it is given: a receiver must not ignore it, nor turn away what it took before.

mod notes;
mod site;

use linkseal_domain::Text;

use self::site::Site;
use crate::lookup::normal;
use crate::mail::spf::repair::{Word, read};
use crate::mail::spf::term::{Kind as Term, term};
use crate::mail::spf::walk::{MAX_LOOKUPS, MAX_VOIDS};
use crate::query::Queries;

/// What to publish.
pub(crate) struct Suggestion {
    /// `None`: whatever is done with the terms there are, receivers would ignore the record.
    pub(crate) record: Option<String>,
    /// What is different in it, and why.
    pub(crate) notes: Option<Text>,
}

/// The record to make of `texts`, which stand at `domain`, with an include of `ours`.
pub(crate) async fn suggest(queries: &Queries<'_>, domain: &str, texts: &[String], ours: &str) -> Suggestion {
    let site = Site { queries, domain, ours };
    let mut draft = Draft::read(texts, ours);
    site.without_unusable(&mut draft).await;
    let mut so_far = site.walk(&draft.text()).await;
    if so_far.lookups > MAX_LOOKUPS || so_far.voids.len() > MAX_VOIDS {
        site.without_voids(&mut draft).await;
        so_far = site.walk(&draft.text()).await;
    }
    if so_far.lookups > MAX_LOOKUPS {
        site.without_doubles(&mut draft).await;
        so_far = site.walk(&draft.text()).await;
    }
    if so_far.lookups > MAX_LOOKUPS || so_far.crowded.is_some() {
        site.with_addresses(&mut draft, so_far.lookups <= MAX_LOOKUPS).await;
        so_far = site.walk(&draft.text()).await;
    }
    if so_far.is_ignored() {
        return Suggestion {
            record: None,
            notes: site.too_much(&draft).await,
        };
    }
    Suggestion {
        record: Some(draft.text()),
        notes: draft.notes(),
    }
}

/// A record in the making.
#[derive(Default)]
pub(crate) struct Draft {
    ours: String,
    /// Mechanisms beside ours and `all`.
    kept: Vec<String>,
    /// The `all` of each record that has one.
    ends: Vec<String>,
    redirects: Vec<String>,
    modifiers: Vec<String>,
    /// Whether there was a record before.
    grown: bool,
    repaired: Vec<(String, String)>,
    /// Senders that receivers cannot read, or not find.
    lost: Vec<String>,
    /// Hosts that do not exist: these match nothing.
    voids: Vec<String>,
    /// Includes that another one contains.
    doubles: Vec<String>,
    /// Hosts in whose place their addresses stand.
    resolved: Vec<String>,
}

impl Draft {
    /// What the texts say, and were meant to say.
    pub(crate) fn read(texts: &[String], ours: &str) -> Self {
        let mut draft = Self {
            ours: ours.to_owned(),
            grown: !texts.is_empty(),
            ..Self::default()
        };
        for words in texts.iter().flat_map(|text| read(text)) {
            draft.add(words);
        }
        draft
    }

    /// Adds one record. What follows `all` has never had an effect, and is not given one; nor has a
    /// redirect beside `all` (§6.1).
    fn add(&mut self, words: Vec<Word>) {
        let (mut ended, mut redirects) = (false, Vec::new());
        for word in words {
            let texts = match word {
                Word::Readable(text) => vec![text],
                Word::Repaired { from, to } => {
                    if !ended {
                        self.repaired.push((from, to.join(" ")));
                    }
                    to
                }
                Word::Unreadable(text) => {
                    // What was meant as our own include is no sender of theirs.
                    if !ended && !text.to_ascii_lowercase().contains(&self.ours) {
                        self.lost.push(text);
                    }
                    continue;
                }
            };
            for text in texts {
                match term(&text).map(|t| t.kind) {
                    Some(Term::All) if !ended => {
                        ended = true;
                        self.ends.push(text);
                    }
                    Some(Term::Redirect { target }) => redirects.push(normal(target)),
                    Some(Term::Modifier) => self.modify(text),
                    Some(Term::Include { target, .. }) if normal(target) == self.ours => {}
                    Some(_) if !ended => self.keep(text),
                    _ => {}
                }
            }
        }
        if !ended {
            for target in redirects {
                if !self.redirects.contains(&target) {
                    self.redirects.push(target);
                }
            }
        }
    }

    fn keep(&mut self, text: String) {
        if !self.kept.contains(&text) {
            self.kept.push(text);
        }
    }

    /// Of modifiers with the same name the first counts.
    fn modify(&mut self, text: String) {
        let named = |m: &str| m.split('=').next().unwrap_or_default().to_ascii_lowercase();
        if !self.modifiers.iter().any(|m| named(m) == named(&text)) {
            self.modifiers.push(text);
        }
    }

    /// The record.
    pub(crate) fn text(&self) -> String {
        let mut parts = vec!["v=spf1".to_owned(), format!("include:{}", self.ours)];
        parts.extend(self.kept.iter().cloned());
        let only = match self.redirects.as_slice() {
            // A redirect stands for a missing `all`. What it leads to may refuse what was left out.
            [only] if self.ends.is_empty() && self.lost.is_empty() => Some(only),
            _ => None,
        };
        match only {
            Some(target) => parts.push(format!("redirect={target}")),
            None => {
                let includes = self.redirects.iter().map(|target| format!("include:{target}"));
                let includes: Vec<String> = includes.filter(|i| !parts.contains(i)).collect();
                parts.extend(includes);
                parts.push(self.end().to_owned());
            }
        }
        parts.extend(self.modifiers.iter().cloned());
        parts.join(" ")
    }

    /// The `all` to end in: the mildest there is, and none that refuses a sender left out.
    fn end(&self) -> &'static str {
        const MILDER: [&str; 3] = ["-all", "~all", "?all"];
        let mildness = |end: &String| match end.as_bytes().first() {
            Some(b'-') => 0,
            Some(b'~') => 1,
            // `+all` protects nothing; the nearest that still is a policy is `?all`.
            _ => 2,
        };
        // A record without one ends neutrally (§4.7).
        let without = if self.grown && self.lost.is_empty() { 2 } else { 1 };
        let given = self.ends.iter().map(mildness).max().unwrap_or(without);
        let mildness = given.max(usize::from(!self.lost.is_empty()));
        MILDER.get(mildness).copied().unwrap_or("?all")
    }
}
