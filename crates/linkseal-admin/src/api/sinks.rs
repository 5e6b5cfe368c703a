//! `/v1/events/sinks`: the state of this node's sinks, "retry now", and their dead letters.

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

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Paging, Params, cursor, cut, from_cursor, limit};
use crate::problem::Problem;

const ALL: &str = "/v1/events/sinks";
const LETTERS: &str = "/v1/events/sinks/{name}/dead-letters";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            ALL,
            Role::Viewer,
            "The state of this node's sinks, in the order of the configuration.",
            list,
        )
        .answers(StatusCode::OK, Content::json::<Sinks>(), "The sinks."),
        Endpoint::new(
            MethodFilter::POST,
            "/v1/events/sinks/{name}/retry",
            Role::Support,
            "Retry a sink now: end its pause, and resume it if it was stopped (410).",
            retry,
        )
        .answers(
            StatusCode::ACCEPTED,
            Content::json::<SinkReport>(),
            "Its state before the retry.",
        ),
        Endpoint::new(
            MethodFilter::GET,
            LETTERS,
            Role::Viewer,
            "The sink's dead letters: events that its receiver refused, the oldest first.",
            letters,
        )
        .query::<Paging>()
        .answers(StatusCode::OK, Content::json::<Page>(), "A page of dead letters."),
        Endpoint::new(
            MethodFilter::POST,
            "/v1/events/sinks/{name}/dead-letters/replay",
            Role::Admin,
            "Deliver the sink's dead letters again, beside new events. Those that are accepted are removed, the others stay.",
            replay,
        )
        .answers(StatusCode::ACCEPTED, Content::json::<Count>(), "The number of dead letters."),
        Endpoint::new(
            MethodFilter::DELETE,
            LETTERS,
            Role::Admin,
            "Delete the sink's dead letters permanently.",
            drop_all,
        )
        .answers(StatusCode::OK, Content::json::<Count>(), "The number of deleted dead letters."),
    ]
}

/// All sinks.
#[derive(Serialize, JsonSchema)]
struct Sinks {
    /// In the order of the configuration.
    sinks: Vec<SinkReport>,
}

/// A page of dead letters.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterPage")]
struct Page {
    /// The dead letters, the oldest first.
    dead_letters: Vec<DeadLetter>,
    /// The cursor of the next page; null on the last page.
    next: Option<String>,
}

/// A number of dead letters.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterCount")]
struct Count {
    /// The number.
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
    let after = from_cursor(paging.cursor.as_deref(), parse_cursor)?;
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

/// A cursor holds boot and sequence number.
fn parse_cursor(text: &str) -> Option<(Uuid, u64)> {
    let (boot, seq) = text.split_once(':')?;
    Some((Uuid::try_parse(boot).ok()?, seq.parse().ok()?))
}

impl From<SinkCallError> for Problem {
    fn from(error: SinkCallError) -> Self {
        match error {
            SinkCallError::Unknown(_) => Self::not_found(error.to_string()),
            SinkCallError::Disk(_) => {
                tracing::error!(%error, "reading or writing dead letters failed; answered 503");
                Self::unavailable(error.to_string())
            }
        }
    }
}
