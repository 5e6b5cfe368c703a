//! Whose fault a refusal is: from what a CA said to the [`Failure`] that picks a domain's state,
//! wait and advice.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::ssl::{Failure, FailureKind, LastError, SubProblem};

use super::problem::{CallError, Problem, short};

/// The prefix of the types that linkseal gives when the CA said nothing.
const OWN_ERROR: &str = "urn:linkseal:error:";
/// Longest text kept of what a CA said, in characters: it goes into every domain's record.
const MAX_TEXT: usize = 1024;
/// Most subproblems kept; an order here is for one name.
const MAX_SUBPROBLEMS: usize = 8;

/// What the CA was doing when the problem arose: the same type means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Answering a request of ours.
    Request,
    /// Looking at the challenge.
    Validation,
}

impl CallError {
    /// The failure of an attempt for `name`. `None`: a call that was for no name.
    pub(super) fn into_failure(self, name: Option<&DomainName>, now: Timestamp) -> Failure {
        match self {
            Self::Refused(problem) => problem_failure(problem, Stage::Request, name, now),
            Self::NoAnswer(text) => own_failure(FailureKind::Unreachable, &text, now),
            Self::Ours(text) => own_failure(FailureKind::Internal, &text, now),
            Self::Here(kind, text) => own_failure(kind, &text, now),
        }
    }
}

/// The failure that a problem of the CA makes of an attempt.
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

/// A failure about which the CA said nothing.
pub(super) fn own_failure(kind: FailureKind, detail: &str, now: Timestamp) -> Failure {
    let kind_word = format!("{OWN_ERROR}{}", label(kind));
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

/// The word for a kind of failure in metrics and in types of our own.
pub fn label(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Connection => "connection",
        FailureKind::WrongAnswer => "wrong_answer",
        FailureKind::CaDns => "ca_dns",
        FailureKind::Caa => "caa",
        FailureKind::Rejected => "rejected",
        FailureKind::NameLimit => "name_limit",
        FailureKind::AccountLimit => "account_limit",
        FailureKind::Unreachable => "unreachable",
        FailureKind::Stuck => "stuck",
        FailureKind::Refused => "refused",
        FailureKind::Unusable => "unusable",
        FailureKind::Internal => "internal",
        FailureKind::Clock => "clock",
        FailureKind::Trust => "trust",
        FailureKind::Account => "account",
    }
}

/// What kind of failure a problem is.
fn classify(problem: &Problem, stage: Stage, name: Option<&DomainName>) -> FailureKind {
    // A busy CA answers 503, some with `rateLimited`: no one's limit is reached then.
    if problem.status >= 500 {
        return FailureKind::Unreachable;
    }
    let word = match (problem.short(), problem.subproblems.as_slice()) {
        // The whole says nothing but that the parts do (RFC 8555 §6.7.1).
        ("compound" | "", [first, ..]) => short(&first.kind),
        (word, _) => word,
    };
    match (word, stage) {
        // `tls`: the challenge was redirected to HTTPS, and nothing there spoke it.
        ("connection" | "tls", _) => FailureKind::Connection,
        ("incorrectResponse", _) | ("unauthorized", Stage::Validation) => FailureKind::WrongAnswer,
        ("dns", _) => FailureKind::CaDns,
        ("caa", _) => FailureKind::Caa,
        ("rejectedIdentifier" | "unsupportedIdentifier", _) => FailureKind::Rejected,
        ("rateLimited", _) => limit(problem, name),
        // A person has to accept new terms, or to talk to the CA (RFC 8555 §7.3.3, §7.3.6).
        ("userActionRequired" | "externalAccountRequired" | "accountDoesNotExist", _) => FailureKind::Account,
        ("unauthorized", Stage::Request) if problem.detail.to_ascii_lowercase().contains("account") => {
            FailureKind::Account
        }
        // badNonce: retried until it was no use.
        ("serverInternal" | "badNonce", _) => FailureKind::Unreachable,
        _ if problem.status == 429 => limit(problem, name),
        _ if problem.status == 408 => FailureKind::Unreachable,
        _ => FailureKind::Refused,
    }
}

/// Whose limit is reached. When in doubt the account's: that stops all orders, so a mistake costs
/// time, while the other mistake would run the whole queue against a closed door.
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
        || (!has(&OF_ACCOUNT) && name.is_some_and(|n| speaks_of(&detail, n)));
    if of_a_name {
        FailureKind::NameLimit
    } else {
        FailureKind::AccountLimit
    }
}

