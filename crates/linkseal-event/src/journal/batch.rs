//! Events that are submitted, written and acknowledged together.
//!
//! The journal's thread wakes one of the requests that wait for a batch; that one wakes the others, on its
//! own thread, whether it is polled or dropped. So a batch costs one wake across threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::frame;
use super::losses::Losses;
use super::queue::Queue;
use crate::event::Event;
use crate::event_type::EventType;
use crate::ids;
use crate::verdict::Class;

/// A batch this large is submitted without waiting for the end of the turn, in bytes.
const BATCH_BYTES: usize = 64 << 10;
/// A batch of this many events is, too.
const BATCH_EVENTS: usize = 256;
/// Room in a frame for the members that the journal adds, in bytes.
const HEAD_MAX: usize = 256;

/// Events that are submitted, written and acknowledged together.
pub(super) struct Batch {
    /// Batches are numbered in the order they are opened.
    pub(super) number: u64,
    /// Whether the producer keeps these events until they are synced: if they cannot be written, they
    /// are submitted again and are not lost.
    pub(super) kept: bool,
    queue: Arc<Queue>,
    /// Contended only when a request begins to wait while the outcome is decided.
    open: Mutex<Open>,
    outcome: AtomicU8,
    /// Whether requests still wait; the first request that sees the outcome wakes them.
    has_rest: AtomicBool,
    /// The number of events, once it is submitted.
    count: AtomicU64,
}

struct Open {
    /// `None` once it is submitted.
    events: Option<EncodedEvents>,
    /// The requests that wait, by their place.
    waiting: Vec<(u32, Waker)>,
}

/// The encoded bodies of events, and what the journal needs to know about each.
#[derive(Default)]
pub(super) struct EncodedEvents {
    pub(super) bodies: Vec<u8>,
    pub(super) metas: Vec<EventMeta>,
}

pub(super) struct EventMeta {
    pub(super) id: Uuid,
    pub(super) kind: EventType,
    pub(super) class: Option<Class>,
    /// Length of the body: the members from `type` on, in bytes.
    pub(super) length: usize,
}

/// A batch on its way to the journal's thread.
pub(super) struct SubmittedBatch {
    pub(super) batch: Arc<Batch>,
    pub(super) events: EncodedEvents,
}

/// An event that was added to a batch.
pub(super) struct Added {
    /// Its id and its place in the batch; `None` when it is too large.
    pub(super) event: Option<(Uuid, u32)>,
    /// What the batch uses by now.
    pub(super) used: Room,
    /// Whether the batch is to be submitted without waiting for the end of the turn.
    pub(super) is_full: bool,
}

/// Room in a batch.
#[derive(Clone, Copy)]
pub(super) struct Room {
    bytes: usize,
    events: usize,
}

impl Room {
    pub(super) const NONE: Self = Self { bytes: 0, events: 0 };
}

/// The result of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has reached the requested durability.
    Written,
    /// It was refused or could not be written.
    Lost,
    /// The disk did not respond in time; it was counted as lost.
    Overdue,
}

/// In place of an outcome: none has been decided yet.
const WAITING: u8 = 0;
/// In place of an outcome: the losses are being counted.
const COUNTING: u8 = u8::MAX;

impl Batch {
    /// An empty batch with some room.
    pub(super) fn new(queue: Arc<Queue>, number: u64, kept: bool, room: Room) -> Self {
        Self {
            number,
            kept,
            queue,
            open: Mutex::new(Open {
                events: Some(EncodedEvents {
                    bodies: Vec::with_capacity(room.bytes),
                    metas: Vec::with_capacity(room.events),
                }),
                waiting: Vec::with_capacity(room.events),
            }),
            outcome: AtomicU8::new(WAITING),
            has_rest: AtomicBool::new(false),
            count: AtomicU64::new(0),
        }
    }

    /// Adds an event.
    ///
    /// # Errors
    /// When the batch has been submitted; gives `encode` back.
    pub(super) fn add<F: FnOnce(&mut Vec<u8>)>(&self, event: &Event<'_>, encode: F) -> Result<Added, F> {
        let mut open = self.open.lock();
        let Some(events) = &mut open.events else {
            return Err(encode);
        };
        let place = events.metas.len() as u32;
        let id = events.add(event, encode);
        Ok(Added {
            event: id.map(|id| (id, place)),
            used: Room {
                bytes: events.bodies.len().next_power_of_two().min(BATCH_BYTES),
                events: events.metas.len(),
            },
            is_full: events.bodies.len() >= BATCH_BYTES || events.metas.len() >= BATCH_EVENTS,
        })
    }

