//! One request: is the host right, which route is it, who answers.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use hyper::body::Incoming;
use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::admission::{Admitted, ClientNetwork};
use linkseal_domain::registry::Entry;
use linkseal_domain::ssl::Reason;
use linkseal_event::Appending;
use linkseal_link::{Kind, Token, VerifiedToken, decoded, encoded_target, token_in};
use linkseal_net::shares::network;

use super::context::Settings;
use super::forwarded::came_over_https;
use super::host::Host;
use super::pages::{language, not_found};
use super::reply::{self, Reply};
use super::router::{Route, RouteLabel, route};
use super::server::Session;
use super::{challenge, click, open, record, redirect, unsubscribe, upstream, well_known};
use crate::TlsInfo;

/// What answers a request, and how metrics call it.
pub(super) struct Answer {
    pub(super) route: RouteLabel,
    pub(super) step: Step,
}

impl Answer {
    /// For what would have to be waited for on a connection that has no time for it.
    fn come_again(route: RouteLabel, headers: &HeaderMap) -> Self {
        let step = Step::Done(upstream::come_again(headers));
        Self { route, step }
    }

    /// Adds what the domain promises of HTTPS; over a back end's own word.
    fn with_hsts(mut self, hsts: HeaderValue) -> Self {
        self.step = match self.step {
            Step::Done(mut reply) => {
                reply.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
                Step::Done(reply)
            }
            Step::Slow(reply) => Step::Slow(Box::pin(async move {
                let mut reply = reply.await;
                reply.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
                reply
            })),
        };
        self
    }
}

/// How far an answer is.
pub(super) enum Step {
    /// There.
    Done(Reply),
    /// To be waited for: rare, so it is kept out of every connection's future.
    Slow(Pin<Box<dyn Future<Output = Reply> + Send>>),
}

/// A request to a domain that is served here.
pub(super) struct Exchange<'r> {
    pub(super) session: &'r Session,
    pub(super) settings: &'r Settings,
    pub(super) method: &'r Method,
    pub(super) uri: &'r Uri,
    pub(super) version: Version,
    pub(super) headers: &'r HeaderMap,
    pub(super) now: Timestamp,
    pub(super) entry: &'r Entry,
}

/// Decides one request, as far as that goes without waiting.
pub(super) fn respond(session: &Arc<Session>, request: Request<Incoming>) -> Answer {
    let settings = session.context.settings.load();
    let found = route(request.uri().path(), &settings.prefix);
    let host = Host::of(&request);
    if let Route::Challenge { token } = found {
        // For any host, and before anything else: a name that is being validated may not be
        // known on this node yet.
        let step = match found.allow().filter(|_| !found.allows(request.method())) {
            Some(allow) => Step::Done(reply::method_not_allowed(allow)),
            None => challenge::answer(session, request.method(), token, host.ok().flatten()),
        };
        return Answer {
            route: found.label(),
            step,
        };
    }
    let gate = match (host, &session.connection.tls) {
        (Err(_), _) => Gate::refuse(StatusCode::BAD_REQUEST),
        (Ok(_), Some(tls)) if tls.challenges_only => Gate::refuse(StatusCode::NOT_FOUND),
        (Ok(host), Some(tls)) => over_tls(session, &settings, found, tls, host),
        (Ok(Some(host)), None) => in_the_clear(session, &settings, &request, host),
        (Ok(None), None) => Gate::refuse(StatusCode::NOT_FOUND),
    };
    match gate {
        Gate::Serve(entry) => {
            let answer = serve(session, &settings, request, &entry);
            match entry.hsts().filter(|_| session.connection.tls.is_some()) {
                Some(hsts) => answer.with_hsts(hsts.clone()),
                None => answer,
            }
        }
        Gate::Answered(route, reply) => Answer {
            route,
            step: Step::Done(reply),
        },
        Gate::Ask(_) if session.is_brief() => Answer::come_again(found.label(), request.headers()),
        Gate::Ask(name) => Answer {
            route: found.label(),
            step: Step::Slow(Box::pin(ask(Arc::clone(session), request, name))),
        },
    }
}

/// What the host of a request comes to.
enum Gate {
    /// It is served here, as this domain.
    Serve(Arc<Entry>),
    /// That was all.
    Answered(RouteLabel, Reply),
    /// Admission has to be asked for first.
    Ask(DomainName),
}

