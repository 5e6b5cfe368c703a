//! Which connection makes way when there is no room for another.
//!
//! A new connection displaces one of the network that holds the most, if its own network holds fewer; or,
//! within its network, one of the address that holds the most, if its own address holds fewer. These make
//! way however busy they are. Between equals only an idle connection makes way, and none of an address
//! that holds fewer than the new one's. So a crowd makes way for others, but never others for a crowd.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use linkseal_net::shares::{client, network};
use parking_lot::Mutex;

use super::bounds::LimitReached;
use crate::presence::Presence;

/// How long the result of a scan over all connections is used, for each target.
pub(super) const SCAN_EVERY: Duration = Duration::from_millis(100);
/// Most connections that a scan finds.
const FOUND: usize = 64;
/// For how many targets results are kept at a time. A scan goes through all connections, and clients of
/// many networks may wait at once: further targets wait until a result is old. Scans that are not for one
/// network or address are always made.
const TARGETS: usize = 16;
/// Between equals, a connection makes way only if it has been idle this long.
const IDLE: Duration = Duration::from_secs(1);

/// All connections outside the reserve.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// By the address of their presence in memory.
    present: DashMap<usize, Arc<Presence>>,
    scans: Mutex<HashMap<Target, Scan>>,
}

/// Which connections are candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Target {
    /// In each of the networks that hold the most, those of the address that holds the most.
    Most,
    /// In this network, those of the address that holds the most.
    MostOf(IpAddr),
    /// All idle ones.
    Idle,
    /// The idle ones of this network.
    IdleOf(IpAddr),
    /// The idle ones of this address.
    IdleOfAddress(IpAddr),
}

/// What a scan has found.
#[derive(Debug)]
struct Scan {
    at: Instant,
    /// The last one makes way first.
    going: Vec<Going>,
}

/// A connection that may make way.
#[derive(Debug)]
struct Going {
    presence: Arc<Presence>,
    /// How many connections its network and its address hold once those that go before it are gone.
    network: usize,
    address: usize,
}

impl Holders {
    pub(super) fn enter(&self, presence: &Arc<Presence>) {
        if !presence.is_brief() {
            self.present.insert(Arc::as_ptr(presence).addr(), Arc::clone(presence));
        }
    }

    pub(super) fn leave(&self, presence: &Arc<Presence>) {
        self.present.remove(&Arc::as_ptr(presence).addr());
    }

