//! Who holds a connection to the admin port, and whose goes when there is no room.
//!
//! A newcomer always gets in, in place of another connection: of its own client when that has its
//! share already, else of all. Connections that showed a right token, and those from this machine,
//! stay as long as they hold no more than half of the places; where they hold more, one of them goes.
//! Of those that may go it is one whose network (the /48 of IPv6, the /24 of IPv4) holds most, then whose
//! client does, and among equals the one that moves least. So neither many connections that do
//! nothing nor many from one network close the port to others.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkseal_net::shares::{client, network};
use tokio::time::Instant;

use super::life::Life;

/// Connections at a time; people and back ends need few, and each may hold a body.
pub const MAX: usize = 256;
/// Of these, how many a client may hold; a trusted proxy and this machine all.
pub(super) const SHARE: usize = 64;
/// The part of the places whose holders stay while there are others.
const KEPT: usize = 2;
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
    client: IpAddr,
    /// Whether it comes from this machine, by itself and not through a proxy.
    is_local: bool,
    life: Arc<Life>,
}

/// What is known of a connection that asks for a place.
#[derive(Clone, Copy)]
pub(super) struct From {
    pub(super) peer: IpAddr,
    /// How many places its client may hold.
    pub(super) share: usize,
    /// Whether it comes from this machine, by itself and not through a proxy.
    pub(super) is_local: bool,
}

/// The right to hold a connection; given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    pub(super) life: Arc<Life>,
}

impl Places {
    /// A place for a connection; another has to go where there is none.
    pub(super) fn take(self: &Arc<Self>, from: From) -> (Place, Option<IpAddr>) {
        let (client, life) = (client(from.peer), Arc::new(Life::new(Instant::now())));
        let mut held = self.lock();
        let own = held.all.values().filter(|h| h.client == client).count();
        let share = from.share.min(MAX);
        let gone = match own >= share {
            true => held.let_go(|holder| holder.client == client, share / KEPT),
            false if held.all.len() >= MAX => held.let_go(|_| true, MAX / KEPT),
            false => None,
        };
        let id = held.next;
        held.next += 1;
        let holder = Holder {
            client,
            is_local: from.is_local,
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
    /// Closes one connection of a set. `kept`: of how many those stay that have shown a right token
    /// or come from this machine.
    fn let_go(&mut self, set: impl Fn(&Holder) -> bool, kept: usize) -> Option<IpAddr> {
        let of_set = || self.all.iter().filter(|(_, holder)| set(holder));
        let spare = of_set().filter(|(_, holder)| holder.is_kept()).count() <= kept;
        // Where there are more of those, one of them goes: newcomers cannot have shown a token yet.
        let candidates = || of_set().filter(|(_, holder)| holder.is_kept() != spare);
        let (mut networks, mut clients) = (HashMap::<_, usize>::new(), HashMap::<_, usize>::new());
        for (_, holder) in candidates() {
            *networks.entry(network(holder.client)).or_default() += 1;
            *clients.entry(holder.client).or_default() += 1;
        }
        let most = candidates().min_by_key(|(id, holder)| {
            let of_network = networks.get(&network(holder.client)).copied();
            let of_client = clients.get(&holder.client).copied();
            (
                Reverse(of_network),
                Reverse(of_client),
                holder.life.worth(VOUCHED),
                **id,
            )
        });
        let id = most.map(|(id, _)| *id)?;
        let holder = self.all.remove(&id)?;
        holder.life.close();
        Some(holder.client)
    }
}

impl Holder {
    /// Whether it stays while there are others.
    fn is_kept(&self) -> bool {
        self.is_local || self.life.is_vouched()
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

    fn from(peer: IpAddr, share: usize) -> From {
        From {
            peer,
            share,
            is_local: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_displaces_its_own_and_the_oldest_first() {
        let places = Arc::new(Places::default());
        let bystander = places.take(from(ip(1), SHARE)).0;
        let mut flood = Vec::new();
        for _ in 0..SHARE {
            tokio::time::advance(Duration::from_millis(1)).await;
            flood.push(places.take(from(ip(2), SHARE)).0);
        }
        let (newest, gone) = places.take(from(ip(2), SHARE));
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
            held.push(places.take(self::from(from, MAX)).0);
        }
        let (newcomer, gone) = places.take(from(ip(9999), SHARE));
        assert_eq!(gone, Some(ip(0)));
        assert!(!newcomer.life.is_closed());
        assert_eq!(places.len(), MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_or_showed_a_token_stays_and_who_does_not_read_goes() {
        let places = Arc::new(Places::default());
        let (operator, reader, stuck) = (
            places.take(from(ip(1), 3)).0,
            places.take(from(ip(1), 3)).0,
            places.take(from(ip(1), 3)).0,
        );
        operator.life.vouched();
        tokio::time::advance(Duration::from_secs(5)).await;
        reader.life.moved(Instant::now());
        let (_new, _) = places.take(from(ip(1), 3));
        assert!(stuck.life.is_closed() && !operator.life.is_closed() && !reader.life.is_closed());
        // A right token does not help where the answers are not read.
        operator.life.stalled(Instant::now());
        let (_new, _) = places.take(from(ip(1), 3));
        assert!(operator.life.is_closed());
    }

    /// An address in the `n`th /64 of one /48.
    fn v6(n: u16) -> IpAddr {
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, n, 0, 0, 0, 1).into()
    }

    #[tokio::test(start_paused = true)]
    async fn who_showed_a_token_stays_however_many_networks_come() {
        let places = Arc::new(Places::default());
        let (operator, _) = places.take(from(ip(1), SHARE));
        operator.life.vouched();
        let mut held = Vec::new();
        for n in 0..1_000_u32 {
            tokio::time::advance(Duration::from_secs(1)).await;
            // Each from a /24 of its own.
            let newcomer = places.take(from(ip(n << 8), SHARE)).0;
            assert!(!newcomer.life.is_closed());
            held.push(newcomer);
        }
        assert!(!operator.life.is_closed());
        assert_eq!(places.len(), MAX);
        let open = held.iter().filter(|place| !place.life.is_closed()).count();
        assert_eq!(open, MAX - 1);
        assert!(!held[1_000 - 100].life.is_closed(), "the oldest go first");
    }

    #[tokio::test(start_paused = true)]
    async fn networks_of_one_customer_are_one_and_this_machine_stays() {
        let places = Arc::new(Places::default());
        let mut held = Vec::new();
        // Two that have not shown a token yet, and a probe of this machine.
        let operators = [0, 1].map(|_| places.take(from(ip(1), SHARE)).0);
        let probe = places
            .take(From {
                peer: std::net::Ipv4Addr::LOCALHOST.into(),
                share: MAX,
                is_local: true,
            })
            .0;
        for n in 0..1_000 {
            held.push(places.take(from(v6(n), SHARE)).0);
        }
        assert!(operators.iter().all(|place| !place.life.is_closed()));
        assert!(!probe.life.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_token_does_not_hold_all_places_against_newcomers() {
        let places = Arc::new(Places::default());
        let mut held = Vec::new();
        for n in 0..MAX as u32 {
            let place = places.take(from(ip(n << 8), SHARE)).0;
            place.life.vouched();
            held.push(place);
        }
        let newcomers: Vec<_> = (0..10).map(|n| places.take(from(ip(n << 8 | 1), SHARE)).0).collect();
        assert!(newcomers.iter().all(|place| !place.life.is_closed()));
    }
}
