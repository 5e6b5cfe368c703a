//! Signals that only several requests of the last seconds show together: a burst over the links of a
//! message, a modified token just before the valid one, and one link fetched from two networks at
//! once.
//!
//! The detector has a fixed size, allocates nothing per event, and has no lock that all requests
//! share: a message belongs to one of [`SHARDS`] shards, whose lock is held for a few comparisons
//! (`detector_cost` in the tests measures it). When it is full, the oldest entries are forgotten, so a
//! signal may be missed but is never invented. It holds hashes and network prefixes, and none of it
//! is written to disk.
//!
//! An event is seen twice: [`BurstDetector::observe`] before it is written, and
//! [`BurstDetector::written`] when it has an id. Between the two, other events may show that it belongs
//! to a burst; the last call returns the correction to write.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::rules;
use super::signal::{Signal, Signals};

/// Shards, each with a lock of its own: enough that threads rarely contend.
const SHARDS: usize = 64;
/// Sets of messages in a shard.
const SETS: usize = 64;
/// Messages in a set. With 16,384 messages in all (6.5 MiB), bursts are found at up to about 16,000
/// messages a second.
const WAYS: usize = 4;
/// Events remembered per message: twice as many as make a burst, so that a burst mixed with other
/// clicks is found too.
const EVENTS: usize = 2 * rules::BURST_LINKS;
/// Modified tokens remembered per shard.
const PROBES: usize = 16;

/// Remembers the events of the last seconds.
pub(crate) struct BurstDetector {
    shards: Box<[Mutex<Shard>]>,
    /// Randomly keyed, so that a client cannot choose which messages collide.
    hash: RandomState,
}

/// One event, as the detector sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) message: Uuid,
    pub(crate) target: Target,
    pub(crate) ip: IpAddr,
    pub(crate) agent: &'a [u8],
    /// In milliseconds since the Unix epoch.
    pub(crate) now: i64,
    /// The signals of the request by itself.
    pub(crate) signals: Signals,
}

/// Which part of the message was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Target {
    /// The link of that number.
    Link(u16),
    /// Anything else, such as the pixel: it may be part of a burst but does not make one.
    #[default]
    Other,
}

/// An observed event in the detector.
#[derive(Debug)]
pub(crate) struct Handle {
    shard: usize,
    set: usize,
    way: usize,
    key: u64,
    number: u32,
}

/// An event whose verdict differs from the written one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Correction {
    pub(crate) id: Uuid,
    pub(crate) target: Target,
    pub(crate) signals: Signals,
}

/// Corrections that have become due.
pub(crate) type Corrections = [Option<Correction>; EVENTS];

#[derive(Default)]
struct Shard {
    /// Allocated with the first event.
    sets: Vec<Set>,
    probes: Probes,
    /// The number of the last event.
    number: u32,
}

/// The messages that share a place in the table. What is read of each is together, so that a message is
/// found, or known to be new, by reading one line of the cache.
#[derive(Clone, Default)]
#[repr(align(64))]
struct Set {
    keys: [u64; WAYS],
    /// The number of each one's last event.
    last: [u32; WAYS],
    rings: [Ring; WAYS],
    /// The last events of each.
    events: [[Entry; EVENTS]; WAYS],
}

/// Which events of a message there are.
#[derive(Clone, Copy, Default)]
struct Ring {
    /// Entries after these are of an earlier message.
    length: u8,
    /// Where the next event goes.
    next: u8,
}

/// One message.
struct Slot<'s> {
    ring: &'s mut Ring,
    events: &'s mut [Entry; EVENTS],
}

/// One event.
#[derive(Clone, Copy, Default)]
struct Entry {
    number: u32,
    at: i64,
    target: Target,
    network: u64,
    agent: u32,
    /// `None` while it is being written, or when it was lost.
    id: Option<Uuid>,
    signals: Signals,
    /// The signals in the journal.
    written: Signals,
}

/// The last modified tokens. Their messages are together, because every event is compared with them.
#[derive(Default)]
struct Probes {
    messages: [u64; PROBES],
    /// The network and the time of each.
    sources: [(u64, i64); PROBES],
    /// Where the next one goes.
    next: usize,
}

