//! What requests of the last seconds say together: bursts over the links of a message, a changed
//! token just before the right one, one link from two networks at once.
//!
//! The memory has a fixed size, allocates nothing for an event, and has no lock that all requests
//! share: a message belongs to one of [`SHARDS`] parts, whose lock is held for some comparisons
//! within a part of the cache (`memory_cost` measures it; 3.7 µs an event with one thread and 2.4 µs
//! with four on two busy cores in a debug build). When it is full, what is oldest is forgotten: a
//! sign may then be missed, never made up. It holds hashes and network prefixes; nothing of it is
//! written anywhere.
//!
//! An event is seen twice: [`BurstDetector::observe`] before it is written, and [`BurstDetector::written`] when
//! it has an id. Between the two others may find that it belongs to a burst; anyone who comes last
//! gets the correction to write.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::rules::{self, Signal};
use super::verdict::Signals;

/// Parts with a lock of their own: enough that threads rarely meet.
const SHARDS: usize = 64;
/// Sets of messages in a part.
const SETS: usize = 64;
/// Messages in a set. With 16,384 messages in all (6 MiB) a burst is found up to some 16,000
/// messages a second.
const WAYS: usize = 4;
/// Events remembered of a message: twice what makes a burst, so that one that is mixed with
/// another's clicks is found too.
const EVENTS: usize = 2 * rules::BURST_LINKS;
/// Changed tokens remembered in a part.
const PROBES: usize = 16;

/// The memory.
pub(super) struct BurstDetector {
    shards: Box<[Mutex<Shard>]>,
    /// Keyed at random, so that no one can choose what shares a place.
    hash: RandomState,
}

/// One event, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation<'a> {
    pub(super) tenant: &'a str,
    pub(super) message: Uuid,
    pub(super) what: What,
    pub(super) ip: IpAddr,
    pub(super) agent: &'a [u8],
    /// By the edge's clock, in milliseconds.
    pub(super) now: i64,
    /// What the request says by itself.
    pub(super) signs: Signals,
}

/// What of the message was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum What {
    /// Its link of that number.
    Link(u16),
    /// Something else of it: it can be part of a burst, and does not make one.
    #[default]
    Other,
}

/// Where an observed event is.
#[derive(Debug)]
pub(super) struct Ticket {
    shard: usize,
    key: u64,
    number: u32,
}

/// An event whose verdict is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Correction {
    pub(super) id: Uuid,
    pub(super) what: What,
    pub(super) signs: Signals,
}

/// Corrections that became due.
pub(super) type Corrections = [Option<Correction>; EVENTS];

#[derive(Default)]
struct Shard {
    /// Made when the first event comes.
    slots: Vec<Slot>,
    probes: [Probe; PROBES],
    /// Where the next probe goes.
    probe: usize,
    /// The number of the last event.
    number: u32,
}

/// One message.
#[derive(Clone, Default)]
struct Slot {
    key: u64,
    last: i64,
    events: [Entry; EVENTS],
    /// Where the next event goes.
    next: usize,
}

/// One event.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// `0`: there is none here.
    number: u32,
    at: i64,
    what: What,
    network: u64,
    agent: u32,
    /// `None`: it is being written, or was lost.
    id: Option<Uuid>,
    signs: Signals,
    /// What stands in the journal.
    written: Signals,
}

/// A changed token.
#[derive(Clone, Copy, Default)]
struct Probe {
    message: u64,
    network: u64,
    at: i64,
}

