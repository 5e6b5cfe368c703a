//! When an order is expected to end.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use linkseal_store::StoreError;

use super::Schedule;
use crate::core::Priority;
use crate::rules;

impl Schedule {
    /// How many orders wait for a slot, by priority.
    pub(crate) fn queue_depth(&self) -> [(Priority, usize); 4] {
        self.queue.depth()
    }

    /// When an order that is queued now is expected to end, by the order slots and by the account's
    /// rate limit. `exempt`: whether it does not count against that limit.
    pub(super) async fn eta(&self, exempt: bool, now: Timestamp) -> Result<Timestamp, StoreError> {
        let slots = self.queue.eta(now);
        if exempt {
            return Ok(slots);
        }
        let ahead: usize = self.queue_depth().iter().map(|(_, waiting)| waiting).sum();
        let ahead = u64::try_from(ahead).unwrap_or(u64::MAX);
        let mut first: Option<Timestamp> = None;
        for ca in self.core.cas().iter() {
            let directory = ca.directory();
            let held_back = self.core.held_back(directory, now).await?;
            let opens = held_back.max(self.core.out_until(directory, now).await?).unwrap_or(now);
            let budget = rules::account_budget(directory, &ca.limits);
            let left = self.core.store.budget_left(&budget).await?;
            let ends = opens + rules::refill(ahead + 1, left, ca.limits.orders_per_account);
            first = Some(first.map_or(ends, |f| f.min(ends)));
        }
        Ok(first.map_or(slots, |f| slots.max(f)))
    }

    /// Whether an order for the domain names the certificate it replaces, and so counts against no
    /// limit.
    pub(super) fn is_exempt(&self, record: &DomainRecord) -> bool {
        let ca = record.ssl.certificate.as_ref().map(|c| c.ca.as_str());
        ca.is_some_and(|ca| self.core.cas().find(ca).is_some() && rules::replaces(&record.ssl, ca).is_some())
    }
}
