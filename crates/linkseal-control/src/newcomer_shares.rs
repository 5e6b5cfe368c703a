//! What admission by DNS may cost, shared among the networks that names come from: none of them takes
//! more than half, and the last quarter is for networks that have had nothing of late. So who sends
//! names without end stops the admission of new names for itself alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::admission::ClientNetwork;
use moka::sync::Cache;

use super::Limit;
use super::bucket::Bucket;

/// Networks counted at most; one that is dropped begins with a full share.
const NETWORKS: u64 = 10_000;
/// How long a network is counted after its last name.
const COUNTED_FOR: Duration = Duration::from_secs(3600);
/// The part of everything that one network has at most, and the part that is left to the others.
const SHARE: u8 = 2;
const LAST: u8 = 4;

/// So many in so long: of all, and of each network.
pub(super) struct Shared {
    all: Bucket,
    networks: Cache<ClientNetwork, Arc<Bucket>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            all: Bucket::default(),
            networks: networks(),
        }
    }

    /// Whether there is one for a network.
    pub(super) fn has(&self, limit: Limit, asking: ClientNetwork, now: Timestamp) -> bool {
        let own = self.networks.get_with(asking, Arc::default);
        own.has(share(limit), 0, now) && self.all.has(limit, self.left(&own, limit, now), now)
    }

    /// Takes one for a network. `false`: there is none for it.
    pub(super) fn take(&self, limit: Limit, asking: ClientNetwork, now: Timestamp) -> bool {
        let own = self.networks.get_with(asking, Arc::default);
        self.has(limit, asking, now) && own.take(share(limit), now) && self.all.take(limit, now)
    }

    /// How many are left to others.
    fn left(&self, own: &Bucket, limit: Limit, now: Timestamp) -> u32 {
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

/// So many at once: of all, and of each network.
pub(super) struct AtOnce {
    all: Arc<AtomicUsize>,
    networks: Cache<ClientNetwork, Arc<AtomicUsize>>,
}

/// One of them; given back when dropped.
pub(super) struct Turn {
    _own: Counted,
    _all: Counted,
}

struct Counted(Arc<AtomicUsize>);

impl AtOnce {
    pub(super) fn new() -> Self {
        Self {
            all: Arc::default(),
            networks: networks(),
        }
    }

    /// One of so many for a network. `None`: there is none for it.
    pub(super) fn turn(&self, places: usize, asking: ClientNetwork) -> Option<Turn> {
        let own = self.networks.get_with(asking, Arc::default);
        let left = match own.load(Ordering::Relaxed) {
            0 => 0,
            _ => places / usize::from(LAST),
        };
        Some(Turn {
            _own: Counted::one(&own, places.div_ceil(SHARE.into()))?,
            _all: Counted::one(&self.all, places.saturating_sub(left))?,
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
    fn no_network_takes_more_than_half_and_the_last_are_for_those_that_have_none() {
        let (shared, now) = (Shared::new(), Timestamp::from_secs(1_795_305_600));
        let limit = Limit {
            count: 100,
            per: Duration::from_secs(60),
        };
        let takes = |n, times| (0..times).filter(|_| shared.take(limit, network(n), now)).count();
        assert_eq!(takes(1, 200), 50);
        assert_eq!(takes(2, 200), 25, "the last quarter is not for who has some");
        assert_eq!(takes(3, 200), 1);
        let newcomers: usize = (4..100).map(|n| takes(n, 1)).sum();
        assert_eq!(newcomers, 24);
        let later = now + Duration::from_secs(60);
        assert!(shared.has(limit, network(1), later) && shared.take(limit, network(1), later));
    }

    #[test]
    fn the_same_holds_for_what_is_done_at_once() {
        let at_once = AtOnce::new();
        let turns = |n, times| {
            (0..times)
                .filter_map(|_| at_once.turn(16, network(n)))
                .collect::<Vec<_>>()
        };
        let (first, second) = (turns(1, 100), turns(2, 100));
        assert_eq!((first.len(), second.len()), (8, 4));
        let newcomers: Vec<_> = (3..10).map(|n| turns(n, 1)).filter(|turn| !turn.is_empty()).collect();
        assert_eq!(newcomers.len(), 4);
        drop(first);
        assert_eq!(turns(1, 1).len(), 1, "what was given back can be had again");
        let one = AtOnce::new();
        let turn = one.turn(1, network(1));
        assert!(turn.is_some() && one.turn(1, network(2)).is_none());
    }
}
