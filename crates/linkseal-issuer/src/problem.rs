//! What a CA says when it refuses. [`super::failure`] makes of it whose fault it is.

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::FailureKind;
use serde::Deserialize;

/// The prefix of all problem types of ACME (RFC 8555 §6.7).
pub(super) const ACME_ERROR: &str = "urn:ietf:params:acme:error:";

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
    /// Something here has to be put right before the CA can be asked.
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
    /// Whether the CA refused with this ACME problem type.
    pub(super) fn is(&self, acme_type: &str) -> bool {
        matches!(self, Self::Refused(p) if p.short() == acme_type)
    }

    /// Whether the same call may work a moment later: no answer, or a failure of the CA itself.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Refused(p) => p.status >= 500,
            Self::NoAnswer(_) => true,
            Self::Ours(_) | Self::Here(..) => false,
        }
    }

    /// Whether the CA said that there is no such thing, or that it is not ours.
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
