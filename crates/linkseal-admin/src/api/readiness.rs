//! `POST /v1/domains/https_ready`: what a mailer asks before it sends, for many names at once.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_domain::DomainName;
use linkseal_domain::registry::Entry;
use linkseal_store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Context;
use crate::auth::Caller;
use crate::endpoint::{Content, Endpoint};
use crate::input::Json;
use crate::problem::Problem;
use crate::scope::Reach;

/// Names in one question at most.
const MAX_NAMES: usize = 1_000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            "/v1/domains/https_ready",
            Role::Viewer,
            "Whether https links work, for up to 1000 names: issued, leading here, and served by every node.",
            ready,
        )
        .reach(Reach::Narrowed)
        .body(Content::json::<Asked>())
        .answers(StatusCode::OK, Content::json::<Ready>(), "An answer for each name."),
    ]
}

/// Which names are asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"names": ["links.customer.example"]}))]
struct Asked {
    /// The names, 1000 at most.
    #[schemars(length(max = 1000))]
    names: Vec<String>,
}

/// Whether each is ready.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "HttpsReady")]
struct Ready {
    /// For each name as it was asked for: true, false, or null when it is not registered.
    ready: Map<String, Value>,
}

async fn ready(State(context): State<Arc<Context>>, caller: Caller, body: Json) -> Result<axum::Json<Ready>, Problem> {
    let asked: Asked = body.read(&[])?;
    if asked.names.len() > MAX_NAMES {
        return Err(Problem::invalid(format!("names: at most {MAX_NAMES}")));
    }
    let now = context.control.clock().now();
    let mut ready = Map::new();
    for text in asked.names {
        let entry = match DomainName::parse(&text) {
            Ok(name) => entry(&context, &name).await?,
            Err(_) => None,
        };
        let entry = entry.filter(|e| caller.scope().covers(&e.name, e.tenant()));
        ready.insert(text, entry.map_or(Value::Null, |e| e.https_ready(now).into()));
    }
    Ok(axum::Json(Ready { ready }))
}

/// What is known of a name: from memory, and where it is not there (still being loaded, denied),
/// from the store. `None`: it is not registered.
async fn entry(context: &Context, name: &DomainName) -> Result<Option<Arc<Entry>>, Problem> {
    if let Some(entry) = context.registry.get(name.as_str()) {
        return Ok(Some(entry));
    }
    let record = match context.control.store().domain(name).await {
        // It stops no answer about others.
        Err(StoreError::Unreadable { .. }) => None,
        record => record?,
    };
    Ok(record.map(|r| Arc::new(Entry::of(&r))))
}
