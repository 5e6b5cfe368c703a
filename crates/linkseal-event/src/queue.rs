//! The way of an event from a request to the journal's thread, and of the answer back.
//!
//! No thread that drives connections touches a file here, or a lock that the journal's thread
//! holds. What requests record in one turn of a thread's runtime is collected in a [`Batch`]; the
//! request that opened it, its leader, yields once, so that everything that was ready has recorded
//! its event too, and then hands all of it over by one message. The answer comes to the leader,
//! which wakes the others on their own thread.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use uuid::Uuid;

use super::appending::Place;
use super::losses::Losses;
use super::verdict::Class;
use super::{Event, EventType, frame, ids};

/// Most bytes that may wait to be written: some 16,000 events. A disk that is this far behind
/// will not catch up while recipients wait.
const BYTES_MAX: usize = 8 << 20;
/// Most events that may wait to be written.
const EVENTS_MAX: usize = 1 << 15;
/// A batch of so many bytes is handed over without waiting for the end of the turn.
const BATCH_BYTES: usize = 64 << 10;
/// A batch of so many events is handed over as well.
const BATCH_EVENTS: usize = 256;
/// Room in a frame for the members that the journal gives, in bytes.
const HEAD_MAX: usize = 256;
const TOO_LARGE: &str = "an event is larger than a frame may be";
/// How long an append waits for a disk that neither takes the event nor refuses it. Recipients
/// wait on the other side; past this the event may still be written, but no request waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the journal's thread is sent.
pub(super) enum Message {
    /// Events to write together.
    Events(Handed),
    /// Events that no request waits for, to be written when all batches below this number have come.
    After(u64, Content),
    /// Begin a new segment, if the present one holds anything.
    Rotate,
    /// Repetitions are being counted: their time is to be looked at.
    Repeating,
    /// Write what has come, and end.
    Close,
}

/// A batch on its way.
pub(super) struct Handed {
    pub(super) batch: Arc<Batch>,
    pub(super) content: Content,
}

/// The bodies of events, and what the journal must know of each.
#[derive(Default)]
pub(super) struct Content {
    pub(super) bodies: Vec<u8>,
    pub(super) events: Vec<Member>,
}

/// An event of a batch.
pub(super) struct Member {
    pub(super) id: Uuid,
    pub(super) kind: EventType,
    pub(super) class: Option<Class>,
    /// The length of its body: its members from `type` on.
    pub(super) length: usize,
}

/// Events that are handed over, written and answered together.
pub(super) struct Batch {
    /// Batches are numbered as they are opened.
    pub(super) number: u64,
    /// Whether their maker keeps the events until they have survived the machine: one that is not
    /// written is not lost then.
    pub(super) kept: bool,
    /// Only tasks of the thread that records the events meet here.
    open: Mutex<Open>,
    outcome: AtomicU8,
    leader: AtomicWaker,
    /// Whether the leader has gone: the others are woken one by one, and look at the time themselves.
    leaderless: AtomicBool,
    /// How many events it has, once it is handed over.
    count: AtomicU64,
}

#[derive(Default)]
struct Open {
    /// `None`: it was handed over.
    content: Option<Content>,
    followers: Vec<(usize, Waker)>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is as durable as was asked for.
    Written,
    /// It was refused, or could not be written.
    Lost,
    /// The disk did neither in time; it was counted as lost.
    Overdue,
}

/// What stands for an outcome that is not there: none is decided,
const WAITING: u8 = 0;
/// or its losses are being counted.
const COUNTING: u8 = u8::MAX;

/// Whether events are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Gate {
    /// They are.
    Open,
    /// The journal cannot be written at present.
    Broken,
    /// The journal is closed.
    Closed,
}

/// The way to the journal's thread.
pub(super) struct Queue {
    /// Which journal's; a process may have several.
    id: u64,
    sender: mpsc::Sender<Message>,
    gate: AtomicU8,
    bytes: AtomicUsize,
    events: AtomicUsize,
    /// How many batches have been opened.
    opened: AtomicU64,
    began: Instant,
    /// When the thread began what it does with the disk now, in milliseconds after `began`, and
    /// one. 0: it does nothing.
    busy: AtomicU64,
    pub(super) losses: Losses,
}

