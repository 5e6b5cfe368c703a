//! Room for clients that wait for something: a limit in all and one per network. When the room is full,
//! the network with the most places loses its oldest one to a network with fewer, so that a few networks
//! cannot keep all others out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use linkseal_net::shares::network;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// The room. Clones share it. Its lock is held for a few look-ups, and only taken where a client has to wait.
#[derive(Clone, Debug)]
pub struct FairRoom {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    all: usize,
    each: usize,
    state: Mutex<State>,
}

/// Holds only networks that have a place.
#[derive(Debug, Default)]
struct State {
    next: u64,
    taken: usize,
    /// The places of each network, oldest first.
    networks: HashMap<IpAddr, BTreeMap<u64, Arc<Notify>>>,
    /// The networks by number of places.
    sizes: BTreeSet<(usize, IpAddr)>,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(crate) struct FairPlace {
    inner: Arc<Inner>,
    network: IpAddr,
    number: u64,
    taken_away: Arc<Notify>,
}

impl FairRoom {
    /// Room for `all` clients, and for `each` of one network.
    pub fn new(all: usize, each: usize) -> Self {
        let state = Mutex::default();
        Self {
            inner: Arc::new(Inner { all, each, state }),
        }
    }

    /// A place. `None` if the client's network has its share, or if the room is full and no network has
    /// more places than this one.
    pub(crate) fn try_enter(&self, client: IpAddr) -> Option<FairPlace> {
        let network = network(client);
        let mut state = self.inner.lock();
        let own = state.networks.get(&network).map_or(0, BTreeMap::len);
        if own >= self.inner.each || (state.taken >= self.inner.all && !state.makes_way(own)) {
            return None;
        }
        state.next += 1;
        let (number, taken_away) = (state.next, Arc::new(Notify::new()));
        let places = state.networks.entry(network).or_default();
        places.insert(number, Arc::clone(&taken_away));
        state.resized(network, own);
        Some(FairPlace {
            inner: Arc::clone(&self.inner),
            network,
            number,
            taken_away,
        })
    }

    pub(crate) fn taken(&self) -> usize {
        self.inner.lock().taken
    }
}

impl FairPlace {
    /// Resolves when the place goes to a network with fewer.
    pub(crate) async fn taken_away(&self) {
        self.taken_away.notified().await;
    }
}

impl Drop for FairPlace {
    fn drop(&mut self) {
        self.inner.lock().remove(self.network, self.number);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Takes a place from the network with the most, if it then still has at least as many as a network
    /// that gets one more than its `own`.
    fn makes_way(&mut self, own: usize) -> bool {
        let Some((most, largest)) = self.sizes.last().copied().filter(|(most, _)| *most >= own + 2) else {
            return false;
        };
        let oldest = self.networks.get_mut(&largest).and_then(BTreeMap::pop_first);
        if let Some((_, place)) = oldest {
            place.notify_one();
        }
        self.resized(largest, most);
        true
    }

    fn remove(&mut self, network: IpAddr, number: u64) {
        let Some(places) = self.networks.get_mut(&network) else {
            return;
        };
        let before = places.len();
        // It may have been taken away.
        if places.remove(&number).is_some() {
            self.resized(network, before);
        }
    }

    fn resized(&mut self, network: IpAddr, before: usize) {
        let now = self.networks.get(&network).map_or(0, BTreeMap::len);
        self.sizes.remove(&(before, network));
        if now == 0 {
            self.networks.remove(&network);
        } else {
            self.sizes.insert((now, network));
        }
        self.taken = self.taken + now - before;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn of(network: u8, host: u8) -> IpAddr {
        [198, 51, network, host].into()
    }

    fn is_taken_away(place: &FairPlace) -> bool {
        place.taken_away().now_or_never().is_some()
    }

    #[test]
    fn a_full_room_takes_from_the_network_that_has_most() {
        let room = FairRoom::new(8, 4);
        let mut first: Vec<_> = (0..4).map(|host| room.try_enter(of(1, host)).unwrap()).collect();
        assert!(room.try_enter(of(1, 9)).is_none(), "it has its share");
        let second: Vec<_> = (0..4).map(|host| room.try_enter(of(2, host)).unwrap()).collect();
        // A bystander, then another client of its network: each takes the oldest place of the largest network.
        let bystanders = [of(3, 1), of(3, 2)].map(|from| room.try_enter(from).unwrap());
        assert_eq!(
            second.iter().map(is_taken_away).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        assert_eq!(
            first.iter().map(is_taken_away).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        assert!(!bystanders.iter().any(is_taken_away));
        assert!(
            room.try_enter(of(3, 3)).is_none(),
            "three each: the others have no more than it would"
        );
        assert!(room.try_enter(of(1, 9)).is_none());
        first.truncate(2);
        let again = room.try_enter(of(1, 9)).unwrap();
        drop((first, second, bystanders, again));
        let state = room.inner.lock();
        assert_eq!((state.taken, state.networks.len(), state.sizes.len()), (0, 0, 0));
    }

    #[test]
    fn a_room_without_places_has_none() {
        assert!(FairRoom::new(0, 4).try_enter(of(1, 1)).is_none());
        assert!(FairRoom::new(4, 0).try_enter(of(1, 1)).is_none());
    }
}
