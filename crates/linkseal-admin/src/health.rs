//! `/healthz`: the process is alive. `/readyz`: it can serve; for balancers and orchestrators,
//! without a token. The health port (`listen.health`) has these and `/metrics`, and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use linkseal_store::Store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::endpoint::{Content, Endpoint};
use super::input::Params;
use super::problem::Problem;
use super::{Context, metrics};

/// How long an answer of the store holds: anybody may ask, and every question is a write.
const STORE_FRESH: Duration = Duration::from_secs(1);
/// For how long a scrape of the health port holds: anybody may ask there, and each looks at every
/// domain.
const SCRAPE_FRESH: Duration = Duration::from_secs(1);
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
        Endpoint::new(
            MethodFilter::GET,
            "/readyz",
            None,
            "Whether it can serve: it has the domains, and is not about to stop. What it serves it has in memory, so \
             that a store that is away does not make it unready, except with strict=true.",
            ready,
        )
        .query::<Question>()
        .answers(StatusCode::OK, Content::json::<Readiness>(), "It can.")
        .answers(
            StatusCode::SERVICE_UNAVAILABLE,
            Content::json::<Readiness>(),
            "Something is missing.",
        ),
    ]
}

/// The routes of the health port.
pub(super) fn router(context: &Arc<Context>) -> Router {
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

/// Which readiness is asked for. Other parameters are passed over: probes add what they like.
#[derive(Deserialize, JsonSchema)]
struct Question {
    /// `true`: a store that cannot be used makes it unready too. `None`: it does not.
    #[schemars(with = "Option<bool>")]
    strict: Option<String>,
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
    /// What, as one word: `registry`, `draining`, and when asked with strict=true `store`.
    what: &'static str,
    /// The same for people.
    detail: String,
}

async fn alive() -> axum::Json<Alive> {
    axum::Json(Alive { alive: true })
}

async fn ready(State(context): State<Arc<Context>>, Params(question): Params<Question>) -> Result<Response, Problem> {
    let strict = match question.strict.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::invalid("strict: true or false")),
    };
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
    // Not asked otherwise: a probe must not wait for a store that hangs.
    if strict && let Err(detail) = context.store.check(context.control.store().as_ref()).await {
        missing.push(Missing { what: "store", detail });
    }
    let ready = missing.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let readiness = Readiness {
        ready,
        missing,
        suspects_itself: context.control.suspected().since.is_some(),
    };
    Ok((status, axum::Json(readiness)).into_response())
}

async fn scrape(State(context): State<Arc<Context>>) -> Response {
    context.scraped.get(&context).await
}

/// The last scrape of the health port.
#[derive(Default)]
pub(super) struct Scraped {
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Scraped {
    async fn get(&self, context: &Context) -> Response {
        // Held while it is made: who comes meanwhile gets the same.
        let mut last = self.last.lock().await;
        if let Some((at, text)) = last.as_ref()
            && at.elapsed() < SCRAPE_FRESH
        {
            return metrics::response(text.clone());
        }
        match metrics::text(context).await {
            Some(text) => {
                *last = Some((Instant::now(), text.clone()));
                metrics::response(text)
            }
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
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
