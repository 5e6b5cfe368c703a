//! Whose order goes first: names wait here for one of the order slots.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::domain::DomainName;

/// Why a domain is worked on; the higher goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Registered or imported; nobody waits.
    Bulk,
    /// Somebody pressed "verify".
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

/// The queue in front of the order slots.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    waiting: BinaryHeap<Waiting>,
    running: usize,
    /// How many orders may run at once.
    slots: usize,
    arrivals: u64,
    /// How long an order takes, as a moving average.
    typical: Duration,
}

struct Waiting {
    priority: Priority,
    arrival: u64,
    name: DomainName,
}

impl Queue {
    pub(super) fn new(slots: usize) -> Self {
        let state = State {
            waiting: BinaryHeap::new(),
            running: 0,
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
    pub(super) fn set_slots(&self, slots: usize) {
        self.lock().slots = slots.max(1);
        self.changed.notify_one();
    }

    /// Adds a name.
    pub(super) fn push(&self, name: DomainName, priority: Priority) {
        let mut state = self.lock();
        state.arrivals += 1;
        let arrival = state.arrivals;
        state.waiting.push(Waiting {
            priority,
            arrival,
            name,
        });
        drop(state);
        self.changed.notify_one();
    }

    /// Moves a waiting name up: somebody waits for it now.
    pub(super) fn raise(&self, name: &DomainName, priority: Priority) {
        let mut state = self.lock();
        // Rebuilding is linear; it happens once a name, when the first handshake comes.
        if state.waiting.iter().any(|w| w.name == *name && w.priority < priority) {
            let mut all = std::mem::take(&mut state.waiting).into_vec();
            for waiting in all.iter_mut().filter(|w| w.name == *name) {
                waiting.priority = priority;
            }
            state.waiting = all.into();
        }
    }

    /// The next name, once a slot is free; the slot is free again when the guard is dropped.
    pub(super) async fn next(self: &Arc<Self>) -> (DomainName, Slot) {
        loop {
            let changed = self.changed.notified();
            if let Some(next) = self.try_next() {
                return next;
            }
            changed.await;
        }
    }

    /// The next name, if one waits and a slot is free.
    pub(super) fn try_next(self: &Arc<Self>) -> Option<(DomainName, Slot)> {
        let mut state = self.lock();
        if state.running >= state.slots {
            return None;
        }
        let waiting = state.waiting.pop()?;
        state.running += 1;
        let queue = Arc::clone(self);
        Some((waiting.name, Slot { queue }))
    }

    /// When an order that joins the queue now is expected to be through, from how long the last
    /// ones took.
    pub(super) fn eta(&self, now: Timestamp) -> Timestamp {
        let state = self.lock();
        let ahead = state.waiting.len() + state.running;
        let rounds = u32::try_from(ahead / state.slots + 1).unwrap_or(u32::MAX);
        now + state.typical.saturating_mul(rounds)
    }

    /// Learns how long an order took.
    pub(super) fn took(&self, span: Duration) {
        let mut state = self.lock();
        // A moving average over about eight orders follows a CA that slows down.
        state.typical = (state.typical * 7 + span) / 8;
    }

    /// How many wait, by priority.
    pub(super) fn depth(&self) -> [(Priority, usize); 4] {
        let state = self.lock();
        Priority::ALL.map(|p| (p, state.waiting.iter().filter(|w| w.priority == p).count()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while the lock was held leaves a heap that is still a heap.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// An order slot in use.
pub(super) struct Slot {
    queue: Arc<Queue>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.queue.lock().running -= 1;
        self.queue.changed.notify_one();
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.priority
            .cmp(&other.priority)
            .then(other.arrival.cmp(&self.arrival))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[tokio::test]
    async fn the_highest_goes_first_and_equals_in_order_of_arrival() {
        let queue = Arc::new(Queue::new(10));
        queue.push(name("b1.example"), Priority::Bulk);
        queue.push(name("b2.example"), Priority::Bulk);
        queue.push(name("v.example"), Priority::Verify);
        queue.push(name("e.example"), Priority::Expiring);
        queue.raise(&name("b2.example"), Priority::Handshake);
        assert_eq!(queue.depth().map(|(_, n)| n), [1, 1, 1, 1]);
        let mut slots = Vec::new();
        for expected in ["e.example", "b2.example", "v.example", "b1.example"] {
            let (next, slot) = queue.next().await;
            assert_eq!(next.as_str(), expected);
            slots.push(slot);
        }
    }

    #[tokio::test]
    async fn a_slot_is_free_again_only_when_its_order_has_ended() {
        let queue = Arc::new(Queue::new(1));
        queue.push(name("a.example"), Priority::Bulk);
        queue.push(name("b.example"), Priority::Bulk);
        let (_, slot) = queue.next().await;
        let second = queue.next();
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(slot);
        assert_eq!(second.await.0.as_str(), "b.example");
    }
}
