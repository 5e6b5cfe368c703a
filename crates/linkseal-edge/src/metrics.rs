//! Metrics of connections.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::Listener;

/// The metrics of connections. Labels are resolved here, so that accepting only adds.
#[derive(Clone)]
pub struct Metrics {
    http: Counts,
    https: Counts,
}

/// The counters of one listener.
#[derive(Clone)]
pub(super) struct Counts {
    pub(super) open: IntGauge,
    pub(super) total: IntCounter,
    pub(super) refused: IntCounter,
    pub(super) evicted: IntCounter,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Self {
        let open = Opts::new("linkseal_connections_open", "Open connections.");
        let total = Opts::new(
            "linkseal_connections_total",
            "Connections accepted, including those closed at once.",
        );
        let refused = Opts::new(
            "linkseal_connections_refused_total",
            "Connections closed at once because a limit was reached.",
        );
        let evicted = Opts::new(
            "linkseal_connections_evicted_total",
            "Connections closed to make room for others.",
        );
        #[allow(
            clippy::expect_used,
            reason = "the names are constants, registered once per registry"
        )]
        let (open, total, refused, evicted) = (
            IntGaugeVec::new(open, &["listener"]).expect("valid"),
            IntCounterVec::new(total, &["listener"]).expect("valid"),
            IntCounterVec::new(refused, &["listener"]).expect("valid"),
            IntCounterVec::new(evicted, &["listener"]).expect("valid"),
        );
        #[allow(
            clippy::expect_used,
            reason = "the names are constants, registered once per registry"
        )]
        {
            registry.register(Box::new(open.clone())).expect("registered once");
            registry.register(Box::new(total.clone())).expect("registered once");
            registry.register(Box::new(refused.clone())).expect("registered once");
            registry.register(Box::new(evicted.clone())).expect("registered once");
        }
        let counts = |listener: Listener| Counts {
            open: open.with_label_values(&[listener.label()]),
            total: total.with_label_values(&[listener.label()]),
            refused: refused.with_label_values(&[listener.label()]),
            evicted: evicted.with_label_values(&[listener.label()]),
        };
        Self {
            http: counts(Listener::Http),
            https: counts(Listener::Https),
        }
    }

    pub(super) fn of(&self, listener: Listener) -> &Counts {
        match listener {
            Listener::Http => &self.http,
            Listener::Https => &self.https,
        }
    }
}

/// Counts a connection as open until dropped.
pub(super) struct Open(IntGauge);

impl Open {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
