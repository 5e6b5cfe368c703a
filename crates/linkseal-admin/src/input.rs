//! What requests bring: names in paths, parameters, JSON bodies and cursors, read strictly and in
//! bounds; what is wrong is said as a problem.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use linkseal_base::json;
use linkseal_domain::DomainName;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::auth::Caller;
use super::life::Streams;
use super::problem::Problem;

/// The largest JSON body, and the longest line of an import, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// How long a JSON body may take.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Entries on a page, unless asked for otherwise.
const PAGE: usize = 100;
/// Entries on a page at most: about 2 MiB of domains.
const MAX_PAGE: usize = 1_000;

/// The domain a path names.
pub(super) struct Name(pub(super) DomainName);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Stored(text) = Stored::from_request_parts(parts, state).await?;
        domain_name(&text).map(Self)
    }
}

/// The same as it is written there: what is stored may be no name of a domain.
pub(super) struct Stored(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Stored {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(text)| Self(text))
            .map_err(|e| Problem::invalid(e.body_text()))
    }
}

/// A name that stands in a path.
pub(super) fn domain_name(text: &str) -> Result<DomainName, Problem> {
    DomainName::parse(text).map_err(|e| Problem::invalid_name("the name in the path", e))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::unauthorized("send a token: Authorization: Bearer …"))
    }
}

/// The parameters of a query; unknown ones are refused, empty ones are absent.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|e| Problem::invalid(format!("the query: {}", e.body_text())))?;
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let object = given.map(|(key, value)| (key, Value::String(value))).collect();
        serde_json::from_value(Value::Object(object))
            .map(Self)
            .map_err(|e| Problem::invalid(format!("the query: {e}")))
    }
}

/// A JSON body.
pub(super) struct Json(pub(super) Value);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = timeout(BODY_TIME, Limited::new(request.into_body(), MAX_BODY).collect()).await;
        let bytes =
            bytes.map_err(|_| Problem::too_slow(format!("the body took longer than {} s", BODY_TIME.as_secs())))?;
        let bytes = bytes.map_err(|e| match e.is::<LengthLimitError>() {
            true => Problem::too_large(format!("the body is larger than {MAX_BODY} bytes")),
            false => Problem::invalid("the body broke off"),
        })?;
        let bytes = bytes.to_bytes();
        if bytes.is_empty() {
            return Err(Problem::invalid("the body is empty; it must be a JSON object"));
        }
        let value = serde_json::from_slice(&bytes);
        value
            .map(Self)
            .map_err(|e| Problem::invalid(format!("the body is not JSON: {e}")))
    }
}

impl Json {
    /// Reads it; the members named hold domain names, whose errors have a code of their own.
    pub(super) fn read<T: DeserializeOwned>(self, names: &[&str]) -> Result<T, Problem> {
        for &key in names {
            if let Some(text) = self.0.get(key).and_then(Value::as_str) {
                DomainName::parse(text).map_err(|e| Problem::invalid_name(key, e))?;
            }
        }
        json::read(self.0).map_err(|e| Problem::invalid(format!("the body: {e}")))
    }
}

/// How many entries are wanted.
pub(super) fn limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(PAGE) };
    let number = text.parse().ok().filter(|n| (1..=MAX_PAGE).contains(n));
    number.ok_or_else(|| Problem::invalid(format!("limit: a number from 1 to {MAX_PAGE}")))
}

/// Where a page ends, as callers get it: they hand it back as it is.
pub(super) fn cursor(last: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(last)
}

/// What a cursor stands for. `None` for none.
pub(super) fn from_cursor<T>(cursor: Option<&str>, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let value = bytes.as_deref().and_then(|b| str::from_utf8(b).ok()).and_then(read);
    let invalid = || Problem::invalid("cursor: pass on `next` of the page before, as it is");
    value.map(Some).ok_or_else(invalid)
}

/// Cuts a page that was read with one entry too many; returns whether there are more.
pub(super) fn cut<T>(entries: &mut Vec<T>, limit: usize) -> bool {
    let more = entries.len() > limit;
    entries.truncate(limit);
    more
}

/// A body that is made as it is sent.
pub(super) fn stream<S>(media: &'static str, stream: S) -> axum::response::Response
where
    S: futures_util::Stream<Item = Result<bytes::Bytes, std::io::Error>> + Send + 'static,
{
    use axum::response::IntoResponse;
    let mut response = ([(http::header::CONTENT_TYPE, media)], Body::from_stream(stream)).into_response();
    response.extensions_mut().insert(Streams);
    response
}
