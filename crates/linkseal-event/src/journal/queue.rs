//! The path of an event from a request to the journal's thread, and of the acknowledgement back.
//!
//! A thread that drives connections never touches a file here, nor a lock that the journal's thread
//! holds. Events recorded in one turn of a thread's runtime are collected in a [`Batch`]. The request
//! that opened the batch is its leader: it yields once, so that every task that was ready has recorded
//! its event too, and then submits the batch in one message. The acknowledgement wakes the leader,
//! which wakes the followers on their own thread.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::batch::{Batch, EncodedEvents, Outcome};
use super::losses::Losses;
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

/// A message to the journal's thread.
pub(super) enum Message {
    /// Events to write together.
    Events(SubmittedBatch),
    /// Events that no request waits for, to be written once every batch below this number has
    /// arrived.
    After(u64, EncodedEvents),
    /// Begin a new segment unless the current one is empty.
    Rotate,
    /// Repetitions are being counted: check from time to time whether counts are due.
    Repeating,
    /// Write what has arrived, and end.
    Close,
}

/// A batch on its way to the journal's thread.
pub(super) struct SubmittedBatch {
    pub(super) batch: Arc<Batch>,
    pub(super) events: EncodedEvents,
}

/// Whether events are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Gate {
    Open,
    /// The journal cannot be written at present.
    Broken,
    Closed,
}

/// The queue of the journal's thread.
pub(super) struct Queue {
    /// Tells the journals of one process apart.
    id: u64,
    sender: mpsc::Sender<Message>,
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
    /// The queue, and its receiving end for the journal's thread.
    pub(super) fn new(losses: Losses) -> (Self, mpsc::Receiver<Message>) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (sender, receiver) = mpsc::channel();
        let queue = Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            sender,
            gate: AtomicU8::new(Gate::Broken as u8),
            bytes: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            began: Instant::now(),
            busy: AtomicU64::new(0),
            losses,
        };
        (queue, receiver)
    }

    /// Adds an event to the batch of this thread's turn; `None` when it was refused, and counted.
    pub(super) fn add(
        self: &Arc<Self>,
        event: &Event<'_>,
        encode: impl FnOnce(&mut Vec<u8>),
        waits: bool,
    ) -> Option<Pending> {
        thread_local! {
            /// The batch of the current turn.
            static TURN: RefCell<Option<(u64, Arc<Batch>)>> = const { RefCell::new(None) };
        }
        self.admit(1)?;
        TURN.with_borrow_mut(|turn| {
            let same = turn.take().filter(|(journal, _)| *journal == self.id);
            let joined = match same {
                Some((_, batch)) => batch.add(event, encode).map(|added| (batch, added, false)),
                None => Err(encode),
            };
            let (batch, added, leads) = joined.unwrap_or_else(|encode| {
                let batch = Arc::new(self.open_batch(false));
                // It has just been opened, so adding cannot fail.
                let added = batch.add(event, encode).unwrap_or_default();
                (batch, added, true)
            });
            if batch.is_large() || (leads && added.is_none()) {
                self.submit(&batch);
            } else {
                *turn = Some((self.id, Arc::clone(&batch)));
            }
            let Some((id, place)) = added else {
                self.losses.add(1, Some(TOO_LARGE));
                return None;
            };
            Some(Pending {
                id,
                queue: Arc::clone(self),
                batch,
                place,
                leads,
                waits,
            })
        })
    }

    /// Submits an event that its producer keeps, in a batch of its own.
    pub(super) fn add_kept(self: &Arc<Self>, event: &Event<'_>, encode: impl FnOnce(&mut Vec<u8>)) -> Option<Pending> {
        if self.refusal().is_some() {
            return None;
        }
        let batch = Arc::new(self.open_batch(true));
        let added = batch.add(event, encode).unwrap_or_default();
        self.submit(&batch);
        let (id, place) = added?;
        Some(Pending {
            id,
            queue: Arc::clone(self),
            batch,
            place,
            leads: true,
            waits: true,
        })
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

    fn open_batch(&self, kept: bool) -> Batch {
        Batch::new(self.opened.fetch_add(1, Ordering::SeqCst), kept)
    }

    /// Sends a batch to the journal's thread, unless that has been done.
    pub(super) fn submit(&self, batch: &Arc<Batch>) {
        let Some(events) = batch.take_events() else {
            return;
        };
        self.count_in(&events);
        self.send(Message::Events(SubmittedBatch {
            batch: Arc::clone(batch),
            events,
        }));
    }

    fn count_in(&self, events: &EncodedEvents) {
        self.bytes.fetch_add(events.bodies.len(), Ordering::Relaxed);
        self.events.fetch_add(events.metas.len(), Ordering::Relaxed);
    }

    /// Sends a message; events that cannot be sent, because the thread has ended, are lost.
    pub(super) fn send(&self, message: Message) {
        let Err(mpsc::SendError(message)) = self.sender.send(message) else {
            return;
        };
        match message {
            Message::Events(submitted) => submitted.batch.lose(Outcome::Lost, &self.losses, Some(CLOSED)),
            Message::After(_, events) => self.losses.add(events.metas.len() as u64, Some(CLOSED)),
            Message::Rotate | Message::Repeating | Message::Close => {}
        }
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

    /// How long a request may wait for the disk from now on: less while the disk is known not to
    /// respond.
    fn patience(&self) -> Duration {
        match self.busy.load(Ordering::Relaxed) {
            0 => PATIENCE,
            since => PATIENCE.saturating_sub(Duration::from_millis((self.elapsed() + 1).saturating_sub(since))),
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

/// An event in the queue, as its request holds it.
pub(super) struct Pending {
    pub(super) id: Uuid,
    queue: Arc<Queue>,
    batch: Arc<Batch>,
    /// Its place in the batch.
    place: usize,
    /// Whether it opened the batch, and therefore submits it.
    leads: bool,
    /// Whether the answer waits for it.
    pub(super) waits: bool,
}

impl Pending {
    /// Waits for the outcome of its batch.
    pub(super) async fn outcome(&self) -> Outcome {
        if self.leads && !self.batch.kept {
            // Events of other tasks that are ready in this turn join the batch.
            tokio::task::yield_now().await;
            self.queue.submit(&self.batch);
        }
        let mut timer: Option<Pin<Box<tokio::time::Sleep>>> = None;
        let mut again = false;
        poll_fn(|cx| {
            if self.leads {
                self.batch.lead(cx.waker());
            } else {
                self.batch.follow(self.place, cx.waker(), again);
                again = true;
            }
            if let Some(outcome) = self.batch.outcome() {
                return Poll::Ready(outcome);
            }
            // One timer is enough for a batch while its leader is there.
            if !self.batch.kept && (self.leads || self.batch.is_leaderless()) {
                let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.queue.patience())));
                if timer.as_mut().poll(cx).is_ready() {
                    let cause = Some("the disk does not respond");
                    self.batch.lose(Outcome::Overdue, &self.queue.losses, cause);
                    return Poll::Ready(self.batch.outcome().unwrap_or(Outcome::Overdue));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.leads {
            self.queue.submit(&self.batch);
            self.batch.leave();
        }
    }
}
