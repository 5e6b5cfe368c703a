//! Names that handshakes were refused for although their DNS points here: customers that have set
//! their CNAME, and that no one has added.
//!
//! Anybody can send any name, so the data plane's part is one bounded queue that drops what it has
//! no room for. Behind it names are looked up one by one, at a low rate in all and below each
//! registered domain. Only those that point here are kept, a bounded number of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::name::registered_domain;
use moka::sync::Cache;
use tokio::sync::mpsc;

use super::bucket::Bucket;
use super::{Control, Limit};

/// Names that wait to be looked at: of a flood, nearly all are dropped here.
const QUEUE: usize = 256;
/// Names looked up, in all.
const LOOKS: Limit = Limit {
    count: 30,
    per: Duration::from_secs(60),
};
/// Names looked up below one registered domain, and kept below it.
const BELOW: Limit = Limit {
    count: 10,
    per: Duration::from_secs(3600),
};
/// A name on the list is looked up again after that, when it is asked for again.
const CHECKED_FOR: Duration = Duration::from_secs(3600);
/// A name that no one has asked for so long leaves the list.
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Names remembered that do not point here, and for how long.
const ELSEWHERE: u64 = 4_096;
const ELSEWHERE_FOR: Duration = Duration::from_secs(3600);
/// Registered domains whose looks are counted.
const COUNTED_DOMAINS: u64 = 4_096;

/// A name that was refused, and points here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedName {
    /// The name.
    pub name: DomainName,
    /// When it was first refused, as far as it is known here.
    pub first_seen: Timestamp,
    /// When it was refused last.
    pub last_seen: Timestamp,
    /// How many handshakes were refused; those dropped in a flood are not counted.
    pub count: u64,
}

/// The list, and what keeps it short.
pub(super) struct Rejected {
    queue: mpsc::Sender<DomainName>,
    waiting: Mutex<Option<mpsc::Receiver<DomainName>>>,
    names: Mutex<HashMap<DomainName, Seen>>,
    elsewhere: Cache<DomainName, ()>,
    below: Cache<String, Arc<Bucket>>,
    looks: Bucket,
}

#[derive(Clone, Copy)]
struct Seen {
    first: Timestamp,
    last: Timestamp,
    count: u64,
    checked: Timestamp,
}

/// What is to be done with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    LookUp,
}

impl Rejected {
    pub(super) fn new() -> Self {
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
            looks: Bucket::default(),
        }
    }

    /// How many are on the list.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// A name that is known now is no rejected one any more.
    pub(super) fn forget(&self, name: &DomainName) {
        self.lock().remove(name.as_str());
    }

    /// The names refused last, newest first.
    fn newest(&self, limit: usize, now: Timestamp) -> Vec<RejectedName> {
        let mut names: Vec<_> = {
            let mut names = self.lock();
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

    /// Counts a refusal, and says whether the name is to be looked up.
    fn refused(&self, name: &DomainName, now: Timestamp) -> Next {
        let registered = registered_domain(name.as_str());
        {
            let mut names = self.lock();
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
        if !self.elsewhere.contains_key(name.as_str()) && below.take(BELOW, now) && self.looks.take(LOOKS, now) {
            Next::LookUp
        } else {
            Next::Nothing
        }
    }

    /// Takes a name in, or out, by what its DNS says.
    fn judge(&self, name: DomainName, leads_here: bool, keep: usize, now: Timestamp) {
        let mut names = self.lock();
        if !leads_here {
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
        while names.len() > keep {
            let oldest = names
                .iter()
                .min_by_key(|(_, seen)| seen.last)
                .map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            names.remove(oldest.as_str());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DomainName, Seen>> {
        // Every change of the map is one call: it is whole whatever panics elsewhere.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// The refused names whose DNS points here, as this node has seen them, newest first.
    pub fn rejected(&self, limit: usize) -> Vec<RejectedName> {
        self.inner.rejected.newest(limit, self.inner.clock.now())
    }

    /// Notes that a name was refused; forgotten at once when others wait already.
    pub(super) fn note_rejected(&self, name: &DomainName) {
        if self.inner.settings.load().rejected_capacity > 0 {
            // Of a flood, most is dropped.
            self.inner.rejected.queue.try_send(name.clone()).ok();
        }
    }

    /// Looks at refused names for ever, one by one.
    pub(super) async fn watch_rejected(self) {
        let rejected = &self.inner.rejected;
        let taken = rejected.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut waiting) = taken else { return };
        while let Some(name) = waiting.recv().await {
            let keep = self.inner.settings.load().rejected_capacity;
            let known = self.inner.registry.get(name.as_str()).is_some();
            if known || keep == 0 || rejected.refused(&name, self.inner.clock.now()) == Next::Nothing {
                continue;
            }
            // What DNS does not say is asked for again, when the name is.
            let Some(leads_here) = self.tools().checker.leads_here(&name).await else {
                continue;
            };
            // Denied ones are stored, and not known to the data plane.
            if matches!(self.inner.store.domain(&name).await, Ok(None)) {
                rejected.judge(name, leads_here, keep, self.inner.clock.now());
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
    fn only_what_leads_here_is_kept_and_the_oldest_go_first() {
        let rejected = Rejected::new();
        let at = |secs| T0 + Duration::from_secs(secs);
        for (i, text) in ["a.one.example", "a.two.example", "a.three.example"].iter().enumerate() {
            assert_eq!(rejected.refused(&name(text), at(i as u64)), Next::LookUp);
            rejected.judge(name(text), true, 2, at(i as u64));
        }
        let own = |t: &str, n| (t.to_owned(), n);
        assert_eq!(
            listed(&rejected, at(3)),
            [own("a.three.example", 1), own("a.two.example", 1)]
        );
        // Seen again: counted, and not looked up for a while.
        assert_eq!(rejected.refused(&name("a.two.example"), at(4)), Next::Nothing);
        assert_eq!(listed(&rejected, at(5))[0], own("a.two.example", 2));
        let later = at(4) + CHECKED_FOR;
        assert_eq!(rejected.refused(&name("a.two.example"), later), Next::LookUp);
        rejected.judge(name("a.two.example"), false, 2, later);
        assert_eq!(
            rejected.refused(&name("a.two.example"), later),
            Next::Nothing,
            "it leads elsewhere"
        );
        assert_eq!(rejected.len(), 1);
        rejected.forget(&name("a.three.example"));
        assert_eq!(rejected.len(), 0);
        rejected.judge(name("a.four.example"), true, 2, later);
        assert!(
            listed(&rejected, later + KEPT_FOR).is_empty(),
            "it is not asked for any more"
        );
    }

    #[test]
    fn looks_and_names_are_bounded_below_one_domain_and_in_all() {
        let rejected = Rejected::new();
        let mut looked = 0;
        for i in 0..1000 {
            let name = name(&format!("r{i}.flood.example"));
            if rejected.refused(&name, T0) == Next::LookUp {
                looked += 1;
                rejected.judge(name, true, 100, T0);
            }
        }
        assert_eq!((looked, rejected.len()), (10, 10));
        // An hour later the domain has had its share on the list.
        let later = T0 + BELOW.per;
        assert_eq!(rejected.refused(&name("new.flood.example"), later), Next::Nothing);
        let looked = (0..1000)
            .filter(|i| rejected.refused(&name(&format!("a.random{i}.example")), later) == Next::LookUp)
            .count();
        assert_eq!(looked, 30);
    }
}
