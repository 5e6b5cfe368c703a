//! Reads forms within bounds, and refuses forms that another site's page sent (CSRF).
//!
//! Every request that changes something must come from one of these pages according to the browser
//! (`Sec-Fetch-Site`, else `Origin`), and carry what only these pages know: the form token of the
//! visitor's session or share link.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use http::header::{CONTENT_TYPE, HeaderMap, ORIGIN};
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use linkseal_domain::Language;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::problem::Problem;

/// The largest form in bytes: an import is pasted into one.
pub(super) const MAX_FORM: usize = 1 << 20;
/// The largest form of visitors who are not signed in: the sign-in, and a guest's buttons.
pub(super) const MAX_SMALL: usize = 4 * 1024;
/// How long receiving a form may take.
const FORM_TIME: Duration = Duration::from_secs(30);
/// The field with the form token.
const FIELD: &str = "csrf";
/// The header with the form token, for scripts.
const HEADER: &str = "x-csrf-token";

#[derive(Clone, Default)]
struct Fields(Vec<(String, String)>);

/// The fields of a form. Unknown ones are refused, empty ones count as absent.
pub(crate) struct Form<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Fields(all) = parts.extensions.remove().unwrap_or_default();
        let given = all.into_iter().filter(|(_, value)| !value.is_empty());
        let object = given.map(|(key, value)| (key, Value::String(value))).collect();
        serde_json::from_value(Value::Object(object))
            .map(Self)
            .map_err(|e| Problem::invalid(format!("the form: {e}")))
    }
}

/// Refuses forms that another site's page sent. `own`: the host names of this port.
pub(super) fn check_source(headers: &HeaderMap, own: &[&str]) -> Result<(), Problem> {
    // Set by the browser; pages cannot change it.
    if let Some(site) = headers.get("sec-fetch-site") {
        return match site.as_bytes() {
            b"same-origin" => Ok(()),
            _ => Err(foreign()),
        };
    }
    let origin = headers.get(ORIGIN).and_then(|o| o.to_str().ok());
    let origin = origin.and_then(|o| o.split_once("://")).map(|(_, o)| o);
    match origin {
        Some(origin) if own.iter().any(|o| o.eq_ignore_ascii_case(origin)) => Ok(()),
        _ => Err(foreign()),
    }
}

fn foreign() -> Problem {
    Problem::forbidden(
        "the form was not sent by a page of this server, or the browser did not confirm it (Sec-Fetch-Site, Origin)",
    )
}

/// Reads a form whose token `is_right`. Other bodies, such as a file that a script uploads, pass unread
/// if the token is in a header.
pub(super) async fn read(
    parts: &mut Parts,
    body: Body,
    max: usize,
    language: Language,
    is_right: impl Fn(&str) -> bool,
) -> Result<Body, Problem> {
    let refused = || {
        Problem::forbidden(language.pick(
            "This form belongs to a different or expired session. Please reload the page and try again.",
            "Dieses Formular gehört zu einer anderen oder abgelaufenen Sitzung. Bitte laden Sie die Seite neu und versuchen Sie es erneut.",
        ))
    };
    let header = parts.headers.get(HEADER).and_then(|h| h.to_str().ok());
    let mut right = header.is_some_and(&is_right);
    if !is_form(&parts.headers) {
        return if right { Ok(body) } else { Err(refused()) };
    }
    let bytes = bounded(body, max).await?;
    let mut fields: Vec<(String, String)> = form_urlencoded::parse(&bytes).into_owned().collect();
    right |= fields.iter().any(|(key, value)| key == FIELD && is_right(value));
    if !right {
        return Err(refused());
    }
    fields.retain(|(key, _)| key != FIELD);
    parts.extensions.insert(Fields(fields));
    Ok(Body::empty())
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

async fn bounded(body: Body, max: usize) -> Result<Bytes, Problem> {
    let read = timeout(FORM_TIME, Limited::new(body, max).collect()).await;
    let read = read.map_err(|_| Problem::too_slow(format!("the form took longer than {} s", FORM_TIME.as_secs())))?;
    let read = read.map_err(|e| match e.is::<LengthLimitError>() {
        true => Problem::too_large(format!("the form is larger than {max} bytes")),
        false => Problem::invalid("the form was cut off"),
    })?;
    Ok(read.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(site: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(site) = site {
            headers.insert("sec-fetch-site", site.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        check_source(&headers, &["127.0.0.1:9180", "ssl.platform.example"]).is_ok()
    }

    #[test]
    fn only_forms_of_own_pages_are_accepted() {
        assert!(allowed(Some("same-origin"), None));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!allowed(Some(site), Some("http://127.0.0.1:9180")), "{site}");
        }
        assert!(allowed(None, Some("http://127.0.0.1:9180")));
        assert!(allowed(None, Some("https://SSL.platform.example")));
        for origin in [
            "null",
            "https://evil.example",
            "http://127.0.0.1:3000",
            "127.0.0.1:9180",
        ] {
            assert!(!allowed(None, Some(origin)), "{origin}");
        }
        assert!(!allowed(None, None));
    }
}
