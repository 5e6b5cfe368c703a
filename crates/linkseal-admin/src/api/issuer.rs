//! `/v1/issuer`: the state of issuance, freezing all orders, and ending waits by hand.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_control::{Holds, NewFreeze, OperatorError};
use linkseal_domain::DomainName;
use linkseal_store::StoreError;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Json, Params};
use crate::problem::Problem;
use crate::query::issuer::{Freeze, Issuer};

const FREEZE: &str = "/v1/issuer/freeze";
const HOLDS: &str = "/v1/issuer/holds";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let freeze = Content::json::<Freeze>;
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/v1/issuer",
            Role::Viewer,
            "The state of issuance: the CAs with the accounts there, the queue of orders, what is left of the CAs' \
             rate limits, a freeze, CAA records of the edge's own names, and a forecast.",
            show,
        )
        .answers(StatusCode::OK, Content::json::<Issuer>(), "The state of issuance."),
        Endpoint::new(
            MethodFilter::PUT,
            FREEZE,
            Role::Admin,
            "Freeze all orders, on every node and across restarts. Present certificates are served; running orders complete.",
            freeze_all,
        )
        .body(Content::json::<NewFreeze>())
        .answers(StatusCode::CREATED, freeze(), "Orders are frozen now.")
        .answers(StatusCode::OK, freeze(), "Orders were frozen before."),
        Endpoint::new(
            MethodFilter::DELETE,
            FREEZE,
            Role::Admin,
            "Unfreeze orders. They resume by themselves.",
            thaw,
        )
        .answers(StatusCode::NO_CONTENT, Content::Empty, "Done."),
        Endpoint::new(
            MethodFilter::DELETE,
            HOLDS,
            Role::Admin,
            "End waits by hand: a pause that a CA asked for, an outage of a CA, and the retry times of domains that \
             wait for it. `ca` is a directory URL or its host name, `domain` a name; without either, all waits end. \
             Domains that are queued for a rate limit of the CA keep their place.",
            release,
        )
        .query::<HoldsQuery>()
        .answers(
            StatusCode::NO_CONTENT,
            Content::Empty,
            "Done. The domains that waited resume by themselves.",
        ),
    ]
}

/// Which waits to end.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HoldsQuery {
    /// The CA whose waits end: its directory URL or host name. Default: every CA, or none if a domain
    /// is given.
    ca: Option<String>,
    /// The domain whose wait ends. Default: every domain that waits for the CA.
    domain: Option<DomainName>,
}

async fn show(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    Ok(axum::Json(Issuer::from(context.control.report().overview().await?)).into_response())
}

async fn freeze_all(State(context): State<Arc<Context>>, caller: Caller, body: Json) -> Result<Response, Problem> {
    let new: NewFreeze = body.read(&[])?;
    let (freeze, is_new) = context.control.operator().freeze(new, &caller.actor()).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(Freeze::from(freeze))).into_response())
}

async fn release(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Params(query): Params<HoldsQuery>,
) -> Result<StatusCode, Problem> {
    let holds = Holds {
        ca: query.ca,
        domain: query.domain,
    };
    context.control.operator().release(&holds, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn thaw(State(context): State<Arc<Context>>, caller: Caller) -> Result<StatusCode, Problem> {
    match context.control.operator().thaw(&caller.actor()).await {
        Err(OperatorError::Store(StoreError::NotFound)) => Err(Problem::not_found("orders are not frozen")),
        done => Ok(done.map(|()| StatusCode::NO_CONTENT)?),
    }
}
