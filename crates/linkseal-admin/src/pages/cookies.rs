//! The two cookies: the session's, which no one but the server reads, and the language's.

use std::time::Duration;

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};
use linkseal_domain::Language;

use super::session::LIFETIME;

/// `__Host-` has browsers refuse it from another host, without TLS and for a part of the paths:
/// no neighbour under the same domain can plant a session.
const SESSION_TLS: &str = "__Host-linkseal";
/// Without TLS, on loopback or where `admin.plain` is set, there is no such promise.
const SESSION_PLAIN: &str = "linkseal";
const LANGUAGE: &str = "linkseal_lang";
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn session_name(secure: bool) -> &'static str {
    if secure { SESSION_TLS } else { SESSION_PLAIN }
}

/// The session's cookie, as it was sent.
pub(super) fn session(headers: &HeaderMap, secure: bool) -> Option<&str> {
    find(headers, session_name(secure))
}

/// The language that was chosen before.
pub(super) fn language(headers: &HeaderMap) -> Option<Language> {
    Language::parse(find(headers, LANGUAGE)?)
}

/// Sets the session's cookie; empty: takes it away.
///
/// `SameSite=Lax`, not `Strict`: a link to a domain's page in a ticket or a mail opens that page
/// and not the sign-in. What changes something is never a GET, and asks for a form token too.
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
