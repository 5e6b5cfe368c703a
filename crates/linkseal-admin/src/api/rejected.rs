//! `GET /v1/rejected`: unregistered names whose DNS points here.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_base::clock::Timestamp;
use linkseal_config::admin::Role;
use linkseal_domain::DomainName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Params, limit};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/v1/rejected",
            Role::Viewer,
            "Names whose TLS handshakes this node refused although their DNS points here: the CNAME was created, but the \
             domain was never registered. Since the node started, the most recently refused first.",
            list,
        )
        .query::<List>()
        .answers(StatusCode::OK, Content::json::<Rejected>(), "The names."),
    ]
}

/// How many names to list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// The most entries to return: 1 to 1000, 100 by default.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000), extend("default" = 100))]
    limit: Option<String>,
}

/// Refused names that point here.
#[derive(Serialize, JsonSchema)]
struct Rejected {
    /// The names, the most recently refused first.
    names: Vec<RejectedName>,
}

/// A refused name that points here.
#[derive(Serialize, JsonSchema)]
struct RejectedName {
    /// The name; POST /v1/domains registers it.
    name: DomainName,
    /// When it was first refused.
    first_seen: Timestamp,
    /// When it was last refused.
    last_seen: Timestamp,
    /// Handshakes refused.
    count: u64,
}

async fn list(State(context): State<Arc<Context>>, Params(list): Params<List>) -> Result<Response, Problem> {
    let names = context.control.admission().rejected(limit(list.limit.as_deref())?);
    let names = names.into_iter().map(|n| RejectedName {
        name: n.name,
        first_seen: n.first_seen,
        last_seen: n.last_seen,
        count: n.count,
    });
    Ok(axum::Json(Rejected { names: names.collect() }).into_response())
}
