//! The control plane's metrics. Gauges are snapshots, refreshed before a scrape by the report room, which counts
//! large fleets in the background.

use std::collections::HashMap;
use std::sync::Arc;

use linkseal_domain::record::ProbeResult;
use linkseal_domain::ssl::Reason;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Handles of the control plane's metrics.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) domains: IntGaugeVec,
    pub(crate) at_risk: IntGauge,
    /// When `at_risk`, `not_renewed` and `remaining` were counted.
    pub(crate) counted: IntGauge,
    pub(crate) not_renewed: IntGaugeVec,
    pub(crate) unreadable: IntGauge,
    pub(crate) changes_lag: Gauge,
    pub(crate) mass_failure: IntGauge,
    /// The name of `mass_failure` before; exported for one more release.
    pub(crate) suspects_itself: IntGauge,
    pub(crate) probe_failing: IntGauge,
    pub(crate) probes: IntCounterVec,
    pub(crate) queue: IntGaugeVec,
    pub(crate) queue_oldest: Gauge,
    pub(crate) budget: GaugeVec,
    pub(crate) usable: IntGaugeVec,
    pub(crate) frozen: IntGauge,
    pub(crate) remaining: Remaining,
    /// Requests to the `ask` endpoint, by result; its client counts them.
    pub ask: IntCounterVec,
    pub(crate) rejected: IntGauge,
    pub(crate) lost: IntCounter,
    pub(crate) windows_put_off: IntCounter,
    pub(crate) cname: IntCounterVec,
}

impl Metrics {
    /// Creates and registers them.
    ///
    /// # Errors
    /// If a metric of that name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let domains = IntGaugeVec::new(
            Opts::new("linkseal_domains", "Domains by SSL state and reason."),
            &["state", "reason"],
        )?;
        let at_risk = IntGauge::new(
            "linkseal_certificates_at_risk",
            "Certificates in use whose renewal fails, or is overdue or paused close to their expiry.",
        )?;
        let counted = IntGauge::new(
            "linkseal_certificates_counted_timestamp_seconds",
            "When linkseal_certificates_at_risk, linkseal_certificates_not_renewed and linkseal_certificate_remaining_seconds were counted, in seconds since 1970; 0: not yet. With more than 10000 domains they are counted in the background.",
        )?;
        let not_renewed = IntGaugeVec::new(
            Opts::new(
                "linkseal_certificates_not_renewed",
                "Domains with a certificate that is not renewed because they are paused or retired (why: paused, retired).",
            ),
            &["why"],
        )?;
        let unreadable = IntGauge::new(
            "linkseal_store_unreadable_records",
            "Stored domain records that this version cannot read; each of them stops its own domain only. GET /v1/domains lists them.",
        )?;
        let changes_lag = Gauge::new(
            "linkseal_store_changes_lag_seconds",
            "For how long there may have been changes of other nodes that this node does not know yet; 0 with the embedded store.",
        )?;
        let mass_failure = IntGauge::new(
            "linkseal_mass_failure_guard_active",
            "1 while an unusual number of domains fail at once: a fault on this side is likely and new failures are not recorded.",
        )?;
        let suspects_itself = IntGauge::new(
            "linkseal_suspects_itself",
            "Deprecated, removed in the next release: use linkseal_mass_failure_guard_active.",
        )?;
        let probe_failing = IntGauge::new(
            "linkseal_probe_failing",
            "Issued domains that did not present their certificate at their last probe.",
        )?;
        let probes = IntCounterVec::new(
            Opts::new(
                "linkseal_probes_total",
                "TLS probes of issued domains, by result (ok, wrong_certificate, expired, tls_failed, unreachable).",
            ),
            &["result"],
        )?;
        let queue = IntGaugeVec::new(
            Opts::new("linkseal_issuer_queue", "Orders waiting for a slot, by priority."),
            &["priority"],
        )?;
        let queue_oldest = Gauge::new(
            "linkseal_issuer_queue_oldest_seconds",
            "How long the oldest order in the queue has waited for a slot; 0 while none waits.",
        )?;
        let budget = GaugeVec::new(
            Opts::new(
                "linkseal_acme_budget_remaining",
                "Tokens left in the account-wide rate limits of each CA (by directory), as mirrored here.",
            ),
            &["ca", "limit"],
        )?;
        let usable = IntGaugeVec::new(
            Opts::new(
                "linkseal_acme_ca_usable",
                "Whether a CA (by directory) is sent orders: neither out of use after failures nor held back by a rate limit.",
            ),
            &["ca"],
        )?;
        let frozen = IntGauge::new(
            "linkseal_issuer_frozen",
            "1 while all orders are frozen by an operator.",
        )?;
        let lost = IntCounter::new(
            "linkseal_certificates_lost_total",
            "Certificates found missing or damaged in the store; each of them is ordered again.",
        )?;
        let ask = IntCounterVec::new(
            Opts::new(
                "linkseal_ask_total",
                "Requests to the ask endpoint, by result (yes, no, unreachable).",
            ),
            &["result"],
        )?;
        let cname = IntCounterVec::new(
            Opts::new(
                "linkseal_cname_total",
                "Unknown names checked under the admission policy cname, by result (yes, no, unreachable, limited).",
            ),
            &["result"],
        )?;
        let rejected = IntGauge::new(
            "linkseal_rejected_names",
            "Refused names whose DNS points here: the customer has set the CNAME, but the domain was never added.",
        )?;
        let windows_put_off = IntCounter::new(
            "linkseal_renewal_windows_put_off_total",
            "ARI renewal windows not followed because the previous certificate had been renewed early by one as well.",
        )?;
        let remaining = Remaining::new()?;
        for collector in [
            Box::new(domains.clone()) as Box<dyn Collector>,
            Box::new(at_risk.clone()),
            Box::new(counted.clone()),
            Box::new(not_renewed.clone()),
            Box::new(unreadable.clone()),
            Box::new(changes_lag.clone()),
            Box::new(mass_failure.clone()),
            Box::new(suspects_itself.clone()),
            Box::new(probe_failing.clone()),
            Box::new(probes.clone()),
            Box::new(queue.clone()),
            Box::new(queue_oldest.clone()),
            Box::new(budget.clone()),
            Box::new(usable.clone()),
            Box::new(frozen.clone()),
            Box::new(ask.clone()),
            Box::new(cname.clone()),
            Box::new(rejected.clone()),
            Box::new(lost.clone()),
            Box::new(windows_put_off.clone()),
            Box::new(remaining.clone()),
        ] {
            registry.register(collector)?;
        }
        for &reason in Reason::ALL {
            domains
                .with_label_values(&[reason.state().as_str(), reason.as_str()])
                .set(0);
        }
        for result in ["yes", "no", "unreachable"] {
            ask.with_label_values(&[result]);
        }
        for result in ProbeResult::ALL {
            probes.with_label_values(&[result.as_str()]);
        }
        for result in ["yes", "no", "unreachable", "limited"] {
            cname.with_label_values(&[result]);
        }
        Ok(Self {
            domains,
            at_risk,
            counted,
            not_renewed,
            unreadable,
            changes_lag,
            mass_failure,
            suspects_itself,
            probe_failing,
            probes,
            queue,
            queue_oldest,
            budget,
            usable,
            frozen,
            remaining,
            ask,
            cname,
            rejected,
            lost,
            windows_put_off,
        })
    }
}

