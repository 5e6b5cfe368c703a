//! One link that is fetched again and again from one network: the first events of it are written,
//! then only how many there were, once in a while. All are served.
//!
//! Any recipient has a valid link. Without this, replaying it would fill the journal, and the size
//! cap would take the events of all tenants for it. The table has a fixed size and allocates
//! nothing but one short event for each link that is being counted; when it is full, the link seen
//! first is forgotten, and its count is written. Requests never wait for a lock here: where one is
//! taken, the event is written as if it were the first.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use linkseal_base::clock::Timestamp;
use prometheus::IntCounter;

use super::queue::Content;
use super::verdict::Class;
use super::{Client, Event, EventType, burst, ids};

/// How often a count is written. A link that was left alone for so long begins again.
const PERIOD: Duration = Duration::from_secs(60);
/// Events of a message's link from one network that are written one by one: more than people and
/// their scanners make.
const OF_MESSAGE: u32 = 50;
/// The same for what is everybody's: stored redirects, paths of a back end.
const OF_ALL: u32 = 500;
/// What is everybody's is there on every domain. Of one network so many events of it are written one
/// by one, over all domains; as many more links get a count of their own, and the rest is a number in
/// the metrics only.
const OF_NETWORK: u32 = 2_000;
/// Parts of the networks' table: 4,096 networks.
const NETWORK_SHARDS: usize = 16;
/// Parts with a lock of their own.
const SHARDS: usize = 64;
/// Sets of links in a part.
const SETS: usize = 64;
/// Links in a set: 16,384 in all, in 1 MiB, and some 600 bytes for each that is being counted.
const WAYS: usize = 4;
/// How often a lock that is taken is tried.
const TRIES: usize = 64;

/// The table.
pub(super) struct Repeats {
    shards: Box<[Mutex<Shard>]>,
    /// What each network has had of what is everybody's. Apart, so that many links push out none.
    networks: Box<[Mutex<Shard>]>,
    /// Keyed at random, so that nobody can choose what shares a place.
    hash: RandomState,
    total: IntCounter,
}

/// What is to be done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written.
    Written,
    /// It was counted. `first`: the journal's thread has to know that something is being counted.
    Counted { first: bool },
}

/// Counts that are to be written.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) content: Content,
    /// How many events they stand for.
    pub(super) requests: u64,
    /// Whether there will be more.
    pub(super) more: bool,
}

#[derive(Default)]
struct Shard {
    /// Made when the first event comes.
    slots: Vec<Slot>,
    /// Counts of links that were forgotten.
    due: Vec<Count>,
}

/// One link, as one network fetches it.
#[derive(Default)]
struct Slot {
    key: u64,
    /// When its period began. `None`: the slot is free.
    since: Option<Instant>,
    written: u32,
    count: Option<Count>,
}

/// Events that are not written one by one.
struct Count {
    kind: EventType,
    class: Option<Class>,
    time: Timestamp,
    /// The first of them, without what differs between them.
    body: Vec<u8>,
    requests: u64,
}

