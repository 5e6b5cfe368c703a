//! Who may send a request to a back end: a place for each, a share for each client network. A request
//! that waits for its client makes way where places are short.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use linkseal_net::shares::{Turn, Turns, network};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// How long a request waits while its network has its share: the images of a page follow one another.
const TURN: Duration = Duration::from_secs(5);
/// How long a request waits for the place of another that makes way.
const WAY_MADE: Duration = Duration::from_secs(1);

/// The places at one back end.
pub(in crate::http) struct Places {
    room: Arc<Semaphore>,
    /// Each client network's share of `room`.
    turns: Turns,
    yielding: Yielding,
}

/// Requests that may wait for their clients, and then make way for others.
type Yielding = Arc<Mutex<Vec<(IpAddr, Arc<dyn Yields>)>>>;

/// The right to one request at a back end.
pub(in crate::http) struct Place {
    pub(in crate::http) client: IpAddr,
    _turn: Turn,
    _room: OwnedSemaphorePermit,
}

/// A transfer at the speed of its client, which makes way where places are short.
pub(in crate::http) trait Yields: Send + Sync {
    /// Since when the client is waited for, if it is.
    fn awaits_client(&self) -> Option<Instant>;
    /// Gives the place up.
    fn displace(&self);
    /// How many places more than the newcomer's network its own must have before it makes way.
    fn more_than_newcomer(&self) -> usize;
}

/// Lets a request make way for others, until it is dropped.
pub(in crate::http) struct YieldGuard {
    yielding: Yielding,
    part: Arc<dyn Yields>,
}

impl Drop for YieldGuard {
    fn drop(&mut self) {
        self.yielding
            .lock()
            .retain(|(_, other)| !Arc::ptr_eq(other, &self.part));
    }
}

impl Places {
    /// `max` places in all, `per_network` for one client network.
    pub(in crate::http) fn new(max: usize, per_network: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            turns: Turns::new(per_network),
            yielding: Yielding::default(),
        }
    }

    /// A place for one request. Requests of a network that has its share wait for one of its places. When all
    /// places are taken, a request that waits for its client makes way. `None` if there is no place.
    pub(in crate::http) async fn take(&self, client: IpAddr) -> Option<Place> {
        if self.room.available_permits() == 0 && self.yielding.lock().is_empty() {
            return None;
        }
        let turn = timeout(TURN, self.turns.take(client)).await.ok()??;
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) if self.makes_way(client) => {
                let room = Arc::clone(&self.room).acquire_owned();
                timeout(WAY_MADE, room).await.ok()?.ok()?
            }
            Err(_) => return None,
        };
        Some(Place {
            client,
            _turn: turn,
            _room: room,
        })
    }

    /// Makes one request give up its place: of the networks with more places than the newcomer's, the network
    /// with the most requests that wait for their clients loses the one that waits the longest.
    fn makes_way(&self, newcomer: IpAddr) -> bool {
        // The newcomer's own turn is not counted.
        let own = self.turns.held(newcomer).saturating_sub(1);
        let mut yielding = self.yielding.lock();
        let waiting: Vec<_> = yielding
            .iter()
            .enumerate()
            .filter_map(|(at, (network, part))| Some((at, *network, part.awaits_client()?)))
            .collect();
        let mut counts = HashMap::<IpAddr, usize>::new();
        for (_, network, _) in &waiting {
            *counts.entry(*network).or_default() += 1;
        }
        let has = |network| counts.get(network).copied().unwrap_or_default();
        let chosen = waiting
            .iter()
            .filter(|(at, network, _)| {
                let more = yielding.get(*at).map_or(0, |(_, part)| part.more_than_newcomer());
                has(network) >= own + more
            })
            .min_by_key(|(_, network, since)| (Reverse(has(network)), *since));
        let Some((at, ..)) = chosen else { return false };
        let (_, part) = yielding.swap_remove(*at);
        part.displace();
        true
    }

    /// Lets a request make way for others while it waits for its client, until the result is dropped.
    pub(in crate::http) fn yields(&self, client: IpAddr, part: Arc<dyn Yields>) -> YieldGuard {
        self.yielding.lock().push((network(client), Arc::clone(&part)));
        YieldGuard {
            yielding: Arc::clone(&self.yielding),
            part,
        }
    }
}
