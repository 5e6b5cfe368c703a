//! What a CA says when it refuses, and whose fault that is: from an HTTP answer, or from an error
//! text of rustls-acme, to the [`Failure`] that picks state, wait and advice.

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::domain::DomainName;
use crate::domain::ssl::{Failure, FailureKind, LastError, SubProblem};

/// The prefix of all problem types of ACME (RFC 8555 §6.7).
const ACME_ERROR: &str = "urn:ietf:params:acme:error:";
/// The prefix of the types that linkseal gives when the CA said nothing.
const OWN_ERROR: &str = "urn:linkseal:error:";
/// Longest text kept of what a CA said, in characters: it goes into every domain's record.
const MAX_TEXT: usize = 1024;
/// Most subproblems kept; an order here is for one name.
const MAX_SUBPROBLEMS: usize = 8;

/// Why a call to the CA brought nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The CA answered, and refused.
    #[error("the CA refused: {0}")]
    Refused(Problem),
    /// No answer, or none that could be understood.
    #[error("the CA does not answer: {0}")]
    NoAnswer(String),
    /// It failed here, before the CA was asked.
    #[error("{0}")]
    Ours(String),
}

/// A problem document (RFC 7807, RFC 8555 §6.7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    /// The type. Empty: the CA gave none.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) detail: String,
    /// The HTTP status; 0: not given, as in problems inside of other objects.
    pub(super) status: u16,
    pub(super) subproblems: Vec<Sub>,
    /// Not before then. `None`: the CA did not say.
    #[serde(skip)]
    pub(super) retry_after: Option<Timestamp>,
}

/// A problem of one identifier (RFC 8555 §6.7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Sub {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) detail: String,
    /// `None`: the CA did not say which.
    pub(super) identifier: Option<Identifier>,
}

/// The name that a subproblem is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Identifier {
    pub(super) value: String,
}

/// What the CA was doing when the problem arose: the same type means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Answering a request of ours.
    Request,
    /// Looking at the challenge.
    Validation,
}

impl Problem {
    /// From a refusal: JSON where the CA kept to the protocol, else the start of whatever it sent.
    pub(super) fn from_response(status: u16, body: &str, retry_after: Option<Timestamp>) -> Self {
        let mut problem: Self = serde_json::from_str(body).unwrap_or_else(|_| Self {
            detail: body.trim().to_owned(),
            ..Self::default()
        });
        problem.status = status;
        problem.retry_after = retry_after;
        if problem.detail.is_empty() {
            problem.detail = format!("HTTP status {status}");
        }
        problem
    }

    /// The type without the prefix of ACME.
    pub(super) fn short(&self) -> &str {
        short(&self.kind)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.short(), self.detail)
    }
}

impl CallError {
    /// Reads the error text of rustls-acme, which keeps the status and the body of a refusal in
    /// its text only: `non 2xx http status: 429 "…"`, the body written as Rust's `Debug` does.
    pub(super) fn from_rustls_acme_text(text: &str) -> Self {
        const MARK: &str = "non 2xx http status: ";
        let refusal = text.split_once(MARK).and_then(|(_, rest)| {
            let (status, body) = rest.split_once(' ')?;
            Some((status.parse().ok()?, unescape_debug(body.trim())?))
        });
        match refusal {
            Some((status, body)) => Self::Refused(Problem::from_response(status, &body, None)),
            None => Self::NoAnswer(text.to_owned()),
        }
    }

    /// Whether the CA refused with this ACME problem type.
    pub(super) fn is(&self, acme_type: &str) -> bool {
        matches!(self, Self::Refused(p) if p.short() == acme_type)
    }

    /// Whether the same call may work a moment later: no answer, or a failure of the CA itself.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Refused(p) => p.status >= 500,
            Self::NoAnswer(_) => true,
            Self::Ours(_) => false,
        }
    }

    /// Whether the CA said that there is no such thing, or that it is not ours.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused(p) if matches!(p.status, 400 | 401 | 403 | 404 | 410))
            && !self.is("accountDoesNotExist")
            && !self.is("badNonce")
    }

    /// The failure of an attempt for `name`. `None`: a call that was for no name.
    pub(super) fn into_failure(self, name: Option<&DomainName>, now: Timestamp) -> Failure {
        match self {
            Self::Refused(problem) => problem_failure(problem, Stage::Request, name, now),
            Self::NoAnswer(text) => own_failure(FailureKind::Unreachable, &text, now),
            Self::Ours(text) => own_failure(FailureKind::Internal, &text, now),
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
pub(super) fn label(kind: FailureKind) -> &'static str {
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
        FailureKind::Internal => "internal",
    }
}

/// What kind of failure a problem is.
fn classify(problem: &Problem, stage: Stage, name: Option<&DomainName>) -> FailureKind {
    // A busy CA answers 503, some with `rateLimited`: nobody's limit is reached then.
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

fn short(kind: &str) -> &str {
    kind.strip_prefix(ACME_ERROR).unwrap_or(kind)
}

/// A text of the CA, of bounded length and without control characters.
fn cut(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_TEXT)
        .collect()
}

/// Reads a string as `{:?}` writes it, with its quotes. `None`: it is not one.
fn unescape_debug(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            '0' => out.push('\0'),
            'u' => {
                let digits: String = chars
                    .by_ref()
                    .skip_while(|c| *c == '{')
                    .take_while(|c| *c != '}')
                    .collect();
                out.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
            }
            plain => out.push(plain),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            (403, "userActionRequired", Request, Refused),
            (400, "externalAccountRequired", Request, Refused),
            (400, "accountDoesNotExist", Request, Refused),
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

    #[test]
    fn the_error_text_of_rustls_acme_is_read_back() {
        let body =
            "{\"type\":\"urn:ietf:params:acme:error:rateLimited\",\n\"detail\":\"say \\\"no\\\" \u{7f}\u{1f600}\"}";
        let text = format!("http request error: non 2xx http status: 429 {body:?}");
        let CallError::Refused(problem) = CallError::from_rustls_acme_text(&text) else {
            panic!("{text}")
        };
        assert_eq!((problem.status, problem.short()), (429, "rateLimited"));
        assert_eq!(problem.detail, "say \"no\" \u{7f}\u{1f600}");
        let html = CallError::from_rustls_acme_text("non 2xx http status: 502 \"<html>\"");
        assert!(
            matches!(&html, CallError::Refused(p) if p.status == 502 && p.detail == "<html>"),
            "{html:?}"
        );
        for other in [
            "io error: Kind(TimedOut)",
            "non 2xx http status: x \"\"",
            "non 2xx http status: 400 \"cut",
        ] {
            assert!(
                matches!(CallError::from_rustls_acme_text(other), CallError::NoAnswer(_)),
                "{other}"
            );
        }
    }

    proptest! {
        #[test]
        fn unescaping_undoes_debug(text in "\\PC*|[\\x00-\\x20\"'\\\\]*") {
            prop_assert_eq!(unescape_debug(&format!("{text:?}")), Some(text));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            let _ = CallError::from_rustls_acme_text(&format!("non 2xx http status: 400 {text}"));
        }
    }
}