impl Repeats {
    /// An empty table. `total` counts the events that are not written one by one.
    pub(super) fn new(total: IntCounter) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            networks: (0..NETWORK_SHARDS).map(|_| Mutex::default()).collect(),
            hash: RandomState::new(),
            total,
        }
    }

    /// Looks at an event before it is written. `encode` writes an event's members from `type` on.
    pub(super) fn see(&self, event: &Event<'_>, now: Instant, encode: impl FnOnce(&Event<'_>, &mut Vec<u8>)) -> Fate {
        let Some(ip) = event.client.as_ref().and_then(|c| c.ip) else {
            return Fate::Written;
        };
        let (key, most) = self.key(event, ip);
        let of_network = event.message_id.is_none().then(|| burst::network(ip));
        let had = of_network.map_or(0, |network| self.had(network, now, 0));
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
            self.has_more(of_network, now);
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
        slot.count = Some(Count {
            kind: event.kind,
            class: event.class(),
            time: event.time,
            body,
            requests: 1,
        });
        drop(shard);
        self.has_more(of_network, now);
        Fate::Counted { first: true }
    }

    fn has_more(&self, network: Option<u64>, now: Instant) {
        if let Some(network) = network {
            self.had(network, now, 1);
        }
    }

    /// How much of what is everybody's a network has had in its period, and so much more.
    fn had(&self, network: u64, now: Instant, more: u32) -> u32 {
        let key = self.hash.hash_one(network);
        #[allow(clippy::indexing_slicing, reason = "there are NETWORK_SHARDS of them")]
        let shard = try_lock(&self.networks[(key >> 32) as usize % NETWORK_SHARDS]);
        shard.map_or(0, |mut shard| {
            let slot = shard.slot(key, now);
            slot.written = slot.written.saturating_add(more);
            slot.written
        })
    }

    /// What is the same link from the same network, and how many events of it are written.
    fn key(&self, event: &Event<'_>, ip: IpAddr) -> (u64, u32) {
        let by = (event.kind, burst::network(ip));
        match event.message_id {
            // A link of a message works on each domain of its tenant.
            Some(message) => {
                let link = (event.tenant, message, event.link, event.list);
                (self.hash.hash_one((by, link)), OF_MESSAGE)
            }
            None => {
                let link = (event.domain, event.slug, event.url);
                (self.hash.hash_one((by, link)), OF_ALL)
            }
        }
    }

    /// The counts that are to be written now, or all.
    pub(super) fn due(&self, now: Instant, all: bool) -> Counts {
        let mut counts = Counts::default();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let mut due = std::mem::take(&mut shard.due);
            for slot in &mut shard.slots {
                if slot.count.is_none() {
                    continue;
                }
                if all || slot.is_over(now) {
                    due.extend(slot.count.take());
                    // As long as it goes on, only counts are written.
                    slot.since = Some(now);
                }
                counts.more |= slot.count.is_some();
            }
            drop(shard);
            for count in due {
                counts.requests += count.requests;
                count.write(&mut counts.content);
            }
        }
        counts
    }
}

