//! Whose order goes first: names wait here for one of the order slots.
//!
//! The higher priority goes first; within one, tenants take turns, so that an import of many
//! domains does not keep another tenant's one waiting; within a tenant, who came first. An order may
//! take minutes at a CA that is slow, so each priority leaves some of the slots to those above it, and
//! each tenant some to the others (why, and who is a tenant: [`super::lanes`]). A tenant that has long
//! been alone has those too, while orders are quick: then the next tenant's first waits for a moment
//! only. Every operation costs the same however many wait.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use tokio::sync::Notify;

/// Why a domain is worked on; the higher goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Registered or imported; no one waits.
    Bulk,
    /// Someone pressed "verify".
    Verify,
    /// A handshake waits.
    Handshake,
    /// A certificate runs out.
    Expiring,
}

impl Priority {
    /// All, the highest first.
    pub const ALL: [Self; 4] = [Self::Expiring, Self::Handshake, Self::Verify, Self::Bulk];

    /// The label metrics carry.
    pub fn label(self) -> &'static str {
        match self {
            Self::Expiring => "expiring",
            Self::Handshake => "handshake",
            Self::Verify => "verify",
            Self::Bulk => "bulk",
        }
    }
}

/// How long an order is thought to take before any has been seen.
const FIRST_GUESS: Duration = Duration::from_secs(10);
/// The part of the slots that each priority leaves to the one above it, and each tenant to others.
/// With fewer slots, none is left.
const RESERVED: usize = 16;
const SPARED: usize = 8;
/// A tenant is alone once so many orders in a row were its own.
const ALONE: u32 = 64;
/// Orders are quick while they take no longer than this on average: of a dozen that run, one then
/// ends within seconds.
const QUICK: Duration = Duration::from_secs(30);

/// The queue in front of the order slots.
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    expiring: Lane,
    handshake: Lane,
    verify: Lane,
    bulk: Lane,
    /// Where each name stands that waits.
    places: HashMap<DomainName, Place>,
    /// Since when each waits, by the number of its first arrival.
    since: BTreeMap<u64, Instant>,
    running: usize,
    /// The same by tenant.
    running_of: HashMap<Arc<str>, usize>,
    /// The tenant of the last order, and how many in a row were its own.
    last: (Arc<str>, u32),
    /// How many orders may run at once.
    slots: usize,
    arrivals: u64,
    /// How long an order takes, as a moving average.
    typical: Duration,
}

/// The names of one priority.
#[derive(Default)]
struct Lane {
    /// Tenants with names here, whose turn it is first.
    turns: VecDeque<Arc<str>>,
    /// The names of each with the numbers of their arrival; those that have moved up are left
    /// behind, and skipped.
    names: HashMap<Arc<str>, VecDeque<(u64, DomainName)>>,
    /// How many wait.
    waiting: usize,
}

struct Place {
    priority: Priority,
    tenant: Arc<str>,
    arrival: u64,
    /// Its first arrival: it may have moved up since.
    first: u64,
}

