//! `/v1/domains/{name}/…`: verify, reissue, dns, timeline.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_control::Reissue;

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Paging, Params, PathDomain};
use crate::problem::Problem;
use crate::query::dns;
use crate::query::timeline::{Timeline, timeline_page};
use crate::scope::Reach;
use crate::view::{DnsView, DomainView, FreezeView, Viewer};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            "/v1/domains/{name}/verify",
            Role::Support,
            "Check the domain's DNS now, for at most 10 s, and order a certificate if it is right. A healthy certificate \
             is not replaced.",
            verify,
        )
        .reach(Reach::Domain)
        .answers(StatusCode::ACCEPTED, Content::json::<DnsView<'_>>(), "The report."),
        Endpoint::new(
            MethodFilter::POST,
            "/v1/domains/{name}/reissue",
            Role::Admin,
            "Order a new certificate, even if the present one is valid.",
            reissue,
        )
        .reach(Reach::Domain)
        .answers(
            StatusCode::ACCEPTED,
            Content::json::<DomainView<'_>>(),
            "The order is queued.",
        )
        .answers(
            StatusCode::TOO_MANY_REQUESTS,
            Content::json::<Problem>(),
            "The next reissue is possible at `retry_at`.",
        ),
        Endpoint::new(
            MethodFilter::GET,
            "/v1/domains/{name}/dns",
            Role::Viewer,
            "Check the domain's DNS now, for at most 10 s.",
            report,
        )
        .reach(Reach::Domain)
        .answers(StatusCode::OK, Content::json::<DnsView<'_>>(), "The report."),
        Endpoint::new(
            MethodFilter::GET,
            "/v1/domains/{name}/timeline",
            Role::Viewer,
            "The history of the domain, newest first.",
            timeline,
        )
        .reach(Reach::Domain)
        .query::<Paging>()
        .answers(StatusCode::OK, Content::json::<Timeline>(), "A page of the history."),
    ]
}

async fn verify(
    State(context): State<Arc<Context>>,
    caller: Caller,
    PathDomain(name): PathDomain,
) -> Result<Response, Problem> {
    let (record, mut report) = context.control.operator().verify(&name, &caller.actor()).await?;
    let record = caller.scope().shown(record);
    dns::redact(&mut report, caller.scope());
    let view = Viewer::new(&context.control);
    let freeze = context.control.operator().frozen().await?;
    let freeze = freeze.as_ref().map(|freeze| FreezeView::of(freeze, caller.scope()));
    Ok((StatusCode::ACCEPTED, axum::Json(view.report(&record, &report, freeze))).into_response())
}

async fn reissue(
    State(context): State<Arc<Context>>,
    caller: Caller,
    PathDomain(name): PathDomain,
) -> Result<Response, Problem> {
    match context.control.operator().reissue(&name, &caller.actor()).await? {
        Reissue::Accepted(record) => {
            let (view, record) = (Viewer::new(&context.control), caller.scope().shown(*record));
            Ok((StatusCode::ACCEPTED, axum::Json(view.domain(&record))).into_response())
        }
        Reissue::NotBefore(until) => Err(Problem::reissue_later(until, context.now())),
    }
}

async fn report(
    State(context): State<Arc<Context>>,
    caller: Caller,
    PathDomain(name): PathDomain,
) -> Result<Response, Problem> {
    let (record, mut report) = context.control.operator().dns_report(&name, &caller.actor()).await?;
    let record = caller.scope().shown(record);
    dns::redact(&mut report, caller.scope());
    let view = Viewer::new(&context.control);
    let freeze = context.control.operator().frozen().await?;
    let freeze = freeze.as_ref().map(|freeze| FreezeView::of(freeze, caller.scope()));
    Ok(axum::Json(view.report(&record, &report, freeze)).into_response())
}

async fn timeline(
    State(context): State<Arc<Context>>,
    caller: Caller,
    PathDomain(name): PathDomain,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let page = timeline_page(&context, &name, &paging, caller.scope()).await?;
    Ok(axum::Json(page).into_response())
}
