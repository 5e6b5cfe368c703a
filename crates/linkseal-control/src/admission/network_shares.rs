//! Bounds on unknown names, shared among the client networks that send them: no network gets more
//! than half, and the last quarter is reserved for networks that have had nothing lately. A client that
//! sends names without end therefore stops the admission of new names for its own network only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::admission::ClientNetwork;
use moka::sync::Cache;

use crate::core::Limit;
use crate::core::rate::Bucket;

/// Networks counted at most; one that is evicted starts with a full share.
const NETWORKS: u64 = 10_000;
/// How long a network is counted after its last name.
const COUNTED_FOR: Duration = Duration::from_secs(3600);
/// One network gets at most 1/`SHARE`; 1/`LAST` is reserved for the others.
const SHARE: u8 = 2;
const LAST: u8 = 4;

/// A rate limit for all networks together, with a share for each.
pub(crate) struct RateShares {
    all: Bucket,
    networks: Cache<ClientNetwork, Arc<Bucket>>,
}

impl RateShares {
    pub(crate) fn new() -> Self {
        Self {
            all: Bucket::default(),
            networks: networks(),
        }
    }

    /// Whether a network may have another one.
    pub(crate) fn has(&self, limit: Limit, asking: ClientNetwork, now: Timestamp) -> bool {
        let own = self.networks.get_with(asking, Arc::default);
        own.has(share(limit), 0, now) && self.all.has(limit, self.reserved(&own, limit, now), now)
    }

    /// Takes one for a network, if it may have another one.
    pub(crate) fn take(&self, limit: Limit, asking: ClientNetwork, now: Timestamp) -> bool {
        let own = self.networks.get_with(asking, Arc::default);
        self.has(limit, asking, now) && own.take(share(limit), now) && self.all.take(limit, now)
    }

    /// How many are reserved for other networks.
    fn reserved(&self, own: &Bucket, limit: Limit, now: Timestamp) -> u32 {
        match own.is_full(share(limit), now) {
            true => 0,
            false => limit.count / u32::from(LAST),
        }
    }
}

fn share(limit: Limit) -> Limit {
    let count = limit.count.div_ceil(SHARE.into());
    Limit { count, ..limit }
}

fn networks<T: Send + Sync + 'static>() -> Cache<ClientNetwork, Arc<T>> {
    let networks = Cache::builder().max_capacity(NETWORKS).time_to_idle(COUNTED_FOR);
    networks.build()
}

/// A concurrency limit for all networks together, with a share for each.
pub(crate) struct ConcurrencyShares {
    all: Arc<AtomicUsize>,
    networks: Cache<ClientNetwork, Arc<AtomicUsize>>,
}

/// A place in use; dropping it frees the place.
pub(crate) struct Turn {
    _own: Counted,
    _all: Counted,
}

struct Counted(Arc<AtomicUsize>);

impl ConcurrencyShares {
    pub(crate) fn new() -> Self {
        Self {
            all: Arc::default(),
            networks: networks(),
        }
    }

    /// One of `places` for a network, if it may have another one.
    pub(crate) fn turn(&self, places: usize, asking: ClientNetwork) -> Option<Turn> {
        let own = self.networks.get_with(asking, Arc::default);
        let reserved = match own.load(Ordering::Relaxed) {
            0 => 0,
            _ => places / usize::from(LAST),
        };
        Some(Turn {
            _own: Counted::one(&own, places.div_ceil(SHARE.into()))?,
            _all: Counted::one(&self.all, places.saturating_sub(reserved))?,
        })
    }
}

impl Counted {
    fn one(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let more = |n: usize| (n < most).then_some(n + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(n: u8) -> ClientNetwork {
        ClientNetwork::of([192, 0, n, 0].into())
    }

    #[test]
    fn no_network_gets_more_than_half_and_the_last_quarter_is_for_new_ones() {
        let (shared, now) = (RateShares::new(), Timestamp::from_secs(1_795_305_600));
        let limit = Limit {
            count: 100,
            per: Duration::from_secs(60),
        };
        let takes = |n, times| (0..times).filter(|_| shared.take(limit, network(n), now)).count();
        assert_eq!(takes(1, 200), 50);
        assert_eq!(takes(2, 200), 25, "the last quarter is not for networks with a share");
        assert_eq!(takes(3, 200), 1);
        let new_networks: usize = (4..100).map(|n| takes(n, 1)).sum();
        assert_eq!(new_networks, 24);
        let later = now + Duration::from_secs(60);
        assert!(shared.has(limit, network(1), later) && shared.take(limit, network(1), later));
    }

    #[test]
    fn concurrency_is_shared_in_the_same_way() {
        let at_once = ConcurrencyShares::new();
        let turns = |n, times| {
            (0..times)
                .filter_map(|_| at_once.turn(16, network(n)))
                .collect::<Vec<_>>()
        };
        let (first, second) = (turns(1, 100), turns(2, 100));
        assert_eq!((first.len(), second.len()), (8, 4));
        let new_networks: Vec<_> = (3..10).map(|n| turns(n, 1)).filter(|turn| !turn.is_empty()).collect();
        assert_eq!(new_networks.len(), 4);
        drop(first);
        assert_eq!(turns(1, 1).len(), 1, "a freed place can be taken again");
        let one = ConcurrencyShares::new();
        let turn = one.turn(1, network(1));
        assert!(turn.is_some() && one.turn(1, network(2)).is_none());
    }
}