/// Bucket bounds in seconds: a minute, an hour, six hours, 1, 2, 3, 7, 14, 30, 45, 60 and 90 days.
const BOUNDS: [f64; 12] = [
    60.0,
    3_600.0,
    21_600.0,
    86_400.0,
    172_800.0,
    259_200.0,
    604_800.0,
    1_209_600.0,
    2_592_000.0,
    3_888_000.0,
    5_184_000.0,
    7_776_000.0,
];

/// A histogram over the domains as they are now; `prometheus::Histogram` would add up over scrapes.
#[derive(Clone)]
pub(crate) struct Remaining {
    desc: Desc,
    snapshot: Arc<Mutex<Snapshot>>,
}

#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Snapshot {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(value <= bound);
        }
    }
}

impl Remaining {
    fn new() -> prometheus::Result<Self> {
        let desc = Desc::new(
            "linkseal_certificate_remaining_seconds".into(),
            "Time to expiry of the certificates in use: a snapshot over all domains.".into(),
            vec![],
            HashMap::new(),
        )?;
        Ok(Self {
            desc,
            snapshot: Arc::default(),
        })
    }

    pub(crate) fn set(&self, snapshot: Snapshot) {
        *self.snapshot.lock() = snapshot;
    }
}

impl Collector for Remaining {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let snapshot = self.snapshot.lock().clone();
        let buckets = snapshot.buckets.iter().zip(BOUNDS).map(|(count, bound)| {
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(*count);
            bucket.set_upper_bound(bound);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(snapshot.count);
        histogram.set_sample_sum(snapshot.sum);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
