//! What is done with one domain, and what happened to it: verify, reissue, DNS, timeline.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::domains::not_registered;
use crate::admin::Context;
use crate::admin::auth::Caller;
use crate::admin::endpoint::{Content, Endpoint};
use crate::admin::input::{Name, Params, cursor, cut, from_cursor, limit};
use crate::admin::outsiders::hide_private;
use crate::admin::problem::Problem;
use crate::admin::scope::{Reach, Scope};
use crate::admin::view::{DnsView, DomainView, FreezeView, Viewer};
use crate::config::admin::Role;
use crate::control::{MOVED, Reissue};
use crate::dns::DnsReport;
use crate::domain::DomainName;
use crate::store::{SharedStore, StoreError, TIMELINE_KEPT, TimelineEntry};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            "/v1/domains/{name}/verify",
            Role::Support,
            "Look at the domain's DNS now, for at most 10 s, and have its certificate issued when it is right. \
             A healthy certificate is not replaced.",
            verify,
        )
        .reach(Reach::Domain)
        .answers(StatusCode::ACCEPTED, Content::json::<DnsView<'_>>(), "What was found."),
        Endpoint::new(
            MethodFilter::POST,
            "/v1/domains/{name}/reissue",
            Role::Admin,
            "Order a new certificate whatever is held.",
            reissue,
        )
        .reach(Reach::Domain)
        .answers(
            StatusCode::ACCEPTED,
            Content::json::<DomainView<'_>>(),
            "It is on its way.",
        )
        .answers(
            StatusCode::TOO_MANY_REQUESTS,
            Content::json::<Problem>(),
            "The CA's limits allow it only at `retry_at`.",
        ),
        Endpoint::new(
            MethodFilter::GET,
            "/v1/domains/{name}/dns",
            Role::Viewer,
            "Look at the domain's DNS now, for at most 10 s.",
            dns,
        )
        .reach(Reach::Domain)
        .answers(StatusCode::OK, Content::json::<DnsView<'_>>(), "What was found."),
        Endpoint::new(
            MethodFilter::GET,
            "/v1/domains/{name}/timeline",
            Role::Viewer,
            "What happened to the domain, newest first.",
            timeline,
        )
        .reach(Reach::Domain)
        .query::<Paging>()
        .answers(StatusCode::OK, Content::json::<Timeline>(), "A page."),
    ]
}

async fn verify(State(context): State<Arc<Context>>, caller: Caller, Name(name): Name) -> Result<Response, Problem> {
    let (record, mut report) = context.control.verify(&name, &caller.actor()).await?;
    let record = caller.scope().shown(record);
    only_for_the_platform(&caller, &mut report);
    let view = Viewer::new(&context.control);
    let freeze = context.control.frozen().await?;
    let freeze = freeze.as_ref().map(|freeze| FreezeView::of(freeze, caller.scope()));
    Ok((StatusCode::ACCEPTED, axum::Json(view.report(&record, &report, freeze))).into_response())
}

async fn reissue(State(context): State<Arc<Context>>, caller: Caller, Name(name): Name) -> Result<Response, Problem> {
    match context.control.reissue(&name, &caller.actor()).await? {
        Reissue::Accepted(record) => {
            let (view, record) = (Viewer::new(&context.control), caller.scope().shown(*record));
            Ok((StatusCode::ACCEPTED, axum::Json(view.domain(&record))).into_response())
        }
        Reissue::NotBefore(until) => Err(Problem::rate_limited(until, context.control.clock().now())),
    }
}

async fn dns(State(context): State<Arc<Context>>, caller: Caller, Name(name): Name) -> Result<Response, Problem> {
    let (record, mut report) = context.control.dns_report(&name, &caller.actor()).await?;
    let record = caller.scope().shown(record);
    only_for_the_platform(&caller, &mut report);
    let view = Viewer::new(&context.control);
    let freeze = context.control.frozen().await?;
    let freeze = freeze.as_ref().map(|freeze| FreezeView::of(freeze, caller.scope()));
    Ok(axum::Json(view.report(&record, &report, freeze)).into_response())
}

/// Keeps back from a tenant what is the platform's alone.
fn only_for_the_platform(caller: &Caller, report: &mut DnsReport) {
    if *caller.scope() != Scope::All {
        hide_private(report);
    }
}

/// Which page of a history.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Paging {
    /// How many at most: 1 to 1000; 100 unless given.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000), extend("default" = 100))]
    pub(in crate::admin) limit: Option<String>,
    /// `next` of the page before.
    #[schemars(length(max = 1024))]
    pub(in crate::admin) cursor: Option<String>,
}

/// A page of a domain's history.
#[derive(Serialize, JsonSchema)]
pub(in crate::admin) struct Timeline {
    /// What happened, newest first.
    pub(in crate::admin) entries: Vec<TimelineEntry>,
    /// The cursor of the next page. `None`: this is the last.
    pub(in crate::admin) next: Option<String>,
}

async fn timeline(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Name(name): Name,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let page = timeline_page(&context, &name, &paging, caller.scope()).await?;
    Ok(axum::Json(page).into_response())
}

/// A page of a domain's history, as far as this scope sees it.
pub(in crate::admin) async fn timeline_page(
    context: &Context,
    name: &DomainName,
    paging: &Paging,
    scope: &Scope,
) -> Result<Timeline, Problem> {
    let limit = limit(paging.limit.as_deref())?;
    let before = from_cursor(paging.cursor.as_deref(), |id| id.parse().ok())?;
    let store = context.control.store();
    let mut entries = match scope {
        Scope::All => store.timeline(name, before, limit + 1).await?,
        _ => of_its_tenant(store, name, before).await?,
    };
    if entries.is_empty() && store.domain(name).await?.is_none() {
        return Err(not_registered(name));
    }
    let more = cut(&mut entries, limit);
    let next = entries.last().filter(|_| more).map(|e| cursor(&e.id.to_string()));
    Ok(Timeline { entries, next })
}

/// What happened before an entry since the domain is its tenant's. All of it is read, and it is not
/// much: a cursor of one's own making leads no farther back.
async fn of_its_tenant(
    store: &SharedStore,
    name: &DomainName,
    before: Option<u64>,
) -> Result<Vec<TimelineEntry>, StoreError> {
    let Some(record) = store.domain(name).await? else {
        return Ok(Vec::new());
    };
    let kept = usize::try_from(TIMELINE_KEPT).unwrap_or(usize::MAX);
    let all = store.timeline(name, None, kept).await?;
    let is_own = |e: &TimelineEntry| e.event != MOVED && record.own_since.is_none_or(|since| e.at >= since);
    let own = all.into_iter().take_while(is_own);
    Ok(own.filter(|e| before.is_none_or(|before| e.id < before)).collect())
}
