//! `/v1/mass-failure`: whether the mass-failure guard suppresses what looks like failures of many
//! domains at once, and ending that by hand. `/v1/suspicion` is the path of earlier releases.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_base::clock::Timestamp;
use linkseal_config::admin::Role;
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::problem::Problem;

const PATH: &str = "/v1/mass-failure";
const FORMER_PATH: &str = "/v1/suspicion";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = at(PATH);
    all.extend(at(FORMER_PATH).into_iter().map(Endpoint::deprecated));
    all
}

fn at(path: &'static str) -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            path,
            Role::Viewer,
            "The mass-failure guard of this node. It activates when many domains get worse within ten minutes, because \
             the cause is then more likely here. While it is active, failures are neither recorded nor reported.",
            show,
        )
        .answers(
            StatusCode::OK,
            Content::json::<MassFailure>(),
            "The state of the guard.",
        ),
        Endpoint::new(
            MethodFilter::DELETE,
            path,
            Role::Admin,
            "End the guard: the failures are real. Results are trusted for an hour.",
            end,
        )
        .answers(StatusCode::NO_CONTENT, Content::Empty, "Done."),
    ]
}

/// The state of the mass-failure guard.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MassFailureGuard")]
struct MassFailure {
    /// Whether the guard is active.
    suspects_itself: bool,
    /// Since when it has been active; null when it is not.
    since: Option<Timestamp>,
    /// Domains that got worse within the last ten minutes.
    turned: u32,
    /// DNS checks and orders of healthy domains within the last ten minutes.
    looks: u32,
    /// How many domains may get worse before the guard activates.
    allowed: u32,
    /// Results suppressed since it was activated.
    doubted: u64,
    /// Until when all results are trusted, because an operator ended the guard; null if none did.
    trusted_until: Option<Timestamp>,
}

async fn show(State(context): State<Arc<Context>>) -> axum::Json<MassFailure> {
    let guard = context.control.operator().mass_failure();
    axum::Json(MassFailure {
        suspects_itself: guard.since.is_some(),
        since: guard.since,
        turned: guard.turned,
        looks: guard.looks,
        allowed: guard.allowed,
        doubted: guard.doubted,
        trusted_until: guard.trusted_until,
    })
}

async fn end(State(context): State<Arc<Context>>, caller: Caller) -> Result<StatusCode, Problem> {
    context
        .control
        .operator()
        .end_mass_failure_hold(&caller.actor())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
