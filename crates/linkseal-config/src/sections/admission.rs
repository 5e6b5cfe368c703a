//! `[admission]`: which names may get a certificate.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::values::{ConfigDuration, HttpUrl, Limit};

/// Which names may get a certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admission {
    /// Who decides about unregistered names.
    pub policy: Policy,
    /// The platform's permission endpoint, for the policy "ask".
    pub ask: Option<Ask>,
    /// What a tenant's token needs to register a name that does not belong to its tenant yet.
    pub ownership: Ownership,
    /// How many domains a tenant's own token may have registered. Tokens without a tenant are not limited. 0: no limit.
    pub max_domains_per_tenant: u64,
    /// Bounds for the policy "cname".
    pub cname: Cname,
    /// How many refused names whose DNS points here are remembered for GET /v1/rejected. 0: refused names are not checked. At most 10000.
    pub rejected_capacity: u32,
}

/// Who decides about unregistered names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Only registered names are served.
    #[default]
    Registered,
    /// The platform's permission endpoint decides.
    Ask,
    /// DNS decides: a name whose CNAME points to edge.name is admitted.
    Cname,
}

/// What a tenant's token needs to register a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// A TXT record at _linkseal.NAME or _linkseal.REGISTERED-DOMAIN; the error names its value.
    #[default]
    Txt,
    /// Nothing: any unregistered name.
    None,
}

/// The platform's permission endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Called as GET URL?domain=NAME. 2xx permits the name (a JSON body may set {"tenant": …}), 403 and 404 refuse it; anything else counts as unreachable.
    pub url: HttpUrl,
    /// How long to wait for an answer.
    #[serde(default = "timeout")]
    pub timeout: ConfigDuration,
    /// How long an answer is cached, permission or refusal.
    #[serde(default = "cache")]
    pub cache: ConfigDuration,
}

/// Bounds of admission by DNS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cname {
    /// Names admitted per registered domain (by the public suffix list); also the look-ups per registered domain within negative_ttl.
    pub per_registered_domain: NonZeroU32,
    /// Labels a name may have before its registered domain.
    pub max_labels: NonZeroU32,
    /// How many new names this node admits per time.
    pub admission_rate: Limit,
    /// How many unknown names this node looks up in DNS per time.
    pub lookups: Limit,
    /// How many unknown names are looked up concurrently.
    pub max_concurrent_lookups: NonZeroU32,
    /// How long a name that does not point here is refused without another look-up.
    pub negative_ttl: ConfigDuration,
}

/// The largest `rejected_capacity`: the list is for people.
const MOST_REJECTED: u32 = 10_000;

impl Default for Admission {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            ask: None,
            ownership: Ownership::default(),
            max_domains_per_tenant: 10_000,
            cname: Cname::default(),
            rejected_capacity: 1_000,
        }
    }
}

impl Default for Cname {
    fn default() -> Self {
        let count = |n: u32| NonZeroU32::MIN.saturating_add(n - 1);
        let minute = ConfigDuration::secs(60);
        Self {
            // Customers use one to three; Let's Encrypt issues 50 certificates a week.
            per_registered_domain: count(20),
            // click.e.news.customer.example
            max_labels: count(3),
            admission_rate: Limit { count: 60, per: minute },
            lookups: Limit {
                count: 300,
                per: minute,
            },
            max_concurrent_lookups: count(16),
            negative_ttl: ConfigDuration::secs(600),
        }
    }
}

impl Admission {
    pub(crate) fn check(&self, found: &mut Findings<'_>) {
        match (self.policy, &self.ask) {
            (Policy::Ask, None) => found.problem(
                "admission.ask",
                "is missing; the policy \"ask\" needs it, such as { url = \"http://127.0.0.1:3000/allow\" }",
            ),
            (Policy::Registered | Policy::Cname, Some(_)) => {
                found.warn("admission.ask", "has no effect: admission.policy is not \"ask\"");
            }
            (Policy::Ask, Some(ask)) if ask.timeout.is_zero() => {
                found.problem("admission.ask.timeout", "must be longer than zero");
            }
            (Policy::Ask, Some(ask)) if !ask.url.is_https() && !ask.url.is_loopback() => {
                found.warn(
                    "admission.ask.url",
                    "is plain http: anyone on the network path can allow any name; prefer https",
                );
            }
            _ => {}
        }
        if self.rejected_capacity > MOST_REJECTED {
            found.problem(
                "admission.rejected_capacity",
                format!("must be at most {MOST_REJECTED}"),
            );
        }
        if self.cname.negative_ttl.is_zero() {
            found.problem("admission.cname.negative_ttl", "must be longer than zero");
        }
        if self.policy != Policy::Cname && self.cname != Cname::default() {
            found.warn("admission.cname", "has no effect: admission.policy is not \"cname\"");
        }
    }
}

fn timeout() -> ConfigDuration {
    ConfigDuration::secs(2)
}

fn cache() -> ConfigDuration {
    ConfigDuration::secs(600)
}
