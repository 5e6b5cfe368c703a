//! `/v1/events/sinks`: how this node's sinks are, with "retry now" and their dead letters.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_control::audit_entry;
use linkseal_event::{DeadLetter, SinkCallError, SinkReport};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::checks::Paging;
use crate::Context;
use crate::auth::Caller;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Params, cursor, cut, from_cursor, limit};
use crate::problem::Problem;

const ALL: &str = "/v1/events/sinks";
const LETTERS: &str = "/v1/events/sinks/{name}/dead-letters";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            ALL,
            Role::Viewer,
            "How this node's sinks are, in the order of the configuration.",
            list,
        )
        .answers(StatusCode::OK, Content::json::<Sinks>(), "The sinks."),
        Endpoint::new(
            MethodFilter::POST,
            "/v1/events/sinks/{name}/retry",
            Role::Support,
            "Retry a sink now: its pause ends, and if it was stopped (410), it goes on.",
            retry,
        )
        .answers(
            StatusCode::ACCEPTED,
            Content::json::<SinkReport>(),
            "How it was until now.",
        ),
        Endpoint::new(
            MethodFilter::GET,
            LETTERS,
            Role::Viewer,
            "Events that were set aside because the sink's receiver refuses them, the oldest first.",
            letters,
        )
        .query::<Paging>()
        .answers(StatusCode::OK, Content::json::<Page>(), "A page."),
        Endpoint::new(
            MethodFilter::POST,
            "/v1/events/sinks/{name}/dead-letters/replay",
            Role::Admin,
            "Give the sink its dead letters again, beside new events. What it takes is removed, what it refuses stays.",
            replay,
        )
        .answers(StatusCode::ACCEPTED, Content::json::<Count>(), "How many there are."),
        Endpoint::new(
            MethodFilter::DELETE,
            LETTERS,
            Role::Admin,
            "Drop the sink's dead letters: they are lost for good.",
            drop_all,
        )
        .answers(StatusCode::OK, Content::json::<Count>(), "How many there were."),
    ]
}

/// All sinks.
#[derive(Serialize, JsonSchema)]
struct Sinks {
    /// Those of the configuration.
    sinks: Vec<SinkReport>,
}

/// A page of dead letters.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterPage")]
struct Page {
    /// The events.
    dead_letters: Vec<DeadLetter>,
    /// The cursor of the next page. `None`: this is the last.
    next: Option<String>,
}

/// How many dead letters something was about.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterCount")]
struct Count {
    /// How many.
    dead_letters: u64,
}

async fn list(State(context): State<Arc<Context>>) -> Response {
    let sinks = context.delivery.sinks();
    axum::Json(Sinks { sinks }).into_response()
}

async fn retry(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let before = context.delivery.retry(&name)?;
    audit(&context, &caller, "retry_sink", &name, Value::Null).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(before)).into_response())
}

async fn letters(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let limit = limit(paging.limit.as_deref())?;
    let after = from_cursor(paging.cursor.as_deref(), place)?;
    let mut dead_letters = context.delivery.dead_letters(&name, after, limit + 1).await?;
    let more = cut(&mut dead_letters, limit);
    let next = dead_letters.last().filter(|_| more);
    let next = next.map(|last| cursor(&format!("{}:{}", last.boot, last.seq)));
    Ok(axum::Json(Page { dead_letters, next }).into_response())
}

async fn replay(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let dead_letters = context.delivery.replay_dead_letters(&name).await?;
    let after = json!({ "dead_letters": dead_letters });
    audit(&context, &caller, "replay_dead_letters", &name, after).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(Count { dead_letters })).into_response())
}

async fn drop_all(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let dead_letters = context.delivery.drop_dead_letters(&name).await?;
    let after = json!({ "dead_letters": dead_letters });
    audit(&context, &caller, "drop_dead_letters", &name, after).await?;
    Ok(axum::Json(Count { dead_letters }).into_response())
}

async fn audit(context: &Context, caller: &Caller, what: &str, sink: &str, after: Value) -> Result<(), Problem> {
    let (now, subject) = (context.control.clock().now(), format!("sink {sink}"));
    let line = audit_entry(&caller.actor(), now, what, subject, Value::Null, after);
    context.control.store().append_audit(line).await?;
    Ok(())
}

/// Boot and sequence number from a cursor. `None`: it is none.
fn place(text: &str) -> Option<(Uuid, u64)> {
    let (boot, seq) = text.split_once(':')?;
    Some((Uuid::try_parse(boot).ok()?, seq.parse().ok()?))
}

impl From<SinkCallError> for Problem {
    fn from(error: SinkCallError) -> Self {
        match error {
            SinkCallError::Unknown(_) => Self::not_found(error.to_string()),
            SinkCallError::Disk(_) => {
                tracing::error!(%error, "dead letters cannot be reached for the admin API");
                Self::unavailable(error.to_string())
            }
        }
    }
}
