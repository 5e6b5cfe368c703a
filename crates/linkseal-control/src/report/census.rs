//! What is counted over all domains because it changes as time passes: certificates at risk, those that are
//! not renewed, and how long each still lasts.
//!
//! A request never counts more than [`AT_ONCE`] domains. Beyond that they are counted in the background, part
//! by part, and requests get the last result.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::registry::{Entry, PARTS, Registry};
use linkseal_domain::ssl::Intent;
use parking_lot::Mutex;

use super::Report;
use crate::core::metrics::Snapshot;

/// Domains that a request counts itself: that takes less than a millisecond.
const AT_ONCE: usize = 10_000;
/// Shortest wait between two counts in the background.
const INTERVAL: Duration = Duration::from_secs(15);
/// How often it is checked whether all domains are loaded: before that, nothing is counted.
const LOADING: Duration = Duration::from_secs(1);
/// A wait is at least this many times as long as the count before it, so that counting takes at most two percent
/// of one core, however many domains there are.
const SHARE: u32 = 50;

/// The counts of one moment.
#[derive(Clone, Default)]
pub(super) struct Census {
    /// When they were counted; `None`: not yet.
    pub(super) at: Option<Timestamp>,
    pub(super) at_risk: u64,
    /// Issued domains that are paused.
    pub(super) paused: u64,
    /// Issued domains that are retired.
    pub(super) retired: u64,
    pub(super) remaining: Snapshot,
}

impl Census {
    fn note(&mut self, entry: &Entry, now: Timestamp) {
        self.at_risk += u64::from(entry.is_at_risk(now));
        if entry.is_issued(now) {
            self.paused += u64::from(entry.intent == Intent::Paused);
            self.retired += u64::from(entry.intent == Intent::Retired);
        }
        if let Some(left) = entry.not_after().and_then(|end| end.since(now)) {
            self.remaining.add(left.as_secs_f64());
        }
    }
}

/// The last counts.
pub(super) struct Counted {
    last: Mutex<Arc<Census>>,
    at_once: usize,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            at_once: AT_ONCE,
        }
    }
}

impl Counted {
    /// The counts to report: of now if there are few domains, else the last ones.
    fn get(&self, registry: &Registry, now: Timestamp) -> Arc<Census> {
        if registry.len() > self.at_once {
            return Arc::clone(&self.last.lock());
        }
        let mut census = Census {
            at: Some(now),
            ..Census::default()
        };
        for part in 0..PARTS {
            registry.for_each_of(part, |entry| census.note(entry, now));
        }
        Arc::new(census)
    }

    /// Counts all domains, and lets other tasks go first after each part.
    async fn count(&self, registry: &Registry, now: Timestamp) {
        let mut census = Census {
            at: Some(now),
            ..Census::default()
        };
        for part in 0..PARTS {
            registry.for_each_of(part, |entry| census.note(entry, now));
            tokio::task::yield_now().await;
        }
        *self.last.lock() = Arc::new(census);
    }
}

impl Report {
    /// The counts over all domains, without counting many.
    pub(super) fn census(&self) -> Arc<Census> {
        self.counted.get(&self.core.registry, self.core.clock.now())
    }

    /// Counts the domains at intervals until shutdown, where they are too many for a request.
    pub(crate) async fn count_domains(self: Arc<Self>) {
        let (clock, registry) = (&self.core.clock, &self.core.registry);
        loop {
            if !registry.is_loaded() {
                clock.sleep(LOADING).await;
                continue;
            }
            let begun = clock.uptime();
            if registry.len() > self.counted.at_once {
                self.counted.count(registry, clock.now()).await;
            }
            let took = clock.uptime().saturating_sub(begun);
            clock.sleep(INTERVAL.max(took * SHARE)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use linkseal_domain::record::Origin;
    use linkseal_domain::ssl::{CertificateInfo, Reason};
    use linkseal_domain::{DomainName, DomainRecord};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_305_600);

    fn add(registry: &Registry, name: &str) {
        let name = DomainName::parse(name).unwrap();
        let day = Duration::from_secs(86_400);
        let mut record = DomainRecord::new(name, None, Origin::Registered, NOW);
        record.ssl.reason = Reason::Ok;
        record.ssl.certificate = Some(CertificateInfo {
            not_before: NOW.minus(day * 85),
            not_after: NOW + day * 5,
            obtained: None,
            issuer: "CA".into(),
            serial: "01".into(),
            sans: Vec::new(),
            ca: "https://ca.example/directory".into(),
            ari_id: None,
            renew_at: NOW,
            ari_check_at: None,
        });
        registry.put(&record);
    }

    #[tokio::test]
    async fn a_request_counts_few_domains_only() {
        let counted = Counted {
            at_once: 2,
            ..Counted::default()
        };
        let registry = Registry::new();
        add(&registry, "a.example");
        add(&registry, "b.example");
        let census = counted.get(&registry, NOW);
        assert_eq!((census.at, census.at_risk), (Some(NOW), 2), "few are counted at once");
        add(&registry, "c.example");
        let census = counted.get(&registry, NOW);
        assert_eq!((census.at, census.at_risk), (None, 0), "many are not");
        counted.count(&registry, NOW).await;
        let later = NOW + Duration::from_secs(60);
        let census = counted.get(&registry, later);
        assert_eq!((census.at, census.at_risk), (Some(NOW), 3), "as they were counted");
    }
}
