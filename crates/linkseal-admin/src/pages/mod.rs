//! The pages for people, at `/` of the admin port, in English and German.
//!
//! One table says what pages there are and who they are for; routes and checks are made from it.
//! Before a handler runs, `frame` has found out who looks at it (its [`Visitor`]), that they may, and
//! that a form was sent by a page of ours. After it, every answer gets the headers of a page, and a
//! [`Problem`] becomes a page in the visitor's language: handlers return `Result<_, Problem>` as
//! those of the API do.
//!
//! A handler is `async fn(State<Arc<Context>>, Visitor, …) -> Result<Html, Problem>`, or, after a
//! form, [`see_other`]. It takes the domain it is about as [`Subject`], a query as
//! [`Params`](super::input::Params) and a form as [`Form`]. Queries need not know of `lang`, nor forms
//! of `csrf`. What shows several domains keeps to [`Scope::tenant`](super::scope::Scope::tenant).

mod activity;
mod assets;
mod brand;
mod chart;
mod colour;
mod cookies;
mod domain;
mod form;
mod frame;
mod freeze;
mod headers;
mod icons;
mod issuer;
mod key;
mod layout;
mod list;
mod progress;
mod records;
mod register;
mod session;
mod settings;
mod share;
mod sharing;
mod sign_in;
mod timeline;
mod visitor;
mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use maud::Markup;
use moka::sync::Cache;

pub(super) use brand::Brand;
pub(super) use frame::{is_for_people, not_found};
pub use key::{PagesKey, PagesKeyError};
pub(super) use words::{operator_error, sentence};

use linkseal_config::admin::Role;
use linkseal_dns::DnsReport;
use linkseal_domain::DomainName;
use share::Shared;

use super::Context;
use super::endpoint::{Rule, method};
use super::problem::Problem;
use super::scope::Reach;

/// All pages there are.
fn all() -> Vec<Page> {
    [
        sign_in::pages(),
        list::pages(),
        domain::pages(),
        settings::pages(),
        sharing::pages(),
        register::pages(),
        issuer::pages(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Who all pages are for, by method and path.
#[cfg(test)]
pub(super) fn table() -> Vec<(Method, String, Rule)> {
    all().into_iter().map(|p| (p.method, p.path, p.rule)).collect()
}

/// One method of one path.
pub(super) struct Page {
    method: Method,
    path: String,
    rule: Rule,
    shared: Shared,
    handler: MethodRouter<Arc<Context>>,
}

impl Page {
    /// A page for anyone who has this role and sees as far as it shows. GET or POST.
    fn new<H, T>(filter: MethodFilter, path: impl Into<String>, role: Role, reach: Reach, handler: H) -> Self
    where
        H: Handler<T, Arc<Context>>,
        T: 'static,
    {
        Self {
            method: method(filter),
            path: path.into(),
            rule: Rule {
                role: Some(role),
                reach,
            },
            shared: Shared::No,
            handler: on(filter, handler),
        }
    }

    /// Opens a page below `/domains/{name}` to anyone who has a share link, under [`share::PREFIX`].
    fn shared(mut self, shared: Shared) -> Self {
        self.shared = shared;
        self
    }

    /// Its path for anyone who has a share link. `None`: it is not for them.
    fn shared_path(&self) -> Option<String> {
        let rest = self.path.strip_prefix("/domains/{name}")?;
        (self.shared != Shared::No).then(|| format!("{}{rest}", share::PREFIX))
    }

    /// A page for everybody, signed in or not.
    fn for_anybody<H, T>(filter: MethodFilter, path: impl Into<String>, handler: H) -> Self
    where
        H: Handler<T, Arc<Context>>,
        T: 'static,
    {
        let mut page = Self::new(filter, path, Role::Viewer, Reach::General, handler);
        page.rule.role = None;
        page
    }
}

/// Reports that wait for the page which shows them: some kilobytes each.
const MAX_REPORTS: u64 = 256;
/// How long a report may wait.
const REPORT_LIFE: Duration = Duration::from_secs(60);

/// What the pages need beside the endpoints' context.
pub(super) struct Pages {
    pub(super) shares: share::Shares,
    sessions: session::Sessions,
    /// What "verify" found, for the page that comes after it.
    reports: Cache<DomainName, Arc<DnsReport>>,
    /// Who each page is for, by method and path.
    rules: HashMap<(Method, String), Rule>,
    /// What each page takes of who has a share link.
    shared: HashMap<(Method, String), Shared>,
}

impl Pages {
    pub(super) fn new(key: &PagesKey) -> Self {
        let shared = all()
            .into_iter()
            .filter_map(|p| Some(((p.method.clone(), p.shared_path()?), p.shared)));
        let shared = shared.collect();
        let rules = all().into_iter().map(|p| ((p.method, p.path), p.rule));
        Self {
            shares: share::Shares::new(key),
            sessions: session::Sessions::new(key),
            shared,
            reports: Cache::builder()
                .max_capacity(MAX_REPORTS)
                .time_to_live(REPORT_LIFE)
                .build(),
            rules: rules.collect(),
        }
    }
}

/// The routes of all pages and of their files.
pub(super) fn router(context: &Arc<Context>) -> Router {
    let mut router = Router::new();
    for page in all() {
        if let Some(path) = page.shared_path() {
            router = router.route(&path, page.handler.clone());
        }
        router = router.route(&page.path, page.handler);
    }
    router
        .method_not_allowed_fallback(async || {
            Problem::method("this page takes no such request").on_pages(
                "This page takes no such request.",
                "Diese Seite nimmt eine solche Anfrage nicht an.",
            )
        })
        .layer(from_fn_with_state(Arc::clone(context), frame::frame))
        .with_state(Arc::clone(context))
        .merge(assets::router(context))
}

/// A page, as it is sent.
pub(super) struct Html(Markup);

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "text/html; charset=utf-8")], self.0.into_string()).into_response()
    }
}

/// Leads on to a path of ours; what a form answers when all went well (RFC 9110 §15.4.4).
fn see_other(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let path = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, path);
    response
}
