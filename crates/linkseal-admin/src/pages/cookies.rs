//! The two cookies: the session, which is opaque to the browser, and the language.

use std::time::Duration;

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};
use linkseal_domain::Language;

use super::session::LIFETIME;

/// Browsers accept the prefix `__Host-` only over TLS, for the whole host and from that host itself, so
/// another host under the same domain cannot plant a session.
const SESSION_TLS: &str = "__Host-linkseal";
/// Without TLS, on loopback or with `admin.plain`, the prefix is not available.
const SESSION_PLAIN: &str = "linkseal";
const LANGUAGE: &str = "linkseal_lang";
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn session_name(secure: bool) -> &'static str {
    if secure { SESSION_TLS } else { SESSION_PLAIN }
}

/// The session cookie that was sent.
pub(super) fn session(headers: &HeaderMap, secure: bool) -> Option<&str> {
    find(headers, session_name(secure))
}

/// The language that was chosen earlier.
pub(super) fn language(headers: &HeaderMap) -> Option<Language> {
    Language::parse(find(headers, LANGUAGE)?)
}

/// Sets the session cookie; an empty value deletes it.
///
/// `SameSite=Lax`, not `Strict`, so that a link to a page in a ticket or a mail opens the page instead
/// of the sign-in. Changes are never made by GET, and need a form token, too.
pub(super) fn set_session(value: &str, secure: bool) -> Option<HeaderValue> {
    let age = if value.is_empty() { Duration::ZERO } else { LIFETIME };
    set(session_name(secure), value, age, secure)
}

pub(super) fn set_language(language: Language, secure: bool) -> Option<HeaderValue> {
    set(LANGUAGE, language.tag(), A_YEAR, secure)
}

fn set(name: &str, value: &str, age: Duration, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let age = age.as_secs();
    let text = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).ok()
}

fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|v| v.to_str().ok());
    let mut pairs = all
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}
