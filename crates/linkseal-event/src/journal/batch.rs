//! Events that are submitted, written and acknowledged together.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use uuid::Uuid;

use super::frame;
use super::losses::Losses;
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
    /// Only contended by tasks of the thread that records the events.
    open: Mutex<Open>,
    outcome: AtomicU8,
    leader: AtomicWaker,
    /// Whether the leader is gone: followers are then woken one by one and watch the time themselves.
    leaderless: AtomicBool,
    /// The number of events, once it is submitted.
    count: AtomicU64,
}

#[derive(Default)]
struct Open {
    /// `None` once it is submitted.
    events: Option<EncodedEvents>,
    followers: Vec<(usize, Waker)>,
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
    pub(super) fn new(number: u64, kept: bool) -> Self {
        Self {
            number,
            kept,
            open: Mutex::new(Open {
                events: Some(EncodedEvents::default()),
                followers: Vec::new(),
            }),
            outcome: AtomicU8::new(WAITING),
            leader: AtomicWaker::new(),
            leaderless: AtomicBool::new(false),
            count: AtomicU64::new(0),
        }
    }

    /// Adds an event: its id and its place in the batch, or `None` when it is too large.
    ///
    /// # Errors
    /// When the batch has been submitted; gives `encode` back.
    pub(super) fn add<F: FnOnce(&mut Vec<u8>)>(
        &self,
        event: &Event<'_>,
        encode: F,
    ) -> Result<Option<(Uuid, usize)>, F> {
        match &mut self.open.lock().events {
            Some(events) => {
                let place = events.metas.len();
                Ok(events.add(event, encode).map(|id| (id, place)))
            }
            None => Err(encode),
        }
    }

    pub(super) fn is_large(&self) -> bool {
        let open = self.open.lock();
        let events = open.events.as_ref();
        events.is_some_and(|e| e.bodies.len() >= BATCH_BYTES || e.metas.len() >= BATCH_EVENTS)
    }

    /// Takes the events out to be submitted; `None` when that has been done.
    pub(super) fn take_events(&self) -> Option<EncodedEvents> {
        let events = self.open.lock().events.take()?;
        self.count.store(events.metas.len() as u64, Ordering::Release);
        Some(events)
    }

    /// `None` while it is undecided.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        Outcome::from_number(self.outcome.load(Ordering::SeqCst))
    }

    /// Registers the leader's waker.
    pub(super) fn lead(&self, waker: &Waker) {
        self.leader.register(waker);
    }

    /// Registers the waker of another event's task. `again`: it is registered already.
    pub(super) fn follow(&self, place: usize, waker: &Waker, again: bool) {
        let mut open = self.open.lock();
        let known = again
            .then(|| open.followers.iter_mut().find(|(p, _)| *p == place))
            .flatten();
        match known {
            Some((_, old)) => old.clone_from(waker),
            None => open.followers.push((place, waker.clone())),
        }
    }

    pub(super) fn is_leaderless(&self) -> bool {
        self.leaderless.load(Ordering::SeqCst)
    }

    /// The leader has its answer, or no longer waits for it.
    pub(super) fn leave(&self) {
        self.leaderless.store(true, Ordering::SeqCst);
        self.wake_followers();
    }

    /// Decides that it is lost, unless it is decided already. The loss is counted before the outcome
    /// becomes visible.
    pub(super) fn lose(&self, outcome: Outcome, losses: &Losses, cause: Option<&str>) {
        if !self.decide(COUNTING) {
            return;
        }
        if !self.kept {
            losses.add(self.count.load(Ordering::Acquire), cause);
        }
        self.outcome.store(outcome as u8 + 1, Ordering::SeqCst);
        self.wake();
    }

    /// Decides that it is written, unless it is decided already.
    pub(super) fn written(&self) {
        if self.decide(Outcome::Written as u8 + 1) {
            self.wake();
        }
    }

    fn decide(&self, outcome: u8) -> bool {
        self.outcome
            .compare_exchange(WAITING, outcome, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    fn wake(&self) {
        self.leader.wake();
        if self.is_leaderless() {
            self.wake_followers();
        }
    }

    fn wake_followers(&self) {
        let followers = std::mem::take(&mut self.open.lock().followers);
        followers.into_iter().for_each(|(_, waker)| waker.wake());
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
