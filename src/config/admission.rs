//! `[admission]`: which names may get a certificate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Findings;
use super::text::{HttpUrl, Span};

/// Which names may get a certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admission {
    /// Who decides about a name that is not registered.
    pub policy: Policy,
    /// The platform's endpoint for the policy `ask`. Absent: nobody is asked.
    pub ask: Option<Ask>,
}

/// Who decides about a name that is not registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Nobody: only registered names are served.
    #[default]
    Registered,
    /// The platform, by an HTTP request.
    Ask,
    /// DNS: a CNAME that leads to edge.name is enough.
    Cname,
}

/// The platform's endpoint that says whether a name may be served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Asked by GET with ?domain=NAME: 2xx is yes (JSON {"tenant":…} allowed), 403 and 404 no; all else is unreachable.
    pub url: HttpUrl,
    /// How long an answer may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// How long an answer, yes or no, is kept.
    #[serde(default = "cache")]
    pub cache: Span,
}

impl Admission {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        match (self.policy, &self.ask) {
            (Policy::Cname, _) => found.problem(
                "admission.policy",
                "\"cname\" comes with a later version of linkseal; allowed now: \"registered\", \"ask\"",
            ),
            (Policy::Ask, None) => found.problem(
                "admission.ask",
                "is missing; the policy \"ask\" needs it, such as { url = \"http://127.0.0.1:3000/allow\" }",
            ),
            (Policy::Registered, Some(_)) => {
                found.warn(
                    "admission.ask",
                    "has no effect: admission.policy is \"registered\", not \"ask\"",
                );
            }
            (Policy::Ask, Some(ask)) if ask.timeout.is_zero() => {
                found.problem("admission.ask.timeout", "must be longer than zero");
            }
            (Policy::Ask, Some(ask)) if !ask.url.is_https() && !ask.url.is_loopback() => {
                found.warn(
                    "admission.ask.url",
                    "is plain http: whoever sits between can allow any name; prefer https",
                );
            }
            _ => {}
        }
    }
}

fn timeout() -> Span {
    Span::secs(2)
}

fn cache() -> Span {
    Span::secs(600)
}
