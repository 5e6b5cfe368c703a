//! Shares of a common resource: N at once for one client network, so that no network takes all of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many may wait for each turn that is taken; more are refused.
const WAITING_PER_TURN: usize = 4;

/// Prefix of an IPv6 address that is one client: hosts get a /64 (RFC 6177 §2).
const V6_CLIENT: u8 = 64;
/// Prefixes that are one network: at most what one customer of a provider has (RFC 6177 §2).
const V6_NETWORK: u8 = 48;
const V4_NETWORK: u8 = 24;

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 address.
pub fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => v6_network(v6, V6_CLIENT),
        v4 => v4,
    }
}

/// What counts as one network: a /24 of IPv4, a /48 of IPv6.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => v6_network(v6, V6_NETWORK),
        IpAddr::V4(v4) => {
            let host = 32 - u32::from(V4_NETWORK);
            Ipv4Addr::from_bits(v4.to_bits() >> host << host).into()
        }
    }
}

fn v6_network(address: Ipv6Addr, prefix: u8) -> IpAddr {
    let host = 128 - u32::from(prefix);
    Ipv6Addr::from_bits(address.to_bits() >> host << host).into()
}

/// Turns at a resource of limited concurrency: each network has its own number of them.
#[derive(Clone, Debug)]
pub struct Turns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    each: usize,
    /// Holds only networks that have or wait for a turn.
    networks: DashMap<IpAddr, Arc<Semaphore>>,
}

/// The right to use the resource; given back when dropped.
#[derive(Debug)]
pub struct Turn {
    inner: Arc<Inner>,
    network: IpAddr,
    /// `None` once it is given back.
    held: Option<(Arc<Semaphore>, Option<OwnedSemaphorePermit>)>,
}

impl Turns {
    /// `each` at once for each network, at least one.
    pub fn new(each: usize) -> Self {
        let inner = Inner {
            each: each.clamp(1, Semaphore::MAX_PERMITS),
            networks: DashMap::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A turn, without waiting.
    fn try_take(&self, client: IpAddr) -> Option<Turn> {
        let (mut turn, turns) = self.enter(client);
        turn.hold(turns.try_acquire_owned().ok()?);
        Some(turn)
    }

    /// Waits for a turn, first come first served within a network. `None` if too many of the network wait.
    /// The caller bounds the time.
    pub async fn take(&self, client: IpAddr) -> Option<Turn> {
        let (mut turn, turns) = self.enter(client);
        // One reference is the map's; each turn that is taken or waited for has two.
        let users = Arc::strong_count(&turns) / 2;
        if users > self.inner.each.saturating_mul(1 + WAITING_PER_TURN) {
            return None;
        }
        turn.hold(turns.acquire_owned().await.ok()?);
        Some(turn)
    }

    /// How many turns a client's network has taken.
    pub fn held(&self, client: IpAddr) -> usize {
        let turns = self.inner.networks.get(&network(client));
        turns.map_or(0, |turns| self.inner.each.saturating_sub(turns.available_permits()))
    }

    /// How many networks have, or wait for, a turn.
    pub fn networks(&self) -> usize {
        self.inner.networks.len()
    }

    fn enter(&self, client: IpAddr) -> (Turn, Arc<Semaphore>) {
        let network = network(client);
        let turns = {
            let entry = self.inner.networks.entry(network);
            let turns = entry.or_insert_with(|| Arc::new(Semaphore::new(self.inner.each)));
            Arc::clone(&turns)
        };
        let turn = Turn {
            inner: Arc::clone(&self.inner),
            network,
            held: Some((Arc::clone(&turns), None)),
        };
        (turn, turns)
    }
}

impl Turn {
    fn hold(&mut self, permit: OwnedSemaphorePermit) {
        if let Some((_, held)) = &mut self.held {
            *held = Some(permit);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.held.take());
        // Only the map's reference is left: no turn is taken or waited for.
        self.inner
            .networks
            .remove_if(&self.network, |_, turns| Arc::strong_count(turns) == 1);
    }
}

/// Room for a number of clients, and of clients of one network, without waiting.
#[derive(Clone, Debug)]
pub struct Room {
    all: Arc<Semaphore>,
    turns: Turns,
}

/// A place in a [`Room`]; given back when dropped.
#[derive(Debug)]
pub struct Entered {
    _turn: Option<Turn>,
    _place: OwnedSemaphorePermit,
}

impl Room {
    /// Room for `all` clients, and for `each` of one network.
    pub fn new(all: usize, each: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS))),
            turns: Turns::new(each),
        }
    }

    /// A place, if there is one for this client now.
    pub fn try_enter(&self, client: IpAddr) -> Option<Entered> {
        Some(Entered {
            _turn: Some(self.turns.try_take(client)?),
            _place: Arc::clone(&self.all).try_acquire_owned().ok()?,
        })
    }

    /// A place for a client whose network is not known yet.
    pub fn try_enter_unnamed(&self) -> Option<Entered> {
        Some(Entered {
            _turn: None,
            _place: Arc::clone(&self.all).try_acquire_owned().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn clients_and_networks_are_prefixes() {
        for (address, one, all) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.0"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1::"),
        ] {
            assert_eq!((client(ip(address)), network(ip(address))), (ip(one), ip(all)));
        }
    }

    #[tokio::test]
    async fn a_network_waits_for_its_own_turns_and_other_networks_do_not_wait() {
        let turns = Turns::new(2);
        let held = [ip("192.0.2.1"), ip("192.0.2.9")].map(|from| turns.try_take(from).unwrap());
        assert!(turns.try_take(ip("192.0.2.1")).is_none());
        let mut waiting = Box::pin(turns.take(ip("192.0.2.200")));
        assert!(waiting.as_mut().now_or_never().is_none());
        let other = turns.take(ip("198.51.100.1")).now_or_never().unwrap().unwrap();
        assert_eq!(turns.networks(), 2);
        drop(held);
        let last = waiting.await.unwrap();
        drop((last, other));
        assert_eq!(turns.networks(), 0, "finished turns leave nothing behind");
    }

    #[tokio::test]
    async fn waiters_are_bounded() {
        let turns = Turns::new(1);
        let from = ip("2001:db8::1");
        let held = turns.try_take(from).unwrap();
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(turns.take(from))).collect();
        let refused = waiting
            .iter_mut()
            .filter_map(|turn| turn.as_mut().now_or_never())
            .filter(Option::is_none)
            .count();
        assert!((90..=96).contains(&refused), "{refused}");
        drop(waiting);
        drop(held);
        assert_eq!(turns.networks(), 0);
    }
}