/// An event without what may differ between repetitions and takes room.
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
    /// Makes an event of it.
    fn write(self, content: &mut Content) {
        content.push(ids::next(self.time), self.kind, self.class, |out| {
            // The object is opened again for one more member.
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

    /// The link's slot, in its present period. A new link takes a free slot, or that of the link
    /// whose period began first.
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
            self.due.extend(slot.count.take());
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
            Ok(shard) => return Some(shard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}

/// For the journal's thread, which may wait.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use uuid::Uuid;

    use super::super::Privacy;
    use super::*;

    fn click(message: u128, ip: [u8; 4]) -> Event<'static> {
        let mut event = Event::new(EventType::Click, Timestamp::from_secs(1), "a.example", "tenant");
        event.message_id = Some(Uuid::from_u128(message));
        event.link = Some(1);
        event.url = Some("https://shop.example/");
        event.client = Some(Client {
            ip: Some(Ipv4Addr::from(ip).into()),
            user_agent: Some(b"agent"),
            referer: None,
            proxy: None,
            network: None,
            opted_out: false,
        });
        event
    }

    fn table() -> Repeats {
        Repeats::new(IntCounter::new("r", "r").unwrap())
    }

    fn see(repeats: &Repeats, event: &Event<'_>, now: Instant) -> Fate {
        repeats.see(event, now, |event, out| {
            // As the head, which the journal's thread writes before it.
            event.encode_rest(out, "edge-1", Privacy::default());
        })
    }

    /// What is written as counts.
    fn counts(content: &Content) -> Vec<serde_json::Value> {
        let mut bodies = content.bodies.as_slice();
        let mut values = Vec::new();
        for member in &content.events {
            let (body, rest) = bodies.split_at(member.length);
            bodies = rest;
            let json = [b"{\"id\":0", body].concat();
            values.push(serde_json::from_slice(&json).unwrap());
        }
        values
    }

    #[test]
    fn the_first_are_written_and_then_one_count_a_period() {
        let (repeats, start) = (table(), Instant::now());
        let replayed = click(1, [203, 0, 113, 9]);
        let mut fates = (0..20_000).map(|_| see(&repeats, &replayed, start));
        let written = fates.by_ref().take_while(|f| *f == Fate::Written).count();
        assert_eq!(written, OF_MESSAGE as usize);
        // The one that ended `take_while` was the first that is counted.
        assert!(fates.all(|f| f == Fate::Counted { first: false }));
        // Others are not concerned: another message, another network, another kind.
        let mut open = replayed.clone();
        (open.kind, open.link, open.url) = (EventType::Open, None, None);
        for other in [click(2, [203, 0, 113, 9]), click(1, [203, 0, 114, 9]), open] {
            assert_eq!(see(&repeats, &other, start), Fate::Written);
        }
        assert_eq!(
            counts(&repeats.due(start, false).content),
            Vec::<serde_json::Value>::new()
        );
        let later = start + PERIOD;
        let Counts {
            content,
            more,
            requests,
        } = repeats.due(later, false);
        assert_eq!(requests, 20_000 - u64::from(OF_MESSAGE));
        let found = counts(&content);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["repeated"], 20_000 - u64::from(OF_MESSAGE));
        assert_eq!(
            (&found[0]["type"], &found[0]["tenant"]),
            (&"click".into(), &"tenant".into())
        );
        assert!(found[0]["client"]["user_agent"].is_null() && found[0]["client"]["ip"].is_string());
        assert!(!more);
        // While it goes on, only counts are written; after a quiet period it begins again.
        assert_eq!(see(&repeats, &replayed, later), Fate::Counted { first: true });
        assert_eq!(counts(&repeats.due(later + PERIOD, false).content)[0]["repeated"], 1);
        assert_eq!(see(&repeats, &replayed, later + 2 * PERIOD), Fate::Written);
        assert_eq!(repeats.total.get(), 20_001 - u64::from(OF_MESSAGE));
    }

    #[test]
    fn what_is_everybodys_has_a_bound_per_network_over_all_domains() {
        let (repeats, start) = (table(), Instant::now());
        let on = |domain: &'static str, ip: [u8; 4]| {
            let mut event = click(1, ip);
            (event.message_id, event.link, event.url) = (None, None, Some("/track/"));
            (event.kind, event.domain) = (EventType::Upstream, domain);
            event
        };
        let domains: Vec<&'static str> = (0..30_000).map(|n| &*format!("d{n}.example").leak()).collect();
        let mut fates = [0; 3];
        for domain in domains.iter().chain(&domains) {
            fates[match see(&repeats, &on(domain, [192, 0, 2, 1]), start) {
                Fate::Written => 0,
                Fate::Counted { first: true } => 1,
                Fate::Counted { first: false } => 2,
            }] += 1;
        }
        assert_eq!(fates[..2], [OF_NETWORK, OF_NETWORK]);
        assert_eq!(repeats.total.get(), 60_000 - u64::from(OF_NETWORK));
        let written = counts(&repeats.due(start + PERIOD, true).content).len();
        assert!(written <= OF_NETWORK as usize, "{written}");
        // Others, and what is a message's, are not concerned.
        assert_eq!(
            see(&repeats, &on("d1.example", [198, 51, 100, 1]), start),
            Fate::Written
        );
        assert_eq!(see(&repeats, &click(2, [192, 0, 2, 1]), start), Fate::Written);
        // In its next period it begins again.
        assert_eq!(
            see(&repeats, &on("new.example", [192, 0, 2, 1]), start + PERIOD),
            Fate::Written
        );
    }

    #[test]
    fn a_full_table_forgets_and_loses_no_count() {
        let (repeats, start) = (table(), Instant::now());
        let most = (SHARDS * SETS * WAYS) as u128;
        let (mut written, mut counted) = (0, 0);
        for message in 0..most / 8 {
            for _ in 0..OF_MESSAGE + 2 {
                match see(&repeats, &click(message, [192, 0, 2, 1]), start) {
                    Fate::Written => written += 1,
                    Fate::Counted { .. } => counted += 1,
                }
            }
        }
        for message in most..4 * most {
            let now = start + Duration::from_secs(1);
            assert_eq!(see(&repeats, &click(message, [192, 0, 2, 1]), now), Fate::Written);
        }
        assert_eq!((written, counted), (most / 8 * u128::from(OF_MESSAGE), most / 8 * 2));
        let found: u64 = counts(&repeats.due(start, true).content)
            .iter()
            .map(|c| c["repeated"].as_u64().unwrap())
            .sum();
        assert_eq!(u128::from(found), counted);
        let slots: usize = repeats.shards.iter().map(|s| lock(s).slots.capacity()).sum();
        assert_eq!(slots, SHARDS * SETS * WAYS);
        assert!(size_of::<Slot>() * slots < 3 << 20, "{} bytes each", size_of::<Slot>());
    }
}
