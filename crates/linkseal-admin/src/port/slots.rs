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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkseal_net::shares::{client, network};
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
        let mut taken = self.lock();
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
        self.lock().all.len()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // No code panics while holding it.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.slots.lock().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    fn from(peer: IpAddr, share: usize) -> Arrival {
        Arrival {
            peer,
            share,
            is_local: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_over_its_share_loses_its_own_oldest_connection() {
        let slots = Arc::new(Slots::default());
        let bystander = slots.take(from(ip(1), PER_CLIENT)).0;
        let mut flood = Vec::new();
        for _ in 0..PER_CLIENT {
            tokio::time::advance(Duration::from_millis(1)).await;
            flood.push(slots.take(from(ip(2), PER_CLIENT)).0);
        }
        let (newest, evicted) = slots.take(from(ip(2), PER_CLIENT));
        assert_eq!(evicted, Some(ip(2)));
        assert!(flood[0].watchdog.is_closed() && !flood[1].watchdog.is_closed());
        assert!(!bystander.watchdog.is_closed() && !newest.watchdog.is_closed());
        drop(flood);
        assert_eq!(slots.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_slots_are_taken_the_largest_network_loses_one() {
        let slots = Arc::new(Slots::default());
        let mut held = Vec::new();
        for n in 0..MAX as u32 {
            // One client with three shares, as a trusted proxy may have; the others have one connection each.
            let from = if n < 3 * PER_CLIENT as u32 { ip(0) } else { ip(n) };
            held.push(slots.take(self::from(from, MAX)).0);
        }
        let (arrival, evicted) = slots.take(from(ip(9999), PER_CLIENT));
        assert_eq!(evicted, Some(ip(0)));
        assert!(!arrival.watchdog.is_closed());
        assert_eq!(slots.len(), MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn authenticated_and_moving_connections_stay_and_stalled_ones_are_closed() {
        let slots = Arc::new(Slots::default());
        let (operator, reader, stuck) = (
            slots.take(from(ip(1), 3)).0,
            slots.take(from(ip(1), 3)).0,
            slots.take(from(ip(1), 3)).0,
        );
        operator.watchdog.authenticated();
        tokio::time::advance(Duration::from_secs(5)).await;
        reader.watchdog.moved(Instant::now());
        let (_new, _) = slots.take(from(ip(1), 3));
        assert!(stuck.watchdog.is_closed() && !operator.watchdog.is_closed() && !reader.watchdog.is_closed());
        // A valid token does not help a client that does not read its answers.
        operator.watchdog.stalled(Instant::now());
        let (_new, _) = slots.take(from(ip(1), 3));
        assert!(operator.watchdog.is_closed());
    }

    /// An address in the `n`th /64 of one /48.
    fn v6(n: u16) -> IpAddr {
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, n, 0, 0, 0, 1).into()
    }

    #[tokio::test(start_paused = true)]
    async fn an_authenticated_connection_outlasts_a_flood_from_many_networks() {
        let slots = Arc::new(Slots::default());
        let (operator, _) = slots.take(from(ip(1), PER_CLIENT));
        operator.watchdog.authenticated();
        let mut held = Vec::new();
        for n in 0..1_000_u32 {
            tokio::time::advance(Duration::from_secs(1)).await;
            // Each from a /24 of its own.
            let arrival = slots.take(from(ip(n << 8), PER_CLIENT)).0;
            assert!(!arrival.watchdog.is_closed());
            held.push(arrival);
        }
        assert!(!operator.watchdog.is_closed());
        assert_eq!(slots.len(), MAX);
        let open = held.iter().filter(|slot| !slot.watchdog.is_closed()).count();
        assert_eq!(open, MAX - 1);
        assert!(!held[1_000 - 100].watchdog.is_closed(), "the oldest are closed first");
    }

    #[tokio::test(start_paused = true)]
    async fn the_64s_of_one_48_count_as_one_network_and_local_connections_stay() {
        let slots = Arc::new(Slots::default());
        let mut held = Vec::new();
        // Two that are not authenticated yet, and a probe from this machine.
        let operators = [0, 1].map(|_| slots.take(from(ip(1), PER_CLIENT)).0);
        let probe = slots
            .take(Arrival {
                peer: std::net::Ipv4Addr::LOCALHOST.into(),
                share: MAX,
                is_local: true,
            })
            .0;
        for n in 0..1_000 {
            held.push(slots.take(from(v6(n), PER_CLIENT)).0);
        }
        assert!(operators.iter().all(|slot| !slot.watchdog.is_closed()));
        assert!(!probe.watchdog.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_token_cannot_hold_all_slots_against_new_connections() {
        let slots = Arc::new(Slots::default());
        let mut held = Vec::new();
        for n in 0..MAX as u32 {
            let slot = slots.take(from(ip(n << 8), PER_CLIENT)).0;
            slot.watchdog.authenticated();
            held.push(slot);
        }
        let arrivals: Vec<_> = (0..10)
            .map(|n| slots.take(from(ip(n << 8 | 1), PER_CLIENT)).0)
            .collect();
        assert!(arrivals.iter().all(|slot| !slot.watchdog.is_closed()));
    }
}
