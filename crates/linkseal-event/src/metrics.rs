//! Metrics of the event plane (docs/specification.md §8).

use std::sync::{Arc, OnceLock};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::event_type::EventType;
use crate::verdict::Class;

/// The class label of events without a verdict.
const NO_CLASS: &str = "none";
/// The result labels of delivery attempts.
const RESULTS: [&str; 4] = ["ok", "retry", "refused", "gone"];
/// Series of `linkseal_events_total`: every type with every class, and with none.
const SERIES: usize = EventType::ALL.len() * (Class::ALL.len() + 1);

/// Handles to the event plane's metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    events: IntCounterVec,
    /// The series of `events`, found without hashing labels: every event is counted.
    series: Arc<[OnceLock<IntCounter>; SERIES]>,
    pub(crate) lost: IntCounter,
    pub(crate) repeated: IntCounter,
    pub(crate) bytes: IntGauge,
    pub(crate) damaged: IntCounter,
    pub(crate) lag: IntGaugeVec,
    pub(crate) deliveries: IntCounterVec,
    pub(crate) stopped: IntGaugeVec,
    pub(crate) lag_seconds: IntGaugeVec,
    pub(crate) last_success: IntGaugeVec,
    pub(crate) dead_letters: IntCounterVec,
    pub(crate) dead_letters_waiting: IntGaugeVec,
    pub(crate) running: IntGauge,
    pub(crate) max_bytes: IntGauge,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When they are already registered.
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
                "Events lost: not written to the journal, or removed before all sinks had them.",
            )?,
            repeated: IntCounter::new(
                "linkseal_events_repeated_total",
                "Events beyond the first of one link and network that were only counted, not written one by one.",
            )?,
            bytes: IntGauge::new("linkseal_journal_bytes", "Size of the journal on disk.")?,
            damaged: IntCounter::new(
                "linkseal_journal_damaged_total",
                "Damaged parts of the journal that were skipped while reading.",
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
                    "Delivery attempts to a sink, by result: ok, retry, refused, gone.",
                ),
                &["sink", "result"],
            )?,
            stopped: IntGaugeVec::new(
                Opts::new(
                    "linkseal_sink_stopped",
                    "1 while a sink is stopped because its endpoint is gone (410).",
                ),
                &["sink"],
            )?,
            lag_seconds: IntGaugeVec::new(
                Opts::new(
                    "linkseal_sink_lag_seconds",
                    "Age of the oldest event in the journal that a sink does not hold yet; 0 if it holds all.",
                ),
                &["sink"],
            )?,
            last_success: IntGaugeVec::new(
                Opts::new(
                    "linkseal_sink_last_success_timestamp_seconds",
                    "When a sink last accepted a batch; absent until it has since the start.",
                ),
                &["sink"],
            )?,
            dead_letters: IntCounterVec::new(
                Opts::new(
                    "linkseal_dead_letters_total",
                    "Events set aside because a sink's receiver rejected them.",
                ),
                &["sink"],
            )?,
            dead_letters_waiting: IntGaugeVec::new(
                Opts::new(
                    "linkseal_dead_letters_waiting",
                    "Events set aside that have been neither replayed successfully nor dropped.",
                ),
                &["sink"],
            )?,
            running: IntGauge::new(
                "linkseal_delivery_running",
                "1 while events are delivered; 0 while delivery is paused, or the disk of events.dir holds up at least one sink.",
            )?,
            max_bytes: IntGauge::new(
                "linkseal_journal_max_bytes",
                "events.max_bytes: the size beyond which the journal's oldest segments are removed.",
            )?,
        };
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.repeated.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.damaged.clone()))?;
        registry.register(Box::new(metrics.lag.clone()))?;
        registry.register(Box::new(metrics.deliveries.clone()))?;
        registry.register(Box::new(metrics.stopped.clone()))?;
        registry.register(Box::new(metrics.lag_seconds.clone()))?;
        registry.register(Box::new(metrics.last_success.clone()))?;
        registry.register(Box::new(metrics.dead_letters.clone()))?;
        registry.register(Box::new(metrics.dead_letters_waiting.clone()))?;
        registry.register(Box::new(metrics.running.clone()))?;
        registry.register(Box::new(metrics.max_bytes.clone()))?;
        metrics.show_all();
        Ok(metrics)
    }

    /// Creates the series of possible events, so that they count from zero.
    fn show_all(&self) {
        for kind in EventType::ALL {
            if kind.is_requested() {
                for class in Class::ALL {
                    self.event(kind, Some(class));
                }
            } else {
                self.event(kind, None);
            }
        }
    }

    /// Creates all series of a sink, so that they count from zero.
    pub(crate) fn show_sink(&self, name: &str) {
        for result in RESULTS {
            self.deliveries.with_label_values(&[name, result]);
        }
        self.dead_letters.with_label_values(&[name]);
        for gauge in [&self.stopped, &self.lag, &self.lag_seconds, &self.dead_letters_waiting] {
            gauge.with_label_values(&[name]);
        }
    }

    /// Removes the gauges of a sink that is no longer configured; its counters stay.
    pub(crate) fn hide_sink(&self, name: &str) {
        let gauges = [
            &self.stopped,
            &self.lag,
            &self.lag_seconds,
            &self.last_success,
            &self.dead_letters_waiting,
        ];
        for gauge in gauges {
            // Fails when there is no such series.
            gauge.remove_label_values(&[name]).ok();
        }
    }

    /// Counts a written event, with the class of its verdict if it has one.
    pub(crate) fn written(&self, kind: EventType, class: Option<Class>) {
        if let Some(series) = self.event(kind, class) {
            series.inc();
        }
    }

    fn event(&self, kind: EventType, class: Option<Class>) -> Option<&IntCounter> {
        let place = kind as usize * (Class::ALL.len() + 1) + class.map_or(Class::ALL.len(), |c| c as usize);
        let labels = || [kind.as_str(), class.map_or(NO_CLASS, Class::as_str)];
        let series = self.series.get(place)?;
        Some(series.get_or_init(|| self.events.with_label_values(&labels())))
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;

    #[test]
    fn possible_series_start_at_zero() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.show_sink("platform");
        let mut out = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for line in [
            r#"linkseal_events_total{class="human",type="click"} 0"#,
            r#"linkseal_events_total{class="none",type="domain.ssl.failed"} 0"#,
            r#"linkseal_sink_deliveries_total{result="retry",sink="platform"} 0"#,
            r#"linkseal_sink_deliveries_total{result="refused",sink="platform"} 0"#,
            r#"linkseal_sink_deliveries_total{result="gone",sink="platform"} 0"#,
            r#"linkseal_dead_letters_total{sink="platform"} 0"#,
            r#"linkseal_sink_lag_seconds{sink="platform"} 0"#,
            r#"linkseal_sink_stopped{sink="platform"} 0"#,
            "linkseal_delivery_running 0",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(
            !text.contains(r#"class="none",type="click""#),
            "it always has a verdict"
        );
        metrics.hide_sink("platform");
        assert!(metrics.lag.with_label_values(&["platform"]).get() == 0);
    }

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
