//! The suggested SPF record: the terms that have an effect today in one record, after the platform's
//! include. It is evaluated first: receivers must not ignore it, nor refuse mail that passed before.

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
    /// `None`: with these terms, receivers would ignore any record.
    pub(crate) record: Option<String>,
    /// What is different in it, and why.
    pub(crate) notes: Option<Text>,
}

/// Suggests a record that replaces `texts`, which are published at `domain`, and includes `ours`.
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

/// The record under construction, and what was changed.
#[derive(Default)]
pub(crate) struct Draft {
    ours: String,
    /// Mechanisms other than our include and `all`.
    kept: Vec<String>,
    /// The `all` of each record that has one.
    ends: Vec<String>,
    redirects: Vec<String>,
    modifiers: Vec<String>,
    /// Whether there was a record before.
    grown: bool,
    repaired: Vec<(String, String)>,
    /// Terms that receivers cannot read or look up.
    lost: Vec<String>,
    /// Terms whose hosts do not exist, so that they match nothing.
    voids: Vec<String>,
    /// Includes that another one contains.
    doubles: Vec<String>,
    /// Terms that were replaced with the addresses of their hosts.
    resolved: Vec<String>,
}

impl Draft {
    /// Reads the terms of the texts, with obvious errors corrected.
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

    /// Adds one record. Terms after `all` have no effect and must not get one; neither must a redirect
    /// in a record with `all` (§6.1).
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
                    // A misspelt include of ours is not one of their senders.
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

    /// Of several modifiers with the same name the first is kept.
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
            // A redirect replaces a missing `all`. Its target may refuse senders that were left out.
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

    /// The `all` at the end: the mildest of the records, and not `-all` if a sender was left out.
    fn end(&self) -> &'static str {
        const MILDER: [&str; 3] = ["-all", "~all", "?all"];
        let mildness = |end: &String| match end.as_bytes().first() {
            Some(b'-') => 0,
            Some(b'~') => 1,
            // With `+all` all mail passes; `?all` is the mildest that is suggested.
            _ => 2,
        };
        // A record without one ends neutrally (§4.7).
        let without = if self.grown && self.lost.is_empty() { 2 } else { 1 };
        let given = self.ends.iter().map(mildness).max().unwrap_or(without);
        let mildness = given.max(usize::from(!self.lost.is_empty()));
        MILDER.get(mildness).copied().unwrap_or("?all")
    }
}
