//! The layer around every page: identifies the visitor, checks that they may use the page and that a
//! form was sent by one of these pages, and gives every answer the form and headers of a page.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, HOST, HeaderMap, RETRY_AFTER, SET_COOKIE};
use http::request::Parts;
use http::{HeaderValue, Method, Uri};
use linkseal_base::clock::Timestamp;
use linkseal_config::pages::Origin;
use linkseal_domain::Language;
use linkseal_domain::messages::minute;

use super::page::see_other;
use super::session::{Session, SessionChange};
use super::state::PagesState;
use super::visitor::{Visitor, Who};
use super::{cookies, form, headers, layout, sign_in};
use crate::access::Caller;
use crate::context::Live;
use crate::guard;
use crate::peer::Peer;
use crate::problem::Problem;
use crate::scope::{Rule, Scope};
use crate::tokens::share;

/// Why a visitor may not use a page.
enum Refusal {
    /// Not signed in.
    Stranger,
    Problem(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// The layer.
pub(super) async fn frame(State(state): State<PagesState>, request: Request, next: Next) -> Response {
    handle(&state, request, |request| next.run(request)).await
}

/// The layer around the API: a browser that asks for a path that does not exist, outside of `/v1/`,
/// gets a page instead of JSON.
pub(crate) async fn html_fallback(State(state): State<PagesState>, request: Request, next: Next) -> Response {
    if !asks_for_missing_page(&request) {
        return next.run(request).await;
    }
    let missing = async |_| {
        Problem::not_found("there is no such page")
            .on_pages("There is no such page.", "Diese Seite gibt es nicht.")
            .into_response()
    };
    handle(&state, request, missing).await
}

fn asks_for_missing_page(request: &Request) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|v| v.to_str().ok());
    let html = accept.is_some_and(|a| a.contains("text/html"));
    html && request.extensions().get::<MatchedPath>().is_none() && !request.uri().path().starts_with("/v1/")
}

async fn handle<F: Future<Output = Response>>(
    state: &PagesState,
    request: Request,
    page: impl FnOnce(Request) -> F,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut visit = Visit::begin(state, &mut parts);
    let response = match visit.admit(&mut parts, body).await {
        Ok(body) => {
            parts.extensions.insert(visit.visitor.clone());
            page(Request::from_parts(parts, body)).await
        }
        Err(Refusal::Problem(problem)) => problem.into_response(),
        // A script is not redirected: it would take the sign-in form for the page it requested.
        Err(Refusal::Stranger) if parts.headers.get("sec-fetch-mode").is_some_and(|m| m != "navigate") => {
            Problem::unauthorized("the session has ended; reload the page and sign in").into_response()
        }
        Err(Refusal::Stranger) if parts.method.is_safe() => see_other(&sign_in::returning_to(&visit.visitor.here)),
        Err(Refusal::Stranger) => see_other(sign_in::SIGN_IN),
    };
    visit.finish(response)
}

/// One request for a page.
struct Visit<'c> {
    state: &'c PagesState,
    live: Arc<Live>,
    now: Timestamp,
    visitor: Visitor,
    /// Without an address the visitor is refused.
    from: Option<IpAddr>,
    /// Whether it came over TLS, to this port or to a proxy in front.
    secure: bool,
    /// Whether it is for a shared page.
    is_shared: bool,
    /// Guests have none.
    session: Option<Session>,
    /// Cookies to set.
    cookies: Vec<HeaderValue>,
}

impl<'c> Visit<'c> {
    /// Removes the language from the query, so that handlers do not see it.
    fn begin(state: &'c PagesState, parts: &mut Parts) -> Self {
        let live = state.admin.live.load_full();
        let peer = parts.extensions.get::<Peer>().copied();
        // The configured Host shows a TLS proxy in front; a client gains nothing by forging it.
        let by_proxy = |url: &Origin| url.is_https() && text(&parts.headers, HOST.as_str()) == Some(url.authority());
        let secure = peer.is_some_and(|p| p.tls) || live.pages.url.as_ref().is_some_and(by_proxy);
        let asked = take_language(&mut parts.uri);
        let accepted = || Language::accepted(text(&parts.headers, "accept-language").unwrap_or_default());
        let lang = asked
            .or_else(|| cookies::language(&parts.headers))
            .unwrap_or_else(accepted);
        let here = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let unknown = IpAddr::from([0, 0, 0, 0]);
        Self {
            state,
            now: state.admin.now(),
            visitor: Visitor {
                lang,
                scope: Scope::All,
                csrf: String::new(),
                brand: state.brand.load_full(),
                who: Who::Stranger,
                from: peer.map_or(unknown, |p| p.ip),
                here,
            },
            live,
            from: peer.map(|p| p.ip),
            secure,
            is_shared: false,
            session: None,
            cookies: asked
                .and_then(|l| cookies::set_language(l, secure))
                .into_iter()
                .collect(),
        }
    }

