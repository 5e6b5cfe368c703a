//! Names just registered, taken up before what waits to be. The scheduler takes up what is due in
//! order of time; behind an import of many thousands, a single new domain would wait for all of it.
//! So a newcomer goes past: of a tenant with only a few domains that wait, and, where the platform
//! names no tenants and all domains are its own, one of the few that are registered in a minute.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Reason, State};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::StoreError;
use moka::sync::Cache;

use super::bucket::Bucket;
use super::scheduler::MAX_IN_HAND;
use super::{Control, Limit, Priority};

/// A tenant with at most so many domains that wait for a certificate has only a few.
const FEW: u64 = 10;
/// So many domains without a tenant may be newcomers: of an import, the first few are.
const WITHOUT_TENANT: Limit = Limit {
    count: 10,
    per: Duration::from_secs(60),
};
/// Newcomers that are remembered; more find their way through the store, in order of time.
const REMEMBERED: usize = 1_024;
/// How long a newcomer without a tenant is one; the CA's limits may have it wait for days.
const FOR: Duration = Duration::from_secs(7 * 86_400);

/// The newcomers of this node.
pub(super) struct Newcomers {
    waiting: Mutex<VecDeque<DomainRecord>>,
    /// Those without a tenant.
    own: Cache<DomainName, ()>,
    without_tenant: Bucket,
}

impl Newcomers {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            own: Cache::builder()
                .max_capacity(REMEMBERED as u64)
                .time_to_live(FOR)
                .build(),
            without_tenant: Bucket::default(),
        }
    }

    /// Remembers one, unless there are too many. The scheduler is woken by its publication.
    pub(super) fn add(&self, record: &DomainRecord, now: Timestamp) {
        if has_no_tenant(record) && self.without_tenant.take(WITHOUT_TENANT, now) {
            self.own.insert(record.name.clone(), ());
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if record.ssl.next_attempt.is_some() && waiting.len() < REMEMBERED {
            waiting.push_back(record.clone());
        }
    }

    /// Whether it is a newcomer without a tenant.
    pub(super) fn is_one(&self, name: &DomainName) -> bool {
        self.own.contains_key(name)
    }

    fn take_all(&self) -> VecDeque<DomainRecord> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn has_no_tenant(record: &DomainRecord) -> bool {
    record.tenant == record.name.as_str()
}

impl Control {
    /// Takes up newcomers that may go past, also when the hands are full of others.
    pub(super) async fn take_up_newcomers(&self) -> Result<(), StoreError> {
        for record in self.inner.newcomers.take_all() {
            if self.inner.in_hand.len() < 2 * MAX_IN_HAND && self.goes_past(&record).await? {
                self.attend(record.name, Priority::Bulk, None);
            }
        }
        Ok(())
    }

    /// Whether a domain goes past what waits in bulk: its tenant has only a few that wait for a
    /// certificate, or it has none and is a newcomer.
    pub(super) async fn goes_past(&self, record: &DomainRecord) -> Result<bool, StoreError> {
        if has_no_tenant(record) {
            return Ok(record.origin == Origin::Edge || self.inner.newcomers.is_one(&record.name));
        }
        let counts = self.inner.store.counts(Some(&record.tenant)).await?;
        let waits = |reason: Reason| reason.state() == State::Pending || reason == Reason::NeverRequested;
        let waiting: u64 = counts.iter().filter(|c| waits(c.reason)).map(|c| c.domains).sum();
        Ok(waiting <= FEW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_import_without_tenants_the_first_few_are_newcomers_and_so_is_the_next_one_later() {
        let (newcomers, now) = (Newcomers::new(), Timestamp::from_secs(1_795_305_600));
        let record = |text: &str, tenant: Option<&str>| {
            let name = DomainName::parse(text).unwrap();
            DomainRecord::new(name, tenant.map(str::to_owned), Origin::Registered, now)
        };
        for n in 0..1_000 {
            newcomers.add(&record(&format!("links.c{n}.example"), None), now);
        }
        let are = (0..1_000).filter(|n| newcomers.is_one(&DomainName::parse(&format!("links.c{n}.example")).unwrap()));
        assert_eq!(are.count(), 10);
        let (single, later) = (record("links.single.example", None), now + Duration::from_secs(60));
        newcomers.add(&single, later);
        assert!(newcomers.is_one(&single.name));
        // One with a tenant takes nothing from them.
        let tenants = record("links.tenants.example", Some("acme"));
        newcomers.add(&tenants, later);
        assert!(!newcomers.is_one(&tenants.name));
    }
}
