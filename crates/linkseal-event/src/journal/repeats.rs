//! Links that are fetched over and over from one network: the first events of such a link are
//! written, then only their count, once a minute. Every request is still served.
//!
//! Every recipient has a valid link. Without this bound, replaying it would fill the journal, and at
//! the size cap the events of all tenants would be lost. The table has a fixed size and allocates only
//! one short event for each link that is being counted; when it is full, the link seen first is
//! forgotten and its count is written. Requests never wait for a lock here: if one is taken, the event
//! is written as if it were the first.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use linkseal_base::clock::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use prometheus::IntCounter;

use super::batch::EncodedEvents;
use crate::event::{Client, Event};
use crate::event_type::EventType;
use crate::ids;
use crate::verdict::{Class, network};

/// How often a count is written. A link that is not fetched for this long starts over.
const PERIOD: Duration = Duration::from_secs(60);
/// Events of a message's link from one network that are written one by one: more than people and
/// their scanners cause.
const OF_MESSAGE: u32 = 50;
/// The same for public URLs: stored redirects and paths of a back end.
const OF_PUBLIC: u32 = 500;
/// Public URLs exist on every domain. From one network this many of their events are written one by
/// one, over all domains; as many more get counts of their own, and the rest appears in the metrics
/// only.
const OF_NETWORK: u32 = 2_000;
/// Shards of the networks' table: 4,096 networks.
const NETWORK_SHARDS: usize = 16;
/// Shards of the links' table, each with a lock of its own.
const SHARDS: usize = 64;
/// Sets of links in a shard.
const SETS: usize = 64;
/// Links in a set: 16,384 links in 640 KiB, and about 700 bytes for each that is being counted.
const WAYS: usize = 4;
/// Attempts to take a lock.
const TRIES: usize = 64;

/// Counts repetitions.
pub(super) struct Repeats {
    shards: Box<[Mutex<Shard>]>,
    /// Events of public URLs by network. A table of its own, so that many links cannot evict a
    /// network.
    networks: Box<[Mutex<Shard>]>,
    /// Randomly keyed, so that a client cannot choose which links collide.
    hash: RandomState,
    total: IntCounter,
}

/// What happens to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Written,
    /// Only counted. `first` when the journal's thread must be told that counting has begun.
    Counted {
        first: bool,
    },
}

/// Counts that are due to be written.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) events: EncodedEvents,
    /// How many events they stand for.
    pub(super) requests: u64,
    /// Whether more will follow.
    pub(super) more: bool,
}

#[derive(Default)]
struct Shard {
    /// Allocated with the first event.
    slots: Vec<Slot>,
    /// Counts of links that were evicted.
    due: Vec<Count>,
}

/// One link, as fetched from one network.
#[derive(Default)]
struct Slot {
    key: u64,
    /// When its period began; `None` when the slot is free.
    since: Option<Instant>,
    written: u32,
    /// Boxed, so that a set of slots takes few lines of the cache.
    count: Option<Box<Count>>,
}

/// Events that are not written one by one.
struct Count {
    kind: EventType,
    class: Option<Class>,
    time: Timestamp,
    /// The first of them, without the members that differ between them.
    body: Vec<u8>,
    requests: u64,
}

