//! `[admission]`: which names may get a certificate.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Findings;
use super::text::{ConfigDuration, HttpUrl, Limit};

/// Which names may get a certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admission {
    /// Who decides about a name that is not registered.
    pub policy: Policy,
    /// The platform's endpoint for the policy `ask`. Absent: no one is asked.
    pub ask: Option<Ask>,
    /// What a token with a `tenant` needs to register a name that is not its tenant's yet.
    pub ownership: Ownership,
    /// Domains of one tenant, from which on a token with that `tenant` registers no more; tokens without one are not bound. 0: no bound.
    pub max_domains_per_tenant: u64,
    /// The bounds of the policy `cname`.
    pub cname: Cname,
    /// Names kept that were refused although their DNS points here (GET /v1/rejected). 0: refused names are not looked at.
    #[serde(alias = "keep_rejected")]
    pub rejected_capacity: u32,
}

/// Who decides about a name that is not registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// No one: only registered names are served.
    #[default]
    Registered,
    /// The platform, by an HTTP request.
    Ask,
    /// DNS: a CNAME that leads to edge.name is enough.
    Cname,
}

/// What a token with a `tenant` needs to register a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// A TXT record at _linkseal.NAME or at _linkseal.REGISTERED-DOMAIN; the refusal tells its value.
    #[default]
    Txt,
    /// Nothing: any name that is free.
    None,
}

/// The platform's endpoint that says whether a name may be served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Asked by GET with ?domain=NAME: 2xx is yes (JSON {"tenant":…} allowed), 403 and 404 no; all else is unreachable.
    pub url: HttpUrl,
    /// How long an answer may take.
    #[serde(default = "timeout")]
    pub timeout: ConfigDuration,
    /// How long an answer, yes or no, is kept.
    #[serde(default = "cache")]
    pub cache: ConfigDuration,
}

/// What admission by DNS may cost at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cname {
    /// Names admitted below one registered domain (as the public suffix list has it); also how many are looked up there within negative_ttl.
    pub per_registered_domain: NonZeroU32,
    /// Labels a name may have in front of its registered domain.
    pub max_labels: NonZeroU32,
    /// New names this node admits.
    #[serde(alias = "new_names")]
    pub admission_rate: Limit,
    /// Unknown names this node looks up in DNS.
    pub lookups: Limit,
    /// Unknown names looked up at once.
    #[serde(alias = "lookups_at_once")]
    pub max_concurrent_lookups: NonZeroU32,
    /// How long a name that does not point here is refused without another look.
    #[serde(alias = "refused_for")]
    pub negative_ttl: ConfigDuration,
}

/// The most refused names that can be kept: the list is for people.
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
            // Customers have one to three; Let's Encrypt gives 50 certificates a week.
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
    pub(super) fn check(&self, found: &mut Findings<'_>) {
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
