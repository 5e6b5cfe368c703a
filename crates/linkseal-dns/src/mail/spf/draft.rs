//! The SPF record as it should be: what has an effect today, in one, with the include in front,
//! and tried before it is given: a receiver must not ignore it, nor turn away what it took before.

use std::net::IpAddr;

use futures_util::future::join;

use crate::lookup::{Answer, Data, Kind, normal};
use crate::mail::spf::repair::{Word, read};
use crate::mail::spf::term::{Kind as Term, term};
use crate::mail::spf::walk::{MAX_LOOKUPS, MAX_VOIDS, Walk, walk};
use crate::query::Queries;
use linkseal_domain::Text;

/// How many addresses may stand in for a host name.
const MAX_ADDRESSES: usize = 12;
/// How many terms a sentence names, and how much of each.
const MAX_NAMED: usize = 8;
const MAX_NAMED_LENGTH: usize = 60;

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

    fn notes(&self) -> Option<Text> {
        let end = self.end();
        let mut notes = Vec::new();
        if !self.repaired.is_empty() {
            let all = |word: &str| {
                let pairs = self.repaired.iter();
                named(pairs.map(|(from, to)| format!("\"{}\" {word} \"{}\"", short(from), short(to))))
            };
            notes.push(Text::new(
                format!("Corrected: {}.", all("is now")),
                format!("Korrigiert: {}.", all("ist jetzt")),
            ));
        }
        if !self.lost.is_empty() {
            let lost = named(self.lost.iter().map(|t| short(t)));
            notes.push(Text::new(
                format!("Left out because receivers cannot use it: {lost}. Add these senders again with the correct spelling; until then the record must end in {end}."),
                format!("Weggelassen, weil Empfänger es nicht verwenden können: {lost}. Tragen Sie diese Absender korrekt geschrieben wieder ein; bis dahin muss der Eintrag mit {end} enden."),
            ));
        } else if self.ends.iter().any(|e| e != self.ends.first().unwrap_or(e)) {
            notes.push(Text::new(
                format!("The records end differently; the new one ends in {end}, the less strict ending."),
                format!("Die Einträge enden unterschiedlich; der neue endet mit {end}, der weniger strengen Angabe."),
            ));
        }
        if !self.voids.is_empty() {
            let voids = named(self.voids.iter().map(|t| short(t)));
            notes.push(Text::new(
                format!("Left out because these hosts do not exist: {voids}."),
                format!("Weggelassen, weil es diese Hosts nicht gibt: {voids}."),
            ));
        }
        if !self.doubles.is_empty() {
            let doubles = named(self.doubles.iter().map(|t| short(t)));
            notes.push(Text::new(
                format!("Left out because another include already contains it: {doubles}."),
                format!("Weggelassen, weil ein anderes include es bereits enthält: {doubles}."),
            ));
        }
        if !self.resolved.is_empty() {
            let resolved = named(self.resolved.iter().map(|t| short(t)));
            notes.push(Text::new(
                format!("To save DNS lookups, {resolved} was replaced with its addresses: update them if the servers move."),
                format!("Um DNS-Abfragen zu sparen, wurde {resolved} durch die Adressen ersetzt: Aktualisieren Sie diese, wenn die Server umziehen."),
            ));
        }
        notes.into_iter().reduce(|all, note| all.and(Some(note)))
    }
}

/// Where the draft is to stand.
struct Site<'a> {
    queries: &'a Queries<'a>,
    domain: &'a str,
    ours: &'a str,
}

