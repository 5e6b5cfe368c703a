//! The path of an event from a request to the journal's thread, and of the acknowledgement back.
//!
//! A thread that drives connections never touches a file here, nor a lock that the journal's thread
//! holds while it does. Events recorded in one turn of a thread's runtime are collected in a [`Batch`]. The
//! request that opened the batch yields once, so that every task that was ready has recorded its event
//! too, and then submits the batch in one message (`pending`, `mailbox`). The acknowledgement wakes one
//! request, which wakes the others on its own thread.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::batch::{Batch, EncodedEvents, Outcome, Room, SubmittedBatch};
use super::losses::Losses;
use super::mailbox::{Mailbox, Message};
use super::pending::Pending;
use crate::event::Event;

/// Most bytes that may wait to be written: about 16,000 events. A disk that is this far behind will
/// not catch up while recipients wait.
const BYTES_MAX: usize = 8 << 20;
/// Most events that may wait to be written.
const EVENTS_MAX: usize = 1 << 15;
const TOO_LARGE: &str = "an event is larger than a frame may be";
const CLOSED: &str = "the journal is closed";
/// How long a request waits for a disk that neither takes nor refuses its event. The event may still
/// be written afterwards, but a recipient is waiting for the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether events are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Gate {
    Open,
    /// The journal cannot be written at present.
    Broken,
    Closed,
}

/// What a thread has recorded in the current turn.
struct Turn {
    /// The journal that the batch belongs to.
    journal: u64,
    batch: Option<Arc<Batch>>,
    /// What its last batch used: the next one is likely to be as large.
    room: Room,
}

/// The queue of the journal's thread.
pub(super) struct Queue {
    /// Tells the journals of one process apart.
    id: u64,
    mailbox: Mailbox,
    gate: AtomicU8,
    bytes: AtomicUsize,
    events: AtomicUsize,
    /// How many batches have been opened.
    opened: AtomicU64,
    began: Instant,
    /// When the thread began its current disk operation, in milliseconds after `began`, plus one; 0
    /// when it is idle.
    busy: AtomicU64,
    pub(super) losses: Losses,
}

