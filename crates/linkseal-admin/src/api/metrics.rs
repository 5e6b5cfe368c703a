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
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_store::{DomainQuery, Pages};
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
    let all = DomainQuery {
        limit: PAGE,
        ..DomainQuery::default()
    };
    let walk = Walk {
        pages: Pages::of(context.control.store(), all),
        context,
        permit,
        part: Part::Begin,
        later: Later::default(),
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

/// Reads every record once. The text format groups lines by family, so what belongs to later families
/// is buffered, some 40 bytes per domain.
struct Walk {
    context: Arc<Context>,
    permit: Permit,
    pages: Pages,
    part: Part,
    later: Later,
}

enum Part {
    Begin,
    /// More states.
    States,
    /// The other families, from this offset in the buffered names.
    Rest(usize),
    End,
}

/// The buffer for the later families.
#[derive(Default)]
struct Later {
    /// Per line, a name and the expiry of its certificate.
    ends: String,
    failed: String,
}

/// How much of the buffer is sent at a time, in bytes.
const CHUNK: usize = 64 * 1024;

impl Walk {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.context.still_grants(&self.permit) {
            return Err(io::Error::other("the token was changed or removed"));
        }
        match std::mem::replace(&mut self.part, Part::End) {
            Part::Begin => self.states(STATE.to_owned()).await.map(Some),
            Part::States => self.states(String::new()).await.map(Some),
            Part::Rest(at) => Ok(Some(self.rest(at).into())),
            Part::End => Ok(None),
        }
    }

    async fn states(&mut self, mut text: String) -> io::Result<Bytes> {
        let Some(page) = self.pages.next().await.map_err(io::Error::other)? else {
            self.part = Part::Rest(0);
            return Ok(text.into());
        };
        let control = &self.context.control;
        for record in &page {
            self.later.note(record, control.handshake_failures());
            let (name, state) = (&record.name, record.ssl.state().as_str());
            // Domain names contain nothing that has to be escaped in a label.
            text.push_str(&format!(
                "linkseal_domain_ssl_state{{domain=\"{name}\",state=\"{state}\"}} 1\n"
            ));
        }
        self.part = Part::States;
        Ok(text.into())
    }

    fn rest(&mut self, mut at: usize) -> String {
        let mut text = if at == 0 { NOT_AFTER.to_owned() } else { String::new() };
        while text.len() < CHUNK
            && let Some((line, _)) = self.later.ends.get(at..).and_then(|rest| rest.split_once('\n'))
        {
            at += line.len() + 1;
            let (name, end) = line.split_once(' ').unwrap_or_default();
            text.push_str(&format!(
                "linkseal_domain_certificate_not_after_seconds{{domain=\"{name}\"}} {end}\n"
            ));
        }
        if at < self.later.ends.len() {
            self.part = Part::Rest(at);
        } else {
            text.push_str(FAILED);
            text.push_str(&self.later.failed);
        }
        text
    }
}

impl Later {
    fn note(&mut self, record: &DomainRecord, failures: &HandshakeFailures) {
        let name = &record.name;
        if let Some(certificate) = &record.ssl.certificate {
            self.ends
                .push_str(&format!("{name} {}\n", certificate.not_after.as_secs()));
        }
        if let Some(failed) = failures.of(name) {
            let count = failed.count;
            self.failed.push_str(&format!(
                "linkseal_domain_handshakes_failed_total{{domain=\"{name}\"}} {count}\n"
            ));
        }
    }
}
