//! `/openapi.json`: the API described, for those who may read.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::MethodFilter;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use linkseal_config::admin::Role;
use serde_json::Value;

use crate::Context;
use crate::endpoint::{Content, Endpoint};
use crate::scope::Reach;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/openapi.json",
            Role::Viewer,
            "This API, described (OpenAPI 3.1).",
            show,
        )
        .reach(Reach::General)
        .answers(StatusCode::OK, Content::json::<Value>(), "The description."),
    ]
}

async fn show(State(context): State<Arc<Context>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], context.document.clone())
}