impl BurstDetector {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hash: RandomState::new(),
        }
    }

    /// Takes an event in before it is written; its signs with those of its company.
    pub(super) fn observe(&self, seen: &Observation<'_>) -> (Signals, Ticket) {
        let message = self.hash.hash_one(seen.message);
        let key = message ^ self.hash.hash_one(seen.tenant);
        let (index, mut shard) = self.shard(message);
        let mut new = Entry {
            number: shard.next_number(),
            at: seen.now,
            what: seen.what,
            network: network(seen.ip),
            agent: crc32c::crc32c(seen.agent),
            id: None,
            signs: seen.signs,
            written: Signals::default(),
        };
        if shard.was_probed(message, &new) {
            new.signs.add(Signal::ChangedTokenBefore);
        }
        shard.slot(key).take(&mut new);
        let ticket = Ticket {
            shard: index,
            key,
            number: new.number,
        };
        (new.signs, ticket)
    }

    /// An event was written with the signs `observe` gave, and has an id: what is to be corrected
    /// now, of this event and of its company.
    pub(super) fn written(&self, ticket: &Ticket, id: Uuid) -> Corrections {
        let mut corrections = Corrections::default();
        let Some(shard) = self.shards.get(ticket.shard) else {
            return corrections;
        };
        let mut shard = lock(shard);
        let Some(slot) = shard.set(ticket.key).iter_mut().find(|s| s.key == ticket.key) else {
            return corrections;
        };
        for entry in &mut slot.events {
            if entry.number == ticket.number {
                entry.id = Some(id);
            }
        }
        for (entry, correction) in slot.events.iter_mut().zip(&mut corrections) {
            if let Some(id) = entry.id.filter(|_| entry.signs != entry.written) {
                entry.written = entry.signs;
                *correction = Some(Correction {
                    id,
                    what: entry.what,
                    signs: entry.signs,
                });
            }
        }
        corrections
    }

    /// A token that is not right says it is of this message.
    pub(super) fn probed(&self, message: Uuid, ip: IpAddr, now: i64) {
        let message = self.hash.hash_one(message);
        let (_, mut shard) = self.shard(message);
        let place = shard.probe % PROBES;
        shard.probe = place + 1;
        if let Some(probe) = shard.probes.get_mut(place) {
            *probe = Probe {
                message,
                network: network(ip),
                at: now,
            };
        }
    }

    fn shard(&self, message: u64) -> (usize, MutexGuard<'_, Shard>) {
        // Other bits than those that choose the set.
        let index = (message >> 32) as usize % SHARDS;
        #[allow(clippy::indexing_slicing, reason = "there are SHARDS of them")]
        let shard = &self.shards[index];
        (index, lock(shard))
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Nothing panics under this lock; should it ever, signs may be missed.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn next_number(&mut self) -> u32 {
        self.number = self.number.checked_add(1).unwrap_or(1);
        self.number
    }

    fn was_probed(&self, message: u64, new: &Entry) -> bool {
        self.probes
            .iter()
            .any(|p| p.message == message && p.network == new.network && within(p.at, new.at, rules::PROBE_WINDOW))
    }

    /// The slots where a message may be.
    fn set(&mut self, key: u64) -> &mut [Slot] {
        let at = key as usize % SETS * WAYS;
        self.slots.get_mut(at..at + WAYS).unwrap_or_default()
    }

    /// The message's slot; a new one takes the place of the one not seen for longest.
    fn slot(&mut self, key: u64) -> &mut Slot {
        if self.slots.is_empty() {
            self.slots.resize(SETS * WAYS, Slot::default());
        }
        let at = key as usize % SETS * WAYS;
        let set = self.set(key);
        let way = set.iter().position(|s| s.key == key).unwrap_or_else(|| {
            let oldest = (0..WAYS)
                .min_by_key(|way| set.get(*way).map_or(i64::MIN, |s| s.last))
                .unwrap_or(0);
            if let Some(slot) = set.get_mut(oldest) {
                *slot = Slot { key, ..Slot::default() };
            }
            oldest
        });
        #[allow(clippy::indexing_slicing, reason = "it has SETS * WAYS slots")]
        &mut self.slots[at + way]
    }
}

