//! Who holds a connection to the admin port, and whose goes when there is no room.
//!
//! A newcomer always gets in: in place of the connection that moves least, of its own network when
//! that has its share already, else of the network that holds most. So neither many connections
//! that do nothing nor many from one network close the port to others, and a probe that asks and
//! goes is served in the middle of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::life::Life;
use crate::edge::shares::client;

/// Connections at a time; people and back ends need few, and each may hold a body.
pub(super) const MAX: usize = 256;
/// Of these, how many a network may hold; a trusted proxy and this machine all.
pub(super) const SHARE: usize = 64;
/// By how much a connection that showed a right token is held to be younger than it is.
const VOUCHED: Duration = Duration::from_secs(30);

/// The connections of one kind of port.
#[derive(Default)]
pub(super) struct Places {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: HashMap<u64, Holder>,
    next: u64,
}

struct Holder {
    network: IpAddr,
    life: Arc<Life>,
}

/// The right to hold a connection; given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    pub(super) life: Arc<Life>,
}

impl Places {
    /// A place for a connection from `peer`; another has to go where there is none. `share`: how
    /// many its network may hold.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, share: usize) -> (Place, Option<IpAddr>) {
        let (network, life) = (client(peer), Arc::new(Life::new(Instant::now())));
        let mut held = self.lock();
        let own = held.all.values().filter(|h| h.network == network).count();
        let gone = match own >= share.min(MAX) {
            true => held.let_go(network),
            false if held.all.len() >= MAX => held.largest().and_then(|n| held.let_go(n)),
            false => None,
        };
        let id = held.next;
        held.next += 1;
        let holder = Holder {
            network,
            life: Arc::clone(&life),
        };
        held.all.insert(id, holder);
        let places = Arc::clone(self);
        (Place { places, id, life }, gone)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().all.len()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing in here panics half-way.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The network that holds most.
    fn largest(&self) -> Option<IpAddr> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for holder in self.all.values() {
            *counts.entry(holder.network).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(n, _)| n)
    }

    /// Closes the connection of a network that moves least.
    fn let_go(&mut self, network: IpAddr) -> Option<IpAddr> {
        let of_it = self.all.iter().filter(|(_, h)| h.network == network);
        let id = of_it
            .min_by_key(|(id, h)| (h.life.worth(VOUCHED), **id))
            .map(|(id, _)| *id)?;
        let holder = self.all.remove(&id)?;
        holder.life.close();
        Some(holder.network)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_displaces_its_own_and_the_oldest_first() {
        let places = Arc::new(Places::default());
        let bystander = places.take(ip(1), SHARE).0;
        let mut flood = Vec::new();
        for _ in 0..SHARE {
            tokio::time::advance(Duration::from_millis(1)).await;
            flood.push(places.take(ip(2), SHARE).0);
        }
        let (newest, gone) = places.take(ip(2), SHARE);
        assert_eq!(gone, Some(ip(2)));
        assert!(flood[0].life.is_closed() && !flood[1].life.is_closed());
        assert!(!bystander.life.is_closed() && !newest.life.is_closed());
        drop(flood);
        assert_eq!(places.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_taken_the_largest_network_gives_way() {
        let places = Arc::new(Places::default());
        let mut held = Vec::new();
        for n in 0..MAX as u32 {
            // A network of three times a share, as a trusted proxy may be; the others hold one each.
            let from = if n < 3 * SHARE as u32 { ip(0) } else { ip(n) };
            held.push(places.take(from, MAX).0);
        }
        let (newcomer, gone) = places.take(ip(9999), SHARE);
        assert_eq!(gone, Some(ip(0)));
        assert!(!newcomer.life.is_closed());
        assert_eq!(places.len(), MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_or_showed_a_token_stays_and_who_does_not_read_goes() {
        let places = Arc::new(Places::default());
        let (operator, reader, stuck) = (
            places.take(ip(1), 3).0,
            places.take(ip(1), 3).0,
            places.take(ip(1), 3).0,
        );
        operator.life.vouched();
        tokio::time::advance(Duration::from_secs(5)).await;
        reader.life.moved(Instant::now());
        let (_new, _) = places.take(ip(1), 3);
        assert!(stuck.life.is_closed() && !operator.life.is_closed() && !reader.life.is_closed());
        // A right token does not help where the answers are not read.
        operator.life.stalled(Instant::now());
        let (_new, _) = places.take(ip(1), 3);
        assert!(operator.life.is_closed());
    }
}
