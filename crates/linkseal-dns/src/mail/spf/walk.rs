//! Evaluates an SPF record with all its includes, within the limits of receivers (RFC 7208 §4.6.4).

use futures_util::future::{join, join_all};

use crate::lookup::{Kind, LookupError, is_name, normal};
use crate::mail::spf::term::{Kind as Term, terms};
use crate::query::Queries;

/// The look-ups a receiver makes before it gives up (§4.6.4).
pub(crate) const MAX_LOOKUPS: usize = 10;
/// How many of them may find nothing (§4.6.4).
pub(crate) const MAX_VOIDS: usize = 2;
/// Mail hosts that the domain of an `mx` may have (§4.6.4).
const MAX_EXCHANGES: usize = 10;

/// The result of evaluating a record.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) lookups: usize,
    /// Names whose look-ups found nothing.
    pub(crate) voids: Vec<String>,
    /// The names whose records were read, or should have been.
    pub(crate) reached: Vec<String>,
    /// Whether mail that passes the requested include also passes the record.
    pub(crate) included: bool,
    /// An include that has no single valid record: a permanent error (§5.2).
    pub(crate) broken: Option<String>,
    /// An `mx` with too many hosts: also a permanent error (§4.6.4).
    pub(crate) crowded: Option<String>,
    /// A name whose servers fail, and how.
    pub(crate) failed: Option<(String, LookupError)>,
}

impl Walk {
    /// Whether receivers ignore the record because of a permanent error.
    pub(crate) fn is_ignored(&self) -> bool {
        self.lookups > MAX_LOOKUPS || self.voids.len() > MAX_VOIDS || self.broken.is_some() || self.crowded.is_some()
    }
}

/// The SPF records among the texts of a name (§4.5).
pub(crate) async fn records(queries: &Queries<'_>, name: &str) -> Result<Vec<String>, LookupError> {
    let answer = queries.get(name, Kind::Txt).await?;
    Ok(answer.texts().filter(|t| is_record(t)).map(printable).collect())
}

pub(crate) fn is_record(text: &str) -> bool {
    text.split(' ').next().is_some_and(|v| v.eq_ignore_ascii_case("v=spf1"))
}

/// Without control characters: texts of any zone become part of sentences.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Evaluates `record` as if published at `domain`, and searches it for an include of `ours`.
pub(crate) async fn walk(queries: &Queries<'_>, domain: &str, record: &str, ours: &str) -> Walk {
    let mut walk = Walk::default();
    let mut hosts = Vec::new();
    let mut waiting = vec![Level {
        domain: domain.to_owned(),
        record: record.to_owned(),
        passes: true,
    }];
    while let Some(level) = waiting.pop() {
        for step in steps(&level.record) {
            walk.lookups += 1;
            let Step::Record { target, passes } = step else {
                hosts.extend(step.host(&level.domain).filter(|_| walk.lookups <= MAX_LOOKUPS));
                continue;
            };
            let passes = passes && level.passes;
            walk.included |= passes && target == ours;
            // Receivers stop at the limit. The value of a macro (§7) depends on the mail.
            if walk.lookups > MAX_LOOKUPS || target.contains('%') {
                continue;
            }
            walk.reached.push(target.clone());
            if !is_name(&target) {
                walk.broken.get_or_insert(target);
                continue;
            }
            match records(queries, &target).await {
                Ok(texts) => match texts.as_slice() {
                    [text] if terms(text).iter().all(Result::is_ok) => waiting.push(Level {
                        domain: target,
                        record: text.clone(),
                        passes,
                    }),
                    _ => {
                        walk.broken.get_or_insert(target);
                    }
                },
                Err(e) if e.is_absent() || e == LookupError::Loop => {
                    walk.broken.get_or_insert(target);
                }
                Err(e) => {
                    walk.failed.get_or_insert((target, e));
                }
            }
        }
        if walk.lookups > MAX_LOOKUPS {
            break;
        }
    }
    for (host, found) in join_all(hosts.into_iter().map(|h| found(queries, h))).await {
        match found {
            Found::Nothing => walk.voids.push(host),
            Found::TooMuch => walk.crowded = Some(host),
            Found::Something => {}
        }
    }
    walk
}

struct Level {
    domain: String,
    record: String,
    /// Whether all includes that lead to it pass on a match.
    passes: bool,
}

/// A look-up that a record requires.
pub(crate) enum Step {
    /// Another SPF record.
    Record { target: String, passes: bool },
    /// The addresses of hosts; `None`: of the domain itself.
    Hosts { mx: bool, name: Option<String> },
    /// Whether a name has an address.
    Exists(String),
    /// The names of the client's address.
    Ptr,
}

impl Step {
    /// The name whose addresses are looked up, and whether those of its mail hosts. `None`: no such
    /// look-up, or it depends on the mail.
    fn host(self, domain: &str) -> Option<(String, bool)> {
        let (name, mx) = match self {
            Self::Hosts { mx, name } => (name.unwrap_or_else(|| domain.to_owned()), mx),
            Self::Exists(name) => (name, false),
            Self::Record { .. } | Self::Ptr => return None,
        };
        (!name.contains('%')).then_some((name, mx))
    }
}

/// The look-ups of a record. Terms after `all` are ignored (§5.1), and so is a redirect anywhere in
/// a record with `all` (§6.1).
pub(crate) fn steps(record: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut redirect = None;
    for term in terms(record).into_iter().flatten() {
        match term.kind {
            Term::All => return steps,
            Term::Include { target, passes } => steps.push(Step::Record {
                target: normal(target),
                passes,
            }),
            Term::Redirect { target } => redirect = Some(normal(target)),
            Term::Hosts { mx, name, .. } => steps.push(Step::Hosts {
                mx,
                name: name.map(normal),
            }),
            Term::Exists { target } => steps.push(Step::Exists(normal(target))),
            Term::Ptr => steps.push(Step::Ptr),
            Term::Address | Term::Modifier => {}
        }
    }
    steps.extend(redirect.map(|target| Step::Record { target, passes: true }));
    steps
}

enum Found {
    Nothing,
    TooMuch,
    Something,
}

async fn found(queries: &Queries<'_>, (name, mx): (String, bool)) -> (String, Found) {
    let found = if !is_name(&name) {
        Found::Nothing
    } else if mx {
        match queries.get(&name, Kind::Mx).await {
            Ok(answer) if answer.records.len() > MAX_EXCHANGES => Found::TooMuch,
            Err(e) if e.is_absent() => Found::Nothing,
            _ => Found::Something,
        }
    } else {
        let (a, aaaa) = join(queries.get(&name, Kind::A), queries.get(&name, Kind::Aaaa)).await;
        let absent = [a, aaaa].iter().all(|r| r.as_ref().is_err_and(LookupError::is_absent));
        if absent { Found::Nothing } else { Found::Something }
    };
    (name, found)
}
