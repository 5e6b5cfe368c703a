//! How long the store takes, for the operator.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntGauge, Registry};

/// From a read out of the cache to a disk that has stopped answering, in seconds.
const BUCKETS: [f64; 12] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// The store's metrics. Clones share the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    seconds: Option<HistogramVec>,
    writable: Option<IntGauge>,
}

impl Metrics {
    /// Registers `linkseal_store_seconds{operation}`: from a call to its answer, queueing included;
    /// and `linkseal_store_writable`: whether the last write worked.
    pub fn register(registry: &Registry) -> Self {
        let opts = HistogramOpts::new("linkseal_store_seconds", "Time from a call of the store to its answer")
            .buckets(BUCKETS.to_vec());
        let registered = HistogramVec::new(opts, &["operation"]).and_then(|seconds| {
            registry.register(Box::new(seconds.clone()))?;
            Ok(seconds)
        });
        // A store without its metric still stores: only a second store in one process gets here.
        let seconds = registered.inspect_err(|error| tracing::error!(%error, "linkseal_store_seconds is not measured"));
        let writable =
            IntGauge::new("linkseal_store_writable", "Whether the last write to the store worked").and_then(|gauge| {
                registry.register(Box::new(gauge.clone()))?;
                gauge.set(1);
                Ok(gauge)
            });
        let writable = writable.inspect_err(|error| tracing::error!(%error, "linkseal_store_writable is not measured"));
        Self {
            seconds: seconds.ok(),
            writable: writable.ok(),
        }
    }

    /// Notes whether a write worked.
    pub(super) fn writable(&self, writable: bool) {
        if let Some(gauge) = &self.writable {
            gauge.set(writable.into());
        }
    }

    /// Counts one call; `operation` is the name of the [`super::Store`] method.
    pub(super) fn observe(&self, operation: &str, took: Duration) {
        if let Some(seconds) = &self.seconds {
            seconds.with_label_values(&[operation]).observe(took.as_secs_f64());
        }
    }
}
