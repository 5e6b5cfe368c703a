//! The store's metrics.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use prometheus::{HistogramOpts, HistogramVec, IntGauge, Registry};

/// From a cached read to a disk that does not answer, in seconds. Few, since every operation has a series
/// of each.
const BUCKETS: [f64; 7] = [0.0005, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0];

/// The store's metrics. Clones share the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    seconds: Option<HistogramVec>,
    writable: Option<IntGauge>,
    bytes: Option<IntGauge>,
    backed_up: Option<IntGauge>,
}

impl Metrics {
    /// Registers `linkseal_store_seconds{operation}`: from a call to its answer, queueing included;
    /// `linkseal_store_writable`: whether the last write worked; and the size of the file and the time of
    /// its last backup.
    pub fn register(registry: &Registry) -> Self {
        let opts = HistogramOpts::new("linkseal_store_seconds", "Time from a call of the store to its answer")
            .buckets(BUCKETS.to_vec());
        let registered = HistogramVec::new(opts, &["operation"]).and_then(|seconds| {
            registry.register(Box::new(seconds.clone()))?;
            Ok(seconds)
        });
        // Not fatal: only a second store in one process gets here.
        let failed = |error: &prometheus::Error, name: &str| {
            tracing::error!(%error, name, "metric could not be registered and is not exported");
        };
        let seconds = registered.inspect_err(|error| failed(error, "linkseal_store_seconds"));
        let gauge = |name: &str, help: &str, first: i64| {
            let registered = IntGauge::new(name, help).and_then(|gauge| {
                registry.register(Box::new(gauge.clone()))?;
                gauge.set(first);
                Ok(gauge)
            });
            registered.inspect_err(|error| failed(error, name)).ok()
        };
        Self {
            seconds: seconds.ok(),
            writable: gauge(
                "linkseal_store_writable",
                "Whether the last write to the store worked",
                1,
            ),
            bytes: gauge(
                "linkseal_store_bytes",
                "Size of the store's file and its write-ahead log, in bytes; read every half minute",
                0,
            ),
            backed_up: gauge(
                "linkseal_store_backup_timestamp_seconds",
                "When linkseal store backup last made a copy, in seconds since 1970; 0: never",
                0,
            ),
        }
    }

    /// Sets the size of the store's file and the time of its last backup.
    pub(super) fn file(&self, bytes: u64, backed_up: Option<Timestamp>) {
        if let (Some(size), Some(backup)) = (&self.bytes, &self.backed_up) {
            size.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            backup.set(backed_up.map_or(0, Timestamp::as_secs));
        }
    }

    /// Sets whether the last write worked.
    pub(super) fn writable(&self, writable: bool) {
        if let Some(gauge) = &self.writable {
            gauge.set(writable.into());
        }
    }

    /// Observes one call; `operation` is the name of the [`super::Store`] method.
    pub(super) fn observe(&self, operation: &str, took: Duration) {
        if let Some(seconds) = &self.seconds {
            seconds.with_label_values(&[operation]).observe(took.as_secs_f64());
        }
    }
}