    /// Sends it to the journal's thread, unless that has been done.
    pub(super) fn submit(self: &Arc<Self>) {
        let Some(events) = self.open.lock().events.take() else {
            return;
        };
        self.count.store(events.metas.len() as u64, Ordering::Release);
        self.queue.submit(SubmittedBatch {
            batch: Arc::clone(self),
            events,
        });
    }

    /// `None` while it is undecided.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        Outcome::from_number(self.outcome.load(Ordering::Acquire))
    }

    /// Remembers the waker of a request, unless there is an outcome. `again`: it has one already.
    pub(super) fn wait(&self, place: u32, waker: &Waker, again: bool) -> Option<Outcome> {
        let mut open = self.open.lock();
        if let Some(outcome) = self.outcome() {
            return Some(outcome);
        }
        let known = again
            .then(|| open.waiting.iter_mut().find(|(p, _)| *p == place))
            .flatten();
        match known {
            Some((_, old)) => old.clone_from(waker),
            None => open.waiting.push((place, waker.clone())),
        }
        None
    }

    /// A request no longer waits.
    pub(super) fn leave(&self, place: u32) {
        let mut open = self.open.lock();
        let at = open.waiting.iter().position(|(p, _)| *p == place);
        let waker = at.map(|at| open.waiting.swap_remove(at));
        drop(open);
        drop(waker);
        self.wake_rest();
    }

    /// Whether a request waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        !self.open.lock().waiting.is_empty()
    }

    /// Wakes the requests that the journal's thread left to be woken.
    pub(super) fn wake_rest(&self) {
        if self.has_rest.load(Ordering::Acquire) && self.has_rest.swap(false, Ordering::AcqRel) {
            let waiting = std::mem::take(&mut self.open.lock().waiting);
            waiting.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    /// Decides that it is lost, unless it is decided already. The loss is counted before the outcome
    /// becomes visible.
    pub(super) fn lose(&self, outcome: Outcome, losses: &Losses, cause: Option<&str>) {
        let open = self.open.lock();
        if !self.is_undecided() {
            return;
        }
        self.outcome.store(COUNTING, Ordering::Release);
        drop(open);
        if !self.kept {
            losses.add(self.count.load(Ordering::Acquire), cause);
        }
        self.decide(outcome, self.open.lock());
    }

    /// Decides that it is lost, unless it is decided already. The caller counts the loss.
    pub(super) fn give_up(&self) {
        let open = self.open.lock();
        if self.is_undecided() {
            self.decide(Outcome::Lost, open);
        }
    }

    /// Decides that it is written, unless it is decided already.
    pub(super) fn written(&self) {
        let open = self.open.lock();
        if self.is_undecided() {
            self.decide(Outcome::Written, open);
        }
    }

    /// It can change only under the lock.
    fn is_undecided(&self) -> bool {
        self.outcome.load(Ordering::Acquire) == WAITING
    }

    /// Wakes one request, which wakes the others. A request that sees the outcome also sees that there
    /// are others.
    fn decide(&self, outcome: Outcome, mut open: MutexGuard<'_, Open>) {
        let one = open.waiting.pop();
        self.has_rest.store(!open.waiting.is_empty(), Ordering::Release);
        self.outcome.store(outcome as u8 + 1, Ordering::Release);
        drop(open);
        if let Some((_, waker)) = one {
            waker.wake();
        }
    }
}

impl Outcome {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Written, Self::Lost, Self::Overdue]
            .into_iter()
            .find(|o| *o as u8 + 1 == number)
    }
}

impl EncodedEvents {
    /// Adds an event and returns its id; `None` when it is too large for a frame.
    pub(super) fn add(&mut self, event: &Event<'_>, encode: impl FnOnce(&mut Vec<u8>)) -> Option<Uuid> {
        let id = event.id.unwrap_or_else(|| ids::next(event.time));
        self.push(id, event.kind, event.class(), encode).then_some(id)
    }

    /// Adds an event by its parts; returns `false` when it is too large for a frame.
    pub(super) fn push(
        &mut self,
        id: Uuid,
        kind: EventType,
        class: Option<Class>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let before = self.bodies.len();
        encode(&mut self.bodies);
        let length = self.bodies.len() - before;
        if length > frame::MAX_PAYLOAD - HEAD_MAX {
            self.bodies.truncate(before);
            return false;
        }
        self.metas.push(EventMeta {
            id,
            kind,
            class,
            length,
        });
        true
    }
}
