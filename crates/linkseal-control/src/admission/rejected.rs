//! Refused names whose DNS points here: the customer has set the CNAME, but the domain was never
//! added.
//!
//! Any client can send any name, so the data plane only puts names into a bounded queue that drops
//! what does not fit. From there they are checked one at a time, at a low rate in all and below each
//! registered domain. Only names that point here are kept, in a bounded list.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::name::registered_domain;
use linkseal_domain::{DomainName, DomainRecord};
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Admission;
use crate::core::rate::Bucket;
use crate::core::{Limit, Observer};

/// Names that wait for their check; a flood is dropped here.
const QUEUE: usize = 256;
/// Names checked, in all.
const CHECKS: Limit = Limit {
    count: 30,
    per: Duration::from_secs(60),
};
/// Names checked below one registered domain, and kept below it.
const BELOW: Limit = Limit {
    count: 10,
    per: Duration::from_secs(3600),
};
/// A listed name is checked again after this time, if a client sends it again.
const CHECKED_FOR: Duration = Duration::from_secs(3600);
/// A name that no client has sent for this long leaves the list.
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Names remembered because they do not point here, and for how long.
const ELSEWHERE: u64 = 4_096;
const ELSEWHERE_FOR: Duration = Duration::from_secs(3600);
/// Registered domains whose checks are counted.
const COUNTED_DOMAINS: u64 = 4_096;

/// A refused name whose DNS points here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedName {
    pub name: DomainName,
    /// When this node first refused it.
    pub first_seen: Timestamp,
    /// When this node last refused it.
    pub last_seen: Timestamp,
    /// How many handshakes were refused, without those dropped in a flood.
    pub count: u64,
}

/// The list and its bounds.
pub(crate) struct Rejected {
    queue: mpsc::Sender<DomainName>,
    waiting: Mutex<Option<mpsc::Receiver<DomainName>>>,
    names: Mutex<HashMap<DomainName, Seen>>,
    elsewhere: Cache<DomainName, ()>,
    below: Cache<String, Arc<Bucket>>,
    checks: Bucket,
}

#[derive(Clone, Copy)]
struct Seen {
    first: Timestamp,
    last: Timestamp,
    count: u64,
    checked: Timestamp,
}

/// What to do with a refused name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    Check,
}

impl Rejected {
    pub(crate) fn new() -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self {
            queue,
            waiting: Mutex::new(Some(waiting)),
            names: Mutex::default(),
            elsewhere: Cache::builder()
                .max_capacity(ELSEWHERE)
                .time_to_live(ELSEWHERE_FOR)
                .build(),
            below: Cache::builder()
                .max_capacity(COUNTED_DOMAINS)
                .time_to_idle(BELOW.per)
                .build(),
            checks: Bucket::default(),
        }
    }

    /// How many names are on the list.
    pub(crate) fn len(&self) -> usize {
        self.names.lock().len()
    }

    /// Removes a name that is known now.
    fn forget(&self, name: &DomainName) {
        self.names.lock().remove(name.as_str());
    }

    /// The names refused last, newest first.
    pub(crate) fn newest(&self, limit: usize, now: Timestamp) -> Vec<RejectedName> {
        let mut names: Vec<_> = {
            let mut names = self.names.lock();
            names.retain(|_, seen| seen.last.is_within(KEPT_FOR, now));
            names
                .iter()
                .map(|(name, seen)| RejectedName {
                    name: name.clone(),
                    first_seen: seen.first,
                    last_seen: seen.last,
                    count: seen.count,
                })
                .collect()
        };
        names.sort_by(|a, b| (b.last_seen, &a.name).cmp(&(a.last_seen, &b.name)));
        names.truncate(limit);
        names
    }

    /// Counts a refusal and says whether the name is to be checked.
    fn refused(&self, name: &DomainName, now: Timestamp) -> Next {
        let registered = registered_domain(name.as_str());
        {
            let mut names = self.names.lock();
            if let Some(seen) = names.get_mut(name.as_str()) {
                seen.last = now;
                seen.count += 1;
                if seen.checked.is_within(CHECKED_FOR, now) {
                    return Next::Nothing;
                }
            } else {
                let siblings = names.keys().filter(|n| registered_domain(n.as_str()) == registered);
                if siblings.take(BELOW.count as usize).count() == BELOW.count as usize {
                    return Next::Nothing;
                }
            }
        }
        let below = self.below.get_with_by_ref(registered, Arc::default);
        if !self.elsewhere.contains_key(name.as_str()) && below.take(BELOW, now) && self.checks.take(CHECKS, now) {
            Next::Check
        } else {
            Next::Nothing
        }
    }

    /// Adds or removes a name by the result of its check.
    fn judge(&self, name: DomainName, points_here: bool, capacity: usize, now: Timestamp) {
        let mut names = self.names.lock();
        if !points_here {
            names.remove(name.as_str());
            drop(names);
            self.elsewhere.insert(name, ());
            return;
        }
        let new = Seen {
            first: now,
            last: now,
            count: 1,
            checked: now,
        };
        names.entry(name).or_insert(new).checked = now;
        while names.len() > capacity {
            let oldest = names
                .iter()
                .min_by_key(|(_, seen)| seen.last)
                .map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            names.remove(oldest.as_str());
        }
    }
}

