//! Metrics of issuing.

use linkseal_domain::ssl::FailureKind;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::job::{IssueError, Issued};

/// The `result` label of an attempt that succeeded.
const ISSUED: &str = "issued";

/// In seconds: from a CA near by to the timeout of a call.
const REQUEST_BUCKETS: [f64; 7] = [0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

#[derive(Clone, Debug)]
pub struct Metrics {
    orders: IntCounterVec,
    seconds: HistogramVec,
}

impl Metrics {
    /// Registers `linkseal_acme_orders_total` and `linkseal_acme_request_seconds`; once per registry,
    /// for all CAs.
    ///
    /// # Errors
    /// If a metric of that name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new(
            "linkseal_acme_orders_total",
            "Attempts to obtain a certificate, by result.",
        );
        let orders = IntCounterVec::new(opts, &["result"])?;
        let opts = HistogramOpts::new(
            "linkseal_acme_request_seconds",
            "Time from a request to a CA until its complete answer or the timeout, by the CA's directory.",
        );
        let seconds = HistogramVec::new(opts.buckets(REQUEST_BUCKETS.to_vec()), &["ca"])?;
        registry.register(Box::new(orders.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        // From zero, so that `increase()` sees the first of each.
        orders.with_label_values(&[ISSUED]);
        for kind in FailureKind::ALL {
            orders.with_label_values(&[kind.as_str()]);
        }
        Ok(Self { orders, seconds })
    }

    pub(super) fn seconds_of(&self, directory: &str) -> Histogram {
        self.seconds.with_label_values(&[directory])
    }

    pub(super) fn count(&self, result: &Result<Issued, IssueError>) {
        let label = match result {
            Ok(_) => ISSUED,
            Err(IssueError::Failed { failure, .. }) => failure.kind.as_str(),
            Err(IssueError::Store(_)) => FailureKind::Internal.as_str(),
            // The attempt continues on another node or with another order, and is counted there.
            Err(IssueError::Fenced | IssueError::Gone | IssueError::NotAsReplacement) => return,
        };
        self.orders.with_label_values(&[label]).inc();
    }
}
