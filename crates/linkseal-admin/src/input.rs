//! Reads what requests carry (names in paths, query parameters, JSON bodies, cursors) strictly and
//! within bounds. Errors become a [`Problem`].

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use linkseal_base::json;
use linkseal_domain::DomainName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::Value;
use tokio::time::timeout;

use crate::port::watchdog::LongLived;
use crate::problem::Problem;

/// The largest JSON body, and the longest line of an import, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// How long receiving a JSON body may take.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Entries on a page by default.
const PAGE: usize = 100;
/// The most entries on a page: about 2 MiB of domains.
const MAX_PAGE: usize = 1_000;

/// The domain that a path names as `{name}`.
pub(crate) struct PathDomain(pub(crate) DomainName);

impl<S: Send + Sync> FromRequestParts<S> for PathDomain {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        PathText::from_request_parts(parts, state).await?.domain().map(Self)
    }
}

/// The `{name}` of a path as it was sent: the store may hold a key that is no domain name.
pub(crate) struct PathText(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|e| Problem::invalid(e.body_text()))?;
        let name = params.iter().find(|(key, _)| *key == "name").map(|(_, value)| value);
        Ok(Self(name.unwrap_or_default().to_owned()))
    }
}

impl PathText {
    pub(crate) fn domain(&self) -> Result<DomainName, Problem> {
        DomainName::parse(&self.0).map_err(|e| Problem::invalid_name("the name in the path", e))
    }
}

/// The parameters of a query. Unknown and repeated ones are refused. Empty ones count as absent, as in
/// the forms of pages, except where the request changes something: `?domain=` of an unset variable must
/// not widen a change to all domains.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|e| Problem::invalid(format!("the query: {}", e.body_text())))?;
        let empty = pairs.iter().find(|(_, value)| value.is_empty());
        let empty = empty.filter(|_| !parts.method.is_safe()).map(|(key, _)| key.clone());
        let members = pairs.into_iter().map(|(key, value)| match value.is_empty() {
            true => (key, Value::Null),
            false => (key, Value::String(value)),
        });
        let read = T::deserialize(MapDeserializer::<_, serde_json::Error>::new(members));
        let read = read.map_err(|e| Problem::invalid(format!("the query: {e}")))?;
        match empty {
            Some(key) => Err(Problem::invalid(format!(
                "the query: `{key}` has no value; give one or leave it out"
            ))),
            None => Ok(Self(read)),
        }
    }
}

/// The layer of endpoints without a query: refuses parameters.
pub(crate) async fn without_query(request: Request, next: Next) -> Result<Response, Problem> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let Query(pairs) = query.map_err(|e| Problem::invalid(format!("the query: {}", e.body_text())))?;
    match pairs.first() {
        Some((key, _)) => Err(Problem::invalid(format!(
            "the query: unknown field `{key}`; this method of this path has no query parameters"
        ))),
        None => Ok(next.run(request).await),
    }
}

/// A JSON body.
pub(crate) struct Json(pub(crate) Value);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = timeout(BODY_TIME, Limited::new(request.into_body(), MAX_BODY).collect()).await;
        let bytes =
            bytes.map_err(|_| Problem::too_slow(format!("the body took longer than {} s", BODY_TIME.as_secs())))?;
        let bytes = bytes.map_err(|e| match e.is::<LengthLimitError>() {
            true => Problem::too_large(format!("the body is larger than {MAX_BODY} bytes")),
            false => Problem::invalid("the body was cut off"),
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
    /// Deserializes the body. `names`: the members that hold domain names, which have an error code
    /// of their own.
    pub(crate) fn read<T: DeserializeOwned>(self, names: &[&str]) -> Result<T, Problem> {
        for &key in names {
            if let Some(text) = self.0.get(key).and_then(Value::as_str) {
                DomainName::parse(text).map_err(|e| Problem::invalid_name(key, e))?;
            }
        }
        json::read(self.0).map_err(|e| Problem::invalid(format!("the body: {e}")))
    }
}

/// Which page of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    /// The most entries to return: 1 to 1000, 100 by default.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000), extend("default" = 100))]
    pub(crate) limit: Option<String>,
    /// `next` of the previous page.
    #[schemars(length(max = 1024))]
    pub(crate) cursor: Option<String>,
}

/// The number of entries that was asked for.
pub(crate) fn limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(PAGE) };
    let number = text.parse().ok().filter(|n| (1..=MAX_PAGE).contains(n));
    number.ok_or_else(|| Problem::invalid(format!("limit: a number from 1 to {MAX_PAGE}")))
}

/// The end of a page in the opaque form that callers pass back.
pub(crate) fn cursor(last: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(last)
}

/// Reads what a cursor stands for.
pub(crate) fn from_cursor<T>(cursor: Option<&str>, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let value = bytes.as_deref().and_then(|b| str::from_utf8(b).ok()).and_then(read);
    let invalid = || Problem::invalid("cursor: pass on `next` of the previous page unchanged");
    value.map(Some).ok_or_else(invalid)
}

/// Truncates a page that was read with one entry more than asked for. Returns whether there are more.
pub(crate) fn cut<T>(entries: &mut Vec<T>, limit: usize) -> bool {
    let more = entries.len() > limit;
    entries.truncate(limit);
    more
}

/// An answer whose body is produced while it is sent.
pub(crate) fn stream<S>(media: &'static str, stream: S) -> Response
where
    S: futures_util::Stream<Item = Result<bytes::Bytes, std::io::Error>> + Send + 'static,
{
    let mut response = ([(CONTENT_TYPE, media)], Body::from_stream(stream)).into_response();
    response.extensions_mut().insert(LongLived);
    response
}

#[cfg(test)]
mod tests {
    use http::{Method, Request};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        domain: Option<String>,
        limit: Option<String>,
    }

    async fn read(method: Method, query: &str) -> Result<Filter, String> {
        let request = Request::builder().method(method).uri(format!("/v1/x?{query}")).body(());
        let (mut parts, ()) = request.unwrap().into_parts();
        let read = Params::<Filter>::from_request_parts(&mut parts, &()).await;
        read.map(|Params(filter)| filter).map_err(|p| p.detail().to_owned())
    }

    #[tokio::test]
    async fn a_query_is_read_strictly() {
        let found = read(Method::GET, "domain=a%2Eexample&limit=").await;
        let domain = Some("a.example".to_owned());
        assert_eq!(found, Ok(Filter { domain, limit: None }));
        for (method, query, says) in [
            (Method::GET, "dry_run=true", "unknown field `dry_run`"),
            (Method::GET, "dry_run=", "unknown field `dry_run`"),
            (Method::GET, "dry_run", "unknown field `dry_run`"),
            (Method::GET, "limit=1&limit=2", "duplicate field `limit`"),
            (Method::GET, "limit=&limit=2", "duplicate field `limit`"),
            (Method::DELETE, "domain=", "`domain` has no value"),
            (Method::DELETE, "dry_run=", "unknown field `dry_run`"),
        ] {
            let error = read(method.clone(), query).await.unwrap_err();
            assert!(error.contains(says), "{method} {query}: {error}");
        }
    }
}
