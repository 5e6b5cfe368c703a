//! What the control plane measures. Numbers about all domains are snapshots, taken when they are
//! scraped: from the counts the store maintains, and from the registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::record::ProbeResult;
use linkseal_domain::ssl::{Intent, Reason};
use linkseal_store::StoreError;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::Control;

/// How long the count of certificates at risk is shown without counting again.
const AT_RISK_FRESH: Duration = Duration::from_secs(30);

/// Handles of the control plane's metrics.
#[derive(Clone)]
pub struct Metrics {
    domains: IntGaugeVec,
    at_risk: IntGauge,
    set_aside: IntGaugeVec,
    unreadable: IntGauge,
    suspects: IntGauge,
    /// Issued domains whose last probe found something wrong.
    pub(super) probe_failing: IntGauge,
    /// Probes of issued domains, by result.
    pub(super) probes: IntCounterVec,
    queue: IntGaugeVec,
    queue_oldest: Gauge,
    budget: GaugeVec,
    usable: IntGaugeVec,
    frozen: IntGauge,
    remaining: Remaining,
    /// Questions to the `ask` endpoint, by result.
    pub ask: IntCounterVec,
    rejected: IntGauge,
    /// Certificates that could not be read from the store.
    pub(super) lost: IntCounter,
    /// Renewal windows that were not followed: the certificate before had been brought forward by one.
    pub(super) windows_put_off: IntCounter,
    /// Unknown names under the policy `cname`, by result.
    pub(super) cname: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a metric of that name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let domains = IntGaugeVec::new(
            Opts::new("linkseal_domains", "Domains by SSL state and reason."),
            &["state", "reason"],
        )?;
        let at_risk = IntGauge::new(
            "linkseal_certificates_at_risk",
            "Certificates held whose renewal fails, or is overdue or paused with little of their life left.",
        )?;
        let set_aside = IntGaugeVec::new(
            Opts::new(
                "linkseal_certificates_not_renewed",
                "Domains that hold a certificate and are paused or retired: it is not renewed (why: paused, retired).",
            ),
            &["why"],
        )?;
        let unreadable = IntGauge::new(
            "linkseal_store_unreadable_records",
            "Stored records of domains that this version cannot read; each stops its own domain. GET /v1/domains names them.",
        )?;
        let suspects = IntGauge::new(
            "linkseal_suspects_itself",
            "1 while domains turn for the worse in such numbers that linkseal suspects itself and believes nothing worse.",
        )?;
        let probe_failing = IntGauge::new(
            "linkseal_probe_failing",
            "Issued domains that did not present their certificate when they were probed last.",
        )?;
        let probes = IntCounterVec::new(
            Opts::new(
                "linkseal_probes_total",
                "Handshakes with issued domains, by result (ok, wrong_certificate, expired, tls_failed, unreachable).",
            ),
            &["result"],
        )?;
        let queue = IntGaugeVec::new(
            Opts::new("linkseal_issuer_queue", "Orders that wait for a slot, by priority."),
            &["priority"],
        )?;
        let queue_oldest = Gauge::new(
            "linkseal_issuer_queue_oldest_seconds",
            "How long the order that has waited longest for a slot has done so; 0 while none waits.",
        )?;
        let budget = GaugeVec::new(
            Opts::new(
                "linkseal_acme_budget_remaining",
                "Tokens left in the account-wide limits of each CA, by its directory, as mirrored here.",
            ),
            &["ca", "limit"],
        )?;
        let usable = IntGaugeVec::new(
            Opts::new(
                "linkseal_acme_ca_usable",
                "Whether a CA, by its directory, takes orders: not out of use for its failures, not held back by its word.",
            ),
            &["ca"],
        )?;
        let frozen = IntGauge::new(
            "linkseal_issuer_frozen",
            "Whether all orders are frozen by an operator.",
        )?;
        let lost = IntCounter::new(
            "linkseal_certificates_lost_total",
            "Certificates that were missing or damaged in the store; each is ordered again.",
        )?;
        let ask = IntCounterVec::new(
            Opts::new(
                "linkseal_ask_total",
                "Questions to the ask endpoint, by result (yes, no, unreachable).",
            ),
            &["result"],
        )?;
        let cname = IntCounterVec::new(
            Opts::new(
                "linkseal_cname_total",
                "Unknown names under the admission policy cname, by result (yes, no, unreachable, limited).",
            ),
            &["result"],
        )?;
        let rejected = IntGauge::new(
            "linkseal_rejected_names",
            "Names refused here although their DNS points here: a CNAME was set, the domain never added.",
        )?;
        let windows_put_off = IntCounter::new(
            "linkseal_renewal_windows_put_off_total",
            "Renewal windows that would renew a young certificate whose predecessor was brought forward by one already.",
        )?;
        let remaining = Remaining::new()?;
        for collector in [
            Box::new(domains.clone()) as Box<dyn Collector>,
            Box::new(at_risk.clone()),
            Box::new(set_aside.clone()),
            Box::new(unreadable.clone()),
            Box::new(suspects.clone()),
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
            set_aside,
            unreadable,
            suspects,
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

impl Control {
    /// Brings the snapshots up to date; called for a scrape.
    pub async fn refresh_metrics(&self) -> Result<(), StoreError> {
        let metrics = &self.inner.metrics;
        metrics.suspects.set(self.suspected().since.is_some().into());
        let counts: HashMap<_, _> = self
            .inner
            .store
            .counts(None)
            .await?
            .iter()
            .map(|c| (c.reason, c.domains))
            .collect();
        for &reason in Reason::ALL {
            let domains = counts.get(&reason).copied().unwrap_or(0);
            let labels = [reason.state().as_str(), reason.as_str()];
            metrics
                .domains
                .with_label_values(&labels)
                .set(i64::try_from(domains).unwrap_or(i64::MAX));
        }
        for (priority, waiting) in self.queue_depth() {
            metrics
                .queue
                .with_label_values(&[priority.label()])
                .set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
        let oldest = self.inner.queue.longest_wait().unwrap_or_default();
        metrics.queue_oldest.set(oldest.as_secs_f64());
        let now = self.inner.clock.now();
        let rejected = i64::try_from(self.inner.rejected.len()).unwrap_or(i64::MAX);
        metrics.rejected.set(rejected);
        self.refresh_authorities(now).await?;
        let frozen = self.frozen().await?.is_some();
        metrics.frozen.set(i64::from(frozen));
        let (mut at_risk, mut paused, mut retired) = (0, 0, 0);
        let mut snapshot = Snapshot::default();
        self.inner.registry.for_each(|entry| {
            at_risk += u64::from(entry.is_at_risk(now));
            if entry.is_issued(now) {
                paused += i64::from(entry.intent == Intent::Paused);
                retired += i64::from(entry.intent == Intent::Retired);
            }
            if let Some(left) = entry.not_after.and_then(|end| end.since(now)) {
                snapshot.add(left.as_secs_f64());
            }
        });
        metrics.remaining.set(snapshot);
        metrics.set_aside.with_label_values(&["paused"]).set(paused);
        metrics.set_aside.with_label_values(&["retired"]).set(retired);
        let unreadable = self.inner.store.unreadable().len();
        metrics.unreadable.set(i64::try_from(unreadable).unwrap_or(i64::MAX));
        metrics.at_risk.set(i64::try_from(at_risk).unwrap_or(i64::MAX));
        Ok(())
    }

    /// The CAs: which take orders, and what is left at each.
    async fn refresh_authorities(&self, now: Timestamp) -> Result<(), StoreError> {
        let (metrics, tools) = (&self.inner.metrics, self.tools());
        // A reload may have taken one away.
        metrics.usable.reset();
        metrics.budget.reset();
        for authority in tools.authorities.iter() {
            let held_back = self.held_back(authority.directory(), now).await?;
            let usable = held_back
                .max(self.out_until(authority.directory(), now).await?)
                .is_none();
            let label = [authority.directory()];
            metrics.usable.with_label_values(&label).set(i64::from(usable));
            let left = self.inner.store.budget_left(&authority.account_budget(), now).await?;
            let label = [authority.directory(), "orders_per_account"];
            metrics.budget.with_label_values(&label).set(left);
        }
        Ok(())
    }

    /// How many certificates are at risk, counted again at most twice a minute.
    pub(super) fn at_risk(&self) -> u64 {
        let now = self.inner.clock.now();
        let mut known = self.inner.at_risk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = known.filter(|(at, _)| *at <= now && now < *at + AT_RISK_FRESH) {
            return count;
        }
        let mut count = 0;
        self.inner
            .registry
            .for_each(|entry| count += u64::from(entry.is_at_risk(now)));
        *known = Some((now, count));
        count
    }
}

/// Bounds in seconds: a minute, an hour, six hours, 1, 2, 3, 7, 14, 30, 45, 60 and 90 days.
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

/// A histogram over the domains as they are now; a plain one would add up over scrapes.
#[derive(Clone)]
struct Remaining {
    desc: Desc,
    snapshot: Arc<Mutex<Snapshot>>,
}

#[derive(Clone, Default)]
struct Snapshot {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Snapshot {
    fn add(&mut self, value: f64) {
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
            "Life left of the certificates held: a snapshot over all domains.".into(),
            vec![],
            HashMap::new(),
        )?;
        Ok(Self {
            desc,
            snapshot: Arc::default(),
        })
    }

    fn set(&self, snapshot: Snapshot) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

impl Collector for Remaining {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
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
