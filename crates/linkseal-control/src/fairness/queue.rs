//! The queue in front of the order slots.
//!
//! The higher priority goes first; within a priority, tenants take turns, so that an import of many
//! domains does not delay the single domain of another tenant; within a tenant, in order of arrival.
//! A slow CA may take minutes for an order, so each priority leaves some slots to those above it, and
//! each tenant leaves some to the others. A tenant that has been alone for long uses those too while
//! orders are quick: the next tenant's first order then waits for a moment only. The cost
//! of an operation does not grow with the number of waiting names.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core::Priority;

/// The assumed duration of an order before the first one has ended.
const FIRST_GUESS: Duration = Duration::from_secs(10);
/// One in this many slots is left by each priority to the next higher one, and by each tenant to the
/// others; with fewer slots, none is.
const RESERVED: usize = 16;
const SPARED: usize = 8;
/// A tenant is alone once this many consecutive orders were its own.
const ALONE: u32 = 64;
/// Orders are quick while their average is below this: of a dozen that run, one then ends within
/// seconds.
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
    /// The place of each waiting name.
    places: HashMap<DomainName, Place>,
    /// Since when each name waits, by the number of its first arrival.
    since: BTreeMap<u64, Instant>,
    running: usize,
    /// Running orders by tenant.
    running_of: HashMap<Arc<str>, usize>,
    /// The tenant of the last order, and how many consecutive orders were its own.
    last: (Arc<str>, u32),
    /// How many orders may run at the same time.
    slots: usize,
    arrivals: u64,
    /// The moving average of an order's duration.
    typical: Duration,
}

/// The names of one priority.
#[derive(Default)]
struct Lane {
    /// Tenants with names here, in order of their turns.
    turns: VecDeque<Arc<str>>,
    /// The names of each with their arrival numbers. Names that were raised stay behind as stale
    /// entries, which are skipped.
    names: HashMap<Arc<str>, VecDeque<(u64, DomainName)>>,
    /// How many names wait.
    waiting: usize,
}

struct Place {
    priority: Priority,
    tenant: Arc<str>,
    arrival: u64,
    /// The number of its first arrival: it may have been raised since.
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

    /// Changes how many orders may run at the same time; running ones go on.
    pub(crate) fn set_slots(&self, slots: usize) {
        self.state.lock().slots = slots.max(1);
        self.changed.notify_one();
    }

    /// Adds a name of a tenant; one that waits already is only raised.
    pub fn push(&self, name: DomainName, tenant: &str, priority: Priority) {
        let mut state = self.state.lock();
        if state.places.contains_key(&name) {
            state.raise(&name, priority);
        } else {
            state.add(name, tenant.into(), priority, None);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Raises a waiting name to a higher priority.
    pub(crate) fn raise(&self, name: &DomainName, priority: Priority) {
        self.state.lock().raise(name, priority);
        // A slot may be free that is reserved for higher priorities.
        self.changed.notify_one();
    }

    /// Waits for a name and a free slot; dropping the slot frees it.
    pub(crate) async fn next(self: &Arc<Self>) -> (DomainName, Slot) {
        loop {
            let changed = self.changed.notified();
            if let Some(next) = self.try_next() {
                return next;
            }
            changed.await;
        }
    }

    /// The next name, if one waits and a slot is free for it.
    pub fn try_next(self: &Arc<Self>) -> Option<(DomainName, Slot)> {
        let mut state = self.state.lock();
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

    /// When an order that joins the queue now is expected to end, from the duration of recent ones.
    pub fn eta(&self, now: Timestamp) -> Timestamp {
        let state = self.state.lock();
        let ahead = state.places.len() + state.running;
        let rounds = u32::try_from(ahead / state.slots + 1).unwrap_or(u32::MAX);
        now + state.typical.saturating_mul(rounds)
    }

    /// Records the duration of an order.
    pub fn took(&self, span: Duration) {
        let mut state = self.state.lock();
        // A moving average over about eight orders follows a CA that slows down.
        state.typical = (state.typical * 7 + span) / 8;
    }

    /// How many names wait, by priority.
    pub(crate) fn depth(&self) -> [(Priority, usize); 4] {
        let mut state = self.state.lock();
        Priority::ALL.map(|p| (p, state.lane(p).waiting))
    }

    /// How long the first arrival has waited; `None` if the queue is empty.
    pub(crate) fn longest_wait(&self) -> Option<Duration> {
        self.state
            .lock()
            .since
            .first_key_value()
            .map(|(_, since)| since.elapsed())
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

    /// `first` is the number of its first arrival, if it has arrived before.
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
            // The entry in the lower lane becomes stale: its arrival number belongs to no place.
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

    /// The first entry, stale or not, of the next tenant in turn that `may_go`.
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

/// An order slot in use; dropping it frees the slot.
pub struct Slot {
    queue: Arc<Queue>,
    tenant: Arc<str>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
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
mod tests;
