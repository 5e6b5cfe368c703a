//! `POST /v1/links/inspect`: why does this link not work?

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::{StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::admin::endpoint::{Content, Endpoint};
use crate::admin::input::Json;
use crate::admin::problem::Problem;
use crate::admin::{Context, Live};
use crate::config::admin::Role;
use crate::domain::registry::Registry;
use crate::link::{Inspection, explain};

/// Other domains' tenants that are tried, to tell a link that stands on the wrong domain from a
/// forged one; each costs some microseconds.
const MAX_OTHERS: usize = 10_000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            "/v1/links/inspect",
            Role::Viewer,
            "What is in a link, and why it works or not.",
            inspect,
        )
        .body(Content::json::<Inspect>())
        .answers(StatusCode::OK, Content::json::<Inspection>(), "What was found."),
    ]
}

/// A link to look at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Inspect {
    /// The link as it stands in the message, or a bare token.
    url: String,
}

async fn inspect(State(context): State<Arc<Context>>, body: Json) -> Result<Response, Problem> {
    let Inspect { url } = body.read(&[])?;
    let this = Arc::clone(&context);
    // Trying thousands of keys would hold up everything else on this thread.
    let found = context.tasks.spawn_blocking(move || {
        let live = this.live.load();
        let tenants = tenants(&this.registry, &live, &url);
        let tenants: Vec<&str> = tenants.iter().map(String::as_str).collect();
        let others = others(&this.registry);
        explain(&url, &live.link_keys, &tenants, others.iter().map(String::as_str))
    });
    Ok(match found.await {
        Ok(found) => axum::Json(found).into_response(),
        Err(error) => {
            tracing::error!(%error, "a link could not be inspected");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    })
}

/// The tenants whose links the URL's host serves: the present one and the former ones; on edge.name
/// the one in the path.
fn tenants(registry: &Registry, live: &Live, url: &str) -> Vec<String> {
    let url = url.trim().trim_matches(['<', '>', '"', '\'']);
    let uri: Option<Uri> = url.parse().ok();
    let Some(host) = uri.as_ref().and_then(Uri::host) else {
        return Vec::new();
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_edge = live.edge_name.as_str() == host || live.aliases.iter().any(|a| a.as_str() == host);
    if is_edge {
        let path = uri.as_ref().map_or("", Uri::path);
        let tenant = path.split("/t/").nth(1).and_then(|rest| rest.split('/').next());
        return tenant.map(str::to_owned).into_iter().collect();
    }
    let Some(entry) = registry.get(&host) else {
        return Vec::new();
    };
    let former = entry.former_tenants().iter().cloned();
    std::iter::once(entry.tenant().to_owned()).chain(former).collect()
}

fn others(registry: &Registry) -> Vec<String> {
    let mut all = Vec::new();
    registry.for_each(|entry| {
        if all.len() < MAX_OTHERS {
            all.push(entry.tenant().to_owned());
        }
    });
    all
}
