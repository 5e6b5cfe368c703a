//! Around every page: finds out who the visitor is, lets them in to this page or not, checks what
//! forms carry, and sees that every answer is a page with the headers of one.

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

use super::session::Session;
use super::share;
use super::visitor::{Visitor, Who};
use super::{cookies, form, headers, layout, see_other, sign_in};
use crate::auth::{self, Caller};
use crate::client::Peer;
use crate::endpoint::Rule;
use crate::problem::Problem;
use crate::scope::Scope;
use crate::{Context, Live};

/// Set on an answer: the session ends, or another begins.
#[derive(Clone)]
pub(super) enum SessionChange {
    Begin(Session),
    End,
}

/// Why someone is not let in.
enum Refusal {
    /// They may sign in.
    Stranger,
    Problem(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// The layer around the pages.
pub(super) async fn frame(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    around(&context, request, |request| next.run(request)).await
}

/// Whether someone looks for a page where there is no endpoint: a browser, outside of the API.
pub(crate) fn is_for_people(request: &Request) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|v| v.to_str().ok());
    let html = accept.is_some_and(|a| a.contains("text/html"));
    html && request.extensions().get::<MatchedPath>().is_none() && !request.uri().path().starts_with("/v1/")
}

/// The page for what is not there.
pub(crate) async fn not_found(context: &Arc<Context>, request: Request) -> Response {
    let nothing = async |_| {
        Problem::not_found("there is no such page")
            .on_pages("There is no such page.", "Diese Seite gibt es nicht.")
            .into_response()
    };
    around(context, request, nothing).await
}

async fn around<F: Future<Output = Response>>(
    context: &Arc<Context>,
    request: Request,
    page: impl FnOnce(Request) -> F,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut visit = Visit::begin(context, &mut parts);
    let response = match visit.admit(&mut parts, body).await {
        Ok(body) => {
            parts.extensions.insert(visit.visitor.clone());
            page(Request::from_parts(parts, body)).await
        }
        Err(Refusal::Problem(problem)) => problem.into_response(),
        // What a script asks for is not led astray: it would take the form for what it asked for.
        Err(Refusal::Stranger) if parts.headers.get("sec-fetch-mode").is_some_and(|m| m != "navigate") => {
            Problem::unauthorized("the session has ended: load the page again and sign in").into_response()
        }
        Err(Refusal::Stranger) if parts.method.is_safe() => see_other(&sign_in::leading_to(&visit.visitor.here)),
        Err(Refusal::Stranger) => see_other(sign_in::SIGN_IN),
    };
    visit.finish(response)
}

/// One request for a page.
struct Visit<'c> {
    context: &'c Context,
    live: Arc<Live>,
    now: Timestamp,
    visitor: Visitor,
    /// The address; `None` when it is not known, which lets no one in.
    from: Option<IpAddr>,
    /// Whether it came under TLS, here or at a proxy in front.
    secure: bool,
    /// Whether it is a shared page.
    is_shared: bool,
    /// `None`: none yet; share links have none.
    session: Option<Session>,
    /// Cookies to set.
    cookies: Vec<HeaderValue>,
}

