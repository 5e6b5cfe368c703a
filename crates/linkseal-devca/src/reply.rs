//! The answers of the handlers, and the parsing of payloads.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderName};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::format_description::FormatItem;
use time::macros::format_description;

use super::faults::{Refusal, RetryAfter};
use super::problem::Problem;

/// RFC 9110 §5.6.7.
pub(super) const HTTP_DATE: &[FormatItem<'static>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// A handler's answer, before the headers that every answer has.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
    pub(super) headers: Vec<(HeaderName, String)>,
}

impl Reply {
    pub(super) fn json(status: StatusCode, value: Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: value.to_string().into(),
            headers: Vec::new(),
        }
    }

    pub(super) fn text(content_type: &'static str, text: String) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            body: text.into(),
            headers: Vec::new(),
        }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            content_type: "",
            body: Bytes::new(),
            headers: Vec::new(),
        }
    }

    pub(super) fn location(self, url: String) -> Self {
        self.with(header::LOCATION, url)
    }

    /// Names the resource that this one belongs to (RFC 8555 §7.1).
    pub(super) fn up(self, url: String) -> Self {
        self.with(header::LINK, format!("<{url}>;rel=\"up\""))
    }

    pub(super) fn retry_after(self, span: Duration) -> Self {
        self.with(header::RETRY_AFTER, seconds(span))
    }

    fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = Self::json(status, json!(refusal.problem));
        reply.content_type = "application/problem+json";
        match refusal.retry_after {
            None => reply,
            Some(RetryAfter::Seconds(span)) => reply.retry_after(span),
            Some(RetryAfter::Date(at)) => {
                let date = at.to_datetime().format(HTTP_DATE).unwrap_or_default();
                reply.with(header::RETRY_AFTER, date)
            }
        }
    }
}

/// Parses the payload of a request.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(payload).map_err(|e| Problem::malformed(format!("Error unmarshaling the payload: {e}")))
}

fn seconds(span: Duration) -> String {
    // Rounded up, so that no client comes back too early.
    span.as_millis().div_ceil(1000).to_string()
}
