//! Messages on their way to the journal's thread, and the batches whose requests wait for it.
//!
//! A thread that drives connections takes the lock once for each batch, and makes a system call only when
//! the journal's thread sleeps. The watch is a second thread: it answers requests when a disk holds up the
//! journal's thread, so that no request needs a timer of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::batch::{Batch, EncodedEvents, SubmittedBatch};

/// Shortest time between two looks of the watch.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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

/// The messages that have not been received, and the batches that have not been answered.
#[derive(Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    /// Wakes the journal's thread.
    arrived: Condvar,
    /// Wakes the watch.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    /// What may keep a request waiting, oldest first. Answered batches go when another is sent.
    unanswered: VecDeque<Unanswered>,
    /// Whether the journal's thread has ended: nothing is taken any more.
    has_ended: bool,
    /// Whether the watch is to end.
    is_unwatched: bool,
}

struct Unanswered {
    since: Instant,
    batch: Arc<Batch>,
}

impl Mailbox {
    /// Sends a message.
    ///
    /// # Errors
    /// When the journal's thread has ended; gives the message back.
    pub(super) fn send(&self, message: Message) -> Result<(), Message> {
        let mut state = self.state.lock();
        if state.has_ended {
            return Err(message);
        }
        if let Message::Events(submitted) = &message
            && !submitted.batch.kept
            // It is not written, and so never answered.
            && !submitted.events.metas.is_empty()
        {
            state.forget_answered();
            state.unanswered.push_back(Unanswered {
                since: Instant::now(),
                batch: Arc::clone(&submitted.batch),
            });
        }
        state.messages.push_back(message);
        drop(state);
        // Makes a system call only when the thread waits.
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for a message, until a time at most, and takes what has arrived: up to `bytes` of events,
    /// and one message at least.
    pub(super) fn receive(&self, until: Instant, bytes: usize, received: &mut Vec<Message>) {
        let mut state = self.state.lock();
        while state.messages.is_empty() {
            if self.arrived.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.take(bytes, received);
    }

    /// Takes what has arrived, up to `bytes` of events.
    pub(super) fn try_receive(&self, bytes: usize, received: &mut Vec<Message>) {
        self.state.lock().take(bytes, received);
    }

    /// The journal's thread has ended: takes no more, and returns what it did not finish.
    pub(super) fn end(&self) -> (Vec<Message>, Vec<Arc<Batch>>) {
        let mut state = self.state.lock();
        state.has_ended = true;
        let messages = std::mem::take(&mut state.messages);
        drop(state);
        (messages.into(), self.end_watch())
    }

    /// Ends the watch, and returns the batches that it watched.
    pub(super) fn end_watch(&self) -> Vec<Arc<Batch>> {
        let mut state = self.state.lock();
        state.is_unwatched = true;
        let unanswered = std::mem::take(&mut state.unanswered);
        drop(state);
        self.ended.notify_all();
        unanswered.into_iter().map(|u| u.batch).collect()
    }

    /// Calls `lose` for each batch that has kept a request waiting for `patience`, or all that do while
    /// the disk has been busy with one operation for that long. `busy_since`: since when it is. Returns
    /// when the watch is ended.
    pub(super) fn watch(&self, patience: Duration, busy_since: impl Fn() -> Option<Instant>, lose: impl Fn(&Batch)) {
        let mut state = self.state.lock();
        while !state.is_unwatched {
            state.forget_answered();
            let (now, busy) = (Instant::now(), busy_since());
            let is_late = |since: Instant| now.saturating_duration_since(since) >= patience;
            let late: Vec<_> = state
                .unanswered
                .iter()
                .take_while(|u| is_late(u.since) || busy.is_some_and(is_late))
                .map(|u| Arc::clone(&u.batch))
                .collect();
            if !late.is_empty() {
                // Losses are logged, which may take time.
                parking_lot::MutexGuard::unlocked(&mut state, || {
                    late.iter()
                        .filter(|batch| batch.is_awaited())
                        .for_each(|batch| lose(batch));
                });
            }
            // What is sent from now on is late after `patience` at the earliest, unless the disk is busy.
            let oldest = state.unanswered.front().map(|u| u.since);
            let due = [oldest, busy].into_iter().flatten().fold(now, Ord::min) + patience;
            self.ended.wait_until(&mut state, due.max(now + LOOK_EVERY));
        }
    }
}

impl State {
    fn take(&mut self, bytes: usize, received: &mut Vec<Message>) {
        let mut taken = 0;
        while taken < bytes
            && let Some(message) = self.messages.pop_front()
        {
            taken += message.bytes();
            received.push(message);
        }
    }

    fn forget_answered(&mut self) {
        while self.unanswered.pop_front_if(|u| u.batch.outcome().is_some()).is_some() {}
    }
}

impl Message {
    /// The size of its events.
    fn bytes(&self) -> usize {
        match self {
            Self::Events(submitted) => submitted.events.bodies.len(),
            Self::After(_, events) => events.bodies.len(),
            Self::Rotate | Self::Repeating | Self::Close => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;

    use super::*;
    use crate::event_type::EventType;
    use crate::journal::batch::Room;
    use crate::journal::losses::Losses;
    use crate::journal::queue::Queue;

    #[test]
    fn answered_and_empty_batches_are_forgotten() {
        let losses = Losses::new(IntCounter::new("lost", "lost").unwrap(), String::new());
        let queue = Arc::new(Queue::new(losses));
        let mailbox = Mailbox::default();
        let send = |events: EncodedEvents| {
            let batch = Arc::new(Batch::new(Arc::clone(&queue), 0, false, Room::NONE));
            let submitted = SubmittedBatch {
                batch: Arc::clone(&batch),
                events,
            };
            assert!(mailbox.send(Message::Events(submitted)).is_ok());
            batch
        };
        let one = || {
            let mut events = EncodedEvents::default();
            assert!(events.push(uuid::Uuid::nil(), EventType::Open, None, |out| out.push(b'}')));
            events
        };
        let unanswered = || mailbox.state.lock().unanswered.len();
        // An event that is too large leaves its batch empty.
        send(EncodedEvents::default());
        assert_eq!(unanswered(), 0);
        let (first, second) = (send(one()), send(one()));
        assert_eq!(unanswered(), 2);
        first.written();
        second.written();
        send(one());
        assert_eq!(unanswered(), 1);
    }
}
