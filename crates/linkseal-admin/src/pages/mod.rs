//! The pages for people, at `/` of the admin port, in English and German.
//!
//! One table says which pages there are and who they are for; routes and checks are derived from it.
//! Before a handler runs, [`frame`] has identified the [`Visitor`](visitor::Visitor), checked that the
//! visitor may see the page, and that a form was sent by one of these pages. After it, every answer
//! gets the headers of a page, and a [`Problem`] becomes a page in the visitor's language, so handlers
//! return `Result<_, Problem>` like those of the API.
//!
//! A handler is `async fn(State<Arc<Context>>, Visitor, …) -> Result<Html, Problem>`, or, for a form,
//! returns [`page::see_other`]. It takes its domain as [`Subject`](visitor::Subject), a query as
//! [`Params`](crate::input::Params) and a form as [`Form`](form::Form). Queries do not contain `lang`,
//! nor forms `csrf`. A page that shows several domains must limit itself to
//! [`Scope::tenant`](crate::scope::Scope::tenant).

mod activity;
mod asset;
mod assets;
mod brand;
mod chart;
mod colour;
mod cookies;
mod domain;
mod domain_actions;
mod form;
mod frame;
mod freeze;
mod headers;
mod icons;
mod issuer;
mod layout;
mod list;
mod page;
mod progress;
mod records;
mod register;
mod session;
mod sharing;
mod sign_in;
mod state;
mod timeline;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;

pub(super) use frame::html_fallback;
pub(super) use state::PagesState;

use brand::Brand;
use linkseal_config::pages::{Logo, Pages as PagesSettings};
use page::Page;

use crate::context::Context;
use crate::problem::Problem;
use crate::tokens::signing::PagesKey;

/// All pages.
fn all() -> Vec<Page> {
    [
        sign_in::pages(),
        list::pages(),
        domain::pages(),
        domain_actions::pages(),
        sharing::pages(),
        register::pages(),
        issuer::pages(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The rules of all pages, by method and path.
#[cfg(test)]
pub(super) fn table() -> Vec<(http::Method, String, crate::scope::Rule)> {
    all().into_iter().map(|p| (p.method, p.path, p.rule)).collect()
}

/// The state for [`router`].
pub(super) fn state(
    context: &Arc<Context>,
    key: &PagesKey,
    settings: &PagesSettings,
    logo: Option<&Logo>,
) -> PagesState {
    let shared = all()
        .into_iter()
        .filter_map(|p| Some(((p.method.clone(), p.shared_path()?), p.shared?)));
    let rules = all().into_iter().map(|p| ((p.method, p.path), p.rule));
    let brand = Brand::new(settings, logo);
    PagesState::new(Arc::clone(context), key, brand, rules.collect(), shared.collect())
}

/// The routes of all pages and of their files.
pub(super) fn router(state: &PagesState) -> Router {
    let mut router = Router::new();
    for page in all() {
        if let Some(path) = page.shared_path() {
            router = router.route(&path, page.handler.clone());
        }
        router = router.route(&page.path, page.handler);
    }
    router
        .method_not_allowed_fallback(async || {
            Problem::method("this page does not support that method").on_pages(
                "This page does not accept this kind of request.",
                "Diese Seite unterstützt diese Art von Anfrage nicht.",
            )
        })
        .layer(from_fn_with_state(state.clone(), frame::frame))
        .merge(assets::router())
        .with_state(state.clone())
}
