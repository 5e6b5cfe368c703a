//! An entry of the table of pages, and what handlers answer.

use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use linkseal_config::admin::Role;
use maud::Markup;

use super::state::PagesState;
use crate::endpoint::method;
use crate::scope::{Reach, Rule};
use crate::tokens::share::{self, ShareUse};

/// One method of one path.
pub(super) struct Page {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) rule: Rule,
    /// What it costs a share link; `None` if guests may not use it.
    pub(super) shared: Option<ShareUse>,
    pub(super) handler: MethodRouter<PagesState>,
}

impl Page {
    /// A page for callers with this role and reach. GET or POST.
    pub(super) fn new<H, T>(filter: MethodFilter, path: impl Into<String>, role: Role, reach: Reach, handler: H) -> Self
    where
        H: Handler<T, PagesState>,
        T: 'static,
    {
        Self {
            method: method(filter),
            path: path.into(),
            rule: Rule {
                role: Some(role),
                reach,
            },
            shared: None,
            handler: on(filter, handler),
        }
    }

    /// Opens a page below `/domains/{name}` to guests, under [`share::PATH`].
    pub(super) fn shared(mut self, cost: ShareUse) -> Self {
        self.shared = Some(cost);
        self
    }

    /// Its path for guests.
    pub(super) fn shared_path(&self) -> Option<String> {
        let rest = self.path.strip_prefix("/domains/{name}")?;
        self.shared.map(|_| format!("{}{rest}", share::PATH))
    }

    /// A page for all visitors, signed in or not.
    pub(super) fn public<H, T>(filter: MethodFilter, path: impl Into<String>, handler: H) -> Self
    where
        H: Handler<T, PagesState>,
        T: 'static,
    {
        let mut page = Self::new(filter, path, Role::Viewer, Reach::General, handler);
        page.rule.role = None;
        page
    }
}

/// A page as it is sent.
pub(super) struct Html(pub(super) Markup);

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "text/html; charset=utf-8")], self.0.into_string()).into_response()
    }
}

/// Redirects to a path of this server; the answer to a form that succeeded (RFC 9110 §15.4.4).
pub(super) fn see_other(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let path = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, path);
    response
}