impl Slot {
    /// Compares an event with its company and keeps it. Both may get signs.
    fn take(&mut self, new: &mut Entry) {
        let is_company = |e: &Entry| {
            e.number != 0
                && within(e.at, new.at, rules::BURST_WINDOW)
                // One campaign-wide message id, people at their own places: no company.
                && (e.network == new.network || e.agent == new.agent)
        };
        let mut links = Links::default();
        links.add(new.what);
        let mut burst = false;
        for event in self.events.iter().filter(|e| is_company(e)) {
            links.add(event.what);
            burst |= event.signs.has(Signal::BurstOfLinks);
        }
        burst |= links.count >= rules::BURST_LINKS;
        let sign = if burst {
            Some(Signal::BurstOfLinks)
        } else if links.count == 2 {
            Some(Signal::TwoLinksAtOnce)
        } else {
            None
        };
        if let Some(sign) = sign {
            new.signs.add(sign);
            self.events
                .iter_mut()
                .filter(|e| is_company(e))
                .for_each(|e| e.signs.add(sign));
        }
        let elsewhere = |e: &Entry| {
            e.number != 0
                && matches!(e.what, What::Link(_))
                && e.what == new.what
                && e.network != new.network
                && within(e.at, new.at, rules::TWO_NETWORKS_WINDOW)
        };
        for event in self.events.iter_mut().filter(|e| elsewhere(e)) {
            event.signs.add(Signal::TwoNetworks);
            new.signs.add(Signal::TwoNetworks);
        }
        new.written = new.signs;
        self.last = new.at;
        let place = self.next % EVENTS;
        self.next = place + 1;
        if let Some(event) = self.events.get_mut(place) {
            *event = *new;
        }
    }
}

/// Different links, counted up to what makes a burst.
#[derive(Default)]
struct Links {
    seen: [Option<u16>; rules::BURST_LINKS],
    count: usize,
}

impl Links {
    fn add(&mut self, what: What) {
        let What::Link(link) = what else { return };
        if self.seen.contains(&Some(link)) {
            return;
        }
        if let Some(free) = self.seen.get_mut(self.count) {
            *free = Some(link);
            self.count += 1;
        }
    }
}

/// Whether two times are that close; a clock that is set back makes nothing close for long.
fn within(earlier: i64, later: i64, window: Duration) -> bool {
    u128::from(later.abs_diff(earlier)) <= window.as_millis()
}

