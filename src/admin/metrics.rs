//! `/metrics`: everything that is measured, without a customer's domain in any label.
//! `/metrics/domains`: the state of each domain, for those who want a series each; it is read and
//! sent page by page.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::time::timeout;

use super::Context;
use super::endpoint::{Content, Endpoint};
use super::input;
use crate::config::admin::Role;
use crate::control::Control;
use crate::domain::handshakes::HandshakeFailures;
use crate::domain::{DomainName, DomainRecord};
use crate::store::{DomainQuery, StoreError};
use crate::telemetry::metrics::MetricsHub;

/// How long the snapshots may take: less than Prometheus waits for a scrape (10 s).
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
            "Metrics in Prometheus' text format.",
            all,
        )
        .answers(StatusCode::OK, text, "The metrics."),
        Endpoint::new(
            MethodFilter::GET,
            "/metrics/domains",
            Role::Viewer,
            "State and expiry of each domain, in Prometheus' text format.",
            domains,
        )
        .answers(StatusCode::OK, text, "The metrics."),
    ]
}

async fn all(State(context): State<Arc<Context>>) -> Response {
    // What cannot be read now keeps its last value: the rest is needed most when the store fails.
    match timeout(REFRESH_TIME, context.control.refresh_metrics()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the numbers about domains on /metrics are old"),
        Err(_) => tracing::warn!("the numbers about domains on /metrics are old: the store is slow"),
    }
    match context.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, MetricsHub::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A family with a sample a domain; in the text format its lines stand together.
struct Family {
    head: &'static str,
    sample: fn(&mut String, &DomainRecord, &HandshakeFailures) -> std::fmt::Result,
}

const FAMILIES: [Family; 3] = [
    Family {
        head: "# HELP linkseal_domain_ssl_state The SSL state a domain is in; always 1.\n\
               # TYPE linkseal_domain_ssl_state gauge\n",
        // Names hold nothing that a label's value would have to escape.
        sample: |out, record, _| {
            let state = record.ssl.state().as_str();
            writeln!(
                out,
                "linkseal_domain_ssl_state{{domain=\"{}\",state=\"{state}\"}} 1",
                record.name
            )
        },
    },
    Family {
        head: "# HELP linkseal_domain_certificate_not_after_seconds End of a domain's certificate, in seconds since 1970.\n\
               # TYPE linkseal_domain_certificate_not_after_seconds gauge\n",
        sample: |out, record, _| {
            let Some(certificate) = &record.ssl.certificate else {
                return Ok(());
            };
            let (name, end) = (&record.name, certificate.not_after.as_secs());
            writeln!(
                out,
                "linkseal_domain_certificate_not_after_seconds{{domain=\"{name}\"}} {end}"
            )
        },
    },
    Family {
        head: "# HELP linkseal_domain_handshakes_failed_total TLS handshakes of a domain with this node that failed; only where some did.\n\
               # TYPE linkseal_domain_handshakes_failed_total counter\n",
        sample: |out, record, failures| {
            let Some(failed) = failures.of(&record.name) else {
                return Ok(());
            };
            let (name, count) = (&record.name, failed.count);
            writeln!(
                out,
                "linkseal_domain_handshakes_failed_total{{domain=\"{name}\"}} {count}"
            )
        },
    },
];

async fn domains(State(context): State<Arc<Context>>) -> Response {
    let walk = Walk {
        control: context.control.clone(),
        families: FAMILIES.into(),
        begun: false,
        after: None,
    };
    input::stream(
        MetricsHub::CONTENT_TYPE,
        stream::try_unfold(walk, |mut walk| async move {
            let page = walk.page().await;
            // A scrape that breaks off counts as failed; a part would look like domains that went.
            let page = page.map_err(|error| {
                tracing::warn!(%error, "/metrics/domains broke off");
                io::Error::other(error)
            })?;
            Ok(page.map(|page| (page, walk)))
        }),
    )
}

struct Walk {
    control: Control,
    families: VecDeque<Family>,
    begun: bool,
    after: Option<DomainName>,
}

impl Walk {
    /// The next part. `None`: that was all.
    async fn page(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(family) = self.families.front() else {
            return Ok(None);
        };
        let mut text = String::new();
        if !self.begun {
            text.push_str(family.head);
            self.begun = true;
        }
        let query = DomainQuery {
            after: self.after.clone(),
            limit: PAGE,
            ..DomainQuery::default()
        };
        let page = self.control.store().list(&query).await?;
        for record in &page {
            (family.sample)(&mut text, record, self.control.handshake_failures())
                .map_err(|e| StoreError::Unavailable(e.to_string()))?;
        }
        self.after = page.last().filter(|_| page.len() == PAGE).map(|r| r.name.clone());
        if self.after.is_none() {
            self.families.pop_front();
            self.begun = false;
        }
        Ok(Some(text.into()))
    }
}
