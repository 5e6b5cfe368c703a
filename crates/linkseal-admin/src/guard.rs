//! In front of every API endpoint: identifies the caller, checks role and reach, and refuses what a
//! proxy or another site's page may have sent. The pages use the same checks (`pages/frame.rs`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderMap, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method, Uri, Version};
use linkseal_base::log_path::with_cut_segments;
use linkseal_store::StoreError;

use crate::access::{Access, Caller};
use crate::context::Context;
use crate::counters::AuthFailure;
use crate::input::PathDomain;
use crate::peer::Peer;
use crate::port::watchdog::Watchdog;
use crate::problem::Problem;
use crate::proxies::forwarding_header;
use crate::scope::{Reach, Rule, Scope};

/// The layer: passes a request on to its endpoint or refuses it. Every answer is marked `no-store`
/// and `nosniff`.
pub(crate) async fn guard(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = tracing::enabled!(tracing::Level::DEBUG).then(|| logged_path(&request));
    let (mut parts, body) = request.into_parts();
    let mut response = match admit(&context, &mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = response.extensions().get::<Problem>() {
        context.log(problem);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    tracing::debug!(%method, path = path.unwrap_or_default(), status = response.status().as_u16(), "admin request");
    response
}

/// The path as it is logged. Unless it is an endpoint's, which holds no secret, its segments are cut: it
/// may be a misspelled share link.
fn logged_path(request: &Request) -> String {
    let path = request.uri().path();
    match request.extensions().get::<MatchedPath>() {
        Some(_) => path.to_owned(),
        None => with_cut_segments(path),
    }
}

async fn admit(context: &Context, parts: &mut Parts) -> Result<(), Problem> {
    check_one_host(&parts.headers)?;
    let live = context.live.load_full();
    let rule = rule(context, parts);
    if let Some(needed) = rule.role {
        if live.access.is_open() {
            check_direct(parts)?;
        }
        let from = parts.extensions.get::<Peer>().map(|p| p.ip);
        let from = from.ok_or_else(|| Problem::forbidden("the address of the request is not known"))?;
        let caller = identify(context, &live.access, &parts.headers, from)?;
        caller.must_be(needed)?;
        mark_authenticated(parts);
        must_reach(context, &caller, rule.reach, parts).await?;
        parts.extensions.insert(caller);
    }
    check_origin(&parts.method, &parts.headers)
}

/// The caller by the token in the headers. A valid token is always admitted; only the answers to
/// invalid ones are rate-limited.
fn identify(context: &Context, access: &Access, headers: &HeaderMap, from: IpAddr) -> Result<Caller, Problem> {
    if access.is_open() {
        return access.local(from);
    }
    let Some(given) = headers.get(AUTHORIZATION).and_then(|v| bearer(v.as_bytes())) else {
        context.counters.auth_failed(AuthFailure::NoToken);
        return Err(Problem::unauthorized("send a token: Authorization: Bearer …"));
    };
    match access.find(given) {
        Some(token) => Ok(Caller::of(token, from)),
        None => Err(unknown_token(context, from)
            .err()
            .unwrap_or_else(|| Problem::unauthorized("this token is not known here"))),
    }
}

/// Counts an unknown token. An error when there were too many: it says when to try again.
pub(crate) fn unknown_token(context: &Context, from: IpAddr) -> Result<(), Problem> {
    let now = context.now();
    context.throttle.unknown_token(from, now).map_err(|until| {
        context.counters.auth_failed(AuthFailure::Throttled);
        Problem::too_many_guesses(until, now)
    })?;
    context.counters.auth_failed(AuthFailure::UnknownToken);
    Ok(())
}

/// The token of an Authorization header (RFC 6750 §2.1); `None` for another scheme.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Protects the connection of a request with a valid token from being evicted for others.
pub(crate) fn mark_authenticated(parts: &Parts) {
    if let Some(watchdog) = parts.extensions.get::<Arc<Watchdog>>() {
        watchdog.authenticated();
    }
}

/// The rule of the endpoint that a request matched. Paths without an endpoint need a token, too, so
/// that only authenticated callers learn which paths exist.
fn rule(context: &Context, parts: &Parts) -> Rule {
    let method = match parts.method {
        Method::HEAD => Method::GET,
        ref method => method.clone(),
    };
    let path = parts.extensions.get::<MatchedPath>();
    let known = path.and_then(|path| {
        let mut all = context.rules.iter();
        all.find(|((m, p), _)| *m == method && *p == path.as_str())
    });
    known.map_or(Rule::UNKNOWN, |(_, rule)| *rule)
}

/// Refuses what is outside the caller's scope.
pub(crate) async fn must_reach(
    context: &Context,
    caller: &Caller,
    reach: Reach,
    parts: &mut Parts,
) -> Result<(), Problem> {
    match (caller.scope(), reach) {
        (Scope::All, _) | (_, Reach::General | Reach::Narrowed) => Ok(()),
        (scope, Reach::Domain) => {
            let PathDomain(name) = PathDomain::from_request_parts(parts, &()).await?;
            let record = match context.control.store().domain(&name).await {
                // The tenant of an unreadable record is unknown, so only callers who see all get it.
                Err(StoreError::Unreadable { .. }) => None,
                record => record?,
            };
            match record.is_some_and(|r| scope.holds(&r)) {
                true => Ok(()),
                false => Err(Problem::not_registered(&name)),
            }
        }
        (_, Reach::Fleet) => caller.must_see_all("this covers all tenants"),
    }
}

/// Without tokens, every client on this machine has every right. So a proxy must not forward other
/// clients' requests to this port, and DNS rebinding must not make a local browser send them: only
/// Host names that cannot be rebound to loopback are accepted.
pub(crate) fn check_direct(parts: &Parts) -> Result<(), Problem> {
    if let Some(header) = forwarding_header(&parts.headers) {
        return Err(Problem::forbidden(format!(
            "without admin.tokens, requests forwarded by a proxy are refused (this one has {header}), because every \
             client of the proxy would have every right; configure a token, or connect without the proxy"
        )));
    }
    // nginx speaks HTTP/1.0 to its back ends by default and adds no header that gives it away.
    if parts.version < Version::HTTP_11 {
        return Err(Problem::forbidden(
            "without admin.tokens, HTTP/1.0 requests are refused, because proxies send them; configure a token, or \
             use HTTP/1.1",
        ));
    }
    check_host(&parts.uri, &parts.headers)
}

/// Refuses several Host headers (RFC 9112 §3.2), of which the checks would read the first only.
pub(crate) fn check_one_host(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get_all(HOST).iter().count() {
        0 | 1 => Ok(()),
        _ => Err(Problem::invalid("the request has more than one Host header; send one")),
    }
}

fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    // One that is not text is not loopback.
    let header = headers.get(HOST).map(|h| h.to_str().unwrap_or_default());
    let all = [header, uri.authority().map(|a| a.as_str())];
    let named = all.iter().flatten().count() > 0;
    if named && all.into_iter().flatten().all(is_loopback) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "without admin.tokens, the Host must be localhost, 127.0.0.1 or [::1]; configure a token to use another name",
    ))
}