impl Queue {
    /// A queue, and the end that the journal's thread has.
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

    /// Records an event in the batch of this thread's turn. `None`: it was refused, and counted.
    pub(super) fn record(
        self: &Arc<Self>,
        event: &Event<'_>,
        encode: impl FnOnce(&mut Vec<u8>),
        waits: bool,
    ) -> Option<Place> {
        thread_local! {
            /// The batch of the present turn.
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
                let batch = Arc::new(self.open(false));
                // It is open: its first event is this one.
                let added = batch.add(event, encode).unwrap_or_default();
                (batch, added, true)
            });
            if batch.is_large() || (leads && added.is_none()) {
                self.hand_over(&batch);
            } else {
                *turn = Some((self.id, Arc::clone(&batch)));
            }
            let Some((id, place)) = added else {
                self.losses.add(1, Some(TOO_LARGE));
                return None;
            };
            Some(Place::new(id, Arc::clone(self), batch, place, leads, waits))
        })
    }

    /// Hands over an event that its maker keeps, in a batch of its own.
    pub(super) fn keep(self: &Arc<Self>, event: &Event<'_>, encode: impl FnOnce(&mut Vec<u8>)) -> Option<Place> {
        if self.refusal().is_some() {
            return None;
        }
        let batch = Arc::new(self.open(true));
        let added = batch.add(event, encode).unwrap_or_default();
        self.hand_over(&batch);
        let (id, place) = added?;
        Some(Place::new(id, Arc::clone(self), batch, place, true, true))
    }

    /// Hands over an event that no request waits for. It is written after all that were recorded
    /// before it, also by other threads.
    pub(super) fn record_after(&self, event: &Event<'_>, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.admit(1).is_none() {
            return;
        }
        let mut content = Content::default();
        if content.add(event, encode).is_none() {
            return self.losses.add(1, Some(TOO_LARGE));
        }
        let number = self.opened.load(Ordering::SeqCst);
        self.count_in(&content);
        self.send(Message::After(number, content));
    }

    /// `None`: events are refused, and this many were counted as lost.
    fn admit(&self, events: u64) -> Option<()> {
        match self.refusal() {
            None => Some(()),
            Some(cause) => {
                self.losses.add(events, cause);
                None
            }
        }
    }

    /// Why an event cannot be taken, as far as that is not known already. `None`: it can.
    fn refusal(&self) -> Option<Option<&'static str>> {
        let gate = self.gate.load(Ordering::Acquire);
        if gate == Gate::Broken as u8 {
            Some(None)
        } else if gate == Gate::Closed as u8 {
            Some(Some("the journal is closed"))
        } else if self.bytes.load(Ordering::Relaxed) > BYTES_MAX || self.events.load(Ordering::Relaxed) > EVENTS_MAX {
            Some(Some("the disk is slower than events come; the queue is full"))
        } else {
            None
        }
    }

    fn open(&self, kept: bool) -> Batch {
        Batch {
            number: self.opened.fetch_add(1, Ordering::SeqCst),
            kept,
            open: Mutex::new(Open {
                content: Some(Content::default()),
                followers: Vec::new(),
            }),
            outcome: AtomicU8::new(WAITING),
            leader: AtomicWaker::new(),
            leaderless: AtomicBool::new(false),
            count: AtomicU64::new(0),
        }
    }

    /// Sends a batch to the thread, if that has not been done.
    pub(super) fn hand_over(&self, batch: &Arc<Batch>) {
        let Some(content) = batch.lock().content.take() else {
            return;
        };
        batch.count.store(content.events.len() as u64, Ordering::Release);
        self.count_in(&content);
        self.send(Message::Events(Handed {
            batch: Arc::clone(batch),
            content,
        }));
    }

    fn count_in(&self, content: &Content) {
        self.bytes.fetch_add(content.bodies.len(), Ordering::Relaxed);
        self.events.fetch_add(content.events.len(), Ordering::Relaxed);
    }

    /// Sends a message; what cannot be sent, because the thread has ended, is lost.
    pub(super) fn send(&self, message: Message) {
        let Err(mpsc::SendError(message)) = self.sender.send(message) else {
            return;
        };
        let cause = Some("the journal is closed");
        match message {
            Message::Events(handed) => handed.batch.lose(Outcome::Lost, &self.losses, cause),
            Message::After(_, content) => self.losses.add(content.events.len() as u64, cause),
            Message::Rotate | Message::Repeating | Message::Close => {}
        }
    }

    /// Counts what the thread is done with.
    pub(super) fn count_out(&self, bytes: usize, events: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.events.fetch_sub(events, Ordering::Relaxed);
    }

    /// How many events wait.
    pub(super) fn waiting(&self) -> u64 {
        self.events.load(Ordering::Relaxed) as u64
    }

    /// Once closed, it stays so.
    pub(super) fn set_gate(&self, gate: Gate) {
        let _ = self.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            (now != Gate::Closed as u8).then_some(gate as u8)
        });
    }

    /// Notes that the thread turns to the disk now, or is done with it.
    pub(super) fn set_busy(&self, busy: bool) {
        let since = if busy { self.elapsed() + 1 } else { 0 };
        self.busy.store(since, Ordering::Relaxed);
    }

    /// How long a request may wait for the disk from now on: no longer than it has been known for
    /// that the disk does not answer.
    pub(super) fn patience(&self) -> Duration {
        match self.busy.load(Ordering::Relaxed) {
            0 => PATIENCE,
            since => PATIENCE.saturating_sub(Duration::from_millis((self.elapsed() + 1).saturating_sub(since))),
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

impl Batch {
    /// Adds an event: its id and its place, or `None` when it is too large.
    ///
    /// # Errors
    /// When the batch was handed over; gives `encode` back.
    fn add<F: FnOnce(&mut Vec<u8>)>(&self, event: &Event<'_>, encode: F) -> Result<Option<(Uuid, usize)>, F> {
        match &mut self.lock().content {
            Some(content) => {
                let place = content.events.len();
                Ok(content.add(event, encode).map(|id| (id, place)))
            }
            None => Err(encode),
        }
    }

    fn is_large(&self) -> bool {
        let open = self.lock();
        let content = open.content.as_ref();
        content.is_some_and(|c| c.bodies.len() >= BATCH_BYTES || c.events.len() >= BATCH_EVENTS)
    }

    /// What became of it. `None`: nothing yet.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        Outcome::of(self.outcome.load(Ordering::SeqCst))
    }

    /// What is to be woken when the outcome is there, for the leader.
    pub(super) fn lead(&self, waker: &Waker) {
        self.leader.register(waker);
    }

    /// As [`Batch::lead`], for another. `again`: it has been here before.
    pub(super) fn follow(&self, place: usize, waker: &Waker, again: bool) {
        let mut open = self.lock();
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

    /// The leader goes: it has its answer, or does not want it any more.
    pub(super) fn leave(&self) {
        self.leaderless.store(true, Ordering::SeqCst);
        self.wake_followers();
    }

    /// It could not be written, or was not in time; the losses are counted before that can be seen.
    /// The first outcome counts.
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

    /// It is written.
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
        let followers = std::mem::take(&mut self.lock().followers);
        followers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing panics under this lock; should it ever, the journal goes on.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    fn of(number: u8) -> Option<Self> {
        [Self::Written, Self::Lost, Self::Overdue]
            .into_iter()
            .find(|o| *o as u8 + 1 == number)
    }
}

impl Content {
    /// Adds an event; its id. `None`: it is larger than a frame may be.
    pub(super) fn add(&mut self, event: &Event<'_>, encode: impl FnOnce(&mut Vec<u8>)) -> Option<Uuid> {
        let id = event.id.unwrap_or_else(|| ids::next(event.time));
        self.push(id, event.kind, event.class(), encode).then_some(id)
    }

    /// As [`Content::add`]; tells whether it was added.
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
        self.events.push(Member {
            id,
            kind,
            class,
            length,
        });
        true
    }
}
