//! `POST /v1/domains/https_ready`: a mailer asks before it sends, for many names at once.

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

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::Json;
use crate::problem::Problem;
use crate::scope::Reach;

/// The most names in one request.
const MAX_NAMES: usize = 1_000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            "/v1/domains/https_ready",
            Role::Viewer,
            "Whether https links work, for up to 1000 names: the certificate is issued, DNS points here, and every node serves it.",
            ready,
        )
        .reach(Reach::Narrowed)
        .body(Content::json::<Asked>())
        .answers(StatusCode::OK, Content::json::<Ready>(), "An answer for each name."),
    ]
}

/// The names to ask for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"names": ["links.customer.example"]}))]
struct Asked {
    /// Up to 1000 names.
    #[schemars(length(max = 1000))]
    names: Vec<String>,
}

/// Whether each name is ready.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "HttpsReady")]
struct Ready {
    /// By name as it was sent: true, false, or null if it is not registered.
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
        let is_ready = |e: Arc<Entry>| e.https_ready(now) && context.control.everywhere().serves(&e.name);
        ready.insert(text, entry.map_or(Value::Null, |e| is_ready(e).into()));
    }
    Ok(axum::Json(Ready { ready }))
}

/// A registered name: from memory, or from the store if it is not there (still being loaded, or
/// denied).
async fn entry(context: &Context, name: &DomainName) -> Result<Option<Arc<Entry>>, Problem> {
    if let Some(entry) = context.registry.get(name.as_str()) {
        return Ok(Some(entry));
    }
    let record = match context.control.store().domain(name).await {
        // It must not prevent the answers about other names.
        Err(StoreError::Unreadable { .. }) => None,
        record => record?,
    };
    Ok(record.map(|r| Arc::new(Entry::of(&r))))
}
