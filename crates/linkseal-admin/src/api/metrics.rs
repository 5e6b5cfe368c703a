//! `/metrics`, which has no customer's domain in any label, and `/metrics/domains`, which has a series
//! per domain and is read and sent page by page.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use linkseal_base::metrics::MetricsHub;
use linkseal_config::admin::Role;
use linkseal_domain::DomainRecord;
use linkseal_store::Pages;
use tokio::time::timeout;

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input;
use crate::limits::streams::Permit;
use crate::problem::Problem;

/// How long refreshing the gauges may take: less than the default timeout of a scrape (10 s).
const REFRESH_TIME: Duration = Duration::from_secs(5);
/// Domains read at a time.
const PAGE: usize = 1_000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let text = Content::Text(MetricsHub::CONTENT_TYPE);
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/metrics",
            Role::Viewer,
            "The metrics, in the Prometheus text format.",
            all,
        )
        .answers(StatusCode::OK, text, "The metrics."),
        Endpoint::new(
            MethodFilter::GET,
            "/metrics/domains",
            Role::Viewer,
            "State and expiry of each domain, in the Prometheus text format.",
            domains,
        )
        .answers(StatusCode::OK, text, "The metrics."),
    ]
}

async fn all(State(context): State<Arc<Context>>) -> Response {
    match text(&context).await {
        Some(text) => response(text),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// All metrics; `None` if they cannot be encoded, which is logged.
pub(super) async fn text(context: &Context) -> Option<Bytes> {
    // On an error the gauges keep their last values: the other metrics matter most when the store fails.
    match timeout(REFRESH_TIME, context.control.report().refresh_metrics()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "refreshing the domain metrics failed; /metrics shows the last values")
        }
        Err(_) => {
            tracing::warn!("refreshing the domain metrics timed out (slow store); /metrics shows the last values")
        }
    }
    let text = context.metrics.encode();
    let text = text.inspect_err(|error| tracing::error!(%error, "encoding the metrics failed; answered 500"));
    text.ok().map(Bytes::from)
}

pub(super) fn response(text: Bytes) -> Response {
    ([(CONTENT_TYPE, MetricsHub::CONTENT_TYPE)], text).into_response()
}

const STATE: &str = "# HELP linkseal_domain_ssl_state The SSL state of a domain; the value is always 1.\n\
                     # TYPE linkseal_domain_ssl_state gauge\n";
const NOT_AFTER: &str = "# HELP linkseal_domain_certificate_not_after_seconds Expiry of a domain's certificate, in seconds since 1970.\n\
                         # TYPE linkseal_domain_certificate_not_after_seconds gauge\n";
const FAILED: &str = "# HELP linkseal_domain_handshakes_failed_total Failed TLS handshakes of a domain with this node; only for domains with failures.\n\
                      # TYPE linkseal_domain_handshakes_failed_total counter\n";

async fn domains(State(context): State<Arc<Context>>, caller: Caller) -> Result<Response, Problem> {
    let permit = context.open_stream(&context.transfers, &caller)?;
    let walk = Walk {
        pages: Pages::stored(context.control.store(), PAGE),
        context,
        permit,
        begun: false,
        family: Some(Family::States),
        failed: FAILED.to_owned(),
    };
    let parts = stream::try_unfold(walk, |mut walk| async move {
        let part = walk.next().await?;
        Ok(part.map(|part| (part, walk)))
    });
    // An error breaks the connection, so that a partial scrape does not look like deleted domains.
    let parts =
        parts.inspect_err(|error: &io::Error| tracing::warn!(%error, "/metrics/domains failed; closed the connection"));
    Ok(input::stream(MetricsHub::CONTENT_TYPE, parts))
}

/// Reads all records once for each family of which most domains have a line: the text format groups lines by
/// family, and lines kept for later would take memory that grows with the domains.
struct Walk {
    context: Arc<Context>,
    permit: Permit,
    pages: Pages,
    /// Whether the family's heading was sent.
    begun: bool,
    /// `None`: all were sent.
    family: Option<Family>,
    /// The lines of the last family, collected on the first walk: the domains with failures are bounded.
    failed: String,
}

#[derive(Clone, Copy)]
enum Family {
    States,
    Ends,
}

impl Walk {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.context.still_grants(&self.permit) {
            return Err(io::Error::other("the token was changed or removed"));
        }
        let Some(family) = self.family else { return Ok(None) };
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            text.push_str(match family {
                Family::States => STATE,
                Family::Ends => NOT_AFTER,
            });
        }
        match (self.pages.next().await.map_err(io::Error::other)?, family) {
            (Some(page), Family::States) => page.iter().for_each(|record| self.state(record, &mut text)),
            (Some(page), Family::Ends) => page.iter().for_each(|record| end(record, &mut text)),
            (None, Family::States) => {
                self.pages = Pages::stored(self.context.control.store(), PAGE);
                (self.begun, self.family) = (false, Some(Family::Ends));
            }
            (None, Family::Ends) => {
                text.push_str(&self.failed);
                self.family = None;
            }
        }
        Ok(Some(text.into()))
    }

    fn state(&mut self, record: &DomainRecord, text: &mut String) {
        let (name, state) = (&record.name, record.ssl.state().as_str());
        // Domain names contain nothing that has to be escaped in a label.
        text.push_str(&format!(
            "linkseal_domain_ssl_state{{domain=\"{name}\",state=\"{state}\"}} 1\n"
        ));
        if let Some(failed) = self.context.control.handshake_failures().of(name) {
            let count = failed.count;
            self.failed.push_str(&format!(
                "linkseal_domain_handshakes_failed_total{{domain=\"{name}\"}} {count}\n"
            ));
        }
    }
}

fn end(record: &DomainRecord, text: &mut String) {
    if let Some(certificate) = &record.ssl.certificate {
        let (name, end) = (&record.name, certificate.not_after.as_secs());
        text.push_str(&format!(
            "linkseal_domain_certificate_not_after_seconds{{domain=\"{name}\"}} {end}\n"
        ));
    }
}