impl Observer for Rejected {
    fn stored(&self, record: &DomainRecord) {
        self.forget(&record.name);
    }
}

impl Admission {
    /// Queues a refused name for a check; a full queue drops it.
    pub(super) fn note_rejected(&self, name: &DomainName) {
        if self.core.settings().rejected_capacity > 0 {
            // Most of a flood is dropped.
            self.rejected.queue.try_send(name.clone()).ok();
        }
    }

    /// Checks refused names, one at a time, until shutdown.
    pub(crate) async fn check_rejected(self: Arc<Self>) {
        let rejected = &self.rejected;
        let taken = rejected.waiting.lock().take();
        let Some(mut waiting) = taken else { return };
        while let Some(name) = waiting.recv().await {
            let capacity = self.core.settings().rejected_capacity;
            let known = self.core.registry.get(name.as_str()).is_some();
            if known || capacity == 0 || rejected.refused(&name, self.core.clock.now()) == Next::Nothing {
                continue;
            }
            // Without an answer from DNS, the name is checked again when a client sends it again.
            let Some(points_here) = self.core.checker().points_here(&name).await else {
                continue;
            };
            // Denied names are stored, but the data plane does not know them.
            if matches!(self.core.store.domain(&name).await, Ok(None)) {
                rejected.judge(name, points_here, capacity, self.core.clock.now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_secs(1_795_305_600);

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn listed(rejected: &Rejected, now: Timestamp) -> Vec<(String, u64)> {
        let all = rejected.newest(100, now);
        all.into_iter().map(|n| (n.name.to_string(), n.count)).collect()
    }

    #[test]
    fn only_names_that_point_here_are_kept_and_the_oldest_leave_first() {
        let rejected = Rejected::new();
        let at = |secs| T0 + Duration::from_secs(secs);
        for (i, text) in ["a.one.example", "a.two.example", "a.three.example"].iter().enumerate() {
            assert_eq!(rejected.refused(&name(text), at(i as u64)), Next::Check);
            rejected.judge(name(text), true, 2, at(i as u64));
        }
        let own = |t: &str, n| (t.to_owned(), n);
        assert_eq!(
            listed(&rejected, at(3)),
            [own("a.three.example", 1), own("a.two.example", 1)]
        );
        // Refused again: counted, and not checked for a while.
        assert_eq!(rejected.refused(&name("a.two.example"), at(4)), Next::Nothing);
        assert_eq!(listed(&rejected, at(5))[0], own("a.two.example", 2));
        let later = at(4) + CHECKED_FOR;
        assert_eq!(rejected.refused(&name("a.two.example"), later), Next::Check);
        rejected.judge(name("a.two.example"), false, 2, later);
        assert_eq!(
            rejected.refused(&name("a.two.example"), later),
            Next::Nothing,
            "it points elsewhere"
        );
        assert_eq!(rejected.len(), 1);
        rejected.forget(&name("a.three.example"));
        assert_eq!(rejected.len(), 0);
        rejected.judge(name("a.four.example"), true, 2, later);
        assert!(
            listed(&rejected, later + KEPT_FOR).is_empty(),
            "no client sends it any more"
        );
    }

    #[test]
    fn checks_and_names_are_bounded_below_one_domain_and_in_all() {
        let rejected = Rejected::new();
        let mut checked = 0;
        for i in 0..1000 {
            let name = name(&format!("r{i}.flood.example"));
            if rejected.refused(&name, T0) == Next::Check {
                checked += 1;
                rejected.judge(name, true, 100, T0);
            }
        }
        assert_eq!((checked, rejected.len()), (10, 10));
        // An hour later the domain still has its share of the list.
        let later = T0 + BELOW.per;
        assert_eq!(rejected.refused(&name("new.flood.example"), later), Next::Nothing);
        let checked = (0..1000)
            .filter(|i| rejected.refused(&name(&format!("a.random{i}.example")), later) == Next::Check)
            .count();
        assert_eq!(checked, 30);
    }
}