    /// Checks that the visitor may use the page. Returns what is left of the body.
    async fn admit(&mut self, parts: &mut Parts, body: Body) -> Result<Body, Refusal> {
        guard::check_one_host(&parts.headers)?;
        let from = self
            .from
            .ok_or_else(|| Problem::forbidden("the address of the request is not known"))?;
        if self.live.access.is_open() {
            guard::check_direct(parts)?;
        }
        let matched = parts.extensions.get::<MatchedPath>().cloned();
        if let Some(path) = matched.filter(|p| p.as_str().starts_with(share::PATH)) {
            return self.admit_guest(path.as_str(), parts, body).await;
        }
        let rule = self.rule(parts);
        self.identify(&parts.headers, from)?;
        if let Some(needed) = rule.role {
            let caller = match &self.visitor.who {
                Who::Local(caller) | Who::SignedIn(caller) => caller.clone(),
                Who::Stranger | Who::Guest(_) => return Err(Refusal::Stranger),
            };
            caller.must_be(needed)?;
            guard::mark_authenticated(parts);
            guard::must_reach(&self.state.admin, &caller, rule.reach, parts).await?;
        }
        if parts.method.is_safe() {
            return Ok(body);
        }
        self.check_source(&parts.headers)?;
        let sessions = &self.state.sessions;
        let session = self.session.as_ref();
        let is_right = |token: &str| session.is_some_and(|s| sessions.is_form_token(token, s));
        let is_stranger = matches!(self.visitor.who, Who::Stranger);
        let max = if is_stranger { form::MAX_SMALL } else { form::MAX_FORM };
        let read = form::read(parts, body, max, self.visitor.lang, is_right).await;
        // The session of a sign-in form that was open for too long has ended: show a new form.
        read.map_err(|problem| if is_stranger { Refusal::Stranger } else { problem.into() })
    }

    /// Checks a guest's share link. No cookie is read or set: browsers send none in a frame on another
    /// site, and a session in the same browser must not matter here.
    async fn admit_guest(&mut self, path: &str, parts: &mut Parts, body: Body) -> Result<Body, Refusal> {
        self.is_shared = true;
        self.cookies.clear();
        let (shares, lang) = (&self.state.admin.shares, self.visitor.lang);
        let invalid = || {
            let detail = match lang {
                Language::En => "This link has expired or was revoked. Please ask the sender for a new one.",
                Language::De => {
                    "Dieser Link ist abgelaufen oder wurde widerrufen. Bitte fordern Sie beim Absender einen neuen an."
                }
            };
            Problem::not_found(detail)
        };
        let params = RawPathParams::from_request_parts(parts, &()).await;
        let params = params.map_err(|e| Problem::invalid(e.body_text()))?;
        let token = params
            .iter()
            .find(|(key, _)| *key == "token")
            .map(|(_, value)| value.to_owned());
        let token = token.unwrap_or_default();
        self.visitor.who = Who::Guest(token.clone());
        let link = shares.open(&token, self.now).ok_or_else(invalid)?;
        let store = self.state.admin.control.store();
        let record = store.domain(&link.name).await.map_err(Problem::from)?;
        if !record.is_some_and(|record| link.is_of(&record)) {
            return Err(invalid().into());
        }
        let cost = self.state.shared.get(&(method(parts), path.to_owned()));
        let cost = *cost.ok_or_else(|| Problem::method("this page does not support that method"))?;
        let too_often = |until| {
            let problem = format!("this link was used too often; try again at {until}");
            let [en, de] = [Language::En, Language::De].map(|l| minute(until, l));
            Problem::later(problem, until, self.now).on_pages(
                format!("This link was used too often. Please try again after {en}."),
                format!("Dieser Link wurde zu oft aufgerufen. Bitte versuchen Sie es nach {de} erneut."),
            )
        };
        shares.take(&token, cost, self.now).map_err(too_often)?;
        self.visitor.scope = Scope::Domain(link.name);
        self.visitor.csrf = shares.form_token(&token);
        if parts.method.is_safe() {
            return Ok(body);
        }
        self.check_source(&parts.headers)?;
        Ok(form::read(parts, body, form::MAX_SMALL, lang, |text| {
            shares.is_form_token(text, &token)
        })
        .await?)
    }

