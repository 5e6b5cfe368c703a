//! `/v1/kills`: kill switches for links, by tenant, message or destination host.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_base::clock::Timestamp;
use linkseal_config::admin::Role;
use linkseal_control::{NewKill, OperatorError};
use linkseal_domain::links::Kill;
use linkseal_link::KillKind;
use linkseal_store::{StoreError, StoredKill};
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Json, Paging, Params, cursor, cut, from_cursor, limit};
use crate::problem::Problem;

const ALL: &str = "/v1/kills";
const ONE: &str = "/v1/kills/{kind}/{value}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let kill = Content::json::<KillView>;
    vec![
        Endpoint::new(
            MethodFilter::GET,
            ALL,
            Role::Viewer,
            "Kill switches, sorted by kind and value.",
            list,
        )
        .query::<Paging>()
        .answers(StatusCode::OK, Content::json::<Page>(), "A page of kill switches."),
        Endpoint::new(MethodFilter::GET, ONE, Role::Viewer, "A kill switch.", show).answers(
            StatusCode::OK,
            kill(),
            "The kill switch.",
        ),
        Endpoint::new(
            MethodFilter::PUT,
            ONE,
            Role::Support,
            "Kill all links of a tenant or a message, or to a host and its subdomains (kind: tenant, message, host). \
             Clicks and stored redirects get a warning page (410) at once; opens and unsubscribing still work.",
            put,
        )
        .body(Content::json::<NewKill>())
        .answers(StatusCode::CREATED, kill(), "The kill switch is new.")
        .answers(StatusCode::OK, kill(), "The kill switch existed before."),
        Endpoint::new(MethodFilter::DELETE, ONE, Role::Admin, "Delete a kill switch.", remove).answers(
            StatusCode::NO_CONTENT,
            Content::Empty,
            "Done.",
        ),
    ]
}

/// A kill switch.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Kill")]
struct KillView {
    /// What it matches.
    kind: KillKind,
    /// The tenant, message id or host.
    value: String,
    /// The reason that was given; null if none was.
    note: Option<String>,
    /// The name of the token that set it.
    by: String,
    /// When it was set.
    since: Timestamp,
    /// What may be wrong with it; only in the answer that sets it, else null.
    hint: Option<String>,
}

/// A page of kill switches.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KillPage")]
struct Page {
    /// The kill switches.
    kills: Vec<KillView>,
    /// The cursor of the next page; null on the last page.
    next: Option<String>,
}

impl From<StoredKill> for KillView {
    fn from(stored: StoredKill) -> Self {
        Self {
            kind: stored.kill.kind(),
            value: stored.kill.value().to_owned(),
            note: stored.note,
            by: stored.by,
            since: stored.since,
            hint: None,
        }
    }
}

/// A kill switch for a tenant without domains is valid, because links on edge.name need none, but it
/// may be a misspelling.
async fn hint(context: &Context, kill: &Kill) -> Option<String> {
    if kill.kind() != KillKind::Tenant {
        return None;
    }
    let counts = context.control.store().counts(Some(kill.value())).await.ok()?;
    let none = counts.iter().all(|c| c.domains == 0);
    none.then(|| {
        "no domain of this tenant is registered, so check the spelling; the kill switch applies nevertheless".to_owned()
    })
}

async fn list(State(context): State<Arc<Context>>, Params(paging): Params<Paging>) -> Result<Response, Problem> {
    let limit = limit(paging.limit.as_deref())?;
    let after = from_cursor(paging.cursor.as_deref(), |last| Some(last.to_owned()))?;
    let all = context.control.operator().kills().list().await?.into_iter();
    // Sorted by their text form, in which no kind is a prefix of another.
    let rest = all.filter(|k| after.as_ref().is_none_or(|after| k.kill.to_string() > *after));
    let mut page: Vec<_> = rest.take(limit + 1).collect();
    let more = cut(&mut page, limit);
    let next = page.last().filter(|_| more).map(|last| cursor(&last.kill.to_string()));
    let kills = page.into_iter().map(KillView::from).collect();
    Ok(axum::Json(Page { kills, next }).into_response())
}

async fn show(State(context): State<Arc<Context>>, Path(path): Path<(String, String)>) -> Result<Response, Problem> {
    let kill = parse(&path)?;
    let found = context.control.operator().kills().get(&kill).await?;
    let stored = found.ok_or_else(|| not_killed(&kill))?;
    Ok(axum::Json(KillView::from(stored)).into_response())
}

async fn put(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    body: Json,
) -> Result<Response, Problem> {
    let kill = parse(&path)?;
    let new: NewKill = body.read(&[])?;
    let hint = hint(&context, &kill).await;
    let (stored, created) = context
        .control
        .operator()
        .kills()
        .put(kill, new, &caller.actor())
        .await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let view = KillView {
        hint,
        ..KillView::from(stored)
    };
    Ok((status, axum::Json(view)).into_response())
}

async fn remove(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Response, Problem> {
    let kill = parse(&path)?;
    match context.control.operator().kills().delete(&kill, &caller.actor()).await {
        Err(OperatorError::Store(StoreError::NotFound)) => Err(not_killed(&kill)),
        done => Ok(done.map(|()| StatusCode::NO_CONTENT)?.into_response()),
    }
}

fn parse((kind, value): &(String, String)) -> Result<Kill, Problem> {
    let kind = KillKind::parse(kind).ok_or_else(|| Problem::invalid("the kind is one of tenant, message, host"))?;
    Kill::new(kind, value).map_err(|e| Problem::invalid(e.to_string()))
}

fn not_killed(kill: &Kill) -> Problem {
    Problem::not_found(format!("there is no kill switch for {kill}"))
}
