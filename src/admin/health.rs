//! `/healthz`: the process is alive. `/readyz`: it can serve; for balancers and orchestrators,
//! without a token.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Context;
use super::endpoint::{Content, Endpoint};
use crate::store::Store;

/// How long an answer of the store holds: anybody may ask, and every question is a write.
const STORE_FRESH: Duration = Duration::from_secs(1);
/// A store that takes longer is not ready.
const STORE_TIME: Duration = Duration::from_secs(2);

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/healthz",
            None,
            "Whether the process is alive.",
            alive,
        )
        .answers(StatusCode::OK, Content::json::<Alive>(), "It is."),
        Endpoint::new(MethodFilter::GET, "/readyz", None, "Whether it can serve.", ready)
            .answers(StatusCode::OK, Content::json::<Readiness>(), "It can.")
            .answers(
                StatusCode::SERVICE_UNAVAILABLE,
                Content::json::<Readiness>(),
                "Something is missing.",
            ),
    ]
}

/// That it is alive.
#[derive(Serialize, JsonSchema)]
struct Alive {
    /// Always true.
    alive: bool,
}

/// Whether it can serve.
#[derive(Serialize, JsonSchema)]
struct Readiness {
    /// Whether nothing is missing.
    ready: bool,
    /// What is missing.
    missing: Vec<Missing>,
    /// Whether it suspects itself (`/v1/suspicion`); it serves all the same.
    suspects_itself: bool,
}

/// Something without which it is not ready.
#[derive(Serialize, JsonSchema)]
struct Missing {
    /// What, as one word: `registry`, `store`, `draining`.
    what: &'static str,
    /// The same for people.
    detail: String,
}

async fn alive() -> axum::Json<Alive> {
    axum::Json(Alive { alive: true })
}

async fn ready(State(context): State<Arc<Context>>) -> Response {
    let mut missing = Vec::new();
    if context.draining.load(Ordering::Acquire) {
        missing.push(Missing {
            what: "draining",
            detail: "it is about to stop".to_owned(),
        });
    }
    if !context.control.is_loaded() {
        missing.push(Missing {
            what: "registry",
            detail: "the domains are still being loaded".to_owned(),
        });
    }
    if let Err(detail) = context.store.check(context.control.store().as_ref()).await {
        missing.push(Missing { what: "store", detail });
    }
    let ready = missing.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        axum::Json(Readiness {
            ready,
            missing,
            suspects_itself: context.control.suspected().since.is_some(),
        }),
    )
        .into_response()
}

/// Whether the store works, asked now and then.
#[derive(Default)]
pub(super) struct StoreHealth {
    /// When it was asked and what it said. `None`: not yet.
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl StoreHealth {
    async fn check(&self, store: &dyn Store) -> Result<(), String> {
        // Held while it is asked: who comes meanwhile gets the same answer.
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = last.as_ref()
            && at.elapsed() < STORE_FRESH
        {
            return answer.clone();
        }
        let answer = match timeout(STORE_TIME, store.probe()).await {
            Ok(answer) => answer.map_err(|e| e.to_string()),
            Err(_) => Err(format!("the store gave no answer within {} s", STORE_TIME.as_secs())),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}
