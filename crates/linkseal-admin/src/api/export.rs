//! `GET /v1/domains/export`: a line a domain, as an import takes it, read and sent page by page.

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

use crate::Context;
use crate::auth::Caller;
use crate::endpoint::{Content, Endpoint};
use crate::input;
use crate::problem::Problem;
use crate::scope::Reach;
use crate::streams::Bounds;

/// The media type of a JSON value a line.
pub(super) const LINES: &str = "application/x-ndjson";
/// Exports, imports and walks of all domains at a time: each keeps the store busy.
pub(crate) const TRANSFERS: Bounds = Bounds {
    all: 16,
    tenants: 12,
    token: 4,
    operator: 8,
};
/// Domains read at a time.
const PAGE: usize = 1_000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/v1/domains/export",
            Role::Viewer,
            "All domains, one a line, sorted by name, as an import takes them.",
            export,
        )
        .reach(Reach::Narrowed)
        .answers(StatusCode::OK, Content::lines::<Exported<'_>>(), "A domain a line."),
    ]
}

/// What is needed to register a domain elsewhere, and its state.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ExportedDomain")]
struct Exported<'a> {
    /// Its name.
    name: &'a DomainName,
    /// Its tenant.
    tenant: &'a str,
    /// The domain in the sender's address. `None`: mail records are not looked at.
    sending_domain: Option<&'a DomainName>,
    /// Further DNS records the customer is asked for.
    records: &'a [RequestedRecord],
    /// Its SSL state; an import passes over it.
    state: ssl::State,
}

async fn export(State(context): State<Arc<Context>>, caller: Caller) -> Result<Response, Problem> {
    let permit = context.transfers.begin(&context, &caller)?;
    let own = DomainQuery {
        tenant: caller.scope().tenant().map(str::to_owned),
        limit: PAGE,
        ..DomainQuery::default()
    };
    let walk = (Pages::of(context.control.store(), own), context, permit);
    let pages = stream::try_unfold(walk, |(mut pages, context, permit)| async move {
        if !permit.holds(&context) {
            return Err(io::Error::other("the token was changed or removed"));
        }
        let page = pages.next().await.map_err(io::Error::other)?;
        // Each page is a lot at once: others get their turn before it is written.
        tokio::task::yield_now().await;
        let lines = page.map(|page| lines(&page)).transpose()?;
        Ok(lines.map(|lines| (lines, (pages, context, permit))))
    });
    // A part would look like all there is: the connection breaks off.
    let pages = pages.inspect_err(|error: &io::Error| tracing::warn!(%error, "an export broke off"));
    Ok(input::stream(LINES, pages))
}

/// The lines of a page.
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
