//! What is done with one domain, and what happened to it: verify, reissue, DNS, timeline.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_control::{MOVED, Reissue};
use linkseal_dns::DnsReport;
use linkseal_domain::DomainName;
use linkseal_store::{SharedStore, StoreError, TIMELINE_KEPT, TimelineEntry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::domains::not_registered;
use crate::Context;
use crate::auth::Caller;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Name, Params, cursor, cut, from_cursor, limit};
use crate::outsiders::hide_private;
use crate::problem::Problem;
use crate::scope::{Reach, Scope};
use crate::view::{DnsView, DomainView, FreezeView, Viewer};

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
pub(crate) struct Paging {
    /// How many at most: 1 to 1000; 100 unless given.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000), extend("default" = 100))]
    pub(crate) limit: Option<String>,
    /// `next` of the page before.
    #[schemars(length(max = 1024))]
    pub(crate) cursor: Option<String>,
}

/// A page of a domain's history.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Timeline {
    /// What happened, newest first.
    pub(crate) entries: Vec<TimelineEntry>,
    /// The cursor of the next page. `None`: this is the last.
    pub(crate) next: Option<String>,
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
pub(crate) async fn timeline_page(
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
