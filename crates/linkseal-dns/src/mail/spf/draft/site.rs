//! Evaluates a draft as receivers would, and removes or replaces terms until it is within their limits.

use std::net::IpAddr;

use futures_util::future::join;
use linkseal_domain::Text;

use super::Draft;
use super::notes::{named, short};
use crate::lookup::{Answer, Data, Kind, normal};
use crate::mail::spf::term::{Kind as Term, term};
use crate::mail::spf::walk::{MAX_LOOKUPS, Walk, walk};
use crate::query::Queries;

/// Addresses that may replace one term.
const MAX_ADDRESSES: usize = 12;

/// Where the draft is to be published.
pub(super) struct Site<'a> {
    pub(super) queries: &'a Queries<'a>,
    pub(super) domain: &'a str,
    pub(super) ours: &'a str,
}

impl Site<'_> {
    pub(super) async fn walk(&self, record: &str) -> Walk {
        walk(self.queries, self.domain, record, self.ours).await
    }

    /// Evaluates one term alone.
    async fn alone(&self, text: &str) -> Walk {
        self.walk(&format!("v=spf1 {text}")).await
    }

    /// Removes terms that alone make receivers ignore a record.
    pub(super) async fn without_unusable(&self, draft: &mut Draft) {
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

    /// Removes terms whose hosts do not exist.
    pub(super) async fn without_voids(&self, draft: &mut Draft) {
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

    /// Removes includes that another one contains.
    pub(super) async fn without_doubles(&self, draft: &mut Draft) {
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

    /// Replaces hosts with their addresses; `only_crowded`: only those with too many mail hosts.
    pub(super) async fn with_addresses(&self, draft: &mut Draft, only_crowded: bool) {
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

    /// The present addresses of an `a` or `mx`, as terms. `None`: another term, or the addresses are
    /// not known or too many.
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

    /// The sentence that names the terms by the look-ups they need, if no record can be suggested.
    pub(super) async fn too_much(&self, draft: &Draft) -> Option<Text> {
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

/// Separates an include from an `all` that follows without a space, which makes it a different domain.
fn run_into_all(text: &str) -> Option<(&str, &str)> {
    let at = text.len().checked_sub("-all".len())?;
    let (include, end) = text.split_at_checked(at)?;
    let is_end = ["-all", "~all", "?all"].iter().any(|e| e.eq_ignore_ascii_case(end));
    (is_end && term(include).is_some()).then_some((include, end))
}
