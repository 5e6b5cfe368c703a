//! The limits that the simulated CA enforces. It counts as Let's Encrypt does, the orders it accepted and the
//! certificates it issued, independently of linkseal's own buckets. Orders that name the certificate that they
//! replace (ARI) are exempt.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_control::{Limit, Limits};
use linkseal_domain::ssl::FailureKind;

use super::fleet::{Domain, Id};

/// Certificates for one exact set of names (Let's Encrypt).
const EXACT_SET: Limit = Limit {
    count: 5,
    per: Duration::from_secs(7 * 86_400),
};
/// The shortest lifetime to which that limit applies: shorter ones need more renewals than it allows.
const EXACT_SET_FROM: Duration = Duration::from_secs(3 * 86_400);
/// Tolerance of every limit. The CA counts a certificate when it is issued, some seconds after linkseal did, and
/// does not refuse an order for that difference.
const LENIENCE: Duration = Duration::from_secs(60);

/// The CA's counts.
pub(super) struct Enforced {
    account: Meter<()>,
    registered: Meter<u32>,
    exact: Meter<Id>,
    failed: Meter<Id>,
}

impl Enforced {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            account: Meter::new(limits.orders_per_account),
            registered: Meter::new(limits.per_registered_domain),
            exact: Meter::new(EXACT_SET),
            failed: Meter::new(limits.failed_per_name),
        }
    }

    /// Accepts an order that names no predecessor, or returns which limit is exhausted and until when.
    pub(super) fn order(&mut self, id: Id, domain: &Domain, now: Timestamp) -> Result<(), (FailureKind, Timestamp)> {
        let of_name = [
            self.failed.full_until(&id, now),
            self.registered.full_until(&domain.registered_domain, now),
            self.exact.full_until(&id, now),
        ];
        if let Some(until) = self.account.full_until(&(), now) {
            return Err((FailureKind::AccountLimit, until));
        }
        if let Some(until) = of_name.into_iter().flatten().max() {
            return Err((FailureKind::NameLimit, until));
        }
        self.account.count((), now);
        Ok(())
    }

    /// Counts a certificate of the lifetime `life`.
    pub(super) fn issued(&mut self, id: Id, domain: &Domain, life: Duration, now: Timestamp) {
        self.registered.count(domain.registered_domain, now);
        if life >= EXACT_SET_FROM {
            self.exact.count(id, now);
        }
    }

    /// Counts a failed validation.
    pub(super) fn failed(&mut self, id: Id, now: Timestamp) {
        self.failed.count(id, now);
    }
}

/// One limit with its keys, counted by the generic cell rate algorithm: a key has the time at which all that was
/// counted has drained.
struct Meter<K> {
    limit: Limit,
    drained: HashMap<K, Timestamp>,
}

impl<K: Eq + Hash> Meter<K> {
    fn new(limit: Limit) -> Self {
        let drained = HashMap::new();
        Self { limit, drained }
    }

    /// The time in which one drains.
    fn step(&self) -> Duration {
        self.limit.per / self.limit.count.max(1)
    }

    /// Until when there is no room for another; `None` if there is.
    fn full_until(&self, key: &K, now: Timestamp) -> Option<Timestamp> {
        let drained = *self.drained.get(key)?;
        let until = (drained + self.step()).minus(self.limit.per);
        (until > now + LENIENCE).then_some(until)
    }

    fn count(&mut self, key: K, now: Timestamp) {
        let step = self.step();
        let drained = self.drained.entry(key).or_insert(now);
        *drained = (*drained).max(now) + step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_is_full_after_its_count_and_drains_evenly() {
        let hour = Duration::from_secs(3_600);
        let limit = Limit { count: 5, per: hour };
        let (mut meter, start) = (Meter::new(limit), Timestamp::from_secs(1_795_305_600));
        for _ in 0..5 {
            assert_eq!(meter.full_until(&1, start), None);
            meter.count(1, start);
        }
        assert_eq!(meter.full_until(&1, start), Some(start + hour / 5));
        assert_eq!(meter.full_until(&2, start), None);
        assert_eq!(meter.full_until(&1, start + hour / 5), None);
        meter.count(1, start + hour / 5);
        assert_eq!(meter.full_until(&1, start + hour / 5), Some(start + hour * 2 / 5));
        assert_eq!(meter.full_until(&1, start + hour * 2), None);
    }
}
