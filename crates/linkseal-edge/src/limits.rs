//! How many connections there may be: in all, of one address, of one network.
//!
//! Where there are too many, others make way: see `displace`. A part of all is kept for
//! port 80: a connection there that finds everything taken gets one request and little time, so
//! that challenges and health checks always get in.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use linkseal_net::shares::{Entered, Room, client, network};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Listener;
use super::displace::{Holders, LOOK_EVERY};
use super::fair::{FairPlace, FairRoom};
use super::presence::Presence;

/// One address may hold this share of all connections: mail providers fetch for millions of readers
/// from few addresses, so it is generous; but no single address fills the edge.
const ADDRESS_SHARE: usize = 4;
/// And one network this.
const NETWORK_SHARE: usize = 2;
/// What is kept for port 80, as a share of all; none where there are only a few connections.
const RESERVE_SHARE: usize = 20;
const FEW: usize = 8;
/// What one address and one network may have of it.
const BRIEF_ADDRESS_SHARE: usize = 16;
const BRIEF_NETWORK_SHARE: usize = 8;
/// How long a connection waits for others to make room.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many wait at once in each of the three rooms, in all and of one network.
pub const NEWCOMERS: usize = 1024;
const NEWCOMERS_OF_NETWORK: usize = 32;
/// How often it is said that there are too many.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub max: usize,
    /// From one address; an IPv6 /64 is one.
    pub per_address: usize,
    /// From one network, a /24 of IPv4 or a /48 of IPv6.
    pub per_network: usize,
}

impl Bounds {
    /// With the usual shares.
    pub fn of(max: usize) -> Self {
        Self {
            max,
            per_address: max.div_ceil(ADDRESS_SHARE),
            per_network: max.div_ceil(NETWORK_SHARE),
        }
    }

    fn reserve(self) -> usize {
        if self.max < FEW {
            0
        } else {
            self.max.div_ceil(RESERVE_SHARE)
        }
    }

    /// Those of the reserve, in finer shares: few networks must not take it together.
    fn brief(self) -> Self {
        let max = self.reserve();
        Self {
            max,
            per_address: max.div_ceil(BRIEF_ADDRESS_SHARE).max(2),
            per_network: max.div_ceil(BRIEF_NETWORK_SHARE).max(2),
        }
    }

    /// All others.
    fn ordinary(self) -> Self {
        Self {
            max: self.max - self.reserve(),
            ..self
        }
    }
}

/// The limits, and what is open. Clones share both.
#[derive(Clone, Debug)]
pub struct Limits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max: AtomicUsize,
    per_address: AtomicUsize,
    per_network: AtomicUsize,
    open: AtomicUsize,
    /// Of the reserve.
    brief: AtomicUsize,
    /// Only owners that hold a connection are here, so `open` bounds it.
    owners: DashMap<Owner, usize>,
    holders: Holders,
    newcomers: FairRoom,
    /// As `newcomers`, for addresses that hold no connection: those that hold many, of the same
    /// network or of others, cannot take these.
    strangers: FairRoom,
    /// As `newcomers`, for clients whose balancer has yet to say who they are.
    unnamed: Room,
    freed: Notify,
    start: Instant,
    /// When it was last said that there are too many, in milliseconds since `start`.
    told: AtomicU64,
}

/// Who connections are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Owner {
    who: IpAddr,
    /// A network, not an address.
    is_network: bool,
    /// In the reserve.
    brief: bool,
}

/// The right to hold one connection; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    listener: Listener,
    brief: bool,
    /// `None`: not counted for its client (yet).
    counted: Option<(IpAddr, Arc<Presence>)>,
}

/// A place among those who wait for room; given back when dropped.
#[derive(Debug)]
pub enum Newcomer {
    /// Of a client; it goes to another network when too many wait.
    Named(FairPlace),
    /// Of one whose balancer has yet to say who it is.
    Unnamed(Entered),
}

impl Newcomer {
    /// What comes of waiting for room; nothing, when the place to wait goes to another.
    pub async fn unless_taken_away<T: Default>(&self, room: impl Future<Output = T>) -> T {
        match self {
            Self::Unnamed(_) => room.await,
            Self::Named(place) => tokio::select! {
                biased;
                found = room => found,
                () = place.taken_away() => T::default(),
            },
        }
    }
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    /// That of all connections.
    #[error("max_connections is reached")]
    All,
    /// That of one address.
    #[error("too many connections from one address")]
    Address,
    /// That of one network.
    #[error("too many connections from one network")]
    Network,
}

