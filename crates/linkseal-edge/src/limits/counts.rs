//! What is counted of open connections: in all, and by address and network.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use linkseal_net::shares::{Room, client, network};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::bounds::{Bounds, LimitReached};
use super::displace::{Holders, SCAN_EVERY};
use crate::fair::FairRoom;

/// How long a connection waits for another to make way.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Counts {
    pub(super) max: AtomicUsize,
    pub(super) per_address: AtomicUsize,
    pub(super) per_network: AtomicUsize,
    pub(super) open: AtomicUsize,
    /// In the reserve.
    pub(super) brief: AtomicUsize,
    /// Holds only owners of a connection, so `open` bounds it.
    pub(super) owners: DashMap<Owner, usize>,
    pub(super) holders: Holders,
    pub(super) newcomers: FairRoom,
    /// As `newcomers`, for addresses that hold no connection: addresses that hold many cannot take these
    /// places.
    pub(super) strangers: FairRoom,
    /// As `newcomers`, for clients that their balancer has not named yet.
    pub(super) unnamed: Room,
    pub(super) freed: Notify,
    pub(super) start: Instant,
    /// When the last warning was logged, in milliseconds since `start`.
    pub(super) warned: AtomicU64,
}

/// An address or network that connections are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    who: IpAddr,
    pub(super) is_network: bool,
    /// In the reserve.
    brief: bool,
}

/// Adds one if there is room.
pub(super) fn more(count: &AtomicUsize, max: usize) -> bool {
    let more = |n: usize| (n < max).then_some(n + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

impl Counts {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            max: self.max.load(Ordering::Relaxed),
            per_address: self.per_address.load(Ordering::Relaxed),
            per_network: self.per_network.load(Ordering::Relaxed),
        }
    }

    /// Adds a connection to an address and its network, or to neither.
    pub(super) fn count(&self, from: IpAddr, brief: bool) -> Result<(), LimitReached> {
        let bounds = self.bounds();
        let bounds = if brief { bounds.brief() } else { bounds };
        self.count_within(from, brief, bounds)
    }

    pub(super) fn count_within(&self, from: IpAddr, brief: bool, bounds: Bounds) -> Result<(), LimitReached> {
        let [address, whole] = owners(from, brief);
        if !self.add(address, bounds.per_address) {
            return Err(LimitReached::Address);
        }
        if !self.add(whole, bounds.per_network) {
            self.remove(address);
            return Err(LimitReached::Network);
        }
        Ok(())
    }

    fn add(&self, owner: Owner, max: usize) -> bool {
        {
            let mut count = self.owners.entry(owner).or_insert(0);
            if *count < max {
                *count += 1;
                return true;
            }
        }
        // With a limit of zero the entry was created just now.
        self.owners.remove_if(&owner, |_, count| *count == 0);
        false
    }

    pub(super) fn remove(&self, owner: Owner) {
        if let Entry::Occupied(mut entry) = self.owners.entry(owner) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// Takes a place as soon as there is one, or another connection makes way, within [`PATIENCE`].
    /// `take(true)` may exceed the limit, as the other connection is about to close.
    pub(super) async fn soon<T>(
        &self,
        limit: LimitReached,
        from: IpAddr,
        mut take: impl FnMut(bool) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            let freed = self.freed.notified();
            if let Some(taken) = take(false) {
                return Some(taken);
            }
            let held = |from, is_network| self.held(from, is_network);
            if self.holders.make_way(limit, from, held) {
                return take(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            // Whether it was freed or the time is over: check again.
            let _ = timeout(left.min(SCAN_EVERY), freed).await;
        }
    }

    /// How many connections an address or its network holds outside the reserve.
    pub(super) fn held(&self, from: IpAddr, is_network: bool) -> usize {
        let [address, whole] = owners(from, false);
        let owner = if is_network { whole } else { address };
        self.owners.get(&owner).map_or(0, |count| *count)
    }

    pub(super) fn is_due(&self, last: &AtomicU64, every: Duration) -> bool {
        // Counted from one, so that zero means never.
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.start.elapsed()).saturating_add(1);
        let before = last.load(Ordering::Relaxed);
        let due = before == 0 || now.saturating_sub(before) >= millis(every);
        due && last
            .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

pub(super) fn owners(from: IpAddr, brief: bool) -> [Owner; 2] {
    let owner = |who, is_network| Owner { who, is_network, brief };
    [owner(client(from), false), owner(network(from), true)]
}