/// Whether a text names `name` or a domain above it, links to documentation aside.
fn speaks_of(detail: &str, name: &DomainName) -> bool {
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
mod tests {
    use super::*;
    use crate::problem::ACME_ERROR;

    fn name() -> DomainName {
        DomainName::parse("links.customer.example").unwrap()
    }

    fn kind(status: u16, typ: &str, detail: &str, stage: Stage) -> FailureKind {
        let body = serde_json::json!({"type": format!("{ACME_ERROR}{typ}"), "detail": detail}).to_string();
        classify(&Problem::from_response(status, &body, None), stage, Some(&name()))
    }

    #[test]
    fn every_type_has_its_kind() {
        use FailureKind::*;
        use Stage::*;
        for (status, typ, stage, want) in [
            (400, "connection", Validation, Connection),
            (400, "tls", Validation, Connection),
            (403, "unauthorized", Validation, WrongAnswer),
            (403, "incorrectResponse", Validation, WrongAnswer),
            (403, "unauthorized", Request, Refused),
            (400, "dns", Validation, CaDns),
            (403, "caa", Validation, Caa),
            (403, "caa", Request, Caa),
            (400, "rejectedIdentifier", Request, Rejected),
            (400, "unsupportedIdentifier", Request, Rejected),
            (400, "malformed", Request, Refused),
            (400, "badCSR", Request, Refused),
            (400, "invalidProfile", Request, Refused),
            (403, "userActionRequired", Request, Account),
            (400, "externalAccountRequired", Request, Account),
            (400, "accountDoesNotExist", Request, Account),
            (400, "badNonce", Request, Unreachable),
            (500, "serverInternal", Request, Unreachable),
            (0, "serverInternal", Validation, Unreachable),
            (503, "rateLimited", Request, Unreachable),
            (404, "", Request, Refused),
            (408, "", Request, Unreachable),
            (502, "", Request, Unreachable),
            (429, "", Request, AccountLimit),
            (400, "compound", Validation, Refused),
        ] {
            assert_eq!(kind(status, typ, "words", stage), want, "{status} {typ} {stage:?}");
        }
    }

    #[test]
    fn limits_are_told_apart_by_what_the_ca_says() {
        use FailureKind::{AccountLimit, NameLimit};
        for (detail, want) in [
            (
                "too many new orders (300) from this account in the last 3h0m0s, retry after …",
                AccountLimit,
            ),
            (
                "too many registrations (10) from this IP address in the last 3h0m0s",
                AccountLimit,
            ),
            ("too many currently pending authorizations: 300", AccountLimit),
            (
                "too many requests of this type recently: links.customer.example",
                AccountLimit,
            ),
            ("slow down", AccountLimit),
            ("slow down, see https://customer.example/docs", AccountLimit),
            (
                "too many certificates (50) already issued for \"customer.example\" in the last 168h0m0s",
                NameLimit,
            ),
            (
                "too many certificates (5) already issued for this exact set of identifiers",
                NameLimit,
            ),
            (
                "too many failed authorizations (5) for \"links.customer.example\" in the last 1h0m0s",
                NameLimit,
            ),
            (
                "Your account is temporarily prevented from requesting certificates for a.example",
                NameLimit,
            ),
            ("quota for 'customer.example' used up", NameLimit),
            ("quota for LINKS.customer.example.", NameLimit),
            ("quota for other.example and omer.example", AccountLimit),
        ] {
            assert_eq!(kind(429, "rateLimited", detail, Stage::Request), want, "{detail}");
        }
        let sub = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"limits",
            "subproblems":[{"type":"x","detail":"y","identifier":{"type":"dns","value":"a.example"}}]}"#;
        assert_eq!(
            classify(&Problem::from_response(429, sub, None), Stage::Request, None),
            NameLimit
        );
    }

    #[test]
    fn a_failure_keeps_the_words_of_the_ca() {
        let body = r#"{"type":"urn:ietf:params:acme:error:compound","detail":"some\nwere refused","status":403,
            "subproblems":[{"type":"urn:ietf:params:acme:error:caa","detail":"CAA","identifier":{"type":"dns","value":"a.example"}}]}"#;
        let at = Timestamp::from_secs(7);
        let failure = CallError::Refused(Problem::from_response(403, body, Some(at))).into_failure(Some(&name()), at);
        assert_eq!(failure.kind, FailureKind::Caa);
        assert_eq!(failure.retry_after, Some(at));
        assert_eq!(failure.error.detail, "some were refused");
        assert_eq!(failure.error.kind, "urn:ietf:params:acme:error:compound");
        assert_eq!(failure.error.subproblems[0].identifier.as_deref(), Some("a.example"));

        let long = CallError::Refused(Problem::from_response(400, &"ä".repeat(5000), None));
        let failure = long.into_failure(None, at);
        assert_eq!(failure.error.detail.chars().count(), MAX_TEXT);
        assert_eq!(
            (failure.error.kind.as_str(), failure.kind),
            ("about:blank", FailureKind::Refused)
        );
        let silent = CallError::NoAnswer("timed out".into()).into_failure(None, at);
        assert_eq!(
            (silent.error.kind.as_str(), silent.kind),
            ("urn:linkseal:error:unreachable", FailureKind::Unreachable)
        );
    }
}
