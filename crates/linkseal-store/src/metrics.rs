//! How long the store takes, for the operator.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use prometheus::{HistogramOpts, HistogramVec, IntGauge, Registry};

/// From a read out of the cache to a disk that has stopped answering, in seconds. Few: there is a
/// series of each for every operation.
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
    /// `linkseal_store_writable`: whether the last write worked; and of the file its size and when it
    /// was last copied.
    pub fn register(registry: &Registry) -> Self {
        let opts = HistogramOpts::new("linkseal_store_seconds", "Time from a call of the store to its answer")
            .buckets(BUCKETS.to_vec());
        let registered = HistogramVec::new(opts, &["operation"]).and_then(|seconds| {
            registry.register(Box::new(seconds.clone()))?;
            Ok(seconds)
        });
        // A store without its metric still stores: only a second store in one process gets here.
        let seconds = registered.inspect_err(|error| tracing::error!(%error, "linkseal_store_seconds is not measured"));
        let gauge = |name: &str, help: &str, first: i64| {
            let registered = IntGauge::new(name, help).and_then(|gauge| {
                registry.register(Box::new(gauge.clone()))?;
                gauge.set(first);
                Ok(gauge)
            });
            registered
                .inspect_err(|error| tracing::error!(%error, name, "this is not measured"))
                .ok()
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

    /// Notes what was found of the store's file.
    pub(super) fn file(&self, bytes: u64, backed_up: Option<Timestamp>) {
        if let (Some(size), Some(backup)) = (&self.bytes, &self.backed_up) {
            size.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            backup.set(backed_up.map_or(0, Timestamp::as_secs));
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
