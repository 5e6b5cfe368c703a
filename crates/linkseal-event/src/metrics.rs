//! What the event plane counts (contract section 8).

use std::sync::{Arc, OnceLock};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::EventType;
use super::verdict::Class;

/// The label of events that have no verdict.
const NO_CLASS: &str = "none";
/// What becomes of a batch that is given to a sink.
const RESULTS: [&str; 4] = ["ok", "retry", "refused", "gone"];
/// Types of events times classes, and none.
const SERIES: usize = EventType::ALL.len() * (Class::ALL.len() + 1);

/// Handles to the event plane's metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    events: IntCounterVec,
    /// The series in use, found without hashing labels: the hot path counts each event.
    series: Arc<[OnceLock<IntCounter>; SERIES]>,
    pub(super) lost: IntCounter,
    pub(super) repeated: IntCounter,
    pub(super) bytes: IntGauge,
    pub(super) damaged: IntCounter,
    pub(super) lag: IntGaugeVec,
    pub(super) deliveries: IntCounterVec,
    pub(super) stopped: IntGaugeVec,
    pub(super) lag_seconds: IntGaugeVec,
    pub(super) last_success: IntGaugeVec,
    pub(super) dead_letters: IntCounterVec,
    pub(super) dead_letters_waiting: IntGaugeVec,
    pub(super) running: IntGauge,
    pub(super) max_bytes: IntGauge,
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
            repeated: IntCounter::new(
                "linkseal_events_repeated_total",
                "Events of one link from one network beyond the first few, of which the journal has the count only.",
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
                    "Batches given to a sink, by result: ok, retry, refused, gone.",
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
            lag_seconds: IntGaugeVec::new(
                Opts::new(
                    "linkseal_sink_lag_seconds",
                    "Age of the oldest event in the journal that a sink does not hold yet; 0 when it holds all.",
                ),
                &["sink"],
            )?,
            last_success: IntGaugeVec::new(
                Opts::new(
                    "linkseal_sink_last_success_timestamp_seconds",
                    "When a sink took a batch last, since the start; absent until it does.",
                ),
                &["sink"],
            )?,
            dead_letters: IntCounterVec::new(
                Opts::new(
                    "linkseal_dead_letters_total",
                    "Events that were set aside because a sink's receiver refuses them.",
                ),
                &["sink"],
            )?,
            dead_letters_waiting: IntGaugeVec::new(
                Opts::new(
                    "linkseal_dead_letters_waiting",
                    "Events set aside that were neither delivered by a replay nor dropped.",
                ),
                &["sink"],
            )?,
            running: IntGauge::new(
                "linkseal_delivery_running",
                "1 while events are delivered to the sinks; 0 while that cannot start or go on, to all or to one, because of our own disk.",
            )?,
            max_bytes: IntGauge::new(
                "linkseal_journal_max_bytes",
                "events.max_bytes: the size of the journal beyond which its oldest segments go.",
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

    /// Makes the series of events that can come: they count from zero.
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

    /// Makes all series of a sink: they count from zero.
    pub(super) fn show_sink(&self, name: &str) {
        for result in RESULTS {
            self.deliveries.with_label_values(&[name, result]);
        }
        self.dead_letters.with_label_values(&[name]);
        for gauge in [&self.stopped, &self.lag, &self.lag_seconds, &self.dead_letters_waiting] {
            gauge.with_label_values(&[name]);
        }
    }

    /// Forgets how a sink is that is no longer configured; what was counted stays.
    pub(super) fn hide_sink(&self, name: &str) {
        let gauges = [
            &self.stopped,
            &self.lag,
            &self.lag_seconds,
            &self.last_success,
            &self.dead_letters_waiting,
        ];
        for gauge in gauges {
            // An error says that there is none.
            gauge.remove_label_values(&[name]).ok();
        }
    }

    /// Counts an event that was written. `class`: `None` when it has no verdict.
    pub(super) fn written(&self, kind: EventType, class: Option<Class>) {
        if let Some(series) = self.event(kind, class) {
            series.inc();
        }
    }

    fn event(&self, kind: EventType, class: Option<Class>) -> Option<&IntCounter> {
        let place = kind as usize * (Class::ALL.len() + 1) + class.map_or(Class::ALL.len(), |c| c as usize);
        let labels = [kind.as_str(), class.map_or(NO_CLASS, Class::as_str)];
        let series = self.series.get(place)?;
        Some(series.get_or_init(|| self.events.with_label_values(&labels)))
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;

    #[test]
    fn what_can_be_counted_is_there_from_zero() {
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