    #[cfg(test)]
    pub(super) fn each(&self, f: impl Fn(&Presence)) {
        self.present.iter().for_each(|p| f(p.value()));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// Tells one connection to make way for a new one from `from`. `false` if there is none. `held`: how
    /// many connections an address, or (`true`) its network, holds.
    pub(super) fn make_way(&self, limit: LimitReached, from: IpAddr, held: impl Fn(IpAddr, bool) -> usize) -> bool {
        let (of_network, of_address) = (held(from, true), held(from, false));
        let more_in_network = |going: &Going| of_network + 1 < going.network;
        let more_in_address = |going: &Going| of_address + 1 < going.address;
        let own = network(from);
        // A connection of an address that holds fewer than the new one's stays.
        let is_equal = |presence: &Presence| held(presence.client(), false) >= of_address;
        let displaces =
            |target, holds_more: &dyn Fn(&Going) -> bool| self.take(target, holds_more, |_| true, Presence::displace);
        let succeeds = |target| self.take(target, &|_| true, is_equal, Presence::evict);
        match limit {
            LimitReached::All => {
                displaces(Target::Most, &more_in_network)
                    || displaces(Target::MostOf(own), &more_in_address)
                    || succeeds(Target::Idle)
            }
            LimitReached::Network => displaces(Target::MostOf(own), &more_in_address) || succeeds(Target::IdleOf(own)),
            LimitReached::Address => succeeds(Target::IdleOfAddress(client(from))),
        }
    }

    fn take(
        &self,
        target: Target,
        fits: &dyn Fn(&Going) -> bool,
        is_meant: impl Fn(&Presence) -> bool,
        tell: impl Fn(&Presence),
    ) -> bool {
        let now = Instant::now();
        let mut scans = self.scans.lock();
        let is_old = |scan: &Scan| now.duration_since(scan.at) >= SCAN_EVERY;
        if scans.get(&target).is_none_or(is_old) {
            scans.retain(|_, scan| !is_old(scan));
            if scans.len() >= TARGETS && !matches!(target, Target::Most | Target::Idle) {
                return false;
            }
            scans.insert(target, self.scan(target, now));
        }
        let Some(scan) = scans.get_mut(&target) else {
            return false;
        };
        // Some have closed since the scan.
        let is_here = |p: &Arc<Presence>| !p.is_evicted() && self.present.contains_key(&Arc::as_ptr(p).addr());
        let goes = |going: &Going| fits(going) && is_here(&going.presence) && is_meant(&going.presence);
        let Some(place) = scan.going.iter().rposition(goes) else {
            return false;
        };
        tell(&scan.going.remove(place).presence);
        true
    }

    fn scan(&self, target: Target, now: Instant) -> Scan {
        let most = self.most(target);
        let busy_too = matches!(target, Target::Most | Target::MostOf(_));
        // The longest idle connections of each candidate address, or of all.
        let mut found: HashMap<Option<IpAddr>, BinaryHeap<_>> = HashMap::new();
        for entry in &self.present {
            let presence = entry.value();
            let from = client(presence.client());
            let is_meant = match target {
                Target::Most | Target::MostOf(_) => most.contains_key(&from),
                Target::Idle => true,
                Target::IdleOf(of) => network(from) == of,
                Target::IdleOfAddress(of) => from == of,
            };
            if presence.is_evicted() || !is_meant {
                continue;
            }
            // A busy connection is not idle.
            let idle = presence.idle().unwrap_or_default();
            if busy_too || idle >= IDLE {
                let found = found.entry(busy_too.then_some(from)).or_default();
                found.push(Reverse((idle, *entry.key())));
                if found.len() > FOUND {
                    found.pop();
                }
            }
        }
        let mut going = Vec::new();
        for (of, found) in found {
            let (network, address) = of
                .and_then(|of| most.get(&of).copied())
                .unwrap_or((usize::MAX, usize::MAX));
            for (nth, Reverse((_, place))) in found.into_sorted_vec().into_iter().enumerate() {
                going.extend(self.present.get(&place).map(|presence| Going {
                    presence: Arc::clone(&presence),
                    network: network.saturating_sub(nth),
                    address: address.saturating_sub(nth),
                }));
            }
        }
        going.sort_by_key(|going| match target {
            Target::MostOf(_) => (going.address, going.network),
            _ => (going.network, going.address),
        });
        let going = going.split_off(going.len().saturating_sub(FOUND));
        Scan { at: now, going }
    }

    /// The candidate addresses, with how many connections their network and they themselves hold: of each
    /// of the largest networks the largest address, or all addresses of one network.
    fn most(&self, target: Target) -> HashMap<IpAddr, (usize, usize)> {
        let mut networks: HashMap<IpAddr, HashMap<IpAddr, usize>> = HashMap::new();
        for entry in &self.present {
            let from = entry.value().client();
            let is_meant = match target {
                Target::Most => true,
                Target::MostOf(of) => network(from) == of,
                _ => return HashMap::new(),
            };
            if is_meant && !entry.value().is_evicted() {
                let addresses = networks.entry(network(from)).or_default();
                *addresses.entry(client(from)).or_default() += 1;
            }
        }
        let mut all = Vec::new();
        for addresses in networks.values() {
            let sum = addresses.values().sum::<usize>();
            let held = addresses.iter().map(|(address, count)| (sum, *count, *address));
            match target {
                Target::Most => all.extend(held.max()),
                _ => all.extend(held),
            }
        }
        all.sort_unstable();
        let all = all.into_iter().rev().take(FOUND);
        all.map(|(sum, count, address)| (address, (sum, count))).collect()
    }
}
