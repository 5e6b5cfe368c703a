//! `POST /v1/events/erase`: erases the events of a tenant or a message from this node.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_control::audit_entry;
use linkseal_event::{Erased, Selector};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::Json;
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            "/v1/events/erase",
            Role::Admin,
            "Erase the events of a tenant or a message from this node's journal and file sinks.",
            erase,
        )
        .body(Content::json::<EraseRequest>())
        .answers(
            StatusCode::OK,
            Content::json::<Erased>(),
            "They are erased. Events that were delivered to webhooks and NATS are out of reach.",
        ),
    ]
}

/// Whose events to erase: either a tenant or a message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"tenant": "acme"}))]
struct EraseRequest {
    /// All events of this tenant, by its name at the time of the event.
    tenant: Option<String>,
    /// All events of the message with this id.
    #[schemars(with = "Option<String>", extend("format" = "uuid"))]
    message_id: Option<Uuid>,
}

async fn erase(State(context): State<Arc<Context>>, caller: Caller, body: Json) -> Result<Response, Problem> {
    let (selector, subject) = match body.read(&[])? {
        EraseRequest {
            tenant: Some(tenant),
            message_id: None,
        } => (Selector::Tenant(tenant.clone()), format!("tenant {tenant}")),
        EraseRequest {
            tenant: None,
            message_id: Some(id),
        } => (Selector::Message(id), format!("message {id}")),
        _ => return Err(Problem::invalid("give either tenant or message_id")),
    };
    // A task, so that erasure and audit entry complete even if the client disconnects.
    let this = Arc::clone(&context);
    let erasing = context.tasks.spawn(async move {
        let actor = caller.actor();
        let line = |word: &str, after: Value| {
            let now = this.control.clock().now();
            audit_entry(&actor, now, word, subject.clone(), Value::Null, after)
        };
        // Nothing is erased that cannot be audited.
        this.control
            .store()
            .append_audit(line("erase_events_begun", Value::Null))
            .await?;
        let erased = this.eraser.erase(selector).await;
        let outcome = match &erased {
            Ok(erased) => json!(erased),
            Err(error) => {
                tracing::error!(%error, subject, "erasing events failed");
                json!({"failed": error.to_string()})
            }
        };
        let audited = this.control.store().append_audit(line("erase_events", outcome)).await;
        if let Err(error) = &audited {
            tracing::error!(%error, subject, who = actor.who, "the outcome of an erasure could not be written to the audit log");
        }
        let erased = erased.map_err(|error| Problem::unavailable(error.to_string()))?;
        audited?;
        Ok(axum::Json(erased).into_response())
    });
    erasing.await.unwrap_or_else(|error| {
        tracing::error!(%error, "erasing events panicked");
        Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response())
    })
}
