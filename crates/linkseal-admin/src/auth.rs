//! Who may do what: bearer tokens (RFC 6750) with roles, or, without any, anyone who is on this
//! machine. Decides before every request, also about what the browser of someone on this machine
//! is made to send.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderMap, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method, Uri, Version};
use linkseal_config::AdminToken;
use linkseal_config::admin::Role;
use linkseal_control::Actor;
use linkseal_domain::DomainName;
use linkseal_store::StoreError;
use secrecy::ExposeSecret;

use super::api::not_registered;
use super::client::{Peer, forwarding_header};
use super::counters::Failure;
use super::endpoint::Rule;
use super::life::Life;
use super::problem::Problem;
use super::scope::{Reach, Scope};
use super::{Context, pages};

/// Who an audit line names on a tokenless loopback port.
const LOCAL: &str = "local";

/// Who may use the API.
pub(super) struct Access {
    tokens: Vec<Token>,
}

/// A token that is known here.
pub(super) struct Token {
    name: String,
    role: Role,
    scope: Scope,
    /// The tokens differ in length, their digests do not: comparing those tells nothing of either.
    digest: Digest,
}

impl Token {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn digest(&self) -> &[u8] {
        self.digest.as_ref()
    }
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    who: String,
    role: Role,
    scope: Scope,
    from: IpAddr,
    /// Of the token. `None`: there are no tokens.
    digest: Option<Digest>,
}

impl Caller {
    /// Anyone who shows a token.
    pub(super) fn of(token: &Token, from: IpAddr) -> Self {
        Self {
            who: token.name.clone(),
            role: token.role,
            scope: token.scope.clone(),
            from,
            digest: Some(token.digest),
        }
    }

    /// Whether no token was shown, since there are none.
    pub(super) fn is_local(&self) -> bool {
        self.digest.is_none()
    }

    /// The token's name.
    pub(super) fn name(&self) -> &str {
        &self.who
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// What they may see.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// As audit lines name them.
    pub(super) fn actor(&self) -> Actor {
        Actor {
            who: self.who.clone(),
            from: self.from,
            tenant: self.scope.tenant().map(str::to_owned),
        }
    }

    /// Refuses what is not for the token of one tenant. `what`: what is not allowed to it.
    pub(super) fn must_see_all(&self, what: &str) -> Result<(), Problem> {
        match self.scope {
            Scope::All => Ok(()),
            _ => Err(
                Problem::forbidden(format!("{what}; the token \"{}\" is of one tenant", self.who)).on_pages(
                    format!(
                        "This page is about all tenants, and the token “{}” is of one.",
                        self.who
                    ),
                    format!(
                        "Diese Seite betrifft alle Mandanten, das Token „{}“ nur einen.",
                        self.who
                    ),
                ),
            ),
        }
    }

    /// Refuses what the caller's role does not allow.
    pub(super) fn must_be(&self, needed: Role) -> Result<(), Problem> {
        if self.role >= needed {
            return Ok(());
        }
        let (has, needed) = (word(self.role), word(needed));
        Err(Problem::forbidden(format!(
            "this needs the role {needed}; the token \"{}\" has {has}",
            self.who
        ))
        .on_pages(
            format!(
                "This needs the role {needed}; the token “{}” has the role {has}.",
                self.who
            ),
            format!(
                "Dafür ist die Rolle {needed} nötig; das Token „{}“ hat die Rolle {has}.",
                self.who
            ),
        ))
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Support => "support",
        Role::Admin => "admin",
    }
}

impl Access {
    pub(super) fn new(tokens: &[AdminToken]) -> Self {
        let tokens = tokens.iter().map(|t| Token {
            name: t.name.clone(),
            role: t.role,
            scope: t.tenant.clone().map_or(Scope::All, Scope::Tenant),
            digest: digest(&SHA256, t.token.expose_secret().as_bytes()),
        });
        Self {
            tokens: tokens.collect(),
        }
    }

    /// Whether there are no tokens: anybody on this machine may do everything.
    pub(super) fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Anyone who is on this machine, where there are no tokens.
    pub(super) fn local(&self, from: IpAddr) -> Result<Caller, Problem> {
        // The configuration allows this on loopback only; a reload does not move the socket.
        if !from.is_loopback() {
            return Err(Problem::unauthorized(
                "no token is configured; only this machine is allowed in",
            ));
        }
        Ok(Caller {
            who: LOCAL.to_owned(),
            role: Role::Admin,
            scope: Scope::All,
            from,
            digest: None,
        })
    }

    /// Whether someone who was let in would be let in now, to no less: for what goes on for long.
    pub(super) fn still_lets_in(&self, caller: &Caller) -> bool {
        let Some(digest) = &caller.digest else {
            return self.is_open();
        };
        self.named(&caller.who).is_some_and(|token| {
            let same = verify_slices_are_equal(token.digest.as_ref(), digest.as_ref()).is_ok();
            same && token.role >= caller.role && token.scope == caller.scope
        })
    }

    /// The token that someone shows. `None`: it is not known here.
    pub(super) fn find(&self, given: &[u8]) -> Option<&Token> {
        let given = digest(&SHA256, given);
        let mut found = None;
        // All are compared, so that the time tells neither whether one fits nor which.
        for token in &self.tokens {
            if verify_slices_are_equal(token.digest.as_ref(), given.as_ref()).is_ok() {
                found = Some(token);
            }
        }
        found
    }

