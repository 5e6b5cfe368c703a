//! `/v1/mass-failure`: whether the mass-failure guard suppresses what looks like failures of many
//! domains at once, and ending that by hand. `/v1/suspicion` is the path of earlier releases, with their
//! keys.

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

const SUMMARY: &str = "The mass-failure guard of this node. It activates when many domains get worse within ten minutes, because the \
                       cause is then more likely here. While it is active, failures are neither recorded nor reported.";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (shown, when) = (StatusCode::OK, "The state of the guard.");
    vec![
        Endpoint::new(MethodFilter::GET, PATH, Role::Viewer, SUMMARY, show).answers(
            shown,
            Content::json::<MassFailure>(),
            when,
        ),
        ending(PATH),
        Endpoint::new(MethodFilter::GET, FORMER_PATH, Role::Viewer, SUMMARY, show_former)
            .answers(shown, Content::json::<FormerMassFailure>(), when)
            .deprecated(),
        ending(FORMER_PATH).deprecated(),
    ]
}

fn ending(path: &'static str) -> Endpoint {
    let summary = "End the guard: the failures are real. Results are trusted for an hour.";
    Endpoint::new(MethodFilter::DELETE, path, Role::Admin, summary, end).answers(
        StatusCode::NO_CONTENT,
        Content::Empty,
        "Done.",
    )
}

/// The state of the mass-failure guard.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MassFailureGuard")]
struct MassFailure {
    /// Whether the guard is active.
    active: bool,
    /// Since when it has been active; null when it is not.
    since: Option<Timestamp>,
    /// DNS checks and orders of healthy domains within the last ten minutes.
    checks: u32,
    /// How many of these failed.
    failed: u32,
    /// How many DNS checks may fail before the guard activates.
    allowed: u32,
    /// Failures suppressed since it was activated.
    suppressed: u64,
    /// Until when all results are trusted, because an operator ended the guard; null if none did.
    trusted_until: Option<Timestamp>,
}

/// The same with the keys of earlier releases.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FormerMassFailureGuard")]
struct FormerMassFailure {
    /// `active`.
    suspects_itself: bool,
    /// `since`.
    since: Option<Timestamp>,
    /// `failed`.
    turned: u32,
    /// `checks`.
    looks: u32,
    /// `allowed`.
    allowed: u32,
    /// `suppressed`.
    doubted: u64,
    /// `trusted_until`.
    trusted_until: Option<Timestamp>,
}

async fn show(State(context): State<Arc<Context>>) -> axum::Json<MassFailure> {
    let guard = context.control.operator().mass_failure();
    axum::Json(MassFailure {
        active: guard.since.is_some(),
        since: guard.since,
        checks: guard.checks,
        failed: guard.failed,
        allowed: guard.allowed,
        suppressed: guard.suppressed,
        trusted_until: guard.trusted_until,
    })
}

async fn show_former(State(context): State<Arc<Context>>) -> axum::Json<FormerMassFailure> {
    let guard = context.control.operator().mass_failure();
    axum::Json(FormerMassFailure {
        suspects_itself: guard.since.is_some(),
        since: guard.since,
        turned: guard.failed,
        looks: guard.checks,
        allowed: guard.allowed,
        doubted: guard.suppressed,
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
