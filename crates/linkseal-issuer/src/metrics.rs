//! Metrics of issuing.

use linkseal_domain::ssl::FailureKind;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::job::{IssueError, Issued};

/// How an attempt that ended well is counted.
const ISSUED: &str = "issued";

/// From a CA near by to one that is given up, in seconds.
const REQUEST_BUCKETS: [f64; 7] = [0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// What is counted of issuing.
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
    /// When a metric of that name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new(
            "linkseal_acme_orders_total",
            "Attempts to obtain a certificate, by how they ended.",
        );
        let orders = IntCounterVec::new(opts, &["result"])?;
        let opts = HistogramOpts::new(
            "linkseal_acme_request_seconds",
            "Time from a request to a CA, by its directory, to its whole answer, or until it was given up.",
        );
        let seconds = HistogramVec::new(opts.buckets(REQUEST_BUCKETS.to_vec()), &["ca"])?;
        registry.register(Box::new(orders.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        // From zero, so that the first of each is seen as an increase.
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
            // The attempt goes on elsewhere, or with another order, and is counted there.
            Err(IssueError::Fenced | IssueError::Gone | IssueError::NotAsReplacement) => return,
        };
        self.orders.with_label_values(&[label]).inc();
    }
}
