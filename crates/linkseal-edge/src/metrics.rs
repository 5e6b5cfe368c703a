//! Metrics of connections. Each core counts for itself.

use std::sync::Arc;

use linkseal_base::cores::PerCore;
use linkseal_base::summed;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::Listener;

/// The metrics of connections. Clones share the same counters.
#[derive(Clone)]
pub struct Metrics {
    http: PerCore<Arc<Counts>>,
    https: PerCore<Arc<Counts>>,
}

/// The counters of one listener on one core. Labels are resolved here, so that accepting only adds.
struct Counts {
    open: IntGauge,
    total: IntCounter,
    refused: IntCounter,
    evicted: IntCounter,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Self {
        let open = Opts::new("linkseal_connections_open", "Open connections.");
        let counter = |name: &str, help: &str| {
            let opts = Opts::new(name, help);
            let made = summed::register(registry, || IntCounterVec::new(opts.clone(), &["listener"]));
            #[allow(
                clippy::expect_used,
                reason = "the names are constants, registered once per registry"
            )]
            made.expect("registered once")
        };
        let total = counter(
            "linkseal_connections_total",
            "Connections accepted, including those closed at once.",
        );
        let refused = counter(
            "linkseal_connections_refused_total",
            "Connections closed at once because a limit was reached.",
        );
        let evicted = counter(
            "linkseal_connections_evicted_total",
            "Connections closed to make room for others.",
        );
        #[allow(clippy::expect_used, reason = "the name is a constant, registered once per registry")]
        let open =
            summed::register(registry, || IntGaugeVec::new(open.clone(), &["listener"])).expect("registered once");
        let counts = |listener: Listener| {
            let label = [listener.label()];
            let opened = open.with(&total, |open, total| (open.clone(), total.clone()));
            let closed = refused.with(&evicted, |refused, evicted| (refused.clone(), evicted.clone()));
            opened.with(&closed, |(open, total), (refused, evicted)| {
                Arc::new(Counts {
                    open: open.with_label_values(&label),
                    total: total.with_label_values(&label),
                    refused: refused.with_label_values(&label),
                    evicted: evicted.with_label_values(&label),
                })
            })
        };
        Self {
            http: counts(Listener::Http),
            https: counts(Listener::Https),
        }
    }

    /// A connection was accepted. It counts as open until the result is dropped.
    pub(super) fn accepted(&self, listener: Listener) -> Open {
        let cores = match listener {
            Listener::Http => &self.http,
            Listener::Https => &self.https,
        };
        let counts = Arc::clone(cores.here());
        counts.total.inc();
        counts.open.inc();
        Open(counts)
    }
}

/// An open connection in the metrics.
pub(super) struct Open(Arc<Counts>);

impl Open {
    /// It is closed because a limit was reached.
    pub(super) fn refused(&self) {
        self.0.refused.inc();
    }

    /// It made room for another.
    pub(super) fn evicted(&self) {
        self.0.evicted.inc();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}
