//! The bounded number of connections to one port, and which one is closed for a new one.
//!
//! A new connection always gets a slot, at the cost of another one: of the same client if that has
//! used up its share, else of any client. Authenticated connections and those from this machine are
//! spared as long as they hold no more than half of the slots; beyond that, one of them is closed.
//! Among the candidates, the network (/24 of IPv4, /48 of IPv6) with the most connections loses one,
//! then within it the client with the most, then the connection that moved least recently. So neither
//! many idle connections nor many from one network close the port to other clients.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use linkseal_net::shares::{client, network};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::watchdog::Watchdog;

/// Connections at a time: people and back ends need few, and each may hold a request body.
pub const MAX: usize = 256;
/// How many of them one client may hold. A trusted proxy and this machine may hold all.
pub(crate) const PER_CLIENT: usize = 64;
/// The inverse of the part of the slots within which connections are spared.
const SPARED: usize = 2;
/// How much younger an authenticated connection counts when one is chosen.
const BONUS: Duration = Duration::from_secs(30);

/// The connections of one port.
#[derive(Default)]
pub(crate) struct Slots {
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: HashMap<u64, Holder>,
    next: u64,
}

struct Holder {
    client: IpAddr,
    /// Whether it comes from this machine, and not through a proxy on it.
    is_local: bool,
    watchdog: Arc<Watchdog>,
}

/// A new connection.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) peer: IpAddr,
    /// How many slots its client may hold.
    pub(crate) share: usize,
    /// Whether it comes from this machine, and not through a proxy on it.
    pub(crate) is_local: bool,
}

/// The right to keep a connection open, until it is dropped.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    pub(crate) watchdog: Arc<Watchdog>,
}

impl Slots {
    /// A slot for a connection, with the client whose connection was closed for it.
    pub(crate) fn take(self: &Arc<Self>, arrival: Arrival) -> (Slot, Option<IpAddr>) {
        let (client, watchdog) = (client(arrival.peer), Arc::new(Watchdog::new(Instant::now())));
        let mut taken = self.taken.lock();
        let own = taken.all.values().filter(|h| h.client == client).count();
        let share = arrival.share.min(MAX);
        let evicted = match own >= share {
            true => taken.evict(|holder| holder.client == client, share / SPARED),
            false if taken.all.len() >= MAX => taken.evict(|_| true, MAX / SPARED),
            false => None,
        };
        let id = taken.next;
        taken.next += 1;
        let holder = Holder {
            client,
            is_local: arrival.is_local,
            watchdog: Arc::clone(&watchdog),
        };
        taken.all.insert(id, holder);
        let slots = Arc::clone(self);
        (Slot { slots, id, watchdog }, evicted)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.taken.lock().all.len()
    }
}

impl Taken {
    /// Closes one connection of a set. `spared`: how many authenticated or local ones are spared.
    fn evict(&mut self, set: impl Fn(&Holder) -> bool, spared: usize) -> Option<IpAddr> {
        let of_set = || self.all.iter().filter(|(_, holder)| set(holder));
        let spare = of_set().filter(|(_, holder)| holder.is_spared()).count() <= spared;
        // Beyond the bound only those are candidates: new connections cannot be authenticated yet.
        let candidates = || of_set().filter(|(_, holder)| holder.is_spared() != spare);
        let (mut networks, mut clients) = (HashMap::<_, usize>::new(), HashMap::<_, usize>::new());
        for (_, holder) in candidates() {
            *networks.entry(network(holder.client)).or_default() += 1;
            *clients.entry(holder.client).or_default() += 1;
        }
        let loser = candidates().min_by_key(|(id, holder)| {
            let of_network = networks.get(&network(holder.client)).copied();
            let of_client = clients.get(&holder.client).copied();
            (
                Reverse(of_network),
                Reverse(of_client),
                holder.watchdog.keep_score(BONUS),
                **id,
            )
        });
        let id = loser.map(|(id, _)| *id)?;
        let holder = self.all.remove(&id)?;
        holder.watchdog.close();
        Some(holder.client)
    }
}

impl Holder {
    fn is_spared(&self) -> bool {
        self.is_local || self.watchdog.is_authenticated()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken.lock().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests;
