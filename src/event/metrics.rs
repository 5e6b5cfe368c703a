//! What the event plane counts (contract section 8).

use std::sync::{Arc, OnceLock};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::EventType;
use super::verdict::Class;

/// The label of events that have no verdict.
const NO_CLASS: &str = "none";
/// Types of events times classes, and none.
const SERIES: usize = EventType::ALL.len() * (Class::ALL.len() + 1);

/// Handles to the event plane's metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    events: IntCounterVec,
    /// The series in use, found without hashing labels: the hot path counts each event.
    series: Arc<[OnceLock<IntCounter>; SERIES]>,
    pub(super) lost: IntCounter,
    pub(super) bytes: IntGauge,
    pub(super) damaged: IntCounter,
    pub(super) lag: IntGaugeVec,
    pub(super) deliveries: IntCounterVec,
    pub(super) stopped: IntGaugeVec,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When they are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            events: IntCounterVec::new(
                Opts::new(
                    "linkseal_events_total",
                    "Events written to the journal, by type and verdict.",
                ),
                &["type", "class"],
            )?,
            series: Arc::new([const { OnceLock::new() }; SERIES]),
            lost: IntCounter::new(
                "linkseal_events_lost_total",
                "Events that could not be written, or went undelivered at the journal's size cap.",
            )?,
            bytes: IntGauge::new("linkseal_journal_bytes", "Size of the journal on disk.")?,
            damaged: IntCounter::new(
                "linkseal_journal_damaged_total",
                "Damaged places in the journal that were skipped while reading.",
            )?,
            lag: IntGaugeVec::new(
                Opts::new(
                    "linkseal_sink_lag_events",
                    "Events in the journal that a sink does not hold yet.",
                ),
                &["sink"],
            )?,
            deliveries: IntCounterVec::new(
                Opts::new(
                    "linkseal_sink_deliveries_total",
                    "Batches given to a sink, by result: ok, retry, gone.",
                ),
                &["sink", "result"],
            )?,
            stopped: IntGaugeVec::new(
                Opts::new(
                    "linkseal_sink_stopped",
                    "1 when a sink's endpoint said that it is gone (410), and nothing is delivered to it any more.",
                ),
                &["sink"],
            )?,
        };
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.damaged.clone()))?;
        registry.register(Box::new(metrics.lag.clone()))?;
        registry.register(Box::new(metrics.deliveries.clone()))?;
        registry.register(Box::new(metrics.stopped.clone()))?;
        Ok(metrics)
    }

    /// Counts an event that was written. `class`: `None` when it has no verdict.
    pub(super) fn written(&self, kind: EventType, class: Option<Class>) {
        let place = kind as usize * (Class::ALL.len() + 1) + class.map_or(Class::ALL.len(), |c| c as usize);
        if let Some(series) = self.series.get(place) {
            let labels = [kind.as_str(), class.map_or(NO_CLASS, Class::as_str)];
            series.get_or_init(|| self.events.with_label_values(&labels)).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;

    #[test]
    fn each_type_and_class_has_a_series_of_its_own() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        for kind in EventType::ALL {
            metrics.written(kind, None);
            for class in Class::ALL {
                metrics.written(kind, Some(class));
            }
        }
        let mut out = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let series: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with("linkseal_events_total{"))
            .collect();
        assert_eq!(series.len(), SERIES);
        assert!(series.iter().all(|l| l.ends_with(" 1")), "{text}");
        assert!(
            text.contains(r#"linkseal_events_total{class="scanner",type="click"} 1"#),
            "{text}"
        );
    }
}