impl Gate {
    fn refuse(status: StatusCode) -> Self {
        Self::Answered(RouteLabel::Refused, reply::empty(status))
    }
}

/// HTTPS: the host must be the one whose certificate was shown.
fn over_tls(session: &Session, settings: &Settings, found: Route<'_>, tls: &TlsInfo, host: Option<Host<'_>>) -> Gate {
    let right = match (&tls.name, host) {
        (Some(name), Some(host)) => {
            host.is(name.as_str()) || (found == Route::Healthz && host.is_address() && settings.is_edge(name.as_str()))
        }
        (None, Some(host)) => {
            host.is(settings.edge_name.as_str())
                || settings.aliases.iter().any(|a| host.is(a.as_str()))
                || host.is_address()
        }
        // HTTP/1.0 names no host: the certificate shown tells.
        (_, None) => true,
    };
    if !right {
        return Gate::refuse(StatusCode::MISDIRECTED_REQUEST);
    }
    // The entry as it is now: a connection may outlive a change of tenant, or the domain itself.
    match session.context.registry.get(tls.entry.name.as_str()) {
        Some(entry) => Gate::Serve(entry),
        None if session.context.registry.is_loaded() => Gate::refuse(StatusCode::MISDIRECTED_REQUEST),
        None => Gate::Serve(Arc::clone(&tls.entry)),
    }
}

/// Port 80: to HTTPS where that works, else what must not break meanwhile.
fn in_the_clear(session: &Session, settings: &Settings, request: &Request<Incoming>, host: Host<'_>) -> Gate {
    let context = &session.context;
    let is_address = host.is_address();
    if route(request.uri().path(), &settings.prefix) == Route::Healthz
        && (is_address || host.lower(|name| settings.is_edge(name)) == Some(true))
    {
        return Gate::Answered(RouteLabel::Healthz, well_known::healthz(context, request.method()));
    }
    if is_address {
        return Gate::refuse(StatusCode::NOT_FOUND);
    }
    if let Some(entry) = host.lower(|name| context.registry.get(name)).flatten() {
        return of_domain(session, settings, request, entry);
    }
    // All admitted names are in memory once the registry is loaded; until then admission is asked.
    match DomainName::parse(host.as_str()) {
        Ok(name) if !context.registry.is_loaded() => Gate::Ask(name),
        _ => Gate::refuse(StatusCode::NOT_FOUND),
    }
}

/// Port 80, for a name that is not in memory.
async fn ask(session: Arc<Session>, request: Request<Incoming>, name: DomainName) -> Reply {
    let asking = ClientNetwork::of(network(session.connection.client.ip()));
    let entry = match session.context.admission.admit(&name, asking).await {
        Admitted::Yes(entry) => entry,
        Admitted::No => return reply::empty(StatusCode::NOT_FOUND),
        Admitted::Unreachable => return reply::empty(StatusCode::SERVICE_UNAVAILABLE),
    };
    let step = {
        let settings = session.context.settings.load();
        match of_domain(&session, &settings, &request, entry) {
            Gate::Serve(entry) => serve(&session, &settings, request, &entry).step,
            Gate::Answered(_, reply) => Step::Done(reply),
            Gate::Ask(_) => Step::Done(reply::empty(StatusCode::NOT_FOUND)),
        }
    };
    step.settle().await
}

/// Port 80, for a domain that is known.
fn of_domain(session: &Session, settings: &Settings, request: &Request<Incoming>, entry: Arc<Entry>) -> Gate {
    if entry.is_issued(session.context.clock.now()) {
        if came_over_https(request.headers()) {
            return Gate::Serve(entry);
        }
        return Gate::Answered(RouteLabel::ToHttps, to_https(settings, &entry, request));
    }
    if entry.http_while_pending && entry.reason != Reason::Denied {
        return Gate::Serve(entry);
    }
    Gate::refuse(StatusCode::NOT_FOUND)
}