    /// Forms must come from pages of this port, under the requested or the configured host name.
    fn check_source(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let host = text(headers, HOST.as_str());
        let configured = self.live.pages.url.as_ref().map(|url| url.authority());
        let own: Vec<&str> = host.into_iter().chain(configured).collect();
        form::check_source(headers, &own)
    }

    /// Only signed-in visitors learn that a page does not exist.
    fn rule(&self, parts: &Parts) -> Rule {
        let Some(path) = parts.extensions.get::<MatchedPath>() else {
            return Rule::UNKNOWN;
        };
        let rules = &self.state.rules;
        rules
            .get(&(method(parts), path.as_str().to_owned()))
            .copied()
            .unwrap_or(Rule::UNKNOWN)
    }

    /// Finds the session or begins one: forms need it, including the one to sign in.
    fn identify(&mut self, headers: &HeaderMap, from: IpAddr) -> Result<(), Problem> {
        let (sessions, access) = (&self.state.sessions, &self.live.access);
        let cookie = cookies::session(headers, self.secure);
        let (session, cookie) = match cookie.and_then(|c| sessions.read(c, access, self.now)) {
            Some(session) => {
                let refreshed = sessions.refreshed(&session, self.now);
                (session, refreshed)
            }
            None => {
                let session = sessions.begin(None, self.now);
                let cookie = sessions.cookie(&session);
                (session, Some(cookie))
            }
        };
        let caller = sessions.token(&session, access).map(|token| Caller::of(token, from));
        self.visitor.who = match caller {
            Some(caller) => {
                self.visitor.scope = caller.scope().clone();
                Who::SignedIn(caller)
            }
            None if access.is_open() => Who::Local(access.local(from)?),
            None => Who::Stranger,
        };
        self.visitor.csrf = sessions.form_token(&session);
        self.session = Some(session);
        self.set_session(cookie.as_deref());
        Ok(())
    }

    fn set_session(&mut self, value: Option<&str>) {
        self.cookies
            .extend(value.and_then(|v| cookies::set_session(v, self.secure)));
    }

    /// Turns a problem into a page, and sets headers and cookies.
    fn finish(mut self, mut response: Response) -> Response {
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            self.state.admin.log(&problem);
            let mut page = (response.status(), layout::problem(&self.visitor, &problem)).into_response();
            if let Some(after) = response.headers().get(RETRY_AFTER) {
                page.headers_mut().insert(RETRY_AFTER, after.clone());
            }
            response = page;
        }
        let sessions = &self.state.sessions;
        if let Some(change) = response.extensions_mut().remove::<SessionChange>() {
            // The previous session ends in either case.
            if let Some(previous) = &self.session {
                sessions.end(previous, self.now);
            }
            let cookie = match change {
                SessionChange::Begin(session) => sessions.cookie(&session),
                SessionChange::End => String::new(),
            };
            self.cookies.clear();
            self.set_session(Some(&cookie));
        }
        let embed = self.live.pages.embed.as_slice();
        headers::set(response.headers_mut(), if self.is_shared { embed } else { &[] });
        for cookie in self.cookies {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }
}

fn method(parts: &Parts) -> Method {
    match parts.method {
        Method::HEAD => Method::GET,
        ref method => method.clone(),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// Removes `lang` from a query, and returns it if it is a supported language.
fn take_language(uri: &mut Uri) -> Option<Language> {
    let query = uri.query()?;
    let is_language = |part: &&str| *part == "lang" || part.starts_with("lang=");
    let language = query.split('&').find(is_language)?;
    let language = language.strip_prefix("lang=").and_then(Language::parse);
    let rest: Vec<&str> = query.split('&').filter(|part| !is_language(part)).collect();
    let path = match rest.as_slice() {
        [] => uri.path().to_owned(),
        rest => format!("{}?{}", uri.path(), rest.join("&")),
    };
    if let Ok(without) = path.parse() {
        *uri = without;
    }
    language
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_removed_from_the_query() {
        for (given, left, language) in [
            ("/?lang=de", "/", Some(Language::De)),
            ("/a?q=x&lang=en&r=y", "/a?q=x&r=y", Some(Language::En)),
            ("/a?lang=fr", "/a", None),
            ("/a?lang", "/a", None),
            ("/a?language=de", "/a?language=de", None),
            ("/a", "/a", None),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            assert_eq!(take_language(&mut uri), language, "{given}");
            assert_eq!(uri, left, "{given}");
        }
    }
}
