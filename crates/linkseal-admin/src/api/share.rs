//! `/v1/domains/{name}/share`: links to a domain's page for its owner.

use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use http_body::Body as _;
use linkseal_config::admin::Role;

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Json, PathDomain};
use crate::problem::Problem;
use crate::query::share::{ShareLink, ShareRequest, create_share_link};
use crate::scope::Reach;

const PATH: &str = "/v1/domains/{name}/share";
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            PATH,
            Role::Support,
            "Create a link to the domain's page for its owner. Anyone with the link can see the domain and verify it, \
             without a token. The body may be omitted.",
            share,
        )
        .reach(Reach::Domain)
        .optional_body(Content::json::<ShareRequest>())
        .answers(StatusCode::CREATED, Content::json::<ShareLink>(), "The link."),
        Endpoint::new(
            MethodFilter::DELETE,
            PATH,
            Role::Support,
            "Revoke all links to the domain's page.",
            end,
        )
        .reach(Reach::Domain)
        .answers(StatusCode::NO_CONTENT, Content::Empty, "All links are revoked."),
    ]
}

async fn share(
    State(context): State<Arc<Context>>,
    caller: Caller,
    PathDomain(name): PathDomain,
    request: Request,
) -> Result<Response, Problem> {
    let wanted = match request.body().is_end_stream() {
        true => ShareRequest::default(),
        false => Json::from_request(request, &()).await?.read(&[])?,
    };
    let link = create_share_link(&context, &name, wanted, &caller.actor()).await?;
    Ok((StatusCode::CREATED, axum::Json(link)).into_response())
}

async fn end(
    State(context): State<Arc<Context>>,
    caller: Caller,
    PathDomain(name): PathDomain,
) -> Result<StatusCode, Problem> {
    context.control.operator().end_shares(&name, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
