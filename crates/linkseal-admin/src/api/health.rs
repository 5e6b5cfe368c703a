//! `/healthz` (the process is alive) and `/readyz` (it can serve), for load balancers and
//! orchestrators, without a token. The health port (`listen.health`) has these and `/metrics` only.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get};
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metrics;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::Params;
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/healthz",
            None,
            "Liveness: whether the process runs.",
            alive,
        )
        .answers(StatusCode::OK, Content::json::<Alive>(), "The process runs."),
        Endpoint::new(
            MethodFilter::GET,
            "/readyz",
            None,
            "Readiness: whether the node can serve, that is, its domains are loaded and it is not draining. It serves \
             from memory, so an unavailable store does not make it unready, except with strict=true.",
            ready,
        )
        .query::<ReadinessQuery>()
        .answers(StatusCode::OK, Content::json::<Readiness>(), "The node is ready.")
        .answers(
            StatusCode::SERVICE_UNAVAILABLE,
            Content::json::<Readiness>(),
            "The node is not ready; `missing` says why.",
        ),
    ]
}

/// The routes of the health port.
pub(crate) fn router(context: &Arc<Context>) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .fallback(async || {
            Problem::not_found("this port has /healthz, /readyz and /metrics; the rest is on listen.admin")
        })
        .method_not_allowed_fallback(async || Problem::method("this port takes GET only"))
        .layer(map_response(async |mut response: Response| {
            let headers = response.headers_mut();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }))
        .with_state(Arc::clone(context))
}

/// Unknown parameters are ignored, because probes add their own.
#[derive(Deserialize, JsonSchema)]
struct ReadinessQuery {
    /// `true`: an unusable store makes the node unready, too. Default: false.
    #[schemars(with = "Option<bool>")]
    strict: Option<String>,
}

/// Liveness.
#[derive(Serialize, JsonSchema)]
struct Alive {
    /// Always true.
    alive: bool,
}

/// Readiness.
#[derive(Serialize, JsonSchema)]
struct Readiness {
    /// Whether the node can serve.
    ready: bool,
    /// Why it cannot; empty when it is ready.
    missing: Vec<Missing>,
    /// Whether the mass-failure guard is active (`/v1/mass-failure`). The node keeps serving.
    mass_failure_guard: bool,
    /// The former name of `mass_failure_guard`.
    suspects_itself: bool,
}

/// A reason why a node is not ready.
#[derive(Serialize, JsonSchema)]
struct Missing {
    /// For programs: `registry`, `draining`, or, with strict=true, `store`.
    what: &'static str,
    /// For people.
    detail: String,
}

async fn alive() -> axum::Json<Alive> {
    axum::Json(Alive { alive: true })
}

async fn ready(
    State(context): State<Arc<Context>>,
    Params(query): Params<ReadinessQuery>,
) -> Result<Response, Problem> {
    let strict = match query.strict.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::invalid("strict: true or false")),
    };
    let mut missing = Vec::new();
    if context.draining.load(Ordering::Acquire) {
        missing.push(Missing {
            what: "draining",
            detail: "the node is draining and about to stop".to_owned(),
        });
    }
    if !context.control.is_loaded() {
        missing.push(Missing {
            what: "registry",
            detail: "the domains are still being loaded".to_owned(),
        });
    }
    // Only then, because a probe must not wait for a store that hangs.
    if strict && let Err(detail) = context.store_health.check(context.control.store().as_ref()).await {
        missing.push(Missing { what: "store", detail });
    }
    let ready = missing.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let guarded = context.control.operator().mass_failure().since.is_some();
    let readiness = Readiness {
        ready,
        missing,
        mass_failure_guard: guarded,
        suspects_itself: guarded,
    };
    Ok((status, axum::Json(readiness)).into_response())
}

async fn scrape(State(context): State<Arc<Context>>) -> Response {
    match context.scrapes.get(metrics::text(&context)).await {
        Some(text) => metrics::response(text),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
