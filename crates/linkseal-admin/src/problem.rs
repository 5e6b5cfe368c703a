//! Refusals and errors: `application/problem+json` (RFC 9457) with a `code` for programs and a
//! `detail` for people that says what is allowed.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_control::log_limit::LogLimit;
use linkseal_control::{OperatorError, OwnerRecord};
use linkseal_domain::{DomainName, Language, NameError};
use linkseal_store::StoreError;
use schemars::JsonSchema;
use serde::Serialize;

use crate::i18n;

/// Retry-After when too much is running, in seconds.
const BUSY_RETRY: u32 = 5;
/// Retry-After while the store is unavailable, in seconds; at random between the two, so that clients do not come back
/// together.
const STORE_RETRY: std::ops::Range<u32> = 5..15;
/// Retry-After when DNS servers fail, in seconds.
const DNS_RETRY: u32 = 60;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// The name is not one that a certificate can be issued for.
    InvalidName,
    /// The request is malformed, or a value is not allowed.
    InvalidRequest,
    /// No such domain, object or path.
    NotFound,
    /// The request conflicts with the present state.
    Conflict,
    /// The token is missing or unknown.
    Unauthorized,
    /// The token's role or tenant does not allow it, or the request comes from a forbidden origin.
    Forbidden,
    /// A rate limit (`retry_at` says when the request is possible), or too many requests at once.
    RateLimited,
    /// The CA failed.
    CaUnavailable,
    /// The store cannot be read or written at the moment.
    StoreUnavailable,
    /// The store was lost while it took the change, which may be stored or not: read it again.
    OutcomeUnknown,
    /// The DNS servers of a name gave no usable answer.
    DnsUnavailable,
}

/// An error (RFC 9457).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`; `code` identifies the problem.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The reason phrase of the status.
    title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "number")]
    #[schemars(with = "u16")]
    status: StatusCode,
    /// What went wrong, for programs.
    code: Code,
    /// What went wrong and what is allowed, for people.
    detail: String,
    /// When the request will be possible; null if waiting does not help, or only Retry-After is known.
    retry_at: Option<Timestamp>,
    /// The DNS record that the domain's owner has to publish first; null for other problems.
    record: Option<Box<OwnerRecord>>,
    /// Retry-After in seconds.
    #[serde(skip)]
    retry_after: Option<u32>,
    /// The kind of the store's failure behind it, [`StoreError::kind`].
    #[serde(skip)]
    store_failure: Option<&'static str>,
    /// What the pages say instead, in English and German, since their visitors send no API requests.
    #[serde(skip)]
    on_pages: Option<Box<(String, String)>>,
}

