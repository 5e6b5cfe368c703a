//! Why an attempt to obtain a certificate failed.

use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::reason::Reason;

/// What kind of failure an attempt met. It decides the reason, the back-off and the advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The CA could not connect to port 80 (`connection`).
    Connection,
    /// The CA got another server's answer (`unauthorized`, `incorrectResponse`).
    WrongAnswer,
    /// The CA's DNS lookups failed (`dns`).
    CaDns,
    /// A CAA record forbids the CA (`caa`).
    Caa,
    /// The CA does not issue for this name (`rejectedIdentifier`).
    Rejected,
    /// A limit for this name is reached (`rateLimited`).
    NameLimit,
    /// A limit for the whole account is reached.
    AccountLimit,
    /// The CA does not answer or reports a failure of its own (5xx, `serverInternal`).
    Unreachable,
    /// The CA accepted the challenge response but did not finish in time.
    Stuck,
    /// The CA rejected a request of ours (`malformed`, `badCSR`, `unauthorized` account).
    Refused,
    /// The certificate issued is unusable: expired, not yet valid, or for another name or key.
    Unusable,
    /// A failure on our side: store, key or configuration.
    Internal,
    /// This machine's clock is wrong: valid certificates look expired or not yet valid.
    Clock,
    /// The TLS certificate of the CA's server is not trusted (`acme.ca_file`).
    Trust,
    /// The account needs a person's attention (`userActionRequired`, a deactivated account).
    Account,
}

impl FailureKind {
    pub const ALL: [Self; 15] = [
        Self::Connection,
        Self::WrongAnswer,
        Self::CaDns,
        Self::Caa,
        Self::Rejected,
        Self::NameLimit,
        Self::AccountLimit,
        Self::Unreachable,
        Self::Stuck,
        Self::Refused,
        Self::Unusable,
        Self::Internal,
        Self::Clock,
        Self::Trust,
        Self::Account,
    ];

    /// The kind as a word, for metrics and for problem types of our own.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::WrongAnswer => "wrong_answer",
            Self::CaDns => "ca_dns",
            Self::Caa => "caa",
            Self::Rejected => "rejected",
            Self::NameLimit => "name_limit",
            Self::AccountLimit => "account_limit",
            Self::Unreachable => "unreachable",
            Self::Stuck => "stuck",
            Self::Refused => "refused",
            Self::Unusable => "unusable",
            Self::Internal => "internal",
            Self::Clock => "clock",
            Self::Trust => "trust",
            Self::Account => "account",
        }
    }

    /// The reason it leads to when there is no certificate.
    pub fn reason(self) -> Reason {
        match self {
            Self::Connection | Self::WrongAnswer | Self::CaDns | Self::Rejected => Reason::ValidationFailed,
            Self::Caa => Reason::CaaForbids,
            Self::NameLimit | Self::AccountLimit => Reason::RateLimited,
            Self::Unreachable => Reason::CaUnreachable,
            Self::Stuck
            | Self::Refused
            | Self::Unusable
            | Self::Internal
            | Self::Clock
            | Self::Trust
            | Self::Account => Reason::RetryScheduled,
        }
    }

    /// Whether it counts against the domain: its owner can fix it, or the CA refuses the name.
    pub fn blames_domain(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::WrongAnswer | Self::CaDns | Self::Caa | Self::Rejected | Self::NameLimit
        )
    }

    /// Whether the operator of this edge has to fix it.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Internal | Self::Clock | Self::Trust | Self::Account)
    }

    /// Whether the CA refuses the name itself, so that another CA may still issue for it.
    pub fn is_refusal_of_name(self) -> bool {
        matches!(self, Self::Rejected | Self::Caa)
    }

    /// Whether the CA counts it as a failed authorization (its limit per name and hour).
    pub(crate) fn is_failed_authorization(self) -> bool {
        matches!(self, Self::Connection | Self::WrongAnswer | Self::CaDns | Self::Caa)
    }
}

/// A failed attempt, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// The CA's error, or ours if the CA reported none.
    pub error: LastError,
    /// The CA's Retry-After as a time.
    pub retry_after: Option<Timestamp>,
}

/// The last failure as the CA reported it: a problem document (RFC 9457, RFC 8555 §6.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LastError {
    /// The problem's type, such as `urn:ietf:params:acme:error:connection`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The CA's explanation.
    pub detail: String,
    /// When the attempt failed.
    pub at: Timestamp,
    /// Problems with single identifiers (RFC 8555 §6.7.1).
    #[serde(default)]
    pub subproblems: Vec<SubProblem>,
}

/// A problem with a single identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SubProblem {
    /// The problem's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The CA's explanation.
    pub detail: String,
    /// The identifier concerned; null if the CA named none.
    #[serde(default)]
    pub identifier: Option<String>,
}
