//! A CA's refusals (RFC 8555 §6.7), parsed. [`super::failure`] decides whose fault they are.

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::FailureKind;
use serde::Deserialize;

/// The prefix of all problem types of ACME (RFC 8555 §6.7).
pub(super) const ACME_ERROR: &str = "urn:ietf:params:acme:error:";

/// Why a call to the CA failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The CA answered, and refused.
    #[error("the CA refused: {0}")]
    Refused(Problem),
    /// No answer, or none that could be understood.
    #[error("the CA does not answer: {0}")]
    NoAnswer(String),
    /// It failed here, before the request was sent.
    #[error("{0}")]
    Ours(String),
    /// Something here has to be fixed before the CA can be asked.
    #[error("{1}")]
    Here(FailureKind, String),
}

/// A problem document (RFC 7807, RFC 8555 §6.7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    /// The type. Empty: the CA gave none.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) detail: String,
    /// The HTTP status code; 0: not given, as in problems within other objects.
    pub(super) status: u16,
    pub(super) subproblems: Vec<Sub>,
    /// From the `Retry-After` header.
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
    pub(super) identifier: Option<Identifier>,
}

/// The name that a subproblem is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Identifier {
    pub(super) value: String,
}

impl Problem {
    /// Parses a refusal: a problem document, else any text as its detail.
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
    /// Whether the CA refused with this ACME problem type.
    pub(super) fn is(&self, acme_type: &str) -> bool {
        matches!(self, Self::Refused(p) if p.short() == acme_type)
    }

    /// Whether the same call may work a moment later: no answer, or a failure of the CA itself.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Refused(p) => p.status >= 500,
            Self::NoAnswer(_) => true,
            Self::Ours(_) | Self::Here(..) => false,
        }
    }

    /// Whether the CA answered that the object does not exist or is not ours.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused(p) if matches!(p.status, 400 | 401 | 403 | 404 | 410))
            && !self.is("accountDoesNotExist")
            && !self.is("badNonce")
    }
}

/// A problem type without the prefix of ACME.
pub(super) fn short(kind: &str) -> &str {
    kind.strip_prefix(ACME_ERROR).unwrap_or(kind)
}
