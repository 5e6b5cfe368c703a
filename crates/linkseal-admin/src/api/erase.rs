//! `POST /v1/events/erase`: what this node holds of a tenant or a message goes.

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

use crate::Context;
use crate::auth::Caller;
use crate::endpoint::{Content, Endpoint};
use crate::input::Json;
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            "/v1/events/erase",
            Role::Admin,
            "Erases the events of a tenant or a message from this node's journal and file sinks.",
            erase,
        )
        .body(Content::json::<Whose>())
        .answers(
            StatusCode::OK,
            Content::json::<Erased>(),
            "All that was there is erased; what webhooks and NATS were given is out of reach.",
        ),
    ]
}

/// Whose events are erased: one of the two is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"tenant": "acme"}))]
struct Whose {
    /// All events of this tenant, by the name it had when they happened.
    tenant: Option<String>,
    /// All events of the message with this id.
    #[schemars(with = "Option<String>", extend("format" = "uuid"))]
    message_id: Option<Uuid>,
}

async fn erase(State(context): State<Arc<Context>>, caller: Caller, body: Json) -> Result<Response, Problem> {
    let (selector, subject) = match body.read(&[])? {
        Whose {
            tenant: Some(tenant),
            message_id: None,
        } => (Selector::Tenant(tenant.clone()), format!("tenant {tenant}")),
        Whose {
            tenant: None,
            message_id: Some(id),
        } => (Selector::Message(id), format!("message {id}")),
        _ => return Err(Problem::invalid("give either tenant or message_id")),
    };
    // The erasure goes on to its end when the client leaves, and so does what is told of it.
    let this = Arc::clone(&context);
    let erasing = context.tasks.spawn(async move {
        let actor = caller.actor();
        let line = |word: &str, after: Value| {
            let now = this.control.clock().now();
            audit_entry(&actor, now, word, subject.clone(), Value::Null, after)
        };
        // What cannot be audited is not begun.
        this.control
            .store()
            .append_audit(line("erase_events_begun", Value::Null))
            .await?;
        let erased = this.eraser.erase(selector).await;
        let outcome = match &erased {
            Ok(erased) => json!(erased),
            Err(error) => {
                tracing::error!(%error, subject, "events could not be erased");
                json!({"failed": error.to_string()})
            }
        };
        let told = this.control.store().append_audit(line("erase_events", outcome)).await;
        if let Err(error) = &told {
            tracing::error!(%error, subject, who = actor.who, "what came of an erasure is not in the audit log");
        }
        let erased = erased.map_err(|error| Problem::unavailable(error.to_string()))?;
        told?;
        Ok(axum::Json(erased).into_response())
    });
    erasing.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an erasure broke off");
        Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response())
    })
}