impl Site<'_> {
    async fn walk(&self, record: &str) -> Walk {
        walk(self.queries, self.domain, record, self.ours).await
    }

    /// What one term leads to.
    async fn alone(&self, text: &str) -> Walk {
        self.walk(&format!("v=spf1 {text}")).await
    }

    /// Takes out what alone makes receivers ignore a record.
    async fn without_unusable(&self, draft: &mut Draft) {
        for text in std::mem::take(&mut draft.kept) {
            if !self.is_unusable(&text).await {
                draft.keep(text);
            } else if let Some((include, end)) = run_into_all(&text)
                && !self.is_unusable(include).await
            {
                draft.repaired.push((text.clone(), format!("{include} {end}")));
                draft.ends.push(end.to_owned());
                let is_ours = include.get("include:".len()..).map(normal).as_deref() == Some(self.ours);
                if !is_ours {
                    draft.keep(include.to_owned());
                }
            } else {
                draft.lost.push(text);
            }
        }
        for target in std::mem::take(&mut draft.redirects) {
            if self.is_unusable(&format!("redirect={target}")).await {
                draft.lost.push(format!("redirect={target}"));
            } else {
                draft.redirects.push(target);
            }
        }
    }

    async fn is_unusable(&self, text: &str) -> bool {
        let alone = self.alone(text).await;
        alone.broken.is_some() || alone.lookups > MAX_LOOKUPS
    }

    /// Takes out the hosts that do not exist.
    async fn without_voids(&self, draft: &mut Draft) {
        for text in std::mem::take(&mut draft.kept) {
            let own = matches!(
                term(&text).map(|t| t.kind),
                Some(Term::Hosts { .. } | Term::Exists { .. })
            );
            if own && !self.alone(&text).await.voids.is_empty() {
                draft.voids.push(text);
            } else {
                draft.kept.push(text);
            }
        }
    }

    /// Takes out includes that another one contains.
    async fn without_doubles(&self, draft: &mut Draft) {
        let mut inside = Vec::new();
        let includes = draft.kept.iter().cloned();
        for text in includes.chain([format!("include:{}", self.ours)]) {
            if let Some(Term::Include { passes: true, target }) = term(&text).map(|t| t.kind) {
                let target = normal(target);
                let reached = self.alone(&text).await.reached;
                inside.extend(reached.into_iter().filter(|r| *r != target));
            }
        }
        let is_double = |text: &String| {
            let kind = term(text).map(|t| t.kind);
            matches!(kind, Some(Term::Include { passes: true, target }) if inside.contains(&normal(target)))
        };
        let (doubles, kept) = std::mem::take(&mut draft.kept).into_iter().partition(is_double);
        (draft.doubles, draft.kept) = (doubles, kept);
    }

    /// Puts the addresses of hosts in their place; `only_crowded`: of domains with too many mail hosts.
    async fn with_addresses(&self, draft: &mut Draft, only_crowded: bool) {
        for text in std::mem::take(&mut draft.kept) {
            let wanted = !only_crowded || self.alone(&text).await.crowded.is_some();
            match self.addresses(&text).await.filter(|_| wanted) {
                Some(addresses) => {
                    addresses.into_iter().for_each(|a| draft.keep(a));
                    draft.resolved.push(text);
                }
                None => draft.keep(text),
            }
        }
    }

    /// The terms with the addresses that an `a` or `mx` has now. `None`: it is none, or these cannot
    /// be had, or are too many.
    async fn addresses(&self, text: &str) -> Option<Vec<String>> {
        let Term::Hosts { mx, name, length } = term(text)?.kind else {
            return None;
        };
        let name = name.map_or_else(|| self.domain.to_owned(), normal);
        if name.contains('%') {
            return None;
        }
        let hosts = if mx {
            let answer = self.queries.get(&name, Kind::Mx).await.ok()?;
            let exchange = |r: &crate::lookup::Record| match &r.data {
                Data::Mx { exchange, .. } => Some(exchange.clone()),
                _ => None,
            };
            answer.records.iter().filter_map(exchange).collect()
        } else {
            vec![name]
        };
        let (v4, v6) = length.split_once("//").unwrap_or((length, ""));
        let v6 = if v6.is_empty() { String::new() } else { format!("/{v6}") };
        let qualifier = text
            .get(..1)
            .filter(|q| ["-", "~", "?"].contains(q))
            .unwrap_or_default();
        let mut terms = Vec::new();
        for host in hosts {
            let (a, aaaa) = join(self.queries.get(&host, Kind::A), self.queries.get(&host, Kind::Aaaa)).await;
            for answer in [a, aaaa] {
                match answer {
                    Ok(answer) => terms.extend(Answer::addresses(&answer).into_iter().map(|ip| match ip {
                        IpAddr::V4(ip) => format!("{qualifier}ip4:{ip}{v4}"),
                        IpAddr::V6(ip) => format!("{qualifier}ip6:{ip}{v6}"),
                    })),
                    Err(e) if e.is_absent() => {}
                    Err(_) => return None,
                }
            }
        }
        (!terms.is_empty() && terms.len() <= MAX_ADDRESSES).then_some(terms)
    }

    /// What costs look-ups, and so may have to go.
    async fn too_much(&self, draft: &Draft) -> Option<Text> {
        let mut costs = Vec::new();
        let redirects = draft.redirects.iter().map(|target| format!("redirect={target}"));
        for text in draft.kept.iter().cloned().chain(redirects) {
            let lookups = self.alone(&text).await.lookups;
            if lookups > 0 {
                costs.push((lookups, text));
            }
        }
        costs.sort_by(|a, b| b.cmp(a));
        let all: usize = costs.iter().map(|(lookups, _)| lookups).sum();
        let own = self.alone(&format!("include:{}", self.ours)).await.lookups;
        let costs = named(costs.iter().map(|(n, text)| format!("{} ({n})", short(text))));
        let all = all + own;
        Some(Text::new(
            format!(
                "With include:{} the record would need {all} DNS lookups, but only {MAX_LOOKUPS} are allowed. First remove services that you no longer send through (lookups in brackets): {costs}.",
                self.ours
            ),
            format!(
                "Mit include:{} wären {all} DNS-Abfragen nötig, erlaubt sind nur {MAX_LOOKUPS}. Entfernen Sie zuerst Dienste, über die Sie nicht mehr versenden (Abfragen in Klammern): {costs}.",
                self.ours
            ),
        ))
    }
}

/// An include that `all` was written to without a blank, which makes another domain of it.
fn run_into_all(text: &str) -> Option<(&str, &str)> {
    let at = text.len().checked_sub("-all".len())?;
    let (include, end) = text.split_at_checked(at)?;
    let is_end = ["-all", "~all", "?all"].iter().any(|e| e.eq_ignore_ascii_case(end));
    (is_end && term(include).is_some()).then_some((include, end))
}

fn short(text: &str) -> String {
    let mut kept: String = text.chars().take(MAX_NAMED_LENGTH).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    kept
}

fn named(all: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = all.take(MAX_NAMED + 1).collect();
    if all.len() > MAX_NAMED {
        all.truncate(MAX_NAMED);
        all.push("…".to_owned());
    }
    all.join(", ")
}
