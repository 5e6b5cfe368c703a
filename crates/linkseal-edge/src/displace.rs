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
use linkseal_net::shares::{client, network};

use super::limits::LimitReached;
use super::presence::Presence;

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
    /// Of the networks that hold most, in each the address that holds most.
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
    /// The last one goes first.
    going: Vec<Going>,
}

/// A connection that can make way.
#[derive(Debug)]
struct Going {
    presence: Arc<Presence>,
    /// How many connections its network and its address hold once those have gone that go before it.
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

    /// Tells one to go in favour of a newcomer; whether there was one. `held`: how many connections
    /// an address, or its network, holds.
    pub(super) fn make_way(&self, limit: LimitReached, from: IpAddr, held: impl Fn(IpAddr, bool) -> usize) -> bool {
        let (of_network, of_address) = (held(from, true), held(from, false));
        let more_in_network = |going: &Going| of_network + 1 < going.network;
        let more_in_address = |going: &Going| of_address + 1 < going.address;
        let own = network(from);
        // A connection of an address that holds less than the newcomer's stays.
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
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |look: &Look| now.duration_since(look.at) >= LOOK_EVERY;
        if looks.get(&target).is_none_or(is_old) {
            looks.retain(|_, look| !is_old(look));
            if looks.len() >= TARGETS && !matches!(target, Target::Most | Target::Idle) {
                return false;
            }
            looks.insert(target, self.look(target, now));
        }
        let Some(look) = looks.get_mut(&target) else {
            return false;
        };
        // Some have gone by themselves meanwhile.
        let is_here = |p: &Arc<Presence>| !p.is_evicted() && self.present.contains_key(&Arc::as_ptr(p).addr());
        let goes = |going: &Going| fits(going) && is_here(&going.presence) && is_meant(&going.presence);
        let Some(place) = look.going.iter().rposition(goes) else {
            return false;
        };
        tell(&look.going.remove(place).presence);
        true
    }

    fn look(&self, target: Target, now: Instant) -> Look {
        let most = self.most(target);
        let busy_too = matches!(target, Target::Most | Target::MostOf(_));
        // The longest idle of each address that is to make way, or of all who are idle.
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
            // Of those with something to do, none is idle.
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
        Look { at: now, going }
    }

    /// The addresses that are to make way, with what their networks and they themselves hold: of the
    /// networks that hold most, in each the one that does; or those of the network that is asked for.
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
