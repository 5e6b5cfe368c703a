//! The CA's errors: problem documents (RFC 7807) with the types of ACME (RFC 8555 §6.7).

use http::StatusCode;
use serde::Serialize;

/// The prefix of every ACME error type.
const NAMESPACE: &str = "urn:ietf:params:acme:error:";

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The full URN.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) detail: String,
    /// The HTTP status code.
    pub(super) status: u16,
    /// The signature algorithms that the CA accepts, where it refused another one (RFC 8555 §6.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) algorithms: Option<Vec<&'static str>>,
    /// Empty when the problem concerns the whole request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) subproblems: Vec<Subproblem>,
}

/// What is wrong with one identifier (RFC 8555 §6.7.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Subproblem {
    /// The full URN.
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    identifier: Identifier,
}

/// A name in an order (RFC 8555 §7.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Identifier {
    #[serde(rename = "type")]
    kind: &'static str,
    value: String,
}

impl Identifier {
    pub(super) fn dns(name: impl Into<String>) -> Self {
        Self {
            kind: "dns",
            value: name.into(),
        }
    }
}

impl Problem {
    /// A problem of an ACME type, given without its namespace.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{NAMESPACE}{kind}"),
            detail: detail.into(),
            status: status.as_u16(),
            algorithms: None,
            subproblems: Vec::new(),
        }
    }

    /// 400 `malformed`.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 403 `unauthorized`: the account may not do this, or the name's web server gave a wrong answer.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "unauthorized", detail)
    }

    /// 404 `malformed`.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "malformed", detail)
    }

    /// 500 `serverInternal`.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "serverInternal", detail)
    }

    /// 400 `rejectedIdentifier`: names that the CA does not issue for, each with its reason as a subproblem.
    pub fn rejected_identifiers<'a>(rejected: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let subproblems: Vec<_> = rejected
            .into_iter()
            .map(|(name, detail)| Subproblem {
                kind: format!("{NAMESPACE}rejectedIdentifier"),
                detail: detail.to_owned(),
                identifier: Identifier::dns(name),
            })
            .collect();
        let detail = match subproblems.as_slice() {
            [one] => {
                format!("Cannot issue for \"{}\": {}", one.identifier.value, one.detail)
            }
            [first, rest @ ..] => format!(
                "Cannot issue for \"{}\": {} (and {} more problems. Refer to sub-problems for more information.)",
                first.identifier.value,
                first.detail,
                rest.len()
            ),
            [] => "Cannot issue".to_owned(),
        };
        Self {
            subproblems,
            ..Self::new(StatusCode::BAD_REQUEST, "rejectedIdentifier", detail)
        }
    }
}