impl Queue {
    pub fn new(slots: usize) -> Self {
        let state = State {
            expiring: Lane::default(),
            handshake: Lane::default(),
            verify: Lane::default(),
            bulk: Lane::default(),
            places: HashMap::new(),
            since: BTreeMap::new(),
            running: 0,
            running_of: HashMap::new(),
            last: ("".into(), 0),
            slots: slots.max(1),
            arrivals: 0,
            typical: FIRST_GUESS,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Changes how many orders may run at once; those that run go on.
    pub(crate) fn set_slots(&self, slots: usize) {
        self.lock().slots = slots.max(1);
        self.changed.notify_one();
    }

    /// Adds a name of a tenant; one that waits already only moves up.
    pub fn push(&self, name: DomainName, tenant: &str, priority: Priority) {
        let mut state = self.lock();
        if state.places.contains_key(&name) {
            state.raise(&name, priority);
        } else {
            state.add(name, tenant.into(), priority, None);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Moves a waiting name up: someone waits for it now.
    pub(crate) fn raise(&self, name: &DomainName, priority: Priority) {
        self.lock().raise(name, priority);
        // A slot may be free that is kept for those above where it stood.
        self.changed.notify_one();
    }

    /// The next name, once a slot is free; the slot is free again when the guard is dropped.
    pub(crate) async fn next(self: &Arc<Self>) -> (DomainName, Slot) {
        loop {
            let changed = self.changed.notified();
            if let Some(next) = self.try_next() {
                return next;
            }
            changed.await;
        }
    }

    /// The next name, if one waits and a slot is free.
    pub fn try_next(self: &Arc<Self>) -> Option<(DomainName, Slot)> {
        let mut state = self.lock();
        let (name, tenant) = state.take()?;
        state.running += 1;
        state.last = match &state.last {
            (last, times) if *last == tenant => (Arc::clone(&tenant), times.saturating_add(1)),
            _ => (Arc::clone(&tenant), 1),
        };
        *state.running_of.entry(Arc::clone(&tenant)).or_default() += 1;
        let queue = Arc::clone(self);
        Some((name, Slot { queue, tenant }))
    }

    /// When an order that joins the queue now is expected to be through, from how long the last
    /// ones took.
    pub fn eta(&self, now: Timestamp) -> Timestamp {
        let state = self.lock();
        let ahead = state.places.len() + state.running;
        let rounds = u32::try_from(ahead / state.slots + 1).unwrap_or(u32::MAX);
        now + state.typical.saturating_mul(rounds)
    }

    /// Learns how long an order took.
    pub fn took(&self, span: Duration) {
        let mut state = self.lock();
        // A moving average over about eight orders follows a CA that slows down.
        state.typical = (state.typical * 7 + span) / 8;
    }

    /// How many wait, by priority.
    pub(crate) fn depth(&self) -> [(Priority, usize); 4] {
        let mut state = self.lock();
        Priority::ALL.map(|p| (p, state.lane(p).waiting))
    }

    /// How long the one that came first has waited. `None`: none waits.
    pub(crate) fn longest_wait(&self) -> Option<Duration> {
        self.lock().since.first_key_value().map(|(_, since)| since.elapsed())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while the lock was held leaves at worst a name that is skipped.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn lane(&mut self, priority: Priority) -> &mut Lane {
        match priority {
            Priority::Expiring => &mut self.expiring,
            Priority::Handshake => &mut self.handshake,
            Priority::Verify => &mut self.verify,
            Priority::Bulk => &mut self.bulk,
        }
    }

    /// `first`: the number of its first arrival. `None`: it comes now.
    fn add(&mut self, name: DomainName, tenant: Arc<str>, priority: Priority, first: Option<u64>) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        self.lane(priority).add(arrival, name.clone(), &tenant);
        let first = first.unwrap_or_else(|| {
            self.since.insert(arrival, Instant::now());
            arrival
        });
        let place = Place {
            priority,
            tenant,
            arrival,
            first,
        };
        self.places.insert(name, place);
    }

    fn raise(&mut self, name: &DomainName, priority: Priority) {
        if let Some(place) = self.places.get(name).filter(|p| p.priority < priority) {
            let (from, tenant, first) = (place.priority, Arc::clone(&place.tenant), place.first);
            // What stands in the lane below is left behind: its arrival is no one's any more.
            self.lane(from).waiting -= 1;
            self.add(name.clone(), tenant, priority, Some(first));
        }
    }

    fn take(&mut self) -> Option<(DomainName, Arc<str>)> {
        for (above, priority) in Priority::ALL.into_iter().enumerate() {
            let slots = self.slots - self.slots / RESERVED * above;
            if self.running >= slots {
                return None;
            }
            let of_one = slots - self.slots / SPARED;
            let others_wait = self.lane(priority).turns.len() > 1;
            let alone = Some(&self.last)
                .filter(|(_, times)| *times >= ALONE && !others_wait && self.typical <= QUICK)
                .map(|(tenant, _)| Arc::clone(tenant));
            loop {
                let running_of = std::mem::take(&mut self.running_of);
                let next = self.lane(priority).take(|tenant| {
                    let most = if alone.as_ref() == Some(tenant) { slots } else { of_one };
                    running_of.get(tenant).is_none_or(|n| *n < most)
                });
                self.running_of = running_of;
                let Some((arrival, name)) = next else { break };
                if self.places.get(&name).is_some_and(|p| p.arrival == arrival) {
                    self.lane(priority).waiting -= 1;
                    let place = self.places.remove(&name)?;
                    self.since.remove(&place.first);
                    return Some((name, place.tenant));
                }
            }
        }
        None
    }
}

impl Lane {
    fn add(&mut self, arrival: u64, name: DomainName, tenant: &Arc<str>) {
        self.waiting += 1;
        let names = self.names.entry(Arc::clone(tenant)).or_insert_with(|| {
            self.turns.push_back(Arc::clone(tenant));
            VecDeque::new()
        });
        names.push_back((arrival, name));
    }

    /// The first name of the tenant whose turn it is, also one that was left behind. A tenant that
    /// may not go has its turn later.
    fn take(&mut self, may_go: impl Fn(&Arc<str>) -> bool) -> Option<(u64, DomainName)> {
        let turn = self.turns.iter().position(may_go)?;
        self.turns.rotate_left(turn);
        let tenant = self.turns.pop_front()?;
        let names = self.names.get_mut(&tenant)?;
        let first = names.pop_front();
        if names.is_empty() {
            self.names.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        first
    }
}

/// An order slot in use.
pub struct Slot {
    queue: Arc<Queue>,
    tenant: Arc<str>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.running -= 1;
        if let Some(running) = state.running_of.get_mut(&self.tenant) {
            *running -= 1;
            if *running == 0 {
                state.running_of.remove(&self.tenant);
            }
        }
        drop(state);
        self.queue.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    /// Takes all that wait, in order.
    fn drain(queue: &Arc<Queue>) -> Vec<String> {
        std::iter::from_fn(|| queue.try_next().map(|(name, _)| name.to_string())).collect()
    }

    #[test]
    fn the_longest_wait_is_that_of_who_came_first_also_after_it_moved_up() {
        let queue = Arc::new(Queue::new(1));
        assert_eq!(queue.longest_wait(), None);
        queue.push(name("first.example"), "t", Priority::Bulk);
        let between = Instant::now();
        queue.push(name("second.example"), "t", Priority::Verify);
        queue.raise(&name("first.example"), Priority::Handshake);
        assert!(queue.longest_wait().unwrap() >= between.elapsed());
        let (taken, slot) = queue.try_next().unwrap();
        assert_eq!(taken, name("first.example"));
        assert!(queue.longest_wait().unwrap() <= between.elapsed());
        drop(slot);
        drop(queue.try_next());
        assert_eq!(queue.longest_wait(), None);
    }

    #[test]
    fn the_highest_goes_first_and_equals_in_order_of_arrival() {
        let queue = Arc::new(Queue::new(10));
        queue.push(name("b1.example"), "t", Priority::Bulk);
        queue.push(name("b2.example"), "t", Priority::Bulk);
        queue.push(name("b3.example"), "t", Priority::Bulk);
        queue.push(name("v.example"), "t", Priority::Verify);
        queue.push(name("e.example"), "t", Priority::Expiring);
        queue.raise(&name("b2.example"), Priority::Handshake);
        queue.raise(&name("b2.example"), Priority::Verify);
        queue.raise(&name("nobody.example"), Priority::Expiring);
        queue.push(name("b3.example"), "t", Priority::Bulk);
        assert_eq!(queue.depth().map(|(_, n)| n), [1, 1, 1, 2]);
        assert_eq!(
            drain(&queue),
            ["e.example", "b2.example", "v.example", "b1.example", "b3.example"]
        );
        assert_eq!(queue.depth().map(|(_, n)| n), [0; 4]);
        queue.push(name("b2.example"), "t", Priority::Bulk);
        assert_eq!(
            drain(&queue),
            ["b2.example"],
            "what was left behind is not taken for it"
        );
    }

    #[test]
    fn tenants_take_turns() {
        let queue = Arc::new(Queue::new(100));
        for n in 0..50 {
            queue.push(name(&format!("d{n}.big.example")), "big", Priority::Bulk);
        }
        for small in ["a", "b"] {
            queue.push(name(&format!("links.{small}.example")), small, Priority::Bulk);
        }
        let first: Vec<_> = drain(&queue).into_iter().take(5).collect();
        assert_eq!(
            first,
            [
                "d0.big.example",
                "links.a.example",
                "links.b.example",
                "d1.big.example",
                "d2.big.example"
            ]
        );
    }

    #[test]
    fn a_tenant_whose_orders_take_long_leaves_slots_to_others_and_bulk_to_what_is_urgent() {
        let queue = Arc::new(Queue::new(16));
        let mut slots = Vec::new();
        let mut take = |queue: &Arc<Queue>| {
            let (name, slot) = queue.try_next()?;
            slots.push(slot);
            Some(name.to_string())
        };
        for n in 0..50 {
            queue.push(name(&format!("d{n}.big.example")), "big", Priority::Bulk);
        }
        let taken = std::iter::from_fn(|| take(&queue)).count();
        assert_eq!(taken, 11, "of the 13 that bulk may have");
        for n in 0..3 {
            queue.push(name(&format!("links.t{n}.example")), &format!("t{n}"), Priority::Bulk);
        }
        assert_eq!(take(&queue).as_deref(), Some("links.t0.example"));
        assert_eq!(take(&queue).as_deref(), Some("links.t1.example"));
        assert_eq!(take(&queue), None);
        queue.raise(&name("links.t2.example"), Priority::Verify);
        queue.push(name("e.example"), "small", Priority::Expiring);
        assert_eq!(take(&queue).as_deref(), Some("e.example"));
        assert_eq!(take(&queue), None, "what is left is for handshakes");
        queue.push(name("h.example"), "small", Priority::Handshake);
        assert_eq!(take(&queue).as_deref(), Some("h.example"));
        slots.clear();
        let left = std::iter::from_fn(|| queue.try_next().map(|(name, _)| name)).count();
        assert_eq!(left, 39 + 1, "none is lost");
        assert!(queue.lock().running_of.is_empty());
    }

    #[test]
    fn a_tenant_that_is_alone_has_what_is_spared_for_others_until_one_comes() {
        let queue = Arc::new(Queue::new(16));
        let push = |tenant: &str, n: u32| queue.push(name(&format!("d{n}.{tenant}.example")), tenant, Priority::Bulk);
        (0..200).for_each(|n| push("big", n));
        // Takes what can be had beside what runs.
        let fill = |slots: &mut VecDeque<Slot>| slots.extend(std::iter::from_fn(|| queue.try_next().map(|(_, s)| s)));
        let mut slots = VecDeque::new();
        fill(&mut slots);
        assert_eq!(slots.len(), 11);
        for _ in 0..ALONE {
            slots.pop_front();
            fill(&mut slots);
        }
        assert_eq!(slots.len(), 13, "all that bulk may have");
        // The next one of another waits for one order, and then the shares are kept again.
        push("small", 0);
        assert!(queue.try_next().is_none());
        slots.pop_front();
        let (first, small) = queue.try_next().unwrap();
        assert_eq!(first.as_str(), "d0.small.example");
        slots.pop_front();
        assert!(queue.try_next().is_none(), "11 run, and the small one");
        drop(small);
        slots.pop_front();
        fill(&mut slots);
        assert_eq!(slots.len(), 11);
        // While orders take long, what is spared stays free.
        (0..50).for_each(|_| queue.took(Duration::from_secs(90)));
        for _ in 0..ALONE {
            slots.pop_front();
            fill(&mut slots);
        }
        assert_eq!(slots.len(), 11);
    }

    #[test]
    fn a_hundred_thousand_that_wait_cost_no_more_each() {
        // Linear steps would make this test take hours.
        const MANY: usize = 100_000;
        let queue = Arc::new(Queue::new(1));
        let names: Vec<_> = (0..MANY).map(|n| name(&format!("d{n}.example"))).collect();
        for (n, name) in names.iter().enumerate() {
            queue.push(name.clone(), if n % 2 == 0 { "even" } else { "odd" }, Priority::Bulk);
        }
        for name in &names {
            queue.raise(name, Priority::Verify);
            assert_eq!(queue.depth()[3].1 + queue.depth()[2].1, MANY);
        }
        assert_eq!(drain(&queue).len(), MANY);
    }

    #[tokio::test]
    async fn a_slot_is_free_again_only_when_its_order_has_ended() {
        let queue = Arc::new(Queue::new(1));
        queue.push(name("a.example"), "t", Priority::Bulk);
        queue.push(name("b.example"), "t", Priority::Bulk);
        let (_, slot) = queue.next().await;
        let second = queue.next();
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(slot);
        assert_eq!(second.await.0.as_str(), "b.example");
    }

    #[tokio::test]
    async fn a_name_that_moves_up_takes_a_slot_that_was_kept_for_its_new_priority() {
        let queue = Arc::new(Queue::new(16));
        let mut slots = Vec::new();
        for n in 0..30 {
            queue.push(name(&format!("d{n}.example")), &format!("t{n}"), Priority::Bulk);
        }
        while let Some(next) = queue.try_next() {
            slots.push(next);
        }
        for (n, priority) in [
            (20, Priority::Verify),
            (21, Priority::Handshake),
            (22, Priority::Expiring),
        ] {
            let next = queue.next();
            tokio::pin!(next);
            assert!(futures_util::poll!(&mut next).is_pending());
            let raised = name(&format!("d{n}.example"));
            queue.raise(&raised, priority);
            let next = next.now_or_never().expect("a slot is kept for it");
            assert_eq!(next.0, raised, "{priority:?}");
            slots.push(next);
        }
    }
}
