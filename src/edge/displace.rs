//! Whose connection goes when there is no room for another.
//!
//! A newcomer displaces a connection of those who hold most: of the network that holds most, where
//! its own holds less; within its network, of the address that holds most, where its own holds
//! less. They make way however busy they are. Between equals only a connection that has had nothing
//! to do for a while goes, and none of an address that holds less than the newcomer's. So a crowd
//! makes way for others, and others never for a crowd.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use super::limits::LimitReached;
use super::presence::Presence;
use super::shares::{client, network};

/// How often connections are looked through for those that can make way, for each target.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many a look finds at most.
const FOUND: usize = 64;
/// For how many networks and addresses there is a look at a time. Each goes through all connections,
/// and those of many networks may wait at once: the others have to wait until some are old. The looks
/// that are for all come in any case.
const TARGETS: usize = 16;
/// Between equals, only what has had nothing to do for so long makes way.
const IDLE: Duration = Duration::from_secs(1);

/// All who hold a connection.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// By the place in memory of its presence.
    present: DashMap<usize, Arc<Presence>>,
    looks: Mutex<HashMap<Target, Look>>,
}

/// Among whose connections one is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Target {
    /// Of the network that holds most, the address that holds most.
    Most,
    /// Of this network, the address that holds most.
    MostOf(IpAddr),
    /// All who are idle.
    Idle,
    /// Those who are idle in this network.
    IdleOf(IpAddr),
    /// Those who are idle of this address.
    IdleOfAddress(IpAddr),
}

/// What a look has found.
#[derive(Debug)]
struct Look {
    at: Instant,
    /// How many connections the network and the address hold that are to make way.
    network: usize,
    address: usize,
    /// The last one goes first.
    going: Vec<Arc<Presence>>,
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

    /// Tells one to go in favour of a newcomer; whether there was one. `held`: how many connections
    /// an address, or its network, holds.
    pub(super) fn make_way(&self, limit: LimitReached, from: IpAddr, held: impl Fn(IpAddr, bool) -> usize) -> bool {
        let (of_network, of_address) = (held(from, true), held(from, false));
        let more_in_network = |look: &Look| of_network + 1 < look.network;
        let more_in_address = |look: &Look| of_address + 1 < look.address;
        let own = network(from);
        // A connection of an address that holds less than the newcomer's stays.
        let is_equal = |presence: &Presence| held(presence.client(), false) >= of_address;
        let displaces =
            |target, holds_more: &dyn Fn(&Look) -> bool| self.take(target, holds_more, |_| true, Presence::displace);
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
        fits: &dyn Fn(&Look) -> bool,
        is_meant: impl Fn(&Presence) -> bool,
        tell: impl Fn(&Presence),
    ) -> bool {
        let now = Instant::now();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |look: &Look| now.duration_since(look.at) >= LOOK_EVERY;
        if looks.get(&target).is_none_or(is_old) {
            looks.retain(|_, look| !is_old(look));
            if looks.len() >= TARGETS && !matches!(target, Target::Most | Target::Idle) {
                return false;
            }
            looks.insert(target, self.look(target, now));
        }
        let Some(look) = looks.get_mut(&target).filter(|look| fits(look)) else {
            return false;
        };
        // Some have gone by themselves meanwhile.
        let is_here = |p: &Arc<Presence>| !p.is_evicted() && self.present.contains_key(&Arc::as_ptr(p).addr());
        let Some(place) = look.going.iter().rposition(|p| is_here(p) && is_meant(p)) else {
            return false;
        };
        let going = look.going.remove(place);
        look.network = look.network.saturating_sub(1);
        look.address = look.address.saturating_sub(1);
        tell(&going);
        true
    }

    fn look(&self, target: Target, now: Instant) -> Look {
        let (of_network, of_address) = match target {
            Target::Most | Target::MostOf(_) => self.counts(target),
            _ => ((None, 0), (None, 0)),
        };
        let is_meant = |presence: &Presence| match target {
            Target::Most | Target::MostOf(_) => Some(client(presence.client())) == of_address.0,
            Target::Idle => true,
            Target::IdleOf(of) => network(presence.client()) == of,
            Target::IdleOfAddress(of) => client(presence.client()) == of,
        };
        let busy_too = matches!(target, Target::Most | Target::MostOf(_));
        let mut found = BinaryHeap::with_capacity(FOUND + 1);
        for entry in &self.present {
            let presence = entry.value();
            if presence.is_evicted() || !is_meant(presence) {
                continue;
            }
            // Of those with something to do, none is idle.
            let idle = presence.idle().unwrap_or_default();
            if busy_too || idle >= IDLE {
                found.push(Reverse((idle, *entry.key())));
                if found.len() > FOUND {
                    found.pop();
                }
            }
        }
        // The longest idle last.
        let mut found: Vec<_> = found.into_iter().map(|Reverse(one)| one).collect();
        found.sort_unstable();
        let present = |(_, place): &(Duration, usize)| self.present.get(place).map(|p| Arc::clone(&p));
        Look {
            at: now,
            network: of_network.1,
            address: of_address.1,
            going: found.iter().filter_map(present).collect(),
        }
    }

    /// The network that holds most, or the one that is asked for, and the address in it that does.
    fn counts(&self, target: Target) -> ((Option<IpAddr>, usize), (Option<IpAddr>, usize)) {
        let mut networks: HashMap<IpAddr, HashMap<IpAddr, usize>> = HashMap::new();
        for entry in &self.present {
            let from = entry.value().client();
            if entry.value().is_evicted() || matches!(target, Target::MostOf(of) if network(from) != of) {
                continue;
            }
            *networks
                .entry(network(from))
                .or_default()
                .entry(client(from))
                .or_default() += 1;
        }
        let sum = |addresses: &HashMap<IpAddr, usize>| addresses.values().sum::<usize>();
        let Some((whole, addresses)) = networks.iter().max_by_key(|(_, addresses)| sum(addresses)) else {
            return ((None, 0), (None, 0));
        };
        let most = addresses.iter().max_by_key(|(_, count)| **count);
        let (address, count) = most.map_or((None, 0), |(address, count)| (Some(*address), *count));
        ((Some(*whole), sum(addresses)), (address, count))
    }
}