    /// The token of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Token> {
        self.tokens.iter().find(|t| t.name == name)
    }
}

/// Who shows the token in the headers. A right one always lets in; answers to wrong ones are bounded.
fn identify(context: &Context, access: &Access, headers: &HeaderMap, from: IpAddr) -> Result<Caller, Problem> {
    if access.is_open() {
        return access.local(from);
    }
    let Some(given) = headers.get(AUTHORIZATION).and_then(|v| bearer(v.as_bytes())) else {
        context.counters.refused(Failure::NoToken);
        return Err(Problem::unauthorized("send a token: Authorization: Bearer …"));
    };
    match access.find(given) {
        Some(token) => Ok(Caller::of(token, from)),
        None => Err(wrong_token(context, from)
            .err()
            .unwrap_or_else(|| Problem::unauthorized("this token is not known here"))),
    }
}

/// Counts a token that is not known here. `Err`: too many came; the refusal says when to come back.
pub(super) fn wrong_token(context: &Context, from: IpAddr) -> Result<(), Problem> {
    let now = context.control.clock().now();
    context.throttle.failed(from, now).map_err(|until| {
        context.counters.refused(Failure::Throttled);
        Problem::guesses(until, now)
    })?;
    context.counters.refused(Failure::UnknownToken);
    Ok(())
}

/// The token in an Authorization header (RFC 6750 §2.1). `None`: another scheme.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Around every request: lets it through to its endpoint, or refuses it; every answer is marked as
/// not for caches and as what its content type says.
pub(super) async fn guard(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    if pages::is_for_people(&request) {
        return pages::not_found(&context, request).await;
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (mut parts, body) = request.into_parts();
    let mut response = match admit(&context, &mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    tracing::debug!(%method, path, status = response.status().as_u16(), "admin request");
    response
}

async fn admit(context: &Context, parts: &mut Parts) -> Result<(), Problem> {
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
        vouch(parts);
        must_reach(context, &caller, rule.reach, parts).await?;
        parts.extensions.insert(caller);
    }
    check_origin(&parts.method, &parts.headers)
}

/// Notes on the connection that a right token was shown: it is the last to be closed for another.
pub(super) fn vouch(parts: &Parts) {
    if let Some(life) = parts.extensions.get::<Arc<Life>>() {
        life.vouched();
    }
}

/// Who a request is for. What has no endpoint is told from what has one only to those who may read.
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

/// Refuses what is beyond what the caller may see.
pub(super) async fn must_reach(
    context: &Context,
    caller: &Caller,
    reach: Reach,
    parts: &mut Parts,
) -> Result<(), Problem> {
    match (&caller.scope, reach) {
        (Scope::All, _) | (_, Reach::General | Reach::Narrowed) => Ok(()),
        (scope, Reach::Domain) => {
            let name = domain_in_path(parts).await?;
            let record = match context.control.store().domain(&name).await {
                // Whose it is cannot be read: it is told to those who see all.
                Err(StoreError::Unreadable { .. }) => None,
                record => record?,
            };
            match record.is_some_and(|r| scope.holds(&r)) {
                true => Ok(()),
                false => Err(not_registered(&name)),
            }
        }
        (_, Reach::Fleet) => caller.must_see_all("this is about all tenants"),
    }
}

async fn domain_in_path(parts: &mut Parts) -> Result<DomainName, Problem> {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let params = params.map_err(|e| Problem::invalid(e.body_text()))?;
    let name = params.iter().find(|(key, _)| *key == "name").map(|(_, value)| value);
    DomainName::parse(name.unwrap_or_default()).map_err(|e| Problem::invalid_name("the name in the path", e))
}

/// Without tokens only this machine is let in, and everything on it may do everything. So a proxy
/// must not carry others' requests in here, nor must the browser of someone on this machine be led
/// here under a name that was rebound to loopback: only names that no one else can give count as
/// Host.
pub(super) fn check_direct(parts: &Parts) -> Result<(), Problem> {
    if let Some(header) = forwarding_header(&parts.headers) {
        return Err(Problem::forbidden(format!(
            "without admin.tokens requests that a proxy hands on are refused (this one has {header}): everybody \
             behind the proxy could do everything; configure a token, or connect without the proxy"
        )));
    }
    // What nginx speaks to its back ends unless told otherwise, with nothing else to know it by.
    if parts.version < Version::HTTP_11 {
        return Err(Problem::forbidden(
            "without admin.tokens requests in HTTP/1.0 are refused, since proxies speak it; configure a token, or \
             use HTTP/1.1",
        ));
    }
    check_host(&parts.uri, &parts.headers)
}

fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let header = headers.get(HOST).and_then(|h| h.to_str().ok());
    let all = [header, uri.authority().map(|a| a.as_str())];
    let named = all.iter().flatten().count() > 0;
    if named && all.into_iter().flatten().all(is_loopback) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "without admin.tokens the Host must be localhost, 127.0.0.1 or [::1]; configure a token to use another name",
    ))
}

fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<http::uri::Authority>() else {
        return false;
    };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// A browser names the page that makes it send a request: another site's must not change anything.
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
        "the request comes from a page of another origin; send it from here, or without Origin",
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
        ] {
            assert!(!is_loopback(host), "{host}");
        }
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
