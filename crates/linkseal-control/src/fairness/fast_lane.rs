//! The fast lane: names just registered, to be taken up before what has been due for longer.

use std::collections::VecDeque;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord};
use moka::sync::Cache;
use parking_lot::Mutex;

use super::has_no_tenant;
use crate::core::Limit;
use crate::core::rate::Bucket;

/// How many domains without a tenant enter the fast lane: of an import, the first few.
const WITHOUT_TENANT: Limit = Limit {
    count: 10,
    per: Duration::from_secs(60),
};
/// Names remembered at most; any more are found through the store, in order of time.
const CAPACITY: usize = 1_024;
/// How long a domain without a tenant stays in the fast lane: the CA's limits may delay it by days.
const STAYS_FOR: Duration = Duration::from_secs(7 * 86_400);

/// The fast lane of this node.
pub(crate) struct FastLane {
    waiting: Mutex<VecDeque<DomainRecord>>,
    /// Members without a tenant.
    without_tenant: Cache<DomainName, ()>,
    entries: Bucket,
}

impl FastLane {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            without_tenant: Cache::builder()
                .max_capacity(CAPACITY as u64)
                .time_to_live(STAYS_FOR)
                .build(),
            entries: Bucket::default(),
        }
    }

    /// Adds a domain just registered, if there is room. Its publication wakes the scheduler.
    pub(crate) fn add(&self, record: &DomainRecord, now: Timestamp) {
        if has_no_tenant(record) && self.entries.take(WITHOUT_TENANT, now) {
            self.without_tenant.insert(record.name.clone(), ());
        }
        let mut waiting = self.waiting.lock();
        if record.ssl.next_attempt.is_some() && waiting.len() < CAPACITY {
            waiting.push_back(record.clone());
        }
    }

    /// Whether a domain without a tenant is in the fast lane.
    pub(super) fn contains(&self, name: &DomainName) -> bool {
        self.without_tenant.contains_key(name)
    }

    /// The domains added since the last call; whether they may go first is for
    /// [`super::Fairness::is_small`] to say.
    pub(crate) fn take_all(&self) -> VecDeque<DomainRecord> {
        std::mem::take(&mut self.waiting.lock())
    }
}

#[cfg(test)]
mod tests {
    use linkseal_domain::record::Origin;

    use super::*;

    #[test]
    fn the_first_few_of_an_import_without_tenants_and_the_next_single_one_enter() {
        let (lane, now) = (FastLane::new(), Timestamp::from_secs(1_795_305_600));
        let record = |text: &str, tenant: Option<&str>| {
            let name = DomainName::parse(text).unwrap();
            DomainRecord::new(name, tenant.map(str::to_owned), Origin::Registered, now)
        };
        for n in 0..1_000 {
            lane.add(&record(&format!("links.c{n}.example"), None), now);
        }
        let members = (0..1_000).filter(|n| lane.contains(&DomainName::parse(&format!("links.c{n}.example")).unwrap()));
        assert_eq!(members.count(), 10);
        let (single, later) = (record("links.single.example", None), now + Duration::from_secs(60));
        lane.add(&single, later);
        assert!(lane.contains(&single.name));
        // One with a tenant takes no entry from them.
        let of_tenant = record("links.tenants.example", Some("acme"));
        lane.add(&of_tenant, later);
        assert!(!lane.contains(&of_tenant.name));
    }
}
