//! Refreshes the gauges before a scrape.

use std::collections::HashMap;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::Reason;
use linkseal_store::StoreError;

use super::Report;
use crate::rules;

impl Report {
    /// Refreshes the snapshots over all domains; called before a scrape.
    pub async fn refresh_metrics(&self) -> Result<(), StoreError> {
        let metrics = &self.core.metrics;
        let is_active = self.schedule.checks.mass_failure.state().since.is_some();
        metrics.mass_failure.set(is_active.into());
        metrics.suspects_itself.set(is_active.into());
        metrics
            .changes_lag
            .set(self.core.lag.at(self.core.clock.uptime()).as_secs_f64());
        let counts: HashMap<_, _> = self
            .core
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
        for (priority, waiting) in self.schedule.queue_depth() {
            metrics
                .queue
                .with_label_values(&[priority.label()])
                .set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
        let oldest = self.schedule.queue.longest_wait().unwrap_or_default();
        metrics.queue_oldest.set(oldest.as_secs_f64());
        let now = self.core.clock.now();
        let rejected = i64::try_from(self.admission.rejected_len()).unwrap_or(i64::MAX);
        metrics.rejected.set(rejected);
        self.refresh_cas(now).await?;
        let frozen = self.core.frozen().await?.is_some();
        metrics.frozen.set(i64::from(frozen));
        let census = self.census();
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.counted.set(census.at.map_or(0, Timestamp::as_secs));
        metrics.at_risk.set(gauge(census.at_risk));
        metrics
            .not_renewed
            .with_label_values(&["paused"])
            .set(gauge(census.paused));
        metrics
            .not_renewed
            .with_label_values(&["retired"])
            .set(gauge(census.retired));
        metrics.remaining.set(census.remaining.clone());
        let unreadable = self.core.store.unreadable().len();
        metrics.unreadable.set(i64::try_from(unreadable).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Which CAs accept orders, and what is left of their rate limits.
    async fn refresh_cas(&self, now: Timestamp) -> Result<(), StoreError> {
        let (metrics, cas) = (&self.core.metrics, self.core.cas());
        // A reload may have removed one.
        metrics.usable.reset();
        metrics.budget.reset();
        for ca in cas.iter() {
            let held_back = self.core.held_back(ca.directory(), now).await?;
            let usable = held_back.max(self.core.out_until(ca.directory(), now).await?).is_none();
            let label = [ca.directory()];
            metrics.usable.with_label_values(&label).set(i64::from(usable));
            let left = self
                .core
                .store
                .budget_left(&rules::account_budget(ca.directory(), &ca.limits))
                .await?;
            let label = [ca.directory(), "orders_per_account"];
            metrics.budget.with_label_values(&label).set(left);
        }
        Ok(())
    }
}
