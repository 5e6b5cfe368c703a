//! `/v1/suspicion`: whether this node suspects itself, and the operator's word that it need not.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_base::clock::Timestamp;
use linkseal_config::admin::Role;
use schemars::JsonSchema;
use serde::Serialize;

use crate::Context;
use crate::auth::Caller;
use crate::endpoint::{Content, Endpoint};
use crate::problem::Problem;

const PATH: &str = "/v1/suspicion";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            PATH,
            Role::Viewer,
            "Whether this node suspects itself, because many domains turned for the worse within ten minutes. \
             While it does, nothing that looks worse is written down or told.",
            show,
        )
        .answers(StatusCode::OK, Content::json::<Suspicion>(), "How it stands."),
        Endpoint::new(
            MethodFilter::DELETE,
            PATH,
            Role::Admin,
            "It is so: everything is believed for an hour.",
            trust,
        )
        .answers(StatusCode::NO_CONTENT, Content::Empty, "Done."),
    ]
}

/// Whether this node suspects itself.
#[derive(Serialize, JsonSchema)]
struct Suspicion {
    /// Whether it does.
    suspects_itself: bool,
    /// Since when. `None`: it does not.
    since: Option<Timestamp>,
    /// Domains that turned for the worse within the last ten minutes.
    turned: u32,
    /// Looks and orders within the last ten minutes, of domains that were well.
    looks: u32,
    /// How many may turn before it is suspicious.
    allowed: u32,
    /// How often something was doubted since it began.
    doubted: u64,
    /// Until when everything is believed, by an operator's word. `None`: no one said so.
    trusted_until: Option<Timestamp>,
}

async fn show(State(context): State<Arc<Context>>) -> axum::Json<Suspicion> {
    let now = context.control.suspected();
    axum::Json(Suspicion {
        suspects_itself: now.since.is_some(),
        since: now.since,
        turned: now.turned,
        looks: now.looks,
        allowed: now.allowed,
        doubted: now.doubted,
        trusted_until: now.trusted_until,
    })
}

async fn trust(State(context): State<Arc<Context>>, caller: Caller) -> Result<StatusCode, Problem> {
    context.control.trust(&caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
