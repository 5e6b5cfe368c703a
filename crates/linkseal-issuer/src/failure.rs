//! Whose fault a refusal is: from a CA's answer to the [`Failure`] that decides a domain's state, wait
//! and advice.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::ssl::{Failure, FailureKind, LastError, SubProblem};

use super::problem::{CallError, Problem, short};

/// The prefix of error types for failures without a problem document from the CA.
const OWN_ERROR: &str = "urn:linkseal:error:";
/// Longest text of a CA that is kept, in characters: it is stored in the domain's record.
const MAX_TEXT: usize = 1024;
/// Most subproblems kept; an order here is for one name.
const MAX_SUBPROBLEMS: usize = 8;

/// What the CA was doing when the problem arose: the meaning of a type depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Answering a request.
    Request,
    /// Validating a challenge.
    Validation,
}

impl CallError {
    /// The failure of an attempt for `name`; `None` for a call that concerns no name.
    pub(super) fn into_failure(self, name: Option<&DomainName>, now: Timestamp) -> Failure {
        match self {
            Self::Refused(problem) => problem_failure(problem, Stage::Request, name, now),
            Self::NoAnswer(text) => own_failure(FailureKind::Unreachable, &text, now),
            Self::Ours(text) => own_failure(FailureKind::Internal, &text, now),
            Self::Here(kind, text) => own_failure(kind, &text, now),
        }
    }
}

/// The failure of an attempt for which the CA reported a problem.
pub(super) fn problem_failure(problem: Problem, stage: Stage, name: Option<&DomainName>, now: Timestamp) -> Failure {
    let kind = classify(&problem, stage, name);
    let subproblems = problem.subproblems.into_iter().take(MAX_SUBPROBLEMS);
    Failure {
        kind,
        error: LastError {
            kind: if problem.kind.is_empty() {
                "about:blank".into()
            } else {
                cut(&problem.kind)
            },
            detail: cut(&problem.detail),
            at: now,
            subproblems: subproblems
                .map(|s| SubProblem {
                    kind: cut(&s.kind),
                    detail: cut(&s.detail),
                    identifier: s.identifier.map(|i| cut(&i.value)),
                })
                .collect(),
        },
        retry_after: problem.retry_after,
    }
}

/// A failure without a problem document from the CA.
pub(super) fn own_failure(kind: FailureKind, detail: &str, now: Timestamp) -> Failure {
    let kind_word = format!("{OWN_ERROR}{}", kind.as_str());
    Failure {
        kind,
        error: LastError {
            kind: kind_word,
            detail: cut(detail),
            at: now,
            subproblems: Vec::new(),
        },
        retry_after: None,
    }
}

fn classify(problem: &Problem, stage: Stage, name: Option<&DomainName>) -> FailureKind {
    // A busy CA answers 503, some with `rateLimited`: that is neither the account's limit nor the name's.
    if problem.status >= 500 {
        return FailureKind::Unreachable;
    }
    let word = match (problem.short(), problem.subproblems.as_slice()) {
        // The problem only refers to its subproblems (RFC 8555 §6.7.1).
        ("compound" | "", [first, ..]) => short(&first.kind),
        (word, _) => word,
    };
    match (word, stage) {
        // `tls`: the challenge was redirected to HTTPS, and the handshake failed there.
        ("connection" | "tls", _) => FailureKind::Connection,
        ("incorrectResponse", _) | ("unauthorized", Stage::Validation) => FailureKind::WrongAnswer,
        ("dns", _) => FailureKind::CaDns,
        ("caa", _) => FailureKind::Caa,
        ("rejectedIdentifier" | "unsupportedIdentifier", _) => FailureKind::Rejected,
        ("rateLimited", _) => limit(problem, name),
        // The operator has to accept new terms, or to contact the CA (RFC 8555 §7.3.3, §7.3.6).
        ("userActionRequired" | "externalAccountRequired" | "accountDoesNotExist", _) => FailureKind::Account,
        ("unauthorized", Stage::Request) if problem.detail.to_ascii_lowercase().contains("account") => {
            FailureKind::Account
        }
        // badNonce: every retry failed.
        ("serverInternal" | "badNonce", _) => FailureKind::Unreachable,
        _ if problem.status == 429 => limit(problem, name),
        _ if problem.status == 408 => FailureKind::Unreachable,
        _ => FailureKind::Refused,
    }
}

/// Whose limit is reached. In doubt the account's: that holds back all orders, so a mistake costs time,
/// while the opposite mistake would send every order of the queue into the limit.
fn limit(problem: &Problem, name: Option<&DomainName>) -> FailureKind {
    const OF_NAME: [&str; 6] = [
        "failed authorizations",
        "invalid authorizations",
        "exact set",
        "already issued",
        "duplicate certificate",
        "temporarily prevented from requesting certificates for",
    ];
    const OF_ACCOUNT: [&str; 4] = [
        "new orders",
        "registrations",
        "pending authorizations",
        "requests of this type",
    ];
    let detail = problem.detail.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| detail.contains(w));
    let of_a_name = has(&OF_NAME)
        || problem.subproblems.iter().any(|s| s.identifier.is_some())
        || (!has(&OF_ACCOUNT) && name.is_some_and(|n| mentions(&detail, n)));
    if of_a_name {
        FailureKind::NameLimit
    } else {
        FailureKind::AccountLimit
    }
}

/// Whether a text mentions `name` or a parent domain of it, outside of URLs.
fn mentions(detail: &str, name: &DomainName) -> bool {
    let around = |c: char| !c.is_ascii_alphanumeric();
    let mut words = detail
        .split_whitespace()
        .filter(|w| !w.contains("://"))
        .map(|w| w.trim_matches(around));
    words.any(|word| {
        word.contains('.')
            && (name.as_str() == word || name.as_str().strip_suffix(word).is_some_and(|s| s.ends_with('.')))
    })
}

/// A text of the CA, of bounded length and without control characters.
fn cut(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_TEXT)
        .collect()
}

#[cfg(test)]
mod tests;
