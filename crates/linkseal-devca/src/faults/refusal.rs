//! The refusals of a CA, as Let's Encrypt words them.

use std::time::Duration;

use http::StatusCode;
use linkseal_base::clock::Timestamp;

use crate::problem::Problem;

/// A problem document, with or without a Retry-After header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(crate) problem: Problem,
    pub(crate) retry_after: Option<RetryAfter>,
}

/// The two forms of Retry-After (RFC 9110 §10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Sent rounded up to whole seconds.
    Seconds(Duration),
    /// Sent as an HTTP date.
    Date(Timestamp),
}

impl Refusal {
    /// Any problem, without Retry-After.
    pub fn of(problem: Problem) -> Self {
        Self {
            problem,
            retry_after: None,
        }
    }

    /// The account's limit: 429, as Let's Encrypt words it.
    pub fn too_many_orders(retry_after: Duration) -> Self {
        Self::limited(
            "too many new orders (300) from this account in the last 3h0m0s",
            retry_after,
        )
    }

    /// One name's limit on failures: 429, as Let's Encrypt words it.
    pub fn too_many_failures(name: &str, retry_after: Duration) -> Self {
        let detail = format!("too many failed authorizations (5) for \"{name}\" in the last 1h0m0s");
        Self::limited(&detail, retry_after)
    }

    /// A registered domain's limit: 429, as Let's Encrypt words it.
    pub fn too_many_certificates(registered_domain: &str, retry_after: Duration) -> Self {
        let detail =
            format!("too many certificates (50) already issued for \"{registered_domain}\" in the last 168h0m0s");
        Self::limited(&detail, retry_after)
    }

    /// Too busy: 503.
    pub fn busy(retry_after: Duration) -> Self {
        Self {
            problem: Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "rateLimited",
                "Service busy; retry later.",
            ),
            retry_after: Some(RetryAfter::Seconds(retry_after)),
        }
    }

    fn limited(detail: &str, retry_after: Duration) -> Self {
        let detail = format!(
            "{detail}, retry after {} s: see the rate limits of this CA",
            retry_after.as_secs()
        );
        Self {
            problem: Problem::new(StatusCode::TOO_MANY_REQUESTS, "rateLimited", detail),
            retry_after: Some(RetryAfter::Seconds(retry_after)),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::of(problem)
    }
}