impl<'c> Visit<'c> {
    /// Takes the language out of the query: handlers need not know of it.
    fn begin(context: &'c Context, parts: &mut Parts) -> Self {
        let live = context.live.load_full();
        let peer = parts.extensions.get::<Peer>().copied();
        // A proxy in front is known by the configured name; anyone who pretends to it gains nothing.
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
            context,
            now: context.control.clock().now(),
            visitor: Visitor {
                lang,
                scope: Scope::All,
                csrf: String::new(),
                brand: Arc::clone(&live.brand),
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

    /// Lets the visitor in to the page, or not. Returns what of the body is left to read.
    async fn admit(&mut self, parts: &mut Parts, body: Body) -> Result<Body, Refusal> {
        let from = self
            .from
            .ok_or_else(|| Problem::forbidden("the address of the request is not known"))?;
        if self.live.access.is_open() {
            auth::check_direct(parts)?;
        }
        let matched = parts.extensions.get::<MatchedPath>().cloned();
        if let Some(path) = matched.filter(|p| p.as_str().starts_with(share::PREFIX)) {
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
            auth::vouch(parts);
            auth::must_reach(self.context, &caller, rule.reach, parts).await?;
        }
        if parts.method.is_safe() {
            return Ok(body);
        }
        self.check_source(&parts.headers)?;
        let sessions = &self.context.pages.sessions;
        let session = self.session.as_ref();
        let is_right = |token: &str| session.is_some_and(|s| sessions.is_form_token(token, s));
        let is_stranger = matches!(self.visitor.who, Who::Stranger);
        let max = if is_stranger { form::MAX_SMALL } else { form::MAX_FORM };
        let read = form::read(parts, body, max, self.visitor.lang, is_right).await;
        // Anyone who left the sign-in open for too long gets it again.
        read.map_err(|problem| if is_stranger { Refusal::Stranger } else { problem.into() })
    }

    /// Lets in anyone who has a share link. No cookie is read or set: in a frame on another site there is
    /// none, and anyone who is signed in beside it is a stranger here.
    async fn admit_guest(&mut self, path: &str, parts: &mut Parts, body: Body) -> Result<Body, Refusal> {
        self.is_shared = true;
        self.cookies.clear();
        let (shares, lang) = (&self.context.pages.shares, self.visitor.lang);
        let void = || {
            let detail = match lang {
                Language::En => "This link has run out or was taken back. Ask for a new one where you got it.",
                Language::De => {
                    "Dieser Link ist abgelaufen oder wurde zurückgenommen. Bitten Sie dort um einen neuen, wo Sie ihn bekommen haben."
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
        let link = shares.open(&token, self.now).ok_or_else(void)?;
        let record = self
            .context
            .control
            .store()
            .domain(&link.name)
            .await
            .map_err(Problem::from)?;
        if !record.is_some_and(|record| link.is_of(&record)) {
            return Err(void().into());
        }
        let shared = self.context.pages.shared.get(&(method(parts), path.to_owned()));
        let kind = *shared.ok_or_else(|| Problem::method("this page is not made for that"))?;
        let late = |until| {
            let (problem, at) = (format!("too often by this link; try again at {until}"), minute(until));
            Problem::later(problem, until, self.now).on_pages(
                format!("This link was used too often; please try again after {at}."),
                format!("Dieser Link wurde zu oft verwendet; bitte versuchen Sie es nach {at} erneut."),
            )
        };
        shares.take(&token, kind, self.now).map_err(late)?;
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

    /// Forms come from pages of this port, under the name it was asked by or the configured one.
    fn check_source(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let host = text(headers, HOST.as_str());
        let configured = self.live.pages.url.as_ref().map(|url| url.authority());
        let own: Vec<&str> = host.into_iter().chain(configured).collect();
        form::check_source(headers, &own)
    }

    /// What is not in the table is no one's page, but a signed-in visitor gets to know that.
    fn rule(&self, parts: &Parts) -> Rule {
        let Some(path) = parts.extensions.get::<MatchedPath>() else {
            return Rule::UNKNOWN;
        };
        let rules = &self.context.pages.rules;
        rules
            .get(&(method(parts), path.as_str().to_owned()))
            .copied()
            .unwrap_or(Rule::UNKNOWN)
    }

    /// Finds the session, or begins one for a visitor who has none: forms need it, that to sign
    /// in too.
    fn identify(&mut self, headers: &HeaderMap, from: IpAddr) -> Result<(), Problem> {
        let (sessions, access) = (&self.context.pages.sessions, &self.live.access);
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

    /// Makes a page of what went wrong, and sets the headers and cookies.
    fn finish(mut self, mut response: Response) -> Response {
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let mut page = (response.status(), layout::problem(&self.visitor, &problem)).into_response();
            if let Some(after) = response.headers().get(RETRY_AFTER) {
                page.headers_mut().insert(RETRY_AFTER, after.clone());
            }
            response = page;
        }
        let sessions = &self.context.pages.sessions;
        if let Some(change) = response.extensions_mut().remove::<SessionChange>() {
            // What was signed in before is over, whatever comes.
            if let Some(before) = &self.session {
                sessions.end(before, self.now);
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

/// Takes `lang` out of a query. `None`: it names no language there are texts in.
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
    fn the_language_is_taken_out_of_the_query() {
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
