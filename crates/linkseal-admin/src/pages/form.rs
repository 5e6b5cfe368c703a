//! What forms send: read in bounds, refused when another site's page had them sent.
//!
//! Two things are asked of every request that changes something. It comes from a page of ours, as
//! the browser says (`Sec-Fetch-Site`, else `Origin`); and it carries what only a page of ours
//! could know: the form token of the visitor's session, or of their share link.

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

/// The largest form in bytes: the names of an import are pasted into one.
pub(super) const MAX_FORM: usize = 1 << 20;
/// The largest form of those who have not signed in: that to sign in, and a guest's button.
pub(super) const MAX_SMALL: usize = 4 * 1024;
/// How long a form may take.
const FORM_TIME: Duration = Duration::from_secs(30);
/// The field that holds the form token.
const FIELD: &str = "csrf";
/// The same for scripts.
const HEADER: &str = "x-csrf-token";

/// The fields of a form, read by [`Form`].
#[derive(Clone, Default)]
struct Fields(Vec<(String, String)>);

/// The fields of the form that was sent; unknown ones are refused, empty ones are absent.
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

/// Refuses what another site's page had sent. `own`: the hosts this port is known under.
pub(super) fn check_source(headers: &HeaderMap, own: &[&str]) -> Result<(), Problem> {
    // Browsers say it themselves, and no page can make them say otherwise.
    if let Some(site) = headers.get("sec-fetch-site") {
        return match site.as_bytes() {
            b"same-origin" => Ok(()),
            _ => Err(elsewhere()),
        };
    }
    let origin = headers.get(ORIGIN).and_then(|o| o.to_str().ok());
    let origin = origin.and_then(|o| o.split_once("://")).map(|(_, o)| o);
    match origin {
        Some(origin) if own.iter().any(|o| o.eq_ignore_ascii_case(origin)) => Ok(()),
        _ => Err(elsewhere()),
    }
}

fn elsewhere() -> Problem {
    Problem::forbidden(
        "the form was not sent from a page of this server, or the browser did not say so (Sec-Fetch-Site, Origin)",
    )
}

/// Reads a form and lets it pass when its token `is_right`. What is not a form, such as a file that
/// a script sends, passes unread with the token in a header.
pub(super) async fn read(
    parts: &mut Parts,
    body: Body,
    max: usize,
    language: Language,
    is_right: impl Fn(&str) -> bool,
) -> Result<Body, Problem> {
    let refused = || {
        Problem::forbidden(language.pick(
            "The form belongs to another session or an earlier one. Load its page again and send it once more.",
            "Das Formular gehört zu einer anderen oder früheren Sitzung. Laden Sie die Seite neu und senden Sie es noch einmal.",
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
        false => Problem::invalid("the form broke off"),
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
    fn only_our_own_pages_send_forms() {
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
