//! Metrics that each core counts for itself and that a scrape sees as one.

use std::collections::BTreeMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, Metric, MetricFamily};
use prometheus::{Error, Registry};

use super::cores::PerCore;

/// The same collector for each core, registered as their sum.
///
/// # Errors
/// It is not valid, or registered already.
pub fn register<C>(registry: &Registry, make: impl Fn() -> Result<C, Error>) -> Result<PerCore<C>, Error>
where
    C: Collector + Clone + 'static,
{
    let parts = PerCore::try_make(make)?;
    let summed = Summed {
        parts: parts.iter().cloned().collect(),
    };
    registry.register(Box::new(summed))?;
    Ok(parts)
}

/// Collectors of the same metrics.
struct Summed<C> {
    parts: Vec<C>,
}

impl<C: Collector> Collector for Summed<C> {
    fn desc(&self) -> Vec<&Desc> {
        self.parts.first().map(Collector::desc).unwrap_or_default()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut parts = self.parts.iter().map(Collector::collect);
        let mut sums = parts.next().unwrap_or_default();
        for part in parts {
            for (sum, family) in sums.iter_mut().zip(part) {
                add(sum, &family);
            }
        }
        sums
    }
}

/// Adds the metrics of a family to those of another with the same labels.
fn add(sum: &mut MetricFamily, part: &MetricFamily) {
    let labels = |metric: &Metric| -> Vec<String> { metric.get_label().iter().map(|l| l.value().to_owned()).collect() };
    let mut metrics: BTreeMap<_, _> = sum.take_metric().into_iter().map(|m| (labels(&m), m)).collect();
    for metric in part.get_metric() {
        let labels = labels(metric);
        let summed = match metrics.remove(&labels) {
            Some(other) => plus(&other, metric),
            None => metric.clone(),
        };
        metrics.insert(labels, summed);
    }
    sum.set_metric(metrics.into_values().collect());
}

fn plus(a: &Metric, b: &Metric) -> Metric {
    let mut sum = a.clone();
    let mut counter = Counter::default();
    counter.set_value(a.get_counter().get_value() + b.get_counter().get_value());
    sum.set_counter(counter);
    let mut gauge = Gauge::default();
    gauge.set_value(a.get_gauge().get_value() + b.get_gauge().get_value());
    sum.set_gauge(gauge);
    let (of_a, of_b) = (a.get_histogram(), b.get_histogram());
    let mut histogram = Histogram::default();
    histogram.set_sample_count(of_a.get_sample_count() + of_b.get_sample_count());
    histogram.set_sample_sum(of_a.get_sample_sum() + of_b.get_sample_sum());
    let buckets = of_a.get_bucket().iter().zip(of_b.get_bucket()).map(|(a, b)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(a.upper_bound());
        bucket.set_cumulative_count(a.cumulative_count() + b.cumulative_count());
        bucket
    });
    histogram.set_bucket(buckets.collect());
    sum.set_histogram(histogram);
    sum
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, TextEncoder};

    use super::*;

    #[test]
    fn a_scrape_sees_the_sum_of_all_cores() {
        let registry = Registry::new();
        let counters = || IntCounterVec::new(Opts::new("requests", "x"), &["route"]).unwrap();
        let times = || HistogramVec::new(HistogramOpts::new("seconds", "x").buckets(vec![1.0, 5.0]), &["route"]);
        let gauges = || IntGauge::new("open", "x").unwrap();
        let (a, b) = (counters(), counters());
        let (c, d) = (times().unwrap(), times().unwrap());
        let (e, f) = (gauges(), gauges());
        for (of, route, count) in [(&a, "open", 2), (&a, "click", 1), (&b, "open", 3), (&b, "other", 7)] {
            of.with_label_values(&[route]).inc_by(count);
        }
        c.with_label_values(&["open"]).observe(0.5);
        d.with_label_values(&["open"]).observe(2.0);
        e.set(5);
        f.set(-2);
        registry.register(Box::new(Summed { parts: vec![a, b] })).unwrap();
        registry.register(Box::new(Summed { parts: vec![c, d] })).unwrap();
        registry.register(Box::new(Summed { parts: vec![e, f] })).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "requests{route=\"open\"} 5",
            "requests{route=\"click\"} 1",
            "requests{route=\"other\"} 7",
            "seconds_bucket{route=\"open\",le=\"1\"} 1",
            "seconds_bucket{route=\"open\",le=\"5\"} 2",
            "seconds_bucket{route=\"open\",le=\"+Inf\"} 2",
            "seconds_sum{route=\"open\"} 2.5",
            "seconds_count{route=\"open\"} 2",
            "open 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}