impl BurstDetector {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hash: RandomState::new(),
        }
    }

    /// Remembers an event before it is written, and returns its signals together with those of its
    /// neighbours.
    pub(crate) fn observe(&self, seen: &Observation<'_>) -> (Signals, Handle) {
        let message = self.hash.hash_one(seen.message);
        let key = message ^ self.hash.hash_one(seen.tenant);
        let (index, mut shard) = self.shard(message);
        let mut new = Entry {
            number: shard.next_number(),
            at: seen.now,
            target: seen.target,
            network: network(seen.ip),
            agent: crc32c::crc32c(seen.agent),
            id: None,
            signals: seen.signals,
            written: Signals::default(),
        };
        if shard.probes.has(message, &new) {
            new.signals.add(Signal::ChangedTokenBefore);
        }
        let number = new.number;
        let (set, way, mut slot) = shard.slot(key, number);
        slot.take(&mut new);
        let handle = Handle {
            shard: index,
            set,
            way,
            key,
            number,
        };
        (new.signals, handle)
    }

    /// An event was written with the signals of `observe` and has an id: returns the corrections that
    /// are due now, for this event and its neighbours.
    pub(crate) fn written(&self, handle: &Handle, id: Uuid) -> Corrections {
        let mut corrections = Corrections::default();
        let Some(shard) = self.shards.get(handle.shard) else {
            return corrections;
        };
        let mut shard = shard.lock();
        let set = shard.sets.get_mut(handle.set);
        // Another message may have taken its place.
        let Some(set) = set.filter(|set| set.keys.get(handle.way) == Some(&handle.key)) else {
            return corrections;
        };
        let mut slot = set.slot(handle.way);
        let events = slot.events();
        for (entry, correction) in events.iter_mut().zip(&mut corrections) {
            if entry.number == handle.number {
                entry.id = Some(id);
            }
            if let Some(id) = entry.id.filter(|_| entry.signals != entry.written) {
                entry.written = entry.signals;
                *correction = Some(Correction {
                    id,
                    target: entry.target,
                    signals: entry.signals,
                });
            }
        }
        corrections
    }

    /// Remembers an invalid token that claims to belong to this message.
    pub(crate) fn probed(&self, message: Uuid, ip: IpAddr, now: i64) {
        let message = self.hash.hash_one(message);
        let (_, mut shard) = self.shard(message);
        shard.probes.add(message, network(ip), now);
    }

    fn shard(&self, message: u64) -> (usize, MutexGuard<'_, Shard>) {
        // Not the bits that choose the set.
        let index = (message >> 32) as usize % SHARDS;
        #[allow(clippy::indexing_slicing, reason = "there are SHARDS of them")]
        let shard = &self.shards[index];
        (index, shard.lock())
    }
}

impl Shard {
    fn next_number(&mut self) -> u32 {
        self.number = self.number.checked_add(1).unwrap_or(1);
        self.number
    }

    /// The message's set, way and slot; a new message takes the least recently used one. `number` is
    /// that of its event.
    fn slot(&mut self, key: u64, number: u32) -> (usize, usize, Slot<'_>) {
        if self.sets.is_empty() {
            self.sets.resize(SETS, Set::default());
        }
        let at = key as usize % SETS;
        #[allow(clippy::indexing_slicing, reason = "it has SETS sets")]
        let set = &mut self.sets[at];
        let known = set.keys.iter().position(|k| *k == key);
        // Longest ago, even if the numbers have begun again.
        let age = |way: &usize| set.last.get(*way).map(|last| number.wrapping_sub(*last));
        let way = known.unwrap_or_else(|| (0..WAYS).max_by_key(age).unwrap_or(0));
        if known.is_none() {
            set.begin(way, key);
        }
        if let Some(last) = set.last.get_mut(way) {
            *last = number;
        }
        (at, way, set.slot(way))
    }
}

