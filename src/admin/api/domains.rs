//! `/v1/domains`: list, register, show, change, retire, purge.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Context;
use crate::admin::auth::Caller;
use crate::admin::endpoint::{Content, Endpoint};
use crate::admin::input::{Json, Name, Params, cursor, cut, from_cursor, limit};
use crate::admin::problem::Problem;
use crate::admin::view::{Counts, DomainView, Viewer};
use crate::config::admin::Role;
use crate::control::{NewDomain, Patch};
use crate::domain::DomainName;
use crate::domain::ssl::{Reason, State as SslState};
use crate::store::DomainQuery;

const ALL: &str = "/v1/domains";
const ONE: &str = "/v1/domains/{name}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let domain = Content::json::<DomainView<'_>>;
    vec![
        Endpoint::new(MethodFilter::GET, ALL, Role::Viewer, "Domains, sorted by name.", list)
            .query::<List>()
            .answers(StatusCode::OK, Content::json::<Page<'_>>(), "A page."),
        Endpoint::new(MethodFilter::POST, ALL, Role::Admin, "Register a domain.", register)
            .body(Content::json::<NewDomain>())
            .answers(StatusCode::CREATED, domain(), "It is new.")
            .answers(StatusCode::OK, domain(), "It was registered already."),
        Endpoint::new(MethodFilter::GET, ONE, Role::Viewer, "A domain.", show).answers(
            StatusCode::OK,
            domain(),
            "The domain.",
        ),
        Endpoint::new(
            MethodFilter::PATCH,
            ONE,
            Role::Support,
            "Change a domain. The role support may pause and resume, nothing else.",
            patch,
        )
        .body(Content::json::<Patch>())
        .answers(StatusCode::OK, domain(), "As it is now."),
        Endpoint::new(
            MethodFilter::DELETE,
            ONE,
            Role::Admin,
            "Retire a domain: no more orders, served while its certificate lives; registering brings it back. \
             With purge=true it is forgotten now.",
            remove,
        )
        .query::<Remove>()
        .answers(StatusCode::NO_CONTENT, Content::Empty, "Done."),
    ]
}

/// What of the list is wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// Only in this state.
    state: Option<SslState>,
    /// Only for this reason.
    reason: Option<Reason>,
    /// Only this tenant's.
    tenant: Option<String>,
    /// Only names that start with this.
    q: Option<String>,
    /// How many at most: 1 to 1000; 100 unless given.
    limit: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A page of domains.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DomainPage")]
struct Page<'a> {
    /// The domains, sorted by name.
    domains: Vec<DomainView<'a>>,
    /// The cursor of the next page. `None`: this is the last.
    next: Option<String>,
    /// How many there are in each state: of the tenant asked for, else of all.
    counts: Counts,
}

async fn list(State(context): State<Arc<Context>>, Params(list): Params<List>) -> Result<Response, Problem> {
    let limit = limit(list.limit.as_deref())?;
    let after = from_cursor(list.cursor.as_deref(), |name| DomainName::parse(name).ok())?;
    let store = context.control.store();
    let counts = Counts::of(&store.counts(list.tenant.as_deref()).await?);
    let query = DomainQuery {
        state: list.state,
        reason: list.reason,
        tenant: list.tenant,
        prefix: list.q,
        after,
        // One more tells whether there is a next page.
        limit: limit + 1,
    };
    let mut records = store.list(&query).await?;
    let more = cut(&mut records, limit);
    let next = records.last().filter(|_| more).map(|r| cursor(r.name.as_str()));
    let viewer = Viewer::new(&context.control);
    let domains = records.iter().map(|r| viewer.domain(r)).collect();
    Ok(axum::Json(Page { domains, next, counts }).into_response())
}

async fn register(State(context): State<Arc<Context>>, caller: Caller, body: Json) -> Result<Response, Problem> {
    let new: NewDomain = body.read(&["name", "sending_domain"])?;
    let registered = context.control.register(new, &caller.actor()).await?;
    let status = if registered.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let viewer = Viewer::new(&context.control);
    Ok((status, axum::Json(viewer.domain(&registered.record))).into_response())
}

async fn show(State(context): State<Arc<Context>>, Name(name): Name) -> Result<Response, Problem> {
    let record = context.control.store().domain(&name).await?;
    let record = record.ok_or_else(|| not_registered(&name))?;
    Ok(axum::Json(Viewer::new(&context.control).domain(&record)).into_response())
}

pub(in crate::admin) fn not_registered(name: &DomainName) -> Problem {
    Problem::not_found(format!("{name} is not registered; POST {ALL} registers it"))
}

async fn patch(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Name(name): Name,
    body: Json,
) -> Result<Response, Problem> {
    let only_pauses = body.0.as_object().is_some_and(|o| o.keys().all(|key| key == "paused"));
    if !only_pauses {
        caller.must_be(Role::Admin)?;
    }
    let patch: Patch = body.read(&["sending_domain"])?;
    let record = context.control.patch(&name, patch, &caller.actor()).await?;
    Ok(axum::Json(Viewer::new(&context.control).domain(&record)).into_response())
}

/// How to remove a domain.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Remove {
    /// `true`: forget everything about it now.
    purge: Option<String>,
}

async fn remove(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Name(name): Name,
    Params(how): Params<Remove>,
) -> Result<StatusCode, Problem> {
    match how.purge.as_deref() {
        None | Some("false") => context.control.retire(&name, &caller.actor()).await?,
        Some("true") => context.control.purge(&name, &caller.actor()).await?,
        Some(_) => return Err(Problem::invalid("purge: true or false")),
    }
    Ok(StatusCode::NO_CONTENT)
}