/// Whether it is exactly a name or address of loopback, with or without a port (RFC 9110 §7.2).
fn is_loopback(authority: &str) -> bool {
    let (is_loopback, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                return false;
            };
            let address = address.parse::<Ipv6Addr>();
            (address.is_ok_and(|ip| ip.to_canonical().is_loopback()), port)
        }
        None => {
            let colon = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(colon);
            let is_loopback = host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
            (is_loopback || host.eq_ignore_ascii_case("localhost"), port)
        }
    };
    let is_number = |p: &str| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok();
    is_loopback && (port.is_empty() || port.strip_prefix(':').is_some_and(is_number))
}

/// Refuses changes that another site's page sends: browsers put that site into Origin.
fn check_origin(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN).filter(|_| !method.is_safe()) else {
        return Ok(());
    };
    let origin = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, o)| o);
    let host = headers.get(HOST).and_then(|h| h.to_str().ok());
    if origin.zip(host).is_some_and(|(o, h)| o.eq_ignore_ascii_case(h)) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "the request comes from a page of another origin; send it from this origin, or without Origin",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loopback() {
        for host in [
            "localhost",
            "LocalHost:9180",
            "127.0.0.1",
            "127.8.8.8:1",
            "[::1]:9180",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9180",
            "10.0.0.1",
            "[::2]:1",
            "",
            "127.0.0.1.nip.example",
            "[::1].evil.example",
            "[::1",
            "[127.0.0.1]",
            "::1",
            "user@localhost",
            "evil.example:@localhost",
            "localhost:@evil.example",
            "localhost:+80",
            "localhost:",
            "localhost:65536",
            "localhost ",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn several_hosts_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert!(check_one_host(&headers).is_ok());
        headers.append(HOST, HeaderValue::from_static("evil.example"));
        assert!(check_one_host(&headers).is_err());
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }

    #[test]
    fn another_origin_changes_nothing() {
        let check = |method: Method, origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("127.0.0.1:9180"));
            headers.insert(ORIGIN, origin.parse().unwrap());
            check_origin(&method, &headers).is_ok()
        };
        assert!(check(Method::POST, "http://127.0.0.1:9180"));
        assert!(!check(Method::POST, "http://127.0.0.1:3000"));
        assert!(!check(Method::DELETE, "https://evil.example"));
        assert!(!check(Method::POST, "null"));
        assert!(check(Method::GET, "https://evil.example"));
        assert!(check_origin(&Method::POST, &HeaderMap::new()).is_ok());
    }
}