impl Limits {
    /// At most `max` connections, with the usual shares.
    pub fn new(max: usize) -> Self {
        Self::with(Bounds::of(max))
    }

    /// At most `max` connections, and `max_per_address` from one address.
    pub fn with_address_limit(max: usize, max_per_address: usize) -> Self {
        Self::with(Bounds {
            max,
            per_address: max_per_address,
            per_network: max,
        })
    }

    /// With these bounds.
    pub fn with(bounds: Bounds) -> Self {
        Self::with_newcomers(bounds, NEWCOMERS)
    }

    /// With these bounds, and so many that wait for room in each of the three rooms: they are open
    /// beside those that the bounds count.
    pub fn with_newcomers(bounds: Bounds, newcomers: usize) -> Self {
        let inner = Inner {
            max: bounds.max.into(),
            per_address: bounds.per_address.into(),
            per_network: bounds.per_network.into(),
            open: 0.into(),
            brief: 0.into(),
            owners: DashMap::new(),
            holders: Holders::default(),
            newcomers: FairRoom::new(newcomers, NEWCOMERS_OF_NETWORK),
            strangers: FairRoom::new(newcomers, NEWCOMERS_OF_NETWORK),
            unnamed: Room::new(newcomers, newcomers),
            freed: Notify::new(),
            start: Instant::now(),
            told: 0.into(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Changes the limits. What is open stays open.
    pub fn set(&self, bounds: Bounds) {
        self.inner.max.store(bounds.max, Ordering::Relaxed);
        self.inner.per_address.store(bounds.per_address, Ordering::Relaxed);
        self.inner.per_network.store(bounds.per_network, Ordering::Relaxed);
    }

    /// A permit for one more connection, from wherever it is.
    pub fn permit(&self, listener: Listener) -> Result<Permit, LimitReached> {
        let bounds = self.inner.bounds();
        if more(&self.inner.open, bounds.ordinary().max) {
            return Ok(self.permit_of(listener, false));
        }
        if listener == Listener::Http && more(&self.inner.brief, bounds.reserve()) {
            return Ok(self.permit_of(listener, true));
        }
        Err(LimitReached::All)
    }

    fn permit_of(&self, listener: Listener, brief: bool) -> Permit {
        Permit {
            inner: Arc::clone(&self.inner),
            listener,
            brief,
            counted: None,
        }
    }

    /// A place among those that wait for room. `None`: too many do. `peer`: `None` where it is a
    /// balancer, whose clients are not known yet.
    pub fn newcomer(&self, peer: Option<IpAddr>) -> Option<Newcomer> {
        let Some(from) = peer else {
            return self.inner.unnamed.try_enter_unnamed().map(Newcomer::Unnamed);
        };
        let room = match self.inner.held(from, false) {
            0 => &self.inner.strangers,
            _ => &self.inner.newcomers,
        };
        room.try_enter(from).map(Newcomer::Named)
    }

    /// As [`Limits::permit`], once another makes way for one of `peer`.
    pub async fn permit_soon(&self, listener: Listener, peer: IpAddr) -> Option<Permit> {
        let take = |beyond: bool| {
            if beyond {
                self.inner.open.fetch_add(1, Ordering::Relaxed);
                return Some(self.permit_of(listener, false));
            }
            self.permit(listener).ok()
        };
        self.inner.soon(LimitReached::All, peer, take).await
    }

    /// Whether it is time to say again that there are too many.
    pub fn is_to_be_told(&self) -> bool {
        self.inner.is_due(&self.inner.told, TELL_EVERY)
    }

    /// How full it is, in percent: from 90 on, waiting for clients gets shorter.
    pub fn fullness(&self) -> u8 {
        let (open, max) = (self.open(), self.inner.bounds().max.max(1));
        u8::try_from(open.saturating_mul(100) / max).unwrap_or(u8::MAX)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.inner.open.load(Ordering::Relaxed) + self.inner.brief.load(Ordering::Relaxed)
    }

    /// Has all who are here have something to do.
    #[cfg(test)]
    pub(super) fn all_are_busy(&self) {
        self.inner.holders.each(Presence::begins);
    }

    /// How many addresses hold a connection.
    pub fn addresses(&self) -> usize {
        self.inner.owners.iter().filter(|o| !o.key().is_network).count()
    }
}

/// Adds one if there is room.
fn more(count: &AtomicUsize, max: usize) -> bool {
    let more = |n: usize| (n < max).then_some(n + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

impl Inner {
    fn bounds(&self) -> Bounds {
        Bounds {
            max: self.max.load(Ordering::Relaxed),
            per_address: self.per_address.load(Ordering::Relaxed),
            per_network: self.per_network.load(Ordering::Relaxed),
        }
    }

    /// Counts one for an address and its network, or for neither.
    fn count(&self, from: IpAddr, brief: bool) -> Result<(), LimitReached> {
        let bounds = self.bounds();
        let bounds = if brief { bounds.brief() } else { bounds };
        self.count_within(from, brief, bounds)
    }

    fn count_within(&self, from: IpAddr, brief: bool, bounds: Bounds) -> Result<(), LimitReached> {
        let [address, whole] = owners(from, brief);
        if !self.add(address, bounds.per_address) {
            return Err(LimitReached::Address);
        }
        if !self.add(whole, bounds.per_network) {
            self.remove(address);
            return Err(LimitReached::Network);
        }
        Ok(())
    }

    fn add(&self, owner: Owner, max: usize) -> bool {
        {
            let mut count = self.owners.entry(owner).or_insert(0);
            if *count < max {
                *count += 1;
                return true;
            }
        }
        // With a limit of zero the entry was made just now.
        self.owners.remove_if(&owner, |_, count| *count == 0);
        false
    }

    fn remove(&self, owner: Owner) {
        if let Entry::Occupied(mut entry) = self.owners.entry(owner) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// Takes what there is, or what another makes way for, within a while. `take` is told whether it
    /// may go beyond the limit: the other is about to go.
    async fn soon<T>(&self, limit: LimitReached, from: IpAddr, mut take: impl FnMut(bool) -> Option<T>) -> Option<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            let freed = self.freed.notified();
            if let Some(taken) = take(false) {
                return Some(taken);
            }
            let held = |from, is_network| self.held(from, is_network);
            if self.holders.make_way(limit, from, held) {
                return take(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            // Whether it was that or the time: look again.
            let _ = timeout(left.min(LOOK_EVERY), freed).await;
        }
    }

    /// How many connections an address or its network holds, those of the reserve aside.
    fn held(&self, from: IpAddr, is_network: bool) -> usize {
        let [address, whole] = owners(from, false);
        let owner = if is_network { whole } else { address };
        self.owners.get(&owner).map_or(0, |count| *count)
    }

    fn is_due(&self, last: &AtomicU64, every: Duration) -> bool {
        // Counted from one, so that zero is never.
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.start.elapsed()).saturating_add(1);
        let before = last.load(Ordering::Relaxed);
        let due = before == 0 || now.saturating_sub(before) >= millis(every);
        due && last
            .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

fn owners(from: IpAddr, brief: bool) -> [Owner; 2] {
    let owner = |who, is_network| Owner { who, is_network, brief };
    [owner(client(from), false), owner(network(from), true)]
}

impl Permit {
    /// Counts the connection for its client, once it is known who that is. On port 80 a client
    /// that has its share gets one of the reserve.
    pub fn count_for(&mut self, from: IpAddr) -> Result<(), LimitReached> {
        let counted = self.inner.count(from, self.brief);
        if counted.is_err() && self.listener == Listener::Http && !self.brief {
            let reserve = self.inner.bounds().reserve();
            if more(&self.inner.brief, reserve) {
                if self.inner.count(from, true).is_ok() {
                    self.inner.open.fetch_sub(1, Ordering::Relaxed);
                    self.brief = true;
                    self.is_counted(from);
                    return Ok(());
                }
                self.inner.brief.fetch_sub(1, Ordering::Relaxed);
            }
        }
        counted?;
        self.is_counted(from);
        Ok(())
    }

    /// As [`Permit::count_for`], once another of that client or network makes way.
    pub async fn count_for_soon(&mut self, from: IpAddr, limit: LimitReached) -> bool {
        let inner = Arc::clone(&self.inner);
        let take = |beyond: bool| {
            if !beyond {
                return self.count_for(from).ok();
            }
            let all = Bounds {
                max: usize::MAX,
                per_address: usize::MAX,
                per_network: usize::MAX,
            };
            let counted = self.inner.count_within(from, self.brief, all).ok();
            counted.inspect(|()| self.is_counted(from))
        };
        inner.soon(limit, from, take).await.is_some()
    }

    /// What is known of the connection, for all who look after it. `None`: it is not counted.
    pub fn presence(&self) -> Option<&Arc<Presence>> {
        self.counted.as_ref().map(|(_, presence)| presence)
    }

    fn is_counted(&mut self, from: IpAddr) {
        let presence = Arc::new(Presence::new(from, self.brief));
        self.inner.holders.enter(&presence);
        self.counted = Some((from, presence));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let count = if self.brief {
            &self.inner.brief
        } else {
            &self.inner.open
        };
        count.fetch_sub(1, Ordering::Relaxed);
        if let Some((from, presence)) = &self.counted {
            self.inner.holders.leave(presence);
            for owner in owners(*from, self.brief) {
                self.inner.remove(owner);
            }
        }
        self.inner.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn open(limits: &Limits, listener: Listener, from: &str) -> Result<Permit, LimitReached> {
        let mut permit = limits.permit(listener)?;
        permit.count_for(ip(from)).map(|()| permit)
    }

    fn https(limits: &Limits, from: &str) -> Result<Permit, LimitReached> {
        open(limits, Listener::Https, from)
    }

    #[test]
    fn what_is_dropped_is_free_again_and_leaves_nothing() {
        let limits = Limits::with_address_limit(3, 2);
        let one = https(&limits, "192.0.2.1").unwrap();
        let two = https(&limits, "192.0.2.1").unwrap();
        assert_eq!(https(&limits, "192.0.2.1").unwrap_err(), LimitReached::Address);
        let three = https(&limits, "192.0.2.2").unwrap();
        assert_eq!(https(&limits, "192.0.2.3").unwrap_err(), LimitReached::All);
        assert_eq!((limits.open(), limits.addresses()), (3, 2));
        drop(one);
        let four = https(&limits, "192.0.2.1").unwrap();
        drop((two, three, four));
        assert_eq!((limits.open(), limits.addresses()), (0, 0));
        assert!(limits.inner.owners.is_empty() && limits.inner.holders.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_a_mapped_address_is_ipv4() {
        let limits = Limits::with_address_limit(10, 1);
        let _one = https(&limits, "2001:db8::1").unwrap();
        assert_eq!(https(&limits, "2001:db8::2").unwrap_err(), LimitReached::Address);
        let _two = https(&limits, "2001:db8:0:1::2").unwrap();
        let _three = https(&limits, "::ffff:192.0.2.1").unwrap();
        assert_eq!(https(&limits, "192.0.2.1").unwrap_err(), LimitReached::Address);
    }

    #[test]
    fn a_network_has_a_share_of_its_own() {
        let limits = Limits::new(200);
        for (first, more) in [("2001:db8:0:", "::1"), ("192.0.2.", "")] {
            let mut held = Vec::new();
            for n in 0..200 {
                // Four addresses, as many from each as it may have.
                match https(&limits, &format!("{first}{}{more}", n % 4)) {
                    Ok(permit) => held.push(permit),
                    Err(why) => assert_eq!(why, LimitReached::Network),
                }
            }
            assert_eq!(held.len(), 100, "half of all");
            https(&limits, "198.51.100.1").unwrap();
        }
    }

    #[test]
    fn limits_change_while_connections_are_open() {
        let limits = Limits::new(1);
        let one = https(&limits, "192.0.2.1").unwrap();
        limits.permit(Listener::Https).unwrap_err();
        limits.set(Bounds::of(2));
        let two = limits.permit(Listener::Https).unwrap();
        limits.set(Bounds::of(1));
        drop(one);
        limits.permit(Listener::Https).unwrap_err();
        drop(two);
        limits.permit(Listener::Https).unwrap();
        let none = Limits::with_address_limit(1, 0);
        https(&none, "192.0.2.1").unwrap_err();
        assert_eq!(none.addresses(), 0);
    }

    #[test]
    fn a_part_is_kept_for_port_80() {
        let limits = Limits::with(Bounds {
            max: 100,
            per_address: 100,
            per_network: 100,
        });
        let mut held = Vec::new();
        while let Ok(permit) = https(&limits, "192.0.2.1") {
            held.push(permit);
        }
        assert_eq!((held.len(), limits.fullness()), (95, 95));
        let challenge = open(&limits, Listener::Http, "198.51.100.1").unwrap();
        assert!(challenge.presence().unwrap().is_brief());
        // One that takes what is kept has a share of that too.
        while let Ok(permit) = open(&limits, Listener::Http, "192.0.2.1") {
            held.push(permit);
        }
        open(&limits, Listener::Http, "198.51.100.2").unwrap();
        drop((challenge, held));
        assert_eq!(limits.open(), 0);
        let calm = open(&limits, Listener::Http, "198.51.100.1").unwrap();
        assert!(!calm.presence().unwrap().is_brief());
    }

    #[test]
    fn few_networks_do_not_take_what_is_kept_together() {
        let limits = Limits::new(1_000);
        let mut held = Vec::new();
        // Two networks fill it, then take what they can get on port 80.
        for listener in [Listener::Https, Listener::Http] {
            for n in 0..1_000 {
                held.extend(open(&limits, listener, &format!("198.51.{}.{}", n % 2, n / 2 % 250)).ok());
            }
        }
        assert_eq!(limits.permit(Listener::Https).unwrap_err(), LimitReached::All);
        let reserved = held.iter().filter(|p| p.presence().unwrap().is_brief()).count();
        assert_eq!(reserved, 14, "an eighth for each");
        let challenges: Vec<_> = (0..5)
            .filter_map(|n| open(&limits, Listener::Http, &format!("192.0.{n}.1")).ok())
            .collect();
        assert_eq!(challenges.len(), 5);
    }

    #[test]
    fn an_address_with_its_share_is_still_served_on_port_80() {
        // Behind a balancer that hides its clients, all have one address.
        let limits = Limits::new(100);
        let held: Vec<_> = std::iter::from_fn(|| https(&limits, "10.0.0.1").ok()).collect();
        assert_eq!(held.len(), 25);
        let health = open(&limits, Listener::Http, "10.0.0.1").unwrap();
        assert!(health.presence().unwrap().is_brief());
        drop((held, health));
        assert_eq!(limits.open(), 0);
    }

    #[tokio::test]
    async fn the_longest_idle_make_room_and_those_who_work_stay() {
        let limits = Limits::with_address_limit(4, 4);
        let mut held: Vec<_> = (0..4).map(|_| https(&limits, "192.0.2.1").unwrap()).collect();
        let presences: Vec<_> = held.iter().map(|p| Arc::clone(p.presence().unwrap())).collect();
        presences[0].begins();
        // The second was idle for longest of those that can go.
        let ago = |millis| Instant::now() - Duration::from_millis(millis);
        for (presence, millis) in presences.iter().zip([9_000, 7_000, 5_000, 100]) {
            presence.is_since(ago(millis));
        }
        let victim = async {
            presences[1].evicted().await;
            held.remove(1)
        };
        let started = Instant::now();
        let (came, gone) = tokio::join!(limits.permit_soon(Listener::Https, ip("192.0.2.9")), async {
            drop(victim.await)
        });
        assert!(came.is_some());
        let () = gone;
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        let evicted: Vec<_> = presences.iter().map(|p| p.is_evicted()).collect();
        assert_eq!(evicted, [false, true, false, false]);
    }

    #[tokio::test]
    async fn where_all_work_a_newcomer_waits_a_moment_only() {
        let limits = Limits::with_address_limit(1, 1);
        let held = https(&limits, "192.0.2.1").unwrap();
        held.presence().unwrap().begins();
        let started = Instant::now();
        assert!(limits.permit_soon(Listener::Https, ip("192.0.2.9")).await.is_none());
        assert!(started.elapsed() < 3 * PATIENCE);
        assert!(limits.is_to_be_told());
        assert!(!limits.is_to_be_told(), "once a minute");
    }

    #[test]
    fn a_crowd_that_knocks_leaves_places_to_wait_for_those_of_its_network_that_hold_nothing() {
        let limits = Limits::new(100);
        let _held: Vec<_> = (0..50)
            .map(|n| https(&limits, &format!("192.0.2.{}", n % 4)).unwrap())
            .collect();
        let knocking: Vec<_> = (0..200)
            .map_while(|n| limits.newcomer(Some(ip(&format!("192.0.2.{}", n % 4)))))
            .collect();
        assert_eq!(knocking.len(), NEWCOMERS_OF_NETWORK);
        assert!(limits.newcomer(Some(ip("192.0.2.1"))).is_none());
        assert!(limits.newcomer(Some(ip("192.0.2.77"))).is_some());
    }

    #[tokio::test]
    async fn crowds_of_many_networks_leave_places_to_wait_for_another() {
        let limits = Limits::new(100);
        for held in [0, 1] {
            let address = |n: usize| format!("198.51.{}.{}", n / NEWCOMERS_OF_NETWORK, n % NEWCOMERS_OF_NETWORK);
            // Those that hold a connection wait apart.
            limits.set(Bounds::of(4 * NEWCOMERS));
            let _held: Vec<_> = (0..held * NEWCOMERS)
                .map(|n| https(&limits, &address(n)).unwrap())
                .collect();
            let own = (held > 0).then(|| https(&limits, "192.0.2.1").unwrap());
            let knocking: Vec<_> = (0..NEWCOMERS)
                .map(|n| limits.newcomer(Some(ip(&address(n)))).expect("room"))
                .collect();
            let bystander = limits.newcomer(Some(ip("192.0.2.1")));
            let bystander = bystander.expect("a place that another network had too many of");
            assert!(bystander.unless_taken_away(async { true }).await);
            let gone = |place: &Newcomer| match place {
                Newcomer::Named(place) => place.taken_away().now_or_never().is_some(),
                Newcomer::Unnamed(_) => false,
            };
            assert_eq!(knocking.iter().filter(|place| gone(place)).count(), 1);
            // Nor do they take that of a client whose balancer is yet to name it.
            assert!(limits.newcomer(None).is_some());
            drop(own);
        }
    }

    #[test]
    fn no_more_wait_than_there_are_descriptors_for() {
        let limits = Limits::with_newcomers(Bounds::of(1), 5);
        for peer in [None, Some(ip("192.0.2.1"))] {
            let waiting: Vec<_> = (0..20).map_while(|_| limits.newcomer(peer)).collect();
            assert_eq!(waiting.len(), 5, "{peer:?}");
        }
    }

    /// `n` connections of each address, all of them idle for so long.
    fn crowd(limits: &Limits, addresses: &[&str], n: usize, idle: Duration) -> Vec<Permit> {
        let ago = Instant::now() - idle;
        let permits = addresses.iter().flat_map(|a| (0..n).map(|_| https(limits, a).unwrap()));
        permits
            .inspect(|permit| {
                let presence = permit.presence().unwrap();
                presence.is_since(ago);
            })
            .collect()
    }

    fn gone(permits: &[Permit]) -> usize {
        permits.iter().filter(|p| p.presence().unwrap().is_evicted()).count()
    }

    fn soon(limits: &Limits, from: &str) -> Option<Permit> {
        let mut permit = Box::pin(limits.permit_soon(Listener::Https, ip(from))).now_or_never()??;
        permit.count_for(ip(from)).ok()?;
        Some(permit)
    }

    #[tokio::test]
    async fn two_busy_networks_make_way_for_a_third_at_once() {
        let limits = Limits::with_address_limit(80, 80);
        let addresses = ["192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2"];
        // They have asked for something just now.
        let mut held = crowd(&limits, &addresses, 19, Duration::ZERO);
        let busy = &held[0..76];
        busy.iter().for_each(|p| p.presence().unwrap().begins());
        let bystander = soon(&limits, "203.0.113.1").expect("a place");
        assert_eq!(gone(&held), 1);
        // Nor does what they ask for next displace it.
        for _ in 0..50 {
            for from in addresses {
                drop(soon(&limits, from));
            }
        }
        assert!(!bystander.presence().unwrap().is_evicted());
        held.retain(|p| !p.presence().unwrap().is_evicted());
        assert!(
            held.len() >= 70,
            "a crowd does not displace itself while it is busy: {}",
            held.len()
        );
    }

    #[tokio::test]
    async fn a_crowd_of_single_connections_makes_way_for_many_at_once() {
        let limits = Limits::with_address_limit(80, 80);
        let addresses: Vec<_> = (0..76).map(|n| format!("198.51.{}.{}", n / 2, n % 2)).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        let held = crowd(&limits, &addresses, 1, Duration::ZERO);
        held.iter().for_each(|p| p.presence().unwrap().begins());
        let strangers: Vec<_> = (0..10).filter_map(|n| soon(&limits, &format!("203.0.{n}.1"))).collect();
        assert_eq!((strangers.len(), gone(&held)), (10, 10));
        // One of each network at most: the others have no more than a newcomer would.
        let mut left: Vec<_> = held.iter().map(|p| p.presence().unwrap()).collect();
        left.retain(|p| !p.is_evicted());
        let networks: std::collections::HashSet<_> = left.iter().map(|p| network(p.client())).collect();
        assert_eq!(networks.len(), 38);
    }

    #[tokio::test]
    async fn networks_without_end_that_look_among_their_own_leave_the_look_for_all() {
        let limits = Limits::with_address_limit(80, 80);
        let held = crowd(&limits, &["192.0.2.1", "192.0.2.2"], 38, Duration::from_secs(9));
        for n in 0..300 {
            let from = ip(&format!("10.{}.{}.1", n / 256, n % 256));
            let made = limits.inner.holders.make_way(LimitReached::Network, from, |_, _| 1);
            assert!(!made, "no one of that network is here");
        }
        assert!(soon(&limits, "203.0.113.1").is_some());
        assert_eq!(gone(&held), 1);
    }

    #[tokio::test]
    async fn the_only_one_of_its_address_stays_in_the_network_of_a_crowd_too() {
        let limits = Limits::new(80);
        let bystander = https(&limits, "192.0.2.77").unwrap();
        bystander
            .presence()
            .unwrap()
            .is_since(Instant::now() - Duration::from_secs(60));
        let held = crowd(&limits, &["192.0.2.1", "192.0.2.2"], 19, Duration::from_secs(5));
        let mut permit = limits.permit(Listener::Https).unwrap();
        assert_eq!(permit.count_for(ip("192.0.2.78")), Ok(()));
        let mut another = limits.permit(Listener::Https).unwrap();
        assert_eq!(another.count_for(ip("192.0.2.79")), Err(LimitReached::Network));
        assert!(another.count_for_soon(ip("192.0.2.79"), LimitReached::Network).await);
        assert_eq!(gone(&held), 1);
        for _ in 0..20 {
            let mut permit = limits.permit(Listener::Https).unwrap();
            if permit.count_for(ip("192.0.2.1")).is_err() {
                permit.count_for_soon(ip("192.0.2.1"), LimitReached::Network).await;
            }
        }
        assert!(!bystander.presence().unwrap().is_evicted());
    }

    #[tokio::test]
    async fn those_who_wait_for_room_of_their_own_use_up_no_look_of_others() {
        let limits = Limits::with_address_limit(40, 20);
        let busy = crowd(&limits, &["192.0.2.1"], 20, Duration::from_secs(9));
        busy.iter().for_each(|p| p.presence().unwrap().begins());
        let idle = crowd(&limits, &["198.51.100.1"], 18, Duration::from_secs(9));
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let limits = limits.clone();
            let mut wait = Box::pin(async move {
                limits.inner.open.fetch_add(1, Ordering::Relaxed);
                let mut permit = limits.permit_of(Listener::Https, false);
                permit.count_for_soon(ip("192.0.2.1"), LimitReached::Address).await
            });
            assert!(wait.as_mut().now_or_never().is_none());
            waiting.push(wait);
        }
        assert!(soon(&limits, "203.0.113.1").is_some());
        assert_eq!(gone(&idle) + gone(&busy), 1);
    }
}
