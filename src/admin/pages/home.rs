//! `/`: how many domains are in which state.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::MethodFilter;
use maud::html;

use super::visitor::Visitor;
use super::{Html, Page, layout};
use crate::admin::Context;
use crate::admin::problem::Problem;
use crate::admin::scope::Reach;
use crate::config::admin::Role;

pub(super) fn pages() -> Vec<Page> {
    vec![Page::new(MethodFilter::GET, "/", Role::Viewer, Reach::Narrowed, show)]
}

async fn show(State(context): State<Arc<Context>>, visitor: Visitor) -> Result<Html, Problem> {
    let counts = context.control.store().counts(visitor.scope.tenant()).await?;
    let all: u64 = counts.iter().map(|c| c.domains).sum();
    let body = html! { p { (all) " " (visitor.say("domains", "Domains")) } };
    Ok(layout::page(&visitor, visitor.say("Domains", "Domains"), body))
}