/// What one household or site gets: /24 of IPv4, /48 of IPv6.
pub(super) fn network(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip) >> 8),
        IpAddr::V6(ip) => (u128::from(ip) >> 80) as u64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{Class, Verdict};
    use super::*;

    const OFFICE: &str = "203.0.113.9";
    const HOME: &str = "198.51.100.4";
    const T0: i64 = 1_800_000_000_000;

    fn click(message: u128, link: u16, ip: &str, agent: &'static str, now: i64) -> Observation<'static> {
        Observation {
            tenant: "acme",
            message: Uuid::from_u128(message),
            what: What::Link(link),
            ip: ip.parse().unwrap(),
            agent: agent.as_bytes(),
            now,
            signs: Signals::default(),
        }
    }

    /// The verdict that is written, and the corrections by id, of an event whose id is its time.
    fn see(memory: &BurstDetector, seen: &Observation<'_>) -> (Verdict, Vec<(i64, Verdict)>) {
        let (signs, ticket) = memory.observe(seen);
        (Verdict::of(signs), note(memory, &ticket, seen.now))
    }

    fn note(memory: &BurstDetector, ticket: &Ticket, id: i64) -> Vec<(i64, Verdict)> {
        let corrections = memory.written(ticket, Uuid::from_u128(id as u128));
        corrections
            .into_iter()
            .flatten()
            .map(|c| (c.id.as_u128() as i64, Verdict::of(c.signs)))
            .collect()
    }

    fn reasons(verdict: &Verdict) -> Vec<&'static str> {
        verdict.reasons().collect()
    }

    #[test]
    fn the_third_link_within_a_second_makes_a_burst_of_the_first() {
        let memory = BurstDetector::new();
        let (first, none) = see(&memory, &click(1, 0, OFFICE, "a", T0));
        assert_eq!((first.class, none.len()), (Class::Human, 0));
        let (second, corrected) = see(&memory, &click(1, 1, OFFICE, "a", T0 + 100));
        assert_eq!(reasons(&second), ["two_links_at_once"]);
        assert_eq!(second.class, Class::Unknown);
        assert_eq!(corrected, [(T0, second)]);
        let (third, corrected) = see(&memory, &click(1, 2, OFFICE, "a", T0 + 900));
        assert_eq!((third.class, reasons(&third)), (Class::Scanner, vec!["burst_of_links"]));
        let ids: Vec<_> = corrected.iter().map(|(id, v)| (*id, v.class)).collect();
        assert_eq!(ids, [(T0, Class::Scanner), (T0 + 100, Class::Scanner)]);
        assert_eq!(reasons(&corrected[0].1), ["two_links_at_once", "burst_of_links"]);
        // The rest of the burst, as long as it lasts; nothing is corrected twice.
        for more in 3..20 {
            let (verdict, corrected) = see(
                &memory,
                &click(1, more, OFFICE, "a", T0 + 900 + i64::from(more - 2) * 700),
            );
            assert_eq!((verdict.class, corrected.len()), (Class::Scanner, 0), "{more}");
        }
    }

    #[test]
    fn people_make_no_burst() {
        let memory = BurstDetector::new();
        // One person, in the time a quick one takes.
        for link in 0..10 {
            let (verdict, corrected) = see(&memory, &click(1, link, OFFICE, "a", T0 + i64::from(link) * 1_001));
            assert_eq!((verdict.class, corrected.len()), (Class::Human, 0));
        }
        // One link again and again.
        for again in 0..10 {
            assert_eq!(
                see(&memory, &click(2, 7, OFFICE, "a", T0 + again)).0.class,
                Class::Human
            );
        }
        // A company's people behind one address, each with a message of their own.
        for message in 10..40 {
            assert_eq!(see(&memory, &click(message, 3, OFFICE, "a", T0)).0.class, Class::Human);
        }
        // A mailer that gives all recipients the same message id.
        for (link, ip, agent) in [(0, OFFICE, "a"), (1, HOME, "b"), (2, "192.0.2.1", "c")] {
            assert_eq!(see(&memory, &click(3, link, ip, agent, T0)).0.class, Class::Human);
        }
        // Another tenant's message of the same id.
        for (link, tenant) in [(0, "a"), (1, "b"), (2, "c")] {
            let seen = Observation {
                tenant,
                ..click(4, link, OFFICE, "a", T0)
            };
            assert_eq!(see(&memory, &seen).0.class, Class::Human);
        }
    }

    #[test]
    fn a_burst_from_many_addresses_is_one_by_its_agent_and_takes_the_pixel_along() {
        let memory = BurstDetector::new();
        let pixel = Observation {
            what: What::Other,
            ..click(1, 0, "192.0.2.7", "farm", T0)
        };
        assert_eq!(see(&memory, &pixel).0.class, Class::Human);
        see(&memory, &click(1, 0, "198.18.0.1", "farm", T0 + 1));
        see(&memory, &click(1, 1, "203.0.113.1", "farm", T0 + 2));
        // A person's own click meanwhile is not part of it.
        assert_eq!(see(&memory, &click(1, 1, HOME, "own", T0 + 3)).0.class, Class::Unknown);
        let (third, corrected) = see(&memory, &click(1, 2, "192.0.2.1", "farm", T0 + 4));
        assert_eq!(third.class, Class::Scanner);
        let ids: Vec<_> = corrected
            .iter()
            .filter(|(_, v)| v.class == Class::Scanner)
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(ids, [T0, T0 + 1, T0 + 2]);
    }

    #[test]
    fn weak_signs_together_are_enough() {
        let memory = BurstDetector::new();
        let mut signs = Signals::default();
        signs.add(Signal::RightAfterIssue);
        see(&memory, &click(1, 0, OFFICE, "a", T0));
        let (verdict, _) = see(
            &memory,
            &Observation {
                signs,
                ..click(1, 1, OFFICE, "a", T0 + 1)
            },
        );
        assert_eq!(verdict.class, Class::Scanner);
        assert_eq!(reasons(&verdict), ["right_after_issue", "two_links_at_once"]);
    }

    #[test]
    fn one_link_from_two_networks_within_seconds_is_unsure_for_both() {
        let memory = BurstDetector::new();
        see(&memory, &click(1, 4, OFFICE, "a", T0));
        let (second, corrected) = see(&memory, &click(1, 4, HOME, "b", T0 + 4_000));
        assert_eq!((second.class, reasons(&second)), (Class::Unknown, vec!["two_networks"]));
        assert_eq!(corrected, [(T0, second)]);
        let later = click(1, 4, "192.0.2.1", "c", T0 + 9_001);
        assert_eq!(see(&memory, &later).0.class, Class::Human);
        let neighbour = click(2, 4, "203.0.113.200", "b", T0);
        see(&memory, &click(2, 4, OFFICE, "a", T0));
        assert_eq!(see(&memory, &neighbour).0.class, Class::Human, "the same /24");
    }

    #[test]
    fn a_changed_token_just_before_gives_a_gateway_away() {
        let memory = BurstDetector::new();
        memory.probed(Uuid::from_u128(1), OFFICE.parse().unwrap(), T0);
        let (verdict, _) = see(&memory, &click(1, 0, OFFICE, "a", T0 + 3_000));
        assert_eq!(
            (verdict.class, reasons(&verdict)),
            (Class::Scanner, vec!["changed_token_before"])
        );
        for innocent in [
            click(2, 0, OFFICE, "a", T0),
            click(1, 1, HOME, "a", T0 + 1_500),
            click(1, 2, OFFICE, "b", T0 + 9_000),
        ] {
            let (verdict, _) = see(&memory, &innocent);
            assert!(!reasons(&verdict).contains(&"changed_token_before"), "{innocent:?}");
        }
    }

    #[test]
    fn whoever_comes_last_corrects_when_events_are_written_at_once() {
        // Three requests are observed before the first is written; in every order of writing,
        // each event ends as a scanner's.
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let memory = BurstDetector::new();
            let seen: Vec<_> = (0..3).map(|link| click(1, link, OFFICE, "a", T0)).collect();
            let observed: Vec<_> = seen.iter().map(|s| memory.observe(s)).collect();
            let mut last: Vec<_> = observed.iter().map(|(signs, _)| Verdict::of(*signs).class).collect();
            assert_eq!(last, [Class::Human, Class::Unknown, Class::Scanner]);
            let mut count = 0;
            for i in order {
                for (id, verdict) in note(&memory, &observed[i].1, i as i64 + 1) {
                    last[id as usize - 1] = verdict.class;
                    count += 1;
                }
            }
            assert_eq!(last, [Class::Scanner; 3], "{order:?}");
            assert_eq!(count, 2, "each wrong verdict is corrected once");
        }
    }

    #[test]
    fn the_memory_stays_as_large_as_it_is() {
        let memory = BurstDetector::new();
        for message in 0..100_000 {
            see(&memory, &click(message, 0, OFFICE, "a", T0 + message as i64));
            memory.probed(Uuid::from_u128(message), OFFICE.parse().unwrap(), T0);
        }
        let slots: usize = memory.shards.iter().map(|s| s.lock().unwrap().slots.capacity()).sum();
        assert_eq!(slots, SHARDS * SETS * WAYS);
        assert!(size_of::<Slot>() * slots < 9 << 20, "{} bytes each", size_of::<Slot>());
        // What comes after a flood is seen as ever.
        let now = T0 + 200_000;
        for link in 0..2 {
            see(&memory, &click(1 << 64, link, OFFICE, "a", now));
        }
        assert_eq!(
            see(&memory, &click(1 << 64, 2, OFFICE, "a", now)).0.class,
            Class::Scanner
        );
    }

    /// What the memory costs an event, with threads that want it all the time.
    #[test]
    #[ignore = "a measurement: cargo test --release --lib event::memory -- --ignored --nocapture"]
    fn memory_cost() {
        const EVENTS: u128 = 500_000;
        const AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
        for threads in [1, 2, 4] {
            let memory = BurstDetector::new();
            let start = std::time::Instant::now();
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let memory = &memory;
                    scope.spawn(move || {
                        for i in 0..EVENTS {
                            let message = i << 8 | thread;
                            see(memory, &click(message, 0, OFFICE, AGENT, T0 + (i / 10) as i64));
                        }
                    });
                }
            });
            let each = start.elapsed() / (EVENTS * threads) as u32;
            println!("{threads} threads: {each:?} an event, by the wall");
        }
    }
}