impl Set {
    /// Gives a way to another message.
    fn begin(&mut self, way: usize, key: u64) {
        if let (Some(known), Some(ring)) = (self.keys.get_mut(way), self.rings.get_mut(way)) {
            (*known, *ring) = (key, Ring::default());
        }
    }

    #[allow(clippy::indexing_slicing, reason = "they are arrays of WAYS")]
    fn slot(&mut self, way: usize) -> Slot<'_> {
        Slot {
            ring: &mut self.rings[way],
            events: &mut self.events[way],
        }
    }
}

impl Probes {
    fn has(&self, message: u64, new: &Entry) -> bool {
        // Nearly always not: a loop without an early exit is vectorised.
        self.messages.iter().fold(false, |found, m| found | (*m == message))
            && self.messages.iter().zip(&self.sources).any(|(m, (network, at))| {
                *m == message && *network == new.network && within(*at, new.at, rules::PROBE_WINDOW)
            })
    }

    fn add(&mut self, message: u64, network: u64, now: i64) {
        let place = self.next % PROBES;
        self.next = place + 1;
        if let (Some(known), Some(source)) = (self.messages.get_mut(place), self.sources.get_mut(place)) {
            (*known, *source) = (message, (network, now));
        }
    }
}

impl Slot<'_> {
    /// The events of its message, in any order.
    fn events(&mut self) -> &mut [Entry] {
        self.events.get_mut(..usize::from(self.ring.length)).unwrap_or_default()
    }

    /// Compares an event with its neighbours and remembers it. Both may get signals.
    fn take(&mut self, new: &mut Entry) {
        let is_neighbour = |e: &Entry| {
            within(e.at, new.at, rules::BURST_WINDOW)
                // If a campaign uses one message id, different people are not neighbours.
                && (e.network == new.network || e.agent == new.agent)
        };
        let mut links = Links::default();
        links.add(new.target);
        let mut burst = false;
        for event in self.events().iter().filter(|e| is_neighbour(e)) {
            links.add(event.target);
            burst |= event.signals.has(Signal::BurstOfLinks);
        }
        burst |= links.count >= rules::BURST_LINKS;
        let signal = if burst {
            Some(Signal::BurstOfLinks)
        } else if links.count == 2 {
            Some(Signal::TwoLinksAtOnce)
        } else {
            None
        };
        if let Some(signal) = signal {
            new.signals.add(signal);
            self.events()
                .iter_mut()
                .filter(|e| is_neighbour(e))
                .for_each(|e| e.signals.add(signal));
        }
        let elsewhere = |e: &Entry| {
            matches!(e.target, Target::Link(_))
                && e.target == new.target
                && e.network != new.network
                && within(e.at, new.at, rules::TWO_NETWORKS_WINDOW)
        };
        for event in self.events().iter_mut().filter(|e| elsewhere(e)) {
            event.signals.add(Signal::TwoNetworks);
            new.signals.add(Signal::TwoNetworks);
        }
        new.written = new.signals;
        let place = self.ring.next % EVENTS as u8;
        self.ring.next = place + 1;
        self.ring.length = self.ring.length.max(self.ring.next);
        if let Some(event) = self.events.get_mut(usize::from(place)) {
            *event = *new;
        }
    }
}

/// Different links, counted up to the size of a burst.
#[derive(Default)]
struct Links {
    seen: [Option<u16>; rules::BURST_LINKS],
    count: usize,
}

impl Links {
    fn add(&mut self, target: Target) {
        let Target::Link(link) = target else { return };
        if self.seen.contains(&Some(link)) {
            return;
        }
        if let Some(free) = self.seen.get_mut(self.count) {
            *free = Some(link);
            self.count += 1;
        }
    }
}

/// Whether two times are that close, in either order: the clock may have been set back.
fn within(earlier: i64, later: i64, window: Duration) -> bool {
    later.abs_diff(earlier) <= window.as_millis() as u64
}

/// The network of one household or site: /24 of IPv4, /48 of IPv6.
pub(crate) fn network(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip) >> 8),
        IpAddr::V6(ip) => (u128::from(ip) >> 80) as u64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests;
