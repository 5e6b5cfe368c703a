//! What is said when a request is not done: `application/problem+json` (RFC 9457) with a `code`
//! that programs tell apart and a `detail` that says what is allowed.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Instant;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use linkseal_base::clock::Timestamp;
use linkseal_control::complaints::{self, Complaints};
use linkseal_control::{OperatorError, OwnerRecord};
use linkseal_domain::{Language, NameError};
use linkseal_store::StoreError;
use schemars::JsonSchema;
use serde::Serialize;

use super::pages;

/// Seconds after which one who had too much under way may ask again.
const BUSY_RETRY: u64 = 5;
/// Seconds after which DNS servers that fail may answer again.
const DNS_RETRY: u64 = 60;

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// A name that no certificate can carry.
    InvalidName,
    /// A request that is not understood, or a value that is not allowed.
    InvalidRequest,
    /// No such domain, or no such path.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// No token, or none that is known.
    Unauthorized,
    /// The token's role does not allow it, or the request comes from elsewhere than it may.
    Forbidden,
    /// A limit of the CA, and `retry_at` says when it allows it; or too much is asked for at once.
    RateLimited,
    /// The CA did not do it.
    CaUnavailable,
    /// The store cannot be read or written now.
    StoreUnavailable,
    /// The DNS servers of a name give no usable answer.
    DnsUnavailable,
}

/// A refusal.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: `code` tells the problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    #[serde(serialize_with = "number")]
    #[schemars(with = "u16")]
    status: StatusCode,
    /// What went wrong, for programs.
    code: Code,
    /// What went wrong and what is allowed, for people.
    detail: String,
    /// When it is possible. `None`: time does not help, or Retry-After tells the seconds.
    retry_at: Option<Timestamp>,
    /// The record that the name's owner has to publish first. `None`: it is not about that.
    record: Option<Box<OwnerRecord>>,
    /// The same in seconds from now, for Retry-After.
    #[serde(skip)]
    retry_after: Option<u64>,
    /// What a page says instead, in English and German: people there send no requests by hand.
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
            on_pages: None,
        }
    }

    /// Says it in other words on pages.
    pub(super) fn on_pages(mut self, en: impl Into<String>, de: impl Into<String>) -> Self {
        self.on_pages = Some(Box::new((en.into(), de.into())));
        self
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidRequest, detail)
    }

    /// `place`: where the name stands in the request.
    pub(super) fn invalid_name(place: &str, error: NameError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidName, format!("{place}: {error}"))
    }

    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidRequest, detail)
    }

    pub(super) fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, Code::InvalidRequest, detail)
    }

    pub(super) fn method(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::InvalidRequest, detail)
    }

    /// A domain that the caller has just named.
    fn not_registered() -> Self {
        Self::not_found("the domain is not registered; POST /v1/domains registers it").on_pages(
            "The domain is not registered.".to_owned(),
            "Die Domain ist nicht eingetragen.".to_owned(),
        )
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::Forbidden, detail)
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::StoreUnavailable, detail)
    }

    pub(super) fn rate_limited(until: Timestamp, now: Timestamp) -> Self {
        let detail = format!("the CA's limits allow the next order for this domain at {until}");
        Self::later(detail, until, now)
    }

    pub(super) fn later(detail: impl Into<String>, until: Timestamp, now: Timestamp) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, detail);
        problem.retry_at = Some(until);
        // Rounded up: anyone who comes back then is not turned away again.
        problem.retry_after = Some(until.saturating_since(now).as_millis().div_ceil(1000) as u64);
        problem
    }
}

impl Problem {
    /// Too many wrong tokens were shown.
    pub(super) fn guesses(until: Timestamp, now: Timestamp) -> Self {
        let detail = format!(
            "this token is not known here, and too many wrong ones came from this address or in all; check the token, \
             and try again at {until}. A right token is let in at once"
        );
        Self::later(detail, until, now).on_pages(
            "This token is not known here, and too many wrong ones were tried. Check the token: the right one lets you in at once.",
            "Dieses Token ist hier nicht bekannt, und es wurden zu viele falsche versucht. Prüfen Sie das Token: Mit dem richtigen kommen Sie sofort hinein.",
        )
    }

    /// There was no room for it now.
    fn busy(detail: impl Into<String>, retry_after: u64) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, detail);
        problem.retry_after = Some(retry_after);
        problem
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What a page says, as sentences.
    pub(super) fn page_text(&self, language: Language) -> Cow<'_, str> {
        match &self.on_pages {
            Some(text) => language.pick(text.0.as_str(), text.1.as_str()).into(),
            None => pages::sentence(&self.detail).into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_registered(),
            StoreError::TooMany(_) => Self::new(StatusCode::CONFLICT, Code::Conflict, error.to_string()),
            StoreError::Exists | StoreError::Conflict | StoreError::Fenced => Self::new(
                StatusCode::CONFLICT,
                Code::Conflict,
                format!("{error}; nothing was changed, try again"),
            ),
            error => {
                complain(&error);
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    Code::StoreUnavailable,
                    error.to_string(),
                )
            }
        }
    }
}

/// Visitors of a shared page ask as often as they like: the log has one line a minute for each cause.
fn complain(error: &StoreError) {
    static SAID: LazyLock<(Instant, Complaints)> =
        LazyLock::new(|| (Instant::now(), Complaints::every(complaints::OF_THE_STORE)));
    let (began, said) = &*SAID;
    if let Some(left_out) = said.due(error.kind(), "answer the admin API", began.elapsed()) {
        tracing::error!(%error, left_out, "the store did not answer the admin API");
    }
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        let [en, de] = [Language::En, Language::De].map(|l| pages::operator_error(&error, l));
        let problem = match error {
            OperatorError::Store(error) => error.into(),
            OperatorError::NotFound => Self::not_registered(),
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
        // On a page it is said as a page.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use linkseal_base::testing::Written;

    use super::*;

    #[test]
    fn requests_without_end_for_what_cannot_be_read_make_one_line() {
        let written = Written::default();
        let subscriber = tracing_subscriber::fmt().with_writer(written.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..20 {
                let error = StoreError::Unreadable {
                    name: "links.a.example".into(),
                    why: "a test".into(),
                };
                assert_eq!(Problem::from(error).status(), StatusCode::SERVICE_UNAVAILABLE);
            }
        });
        let text = written.text();
        // Another test of this process may have been told of it before.
        assert!(text.matches("did not answer").count() <= 1, "{text}");
    }
}
