//! One request: is its host served here, which route is it, and which module answers.

use std::rc::Rc;
use std::sync::Arc;

use http::{Method, StatusCode, request};
use hyper::body::Incoming;
use linkseal_domain::DomainName;
use linkseal_domain::admission::{Admitted, ClientNetwork};
use linkseal_domain::registry::Entry;
use linkseal_net::shares::network;

use super::context::Settings;
use super::exchange::{Answer, Exchange, Head, Step};
use super::forward::forward;
use super::gate::Gate;
use super::host::Host;
use super::reply::{self, Reply};
use super::router::{Route, RouteLabel};
use super::session::Session;
use super::upstream::Rule;
use super::{challenge, click, fallback, open, redirect, unsubscribe, verify, well_known};

/// Decides one request, as far as that goes without waiting.
pub(super) fn respond(session: &Rc<Session>, parts: request::Parts, body: Incoming) -> Answer {
    let settings = session.context.settings.load();
    let head = Head::new(parts, &settings.prefix);
    let label = head.route().label();
    if let Route::Challenge { token } = head.route() {
        return challenged(session, &head, token);
    }
    match Gate::of(session, &settings, &head) {
        Gate::Serve(entry) => {
            let answer = serve(session, &settings, head, body, &entry);
            match entry.hsts().filter(|_| session.connection.tls.is_some()) {
                Some(hsts) => answer.with_hsts(hsts.clone()),
                None => answer,
            }
        }
        Gate::Answered(route, reply) => Answer::done(route, reply),
        Gate::Ask(_) if session.is_brief() => Answer::done(label, reply::come_again(&head.parts.headers)),
        Gate::Ask(name) => Answer::pending(label, ask(Rc::clone(session), head, body, name)),
    }
}

/// A challenge, for any host and before anything else: a name that is being validated may not be known
/// on this node yet.
fn challenged(session: &Rc<Session>, head: &Head, token: &str) -> Answer {
    let (route, method) = (head.route(), &head.parts.method);
    let step = match route.allow().filter(|_| !route.allows(method)) {
        Some(allow) => Step::Done(reply::method_not_allowed(allow)),
        None => challenge::answer(session, method, token, Host::of(&head.parts).ok().flatten()),
    };
    Answer {
        route: route.label(),
        step,
    }
}

/// Port 80, for a name that is not in memory.
async fn ask(session: Rc<Session>, head: Head, body: Incoming, name: DomainName) -> Reply {
    let asking = ClientNetwork::of(network(session.connection.client.ip()));
    let entry = match session.context.admission.admit(&name, asking).await {
        Admitted::Yes(entry) => entry,
        Admitted::No => return reply::empty(StatusCode::NOT_FOUND),
        Admitted::Unreachable => return reply::empty(StatusCode::SERVICE_UNAVAILABLE),
    };
    let step = {
        let settings = session.context.settings.load();
        match Gate::of_domain(&session, &settings, &head, entry) {
            Gate::Serve(entry) => serve(&session, &settings, head, body, &entry).step,
            Gate::Answered(_, reply) => Step::Done(reply),
            Gate::Ask(_) => Step::Done(reply::empty(StatusCode::NOT_FOUND)),
        }
    };
    step.settle().await
}

/// A request to a domain, on a connection where it may be served.
fn serve(session: &Rc<Session>, settings: &Settings, head: Head, body: Incoming, entry: &Arc<Entry>) -> Answer {
    let x = Exchange::new(session, settings, &head, entry);
    let (route, method) = (route_on(&x), x.method());
    let label = head.route().label();
    if let Some(allow) = route.allow().filter(|_| !route.allows(method)) {
        if let Some(rule) = x.rule_for(route).filter(|_| !verify::is_ours(&x, route)) {
            return pass_on(session, head, body, entry, &rule);
        }
        return Answer::done(label, reply::method_not_allowed(allow));
    }
    if method == Method::POST && matches!(route, Route::Unsubscribe { .. }) {
        if let Some(rule) = x.rule_for(route).filter(|_| !verify::is_ours(&x, route)) {
            return pass_on(session, head, body, entry, &rule);
        }
        let (session, entry) = (Rc::clone(session), Arc::clone(entry));
        return Answer::pending(label, unsubscribe::post(session, head, body, entry));
    }
    let own = match route {
        Route::Open { tenant, token } => open::answer(&x, tenant, token),
        Route::Click { tenant, token } => click::answer(&x, tenant, token),
        Route::Unsubscribe { tenant, token } => unsubscribe::ask(&x, tenant, token).map(|page| (page, None)),
        Route::Redirect { slug } => match redirect::cached(&x, slug) {
            Some(meant) => redirect::answer(&x, meant),
            None if session.is_brief() => return Answer::done(label, reply::come_again(x.headers())),
            None => {
                let (session, entry) = (Rc::clone(session), Arc::clone(entry));
                return Answer::pending(label, look_up(session, head, body, entry));
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
        None => match x.rule_for(route) {
            Some(rule) => return pass_on(session, head, body, entry, &rule),
            None => (fallback::nowhere(&x, route), None),
        },
    };
    let step = Step::after(reply::for_method(reply, method), event);
    Answer { route: label, step }
}

/// The route that a domain answers: some paths exist on edge.name only, or where there is a file.
fn route_on<'r>(x: &Exchange<'r>) -> Route<&'r str> {
    let route = x.head.route();
    let of_edge = route.names_tenant() || route == Route::Healthz;
    match route {
        _ if of_edge && !x.settings.names.contains(x.entry.name.as_str()) => Route::Other,
        Route::AppleAppSiteAssociationAtRoot if x.entry.apple_app_site_association().is_none() => Route::Other,
        route => route,
    }
}

/// A stored redirect that is not in memory.
async fn look_up(session: Rc<Session>, head: Head, body: Incoming, entry: Arc<Entry>) -> Reply {
    let stored = match head.route() {
        Route::Redirect { slug } => redirect::look_up(&session, entry.name.as_str(), slug).await,
        _ => Ok(None),
    };
    let step = {
        let settings = session.context.settings.load();
        let x = Exchange::new(&session, &settings, &head, &entry);
        // Not "there is none": that would break a link that is stored.
        let Ok(stored) = stored else {
            return reply::for_method(reply::come_again(x.headers()), x.method());
        };
        match (redirect::answer(&x, stored), x.rule_for(head.route())) {
            (Some((reply, event)), _) => Ok(Step::after(reply::for_method(reply, x.method()), event)),
            (None, None) => {
                let nowhere = fallback::nowhere(&x, head.route());
                Ok(Step::Done(reply::for_method(nowhere, x.method())))
            }
            (None, Some(rule)) => Err(rule),
        }
    };
    match step {
        Ok(step) => step.settle().await,
        Err(rule) => forward(session, head, body, entry, rule).await,
    }
}

/// To the back end of a rule. Boxed whole: what it takes must not take room in every connection.
fn pass_on(session: &Rc<Session>, head: Head, body: Incoming, entry: &Arc<Entry>, rule: &Arc<Rule>) -> Answer {
    if session.is_brief() {
        return Answer::done(RouteLabel::Upstream, reply::come_again(&head.parts.headers));
    }
    let (session, entry, rule) = (Rc::clone(session), Arc::clone(entry), Arc::clone(rule));
    Answer::pending(RouteLabel::Upstream, forward(session, head, body, entry, rule))
}
