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

mod assets;
mod brand;
mod cookies;
mod form;
mod frame;
mod headers;
mod home;
mod key;
mod layout;
mod session;
mod sign_in;
#[allow(dead_code, reason = "for the pages and endpoints that follow")]
mod visitor;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use maud::Markup;

pub(super) use brand::Brand;
pub(super) use frame::{is_for_people, not_found};
pub use key::{PagesKey, PagesKeyError};

use super::Context;
use super::endpoint::method;
use super::problem::Problem;
use super::scope::Reach;
use crate::config::admin::Role;
use frame::Rule;

/// All pages there are.
fn all() -> Vec<Page> {
    [sign_in::pages(), home::pages()].into_iter().flatten().collect()
}

/// One method of one path.
pub(super) struct Page {
    method: Method,
    path: String,
    rule: Rule,
    handler: MethodRouter<Arc<Context>>,
}

impl Page {
    /// A page for whoever has this role and sees as far as it shows. GET or POST.
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
            handler: on(filter, handler),
        }
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

/// What the pages need beside the endpoints' context.
pub(super) struct Pages {
    sessions: session::Sessions,
    /// Who each page is for, by method and path.
    rules: HashMap<(Method, String), Rule>,
}

impl Pages {
    pub(super) fn new(key: &PagesKey) -> Self {
        let rules = all().into_iter().map(|p| ((p.method, p.path), p.rule));
        Self {
            sessions: session::Sessions::new(key),
            rules: rules.collect(),
        }
    }
}

/// The routes of all pages and of their files.
pub(super) fn router(context: &Arc<Context>) -> Router {
    let mut router = Router::new();
    for page in all() {
        router = router.route(&page.path, page.handler);
    }
    router
        .method_not_allowed_fallback(async || Problem::method("this page is not made for that"))
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
