//! `GET /v1/domains/export`: one line per domain in the format of an import, read and sent page by
//! page.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::MethodFilter;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_domain::record::RequestedRecord;
use linkseal_domain::{DomainName, DomainRecord, ssl};
use linkseal_store::{DomainQuery, Pages};
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input;
use crate::limits::streams::StreamLimits;
use crate::problem::Problem;
use crate::scope::Reach;

/// The media type of one JSON value per line.
pub(super) const LINES: &str = "application/x-ndjson";
/// For exports, imports and `/metrics/domains`: each keeps the store busy.
pub(crate) const TRANSFERS: StreamLimits = StreamLimits {
    total: 16,
    tenants: 12,
    per_tenant_token: 4,
    per_fleet_token: 8,
};
/// Domains read at a time.
const PAGE: usize = 1_000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/v1/domains/export",
            Role::Viewer,
            "All domains, one per line, sorted by name, in the format of an import.",
            export,
        )
        .reach(Reach::Narrowed)
        .answers(StatusCode::OK, Content::lines::<Exported<'_>>(), "One domain per line."),
    ]
}

/// What is needed to register the domain elsewhere, and its state.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ExportedDomain")]
struct Exported<'a> {
    /// The name.
    name: &'a DomainName,
    /// The tenant.
    tenant: &'a str,
    /// The domain in the sender's address; null if mail records are not checked.
    sending_domain: Option<&'a DomainName>,
    /// Further DNS records that the customer is asked to publish.
    records: &'a [RequestedRecord],
    /// The SSL state; an import ignores it.
    state: ssl::State,
}

async fn export(State(context): State<Arc<Context>>, caller: Caller) -> Result<Response, Problem> {
    let permit = context.open_stream(&context.transfers, &caller)?;
    let own = DomainQuery {
        tenant: caller.scope().tenant().map(str::to_owned),
        limit: PAGE,
        ..DomainQuery::default()
    };
    let walk = (Pages::of(context.control.store(), own), context, permit);
    let pages = stream::try_unfold(walk, |(mut pages, context, permit)| async move {
        if !context.still_grants(&permit) {
            return Err(io::Error::other("the token was changed or removed"));
        }
        let page = pages.next().await.map_err(io::Error::other)?;
        // Serializing a page takes a while; let other requests run first.
        tokio::task::yield_now().await;
        let lines = page.map(|page| lines(&page)).transpose()?;
        Ok(lines.map(|lines| (lines, (pages, context, permit))))
    });
    // An error breaks the connection, so that a partial export does not look complete.
    let pages = pages.inspect_err(|error: &io::Error| tracing::warn!(%error, "export failed; closed the connection"));
    Ok(input::stream(LINES, pages))
}

fn lines(records: &[DomainRecord]) -> io::Result<Bytes> {
    let mut out = Vec::new();
    for record in records {
        let line = Exported {
            name: &record.name,
            tenant: &record.tenant,
            sending_domain: record.sending_domain.as_ref(),
            records: &record.records,
            state: record.ssl.state(),
        };
        serde_json::to_writer(&mut out, &line)?;
        out.push(b'\n');
    }
    Ok(out.into())
}