/// 302, which old clients follow too (308 they show as an error), for what is only read; for all else
/// 308, which keeps the method: a one-click POST to an `http` link must arrive as one.
fn to_https(settings: &Settings, entry: &Entry, request: &Request<Incoming>) -> Reply {
    let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let port = match settings.public_https_port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let status = match *request.method() {
        Method::GET | Method::HEAD => StatusCode::FOUND,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    match HeaderValue::try_from(format!("https://{}{port}{}", entry.name, encoded_target(target))) {
        Ok(location) if target.starts_with('/') => reply::redirect(status, location),
        // `OPTIONS *` and such.
        _ => reply::empty(StatusCode::NOT_FOUND),
    }
}

/// A request to a domain, on a connection where it may be served.
fn serve(session: &Arc<Session>, settings: &Settings, request: Request<Incoming>, entry: &Arc<Entry>) -> Answer {
    let found = route(request.uri().path(), &settings.prefix);
    let label = found.label();
    let method = request.method();
    let belongs = !(found.names_tenant() || found == Route::Healthz) || settings.is_edge(entry.name.as_str());
    let found = match found {
        _ if !belongs => Route::Other,
        Route::AppleAppSiteAssociationAtRoot if entry.apple_app_site_association().is_none() => Route::Other,
        found => found,
    };
    let x = Exchange {
        session,
        settings,
        method,
        uri: request.uri(),
        version: request.version(),
        headers: request.headers(),
        now: session.context.clock.now(),
        entry,
    };
    if let Some(allow) = found.allow().filter(|_| !found.allows(method)) {
        if let Some(rule) = x.rule_for(found).filter(|_| !x.is_ours(found)) {
            return passed_on(session, request, entry, &rule);
        }
        return Answer {
            route: label,
            step: Step::Done(reply::method_not_allowed(allow)),
        };
    }
    if method == Method::POST && matches!(found, Route::Unsubscribe { .. }) {
        if let Some(rule) = x.rule_for(found).filter(|_| !x.is_ours(found)) {
            return passed_on(session, request, entry, &rule);
        }
        let step = Step::Slow(Box::pin(unsubscribe::post(
            Arc::clone(session),
            request,
            Arc::clone(entry),
        )));
        return Answer { route: label, step };
    }
    let own = match found {
        Route::Open { tenant, token } => open::answer(&x, tenant, token),
        Route::Click { tenant, token } => click::answer(&x, tenant, token),
        Route::Unsubscribe { tenant, token } => unsubscribe::ask(&x, tenant, token).map(|page| (page, None)),
        Route::Redirect { slug } => match redirect::cached(&x, slug) {
            Some(meant) => redirect::answer(&x, meant),
            None if session.is_brief() => return Answer::come_again(label, x.headers),
            None => {
                let (session, entry) = (Arc::clone(session), Arc::clone(entry));
                let step = Step::Slow(Box::pin(redirect::look_up(session, request, entry)));
                return Answer { route: label, step };
            }
        },
        Route::AppleAppSiteAssociation | Route::AppleAppSiteAssociationAtRoot => {
            Some((well_known::app_links(&x, entry.apple_app_site_association()), None))
        }
        Route::AssetLinks => Some((well_known::app_links(&x, entry.asset_links()), None)),
        Route::Robots => Some((well_known::robots(), None)),
        Route::TrafficAdvice => Some((well_known::traffic_advice(), None)),
        Route::Healthz => Some((well_known::healthz(&session.context, method), None)),
        Route::Challenge { .. } | Route::Other => None,
    };
    let (reply, event) = match own {
        Some(own) => own,
        None => match x.rule_for(found) {
            Some(rule) => return passed_on(session, request, entry, &rule),
            None => (x.nowhere(found), None),
        },
    };
    let step = Step::after(reply::for_method(reply, method), event);
    Answer { route: label, step }
}

/// To the back end of a rule. Boxed whole: what it takes must not take room in every connection.
fn passed_on(
    session: &Arc<Session>,
    request: Request<Incoming>,
    entry: &Arc<Entry>,
    rule: &Arc<upstream::Rule>,
) -> Answer {
    if session.is_brief() {
        return Answer::come_again(RouteLabel::Upstream, request.headers());
    }
    let (session, entry, rule) = (Arc::clone(session), Arc::clone(entry), Arc::clone(rule));
    Answer {
        route: RouteLabel::Upstream,
        step: Step::Slow(Box::pin(upstream::forward(session, request, entry, rule))),
    }
}

impl Step {
    /// The reply goes out when the event is written, if there is one to wait for.
    pub(super) fn after(reply: Reply, event: Option<Appending>) -> Self {
        match event.filter(|event| !event.is_settled()) {
            Some(event) => Self::Slow(Box::pin(async move {
                // Serving beats counting: the journal has counted and logged what it could not take.
                let _ = event.written().await;
                reply
            })),
            None => Self::Done(reply),
        }
    }

    /// Waits for what is left.
    pub(super) async fn settle(self) -> Reply {
        match self {
            Self::Done(reply) => reply,
            Self::Slow(reply) => reply.await,
        }
    }
}

impl Exchange<'_> {
    /// Verifies a link's token for the tenant in the path, else for those of the domain, and
    /// calls `f` with it: as it is written, else without what was appended to it. `None`: it is not
    /// to be served.
    pub(super) fn verified<T>(
        &self,
        kind: Kind,
        tenant: Option<&str>,
        token: &str,
        f: impl FnOnce(&VerifiedToken<'_>) -> Option<T>,
    ) -> Option<T> {
        let named = tenant.map(decoded);
        let whole = Token::decode(token).ok();
        if let Some(verified) = self.verify(kind, named.as_ref(), whole.as_ref()) {
            return f(&verified);
        }
        let cut = token_in(token).and_then(|cut| Token::decode(&cut).ok());
        if let Some(verified) = self.verify(kind, named.as_ref(), cut.as_ref()) {
            return f(&verified);
        }
        record::wrong_token(self, token);
        None
    }

    /// `named`: the tenant in the path, which may be no text.
    fn verify<'t>(
        &'t self,
        kind: Kind,
        named: Option<&'t Option<Cow<'t, str>>>,
        token: Option<&'t Token>,
    ) -> Option<VerifiedToken<'t>> {
        let token = token.filter(|t| t.kind() == kind)?;
        let keys = &self.settings.keys;
        match named {
            Some(tenant) => token.verify(keys, [tenant.as_deref()?]).ok(),
            None => {
                let former = self.entry.former_tenants().iter().map(String::as_str);
                token
                    .verify(keys, std::iter::once(self.entry.tenant()).chain(former))
                    .ok()
            }
        }
    }

    /// Whether a link is older than links may be. Not asked for unsubscribing: anyone who wants to
    /// leave a list may do so as long as the key lives.
    pub(super) fn is_too_old(&self, token: &VerifiedToken<'_>) -> bool {
        let age = || self.now.saturating_since(record::minted(token));
        self.settings.max_age.is_some_and(|most| age() > most)
    }

    /// Whether a host, in lower-case ASCII, is served here.
    pub(super) fn is_served(&self, host: &str) -> bool {
        host == self.entry.name.as_str()
            || self.settings.is_edge(host)
            || self.session.context.registry.get(host).is_some()
    }

    /// The upstream rule for what this edge does not answer itself: other paths, and links whose
    /// token does not verify. `None`: there is none, or the route is the edge's own in any case.
    pub(super) fn rule_for(&self, found: Route<'_>) -> Option<Arc<upstream::Rule>> {
        match found {
            Route::Open { .. }
            | Route::Click { .. }
            | Route::Unsubscribe { .. }
            | Route::Redirect { .. }
            | Route::Other => self
                .settings
                .upstreams
                .find(self.entry.name.as_str(), self.uri.path())
                .map(Arc::clone),
            _ => None,
        }
    }

    /// Whether a link's token verifies.
    fn is_ours(&self, found: Route<'_>) -> bool {
        let verifies = |kind, tenant, token| self.verified(kind, tenant, token, |_| Some(())).is_some();
        match found {
            Route::Open { tenant, token } => verifies(Kind::Open, tenant, token),
            Route::Click { tenant, token } => verifies(Kind::Click, tenant, token),
            Route::Unsubscribe { tenant, token } => verifies(Kind::Unsubscribe, tenant, token),
            _ => false,
        }
    }

    /// What is answered where there is nothing.
    pub(super) fn nowhere(&self, found: Route<'_>) -> Reply {
        match found {
            Route::Open { .. } => open::pixel(),
            Route::Click { .. } | Route::Redirect { .. } => click::fallback(self),
            _ => self.not_found(),
        }
    }

    /// The page for a link that leads nowhere.
    pub(super) fn not_found(&self) -> Reply {
        reply::page(StatusCode::NOT_FOUND, &not_found(language(self.headers)))
    }
}
