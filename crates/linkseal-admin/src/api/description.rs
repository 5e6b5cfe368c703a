//! `/openapi.json`: the description of the API.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::MethodFilter;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use linkseal_config::admin::Role;
use serde_json::Value;

use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::scope::Reach;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/openapi.json",
            Role::Viewer,
            "The description of this API (OpenAPI 3.1).",
            show,
        )
        .reach(Reach::General)
        .answers(StatusCode::OK, Content::json::<Value>(), "The description."),
    ]
}

async fn show(State(context): State<Arc<Context>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], context.document.clone())
}
