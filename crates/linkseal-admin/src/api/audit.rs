//! `GET /v1/audit`: who changed what, and from where.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_store::AuditEntry;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Paging, Params, cursor, cut, from_cursor, limit};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/v1/audit",
            Role::Viewer,
            "The audit log, newest first.",
            list,
        )
        .query::<Paging>()
        .answers(StatusCode::OK, Content::json::<Audit>(), "A page of the audit log."),
    ]
}

/// A page of the audit log.
#[derive(Serialize, JsonSchema)]
struct Audit {
    /// The entries, newest first.
    entries: Vec<AuditEntry>,
    /// The cursor of the next page; null on the last page.
    next: Option<String>,
}

async fn list(State(context): State<Arc<Context>>, Params(paging): Params<Paging>) -> Result<Response, Problem> {
    let limit = limit(paging.limit.as_deref())?;
    let before = from_cursor(paging.cursor.as_deref(), |id| id.parse().ok())?;
    let mut entries = context.control.store().audit(before, limit + 1).await?;
    let more = cut(&mut entries, limit);
    let next = entries.last().filter(|_| more).map(|e| cursor(&e.id.to_string()));
    Ok(axum::Json(Audit { entries, next }).into_response())
}