impl Repeats {
    /// `total` counts the events that are not written one by one.
    pub(super) fn new(total: IntCounter) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            networks: (0..NETWORK_SHARDS).map(|_| Mutex::default()).collect(),
            hash: RandomState::new(),
            total,
        }
    }

    /// Decides whether an event is written. `encode` writes an event's members from `type` on.
    pub(super) fn see(&self, event: &Event<'_>, now: Instant, encode: impl FnOnce(&Event<'_>, &mut Vec<u8>)) -> Fate {
        let Some(ip) = event.client.as_ref().and_then(|c| c.ip) else {
            return Fate::Written;
        };
        let (key, most) = self.key(event, ip);
        let public_from = event.message_id.is_none().then(|| network(ip));
        let had = public_from.map_or(0, |network| self.count_network(network, now, 0));
        #[allow(clippy::indexing_slicing, reason = "there are SHARDS of them")]
        let Some(mut shard) = try_lock(&self.shards[(key >> 32) as usize % SHARDS]) else {
            return Fate::Written;
        };
        if had >= 2 * OF_NETWORK && !shard.counts(key) {
            self.total.inc();
            return Fate::Counted { first: false };
        }
        let slot = shard.slot(key, now);
        if slot.written < most && slot.count.is_none() && had < OF_NETWORK {
            slot.written += 1;
            drop(shard);
            self.count_public(public_from, now);
            return Fate::Written;
        }
        self.total.inc();
        if let Some(count) = &mut slot.count {
            count.requests += 1;
            return Fate::Counted { first: false };
        }
        let mut body = Vec::new();
        encode(&common(event), &mut body);
        body.shrink_to_fit();
        slot.count = Some(Box::new(Count {
            kind: event.kind,
            class: event.class(),
            time: event.time,
            body,
            requests: 1,
        }));
        drop(shard);
        self.count_public(public_from, now);
        Fate::Counted { first: true }
    }

    fn count_public(&self, network: Option<u64>, now: Instant) {
        if let Some(network) = network {
            self.count_network(network, now, 1);
        }
    }

    /// Adds to the events of public URLs from a network in this period, and returns their number.
    fn count_network(&self, network: u64, now: Instant, more: u32) -> u32 {
        let key = self.hash.hash_one(network);
        #[allow(clippy::indexing_slicing, reason = "there are NETWORK_SHARDS of them")]
        let shard = try_lock(&self.networks[(key >> 32) as usize % NETWORK_SHARDS]);
        shard.map_or(0, |mut shard| {
            let slot = shard.slot(key, now);
            slot.written = slot.written.saturating_add(more);
            slot.written
        })
    }

    /// The key of a link and its network, and how many events of it are written.
    fn key(&self, event: &Event<'_>, ip: IpAddr) -> (u64, u32) {
        let by = (event.kind, network(ip));
        match event.message_id {
            // A message's link works on every domain of its tenant.
            Some(message) => {
                let link = (event.tenant, message, event.link, event.list);
                (self.hash.hash_one((by, link)), OF_MESSAGE)
            }
            None => {
                let link = (event.domain, event.slug, event.url);
                (self.hash.hash_one((by, link)), OF_PUBLIC)
            }
        }
    }

    /// Takes the counts that are due, or all.
    pub(super) fn due(&self, now: Instant, all: bool) -> Counts {
        let mut counts = Counts::default();
        for shard in &self.shards {
            // The journal's thread may wait.
            let mut shard = shard.lock();
            let mut due = std::mem::take(&mut shard.due);
            for slot in &mut shard.slots {
                if slot.count.is_none() {
                    continue;
                }
                if all || slot.is_over(now) {
                    due.extend(slot.count.take().map(|count| *count));
                    // While the repetition continues, only counts are written.
                    slot.since = Some(now);
                }
                counts.more |= slot.count.is_some();
            }
            drop(shard);
            for count in due {
                counts.requests += count.requests;
                count.write(&mut counts.events);
            }
        }
        counts
    }
}

/// An event without the members that may differ between repetitions and take space.
fn common<'a>(event: &Event<'a>) -> Event<'a> {
    let mut common = event.clone();
    if common.message_id.is_some() || common.slug.is_some() {
        common.url = None;
    }
    common.client = common.client.map(|client| Client {
        user_agent: None,
        referer: None,
        ..client
    });
    common
}

impl Count {
    /// Turns the count into an event.
    fn write(self, events: &mut EncodedEvents) {
        events.push(ids::next(self.time), self.kind, self.class, |out| {
            // Reopen the object for one more member.
            out.extend_from_slice(self.body.strip_suffix(b"}").unwrap_or(&self.body));
            out.extend_from_slice(format!(",\"repeated\":{}}}", self.requests).as_bytes());
        });
    }
}

impl Shard {
    /// Whether a link is being counted.
    fn counts(&self, key: u64) -> bool {
        let at = key as usize % SETS * WAYS;
        let set = self.slots.get(at..at + WAYS).unwrap_or_default();
        set.iter().any(|slot| slot.key == key && slot.count.is_some())
    }

    /// The link's slot in its current period. A new link takes a free slot, or that of the link whose
    /// period began first.
    fn slot(&mut self, key: u64, now: Instant) -> &mut Slot {
        if self.slots.is_empty() {
            self.slots.resize_with(SETS * WAYS, Slot::default);
        }
        let at = key as usize % SETS * WAYS;
        let set = self.slots.get_mut(at..at + WAYS).unwrap_or_default();
        let known = set.iter().position(|s| s.key == key && s.since.is_some());
        let way = known.unwrap_or_else(|| (0..WAYS).min_by_key(|w| set.get(*w).and_then(|s| s.since)).unwrap_or(0));
        #[allow(clippy::indexing_slicing, reason = "it has SETS * WAYS slots")]
        let slot = &mut self.slots[at + way];
        if known.is_none() || (slot.is_over(now) && slot.count.is_none()) {
            self.due.extend(slot.count.take().map(|count| *count));
            *slot = Slot {
                key,
                since: Some(now),
                ..Slot::default()
            };
        }
        slot
    }
}

impl Slot {
    fn is_over(&self, now: Instant) -> bool {
        self.since
            .is_none_or(|since| now.saturating_duration_since(since) >= PERIOD)
    }
}

fn try_lock(shard: &Mutex<Shard>) -> Option<MutexGuard<'_, Shard>> {
    for _ in 0..TRIES {
        match shard.try_lock() {
            None => std::hint::spin_loop(),
            taken => return taken,
        }
    }
    None
}

#[cfg(test)]
mod tests;