fn number<S: serde::Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            code,
            detail: detail.into(),
            retry_at: None,
            record: None,
            retry_after: None,
            store_failure: None,
            on_pages: None,
        }
    }

    /// Sets the text for the pages.
    pub(crate) fn on_pages(mut self, en: impl Into<String>, de: impl Into<String>) -> Self {
        self.on_pages = Some(Box::new((en.into(), de.into())));
        self
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidRequest, detail)
    }

    /// `place`: where in the request the name is.
    pub(crate) fn invalid_name(place: &str, error: NameError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidName, format!("{place}: {error}"))
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidRequest, detail)
    }

    pub(crate) fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, Code::InvalidRequest, detail)
    }

    pub(crate) fn method(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::InvalidRequest, detail)
    }

    pub(crate) fn not_registered(name: &DomainName) -> Self {
        Self::not_found(format!("{name} is not registered; POST /v1/domains registers it")).on_pages(
            format!("The domain {name} is not registered."),
            format!("Die Domain {name} ist nicht eingetragen."),
        )
    }

    /// The same where the name is not known.
    fn domain_not_registered() -> Self {
        Self::not_found("the domain is not registered; POST /v1/domains registers it").on_pages(
            "The domain is not registered.".to_owned(),
            "Die Domain ist nicht eingetragen.".to_owned(),
        )
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::Forbidden, detail)
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::store(Code::StoreUnavailable, detail)
    }

    fn store(code: Code, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        let [random] = random::bytes::<1>();
        problem.retry_after = Some(STORE_RETRY.start + u32::from(random) % (STORE_RETRY.end - STORE_RETRY.start));
        problem
    }

    /// Both limits of linkseal (one a minute) and of the CA apply.
    pub(crate) fn reissue_later(until: Timestamp, now: Timestamp) -> Self {
        let detail = format!("the next reissue of this domain is possible at {until}");
        Self::later(detail, until, now)
    }

    pub(crate) fn later(detail: impl Into<String>, until: Timestamp, now: Timestamp) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, detail);
        problem.retry_at = Some(until);
        // Rounded up, so that a client that waits exactly that long is not refused again.
        let seconds = until.saturating_since(now).as_millis().div_ceil(1000);
        problem.retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        problem
    }

    pub(crate) fn too_many_guesses(until: Timestamp, now: Timestamp) -> Self {
        let detail = format!(
            "this token is not known here, and there were too many wrong ones from this address or in total; check \
             the token and try again at {until}. A valid token is accepted at any time"
        );
        Self::later(detail, until, now).on_pages(
            "Unknown token, and there were too many wrong attempts. Check the token: a valid one is accepted at any time.",
            "Dieses Token ist nicht bekannt, und es gab zu viele Fehlversuche. Prüfen Sie das Token: Mit einem gültigen Token können Sie sich jederzeit anmelden.",
        )
    }

    fn busy(detail: impl Into<String>, retry_after: u32) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, detail);
        problem.retry_after = Some(retry_after);
        problem
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Logs the store's failure behind it, if there is one. `now` is the monotonic clock. Visitors of a
    /// shared page may cause any number of these, hence the limit.
    pub(crate) fn log_store_failure(&self, limit: &LogLimit, now: Duration) {
        let Some(kind) = self.store_failure else { return };
        if let Some(suppressed) = limit.due(kind, "answer the admin API", now) {
            tracing::error!(error = %self.detail, suppressed, "store error; the admin API answered 503");
        }
    }

    /// The text for a page.
    pub(crate) fn page_text(&self, language: Language) -> Cow<'_, str> {
        match &self.on_pages {
            Some(text) => language.pick(text.0.as_str(), text.1.as_str()).into(),
            None => i18n::sentence(&self.detail).into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::domain_not_registered(),
            StoreError::TooMany(_) => Self::new(StatusCode::CONFLICT, Code::Conflict, error.to_string()),
            StoreError::Exists | StoreError::Conflict | StoreError::Fenced => Self::new(
                StatusCode::CONFLICT,
                Code::Conflict,
                format!("{error}; nothing was changed, try again"),
            ),
            StoreError::OutcomeUnknown => Self {
                store_failure: Some(error.kind()),
                ..Self::store(Code::OutcomeUnknown, error.to_string())
            },
            error => Self {
                store_failure: Some(error.kind()),
                ..Self::unavailable(error.to_string())
            },
        }
    }
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        let [en, de] = [Language::En, Language::De].map(|l| i18n::operator_error(&error, l));
        let problem = match error {
            OperatorError::Store(error) => error.into(),
            OperatorError::NotFound => Self::domain_not_registered(),
            OperatorError::Busy => Self::busy(error.to_string(), BUSY_RETRY),
            OperatorError::NotShown(_, ref record) => {
                let record = Some(record.clone());
                Self {
                    record,
                    ..Self::forbidden(error.to_string())
                }
            }
            OperatorError::NotAnswered { .. } => {
                let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::DnsUnavailable, error.to_string());
                problem.retry_after = Some(DNS_RETRY);
                problem
            }
            OperatorError::OtherTenant
            | OperatorError::NotForYou
            | OperatorError::FormerTenants
            | OperatorError::TenantFull { .. }
            | OperatorError::SetAside(..)
            | OperatorError::OwnName
            | OperatorError::IssueOff
            | OperatorError::Frozen => Self::new(StatusCode::CONFLICT, Code::Conflict, error.to_string()),
            OperatorError::NotRevoked(_) => Self::new(StatusCode::BAD_GATEWAY, Code::CaUnavailable, error.to_string()),
            OperatorError::RevokedOnly(_) => Self::unavailable(error.to_string()),
            OperatorError::NotYourTenant(_) => Self::forbidden(error.to_string()),
            OperatorError::Name(error) => Self::invalid_name("name", error),
            OperatorError::Invalid(detail) => Self::invalid(detail),
        };
        problem.on_pages(en, de)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750 §3.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"linkseal\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        // The pages replace the answer by a page that says the same.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use linkseal_base::testing::Written;
    use linkseal_control::log_limit::STORE_INTERVAL;
    use tracing::level_filters::LevelFilter;

    use super::*;

    #[test]
    fn repeated_store_errors_are_logged_once() {
        let (limit, now) = (LogLimit::every(STORE_INTERVAL), Duration::from_secs(1));
        let written = Written::default();
        let _logs = written.capture(LevelFilter::INFO);
        for _ in 0..20 {
            let error = StoreError::Unreadable {
                name: "links.a.example".into(),
                why: "a test".into(),
            };
            let problem = Problem::from(error);
            assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
            problem.log_store_failure(&limit, now);
        }
        Problem::invalid("no failure of the store").log_store_failure(&limit, now);
        let text = written.text();
        assert_eq!(text.matches("answered 503").count(), 1, "{text}");
    }
}