impl Queue {
    pub(super) fn new(losses: Losses) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            mailbox: Mailbox::default(),
            gate: AtomicU8::new(Gate::Broken as u8),
            bytes: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            began: Instant::now(),
            busy: AtomicU64::new(0),
            losses,
        }
    }

    /// Adds an event to the batch of this thread's turn; `None` when it was refused, and counted.
    pub(super) fn add(
        self: &Arc<Self>,
        event: &Event<'_>,
        encode: impl FnOnce(&mut Vec<u8>),
        waits: bool,
    ) -> Option<Pending> {
        thread_local! {
            static TURN: RefCell<Turn> = const { RefCell::new(Turn { journal: 0, batch: None, room: Room::NONE }) };
        }
        TURN.with_borrow_mut(|turn| {
            let joined = match turn.batch.take().filter(|_| turn.journal == self.id) {
                Some(batch) => batch.add(event, encode).map(|added| (batch, added, false)),
                None => Err(encode),
            };
            let (batch, added, opened) = match joined {
                Ok(joined) => joined,
                Err(encode) => {
                    self.admit(1)?;
                    let batch = Arc::new(self.open_batch(false, turn.room));
                    // It has just been opened, so adding cannot fail.
                    let added = batch.add(event, encode).ok()?;
                    (batch, added, true)
                }
            };
            turn.journal = self.id;
            turn.room = added.used;
            // An empty batch has no request that would submit it later.
            if added.is_full || (opened && added.event.is_none()) {
                batch.submit();
            } else {
                turn.batch = Some(Arc::clone(&batch));
            }
            let Some((id, place)) = added.event else {
                self.losses.add(1, Some(TOO_LARGE));
                return None;
            };
            Some(Pending::new(id, batch, place, opened, waits))
        })
    }

    /// Submits an event that its producer keeps, in a batch of its own.
    pub(super) fn add_kept(self: &Arc<Self>, event: &Event<'_>, encode: impl FnOnce(&mut Vec<u8>)) -> Option<Pending> {
        if self.refusal().is_some() {
            return None;
        }
        let batch = Arc::new(self.open_batch(true, Room::NONE));
        let added = batch.add(event, encode).ok();
        batch.submit();
        let (id, place) = added?.event?;
        Some(Pending::new(id, batch, place, false, true))
    }

    /// Submits an event that no request waits for. It is written after every event recorded before
    /// it, on any thread.
    pub(super) fn add_after(&self, event: &Event<'_>, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.admit(1).is_none() {
            return;
        }
        let mut events = EncodedEvents::default();
        if events.add(event, encode).is_none() {
            return self.losses.add(1, Some(TOO_LARGE));
        }
        let number = self.opened.load(Ordering::SeqCst);
        self.count_in(&events);
        self.send(Message::After(number, events));
    }

    /// `None` when events are refused; this many are counted as lost then.
    fn admit(&self, events: u64) -> Option<()> {
        match self.refusal() {
            None => Some(()),
            Some(cause) => {
                self.losses.add(events, cause);
                None
            }
        }
    }

    /// `Some` when an event cannot be taken, with the cause unless the losses know it already.
    fn refusal(&self) -> Option<Option<&'static str>> {
        let gate = self.gate.load(Ordering::Acquire);
        if gate == Gate::Broken as u8 {
            Some(None)
        } else if gate == Gate::Closed as u8 {
            Some(Some(CLOSED))
        } else if self.bytes.load(Ordering::Relaxed) > BYTES_MAX || self.events.load(Ordering::Relaxed) > EVENTS_MAX {
            Some(Some("the disk is slower than events arrive; the queue is full"))
        } else {
            None
        }
    }

    fn open_batch(self: &Arc<Self>, kept: bool, room: Room) -> Batch {
        let number = self.opened.fetch_add(1, Ordering::SeqCst);
        Batch::new(Arc::clone(self), number, kept, room)
    }

    /// Sends a batch to the journal's thread.
    pub(super) fn submit(&self, submitted: SubmittedBatch) {
        self.count_in(&submitted.events);
        self.send(Message::Events(submitted));
    }

    fn count_in(&self, events: &EncodedEvents) {
        self.bytes.fetch_add(events.bodies.len(), Ordering::Relaxed);
        self.events.fetch_add(events.metas.len(), Ordering::Relaxed);
    }

    /// Sends a message; events that cannot be sent, because the thread has ended, are lost.
    pub(super) fn send(&self, message: Message) {
        if let Err(message) = self.mailbox.send(message) {
            self.lose(message);
        }
    }

    /// Waits for messages, until a time at most, and takes those of about `bytes` bytes.
    pub(super) fn receive(&self, until: Instant, bytes: usize, received: &mut Vec<Message>) {
        self.mailbox.receive(until, bytes, received);
    }

    /// Takes the messages of about `bytes` bytes that have arrived.
    pub(super) fn try_receive(&self, bytes: usize, received: &mut Vec<Message>) {
        self.mailbox.try_receive(bytes, received);
    }

    /// The journal's thread has ended: what is still on the way to it is lost.
    pub(super) fn end(&self) {
        let (messages, unanswered) = self.mailbox.end();
        messages.into_iter().for_each(|message| self.lose(message));
        for batch in unanswered {
            batch.lose(Outcome::Lost, &self.losses, Some(CLOSED));
        }
    }

    fn lose(&self, message: Message) {
        match message {
            Message::Events(submitted) => submitted.batch.lose(Outcome::Lost, &self.losses, Some(CLOSED)),
            Message::After(_, events) => self.losses.add(events.metas.len() as u64, Some(CLOSED)),
            Message::Rotate | Message::Repeating | Message::Close => {}
        }
    }

    /// Answers requests that have waited long enough for a disk that neither takes nor refuses their
    /// events, until [`Queue::end_watch`] or [`Queue::end`].
    pub(super) fn watch(&self) {
        let busy_since = || {
            let since = self.busy.load(Ordering::Relaxed).checked_sub(1)?;
            self.began.checked_add(Duration::from_millis(since))
        };
        self.mailbox.watch(PATIENCE, busy_since, |batch| {
            batch.lose(Outcome::Overdue, &self.losses, Some("the disk does not respond"));
        });
    }

    /// Ends the watch. Requests that wait get their events as lost; the caller counts them.
    pub(super) fn end_watch(&self) {
        self.mailbox.end_watch().iter().for_each(|batch| batch.give_up());
    }

    /// Counts events that the thread has finished with.
    pub(super) fn count_out(&self, bytes: usize, events: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.events.fetch_sub(events, Ordering::Relaxed);
    }

    /// How many events wait to be written.
    pub(super) fn waiting(&self) -> u64 {
        self.events.load(Ordering::Relaxed) as u64
    }

    /// A closed gate stays closed.
    pub(super) fn set_gate(&self, gate: Gate) {
        let _ = self.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            (now != Gate::Closed as u8).then_some(gate as u8)
        });
    }

    /// Records that the thread begins or ends a disk operation.
    pub(super) fn set_busy(&self, busy: bool) {
        let since = if busy { self.elapsed() + 1 } else { 0 };
        self.busy.store(since, Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
