//! What waits to be written to the journal, and where the segment is: the writer's state.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::segment::Segment;
use super::verdict::Class;
use super::{Event, EventType, Receipt, frame};
use crate::clock::Timestamp;
use crate::random;

/// Most bytes that may wait to be written: some 16,000 events. A disk that is this far behind
/// will not catch up while recipients wait.
const QUEUE_MAX: usize = 8 << 20;
/// Room in a frame for the members that the journal gives, in bytes.
const HEAD_MAX: usize = 256;
/// Losses are logged at most once in this time.
const LOG_PERIOD: Duration = Duration::from_secs(10);
/// Random bytes in one id (RFC 9562 §5.7: 74 bits).
const ID_RANDOM: usize = 10;
/// Ids that one call of the random generator is enough for.
const IDS_AHEAD: usize = 256;

/// The writer's state, under its lock.
pub(super) struct State {
    pub(super) next_seq: u64,
    pub(super) pending: Group,
    pub(super) segment: Output,
    /// A group whose writing failed, for the thread to save.
    pub(super) failed: Option<(Segment, Group, io::Error)>,
    /// A buffer to use again.
    pub(super) spare: Vec<u8>,
    pub(super) ids: VecDeque<u8>,
    pub(super) rotate: bool,
    pub(super) closing: bool,
    /// Whether the thread waits to be woken.
    pub(super) thread_waits: bool,
    pub(super) losses: Losses,
}

/// Where the segment is.
pub(super) enum Output {
    /// Nobody writes.
    Idle(Segment),
    /// A task or the thread has taken it and writes.
    Busy,
    /// None could be made; the next attempt is due then.
    Broken(Instant),
}

/// Events that are written together.
#[derive(Default)]
pub(super) struct Group {
    pub(super) frames: Vec<u8>,
    pub(super) events: Vec<Member>,
    /// The sequence number of the first.
    pub(super) first: u64,
    /// The sequence number of the last.
    pub(super) last: u64,
    /// Whether one of them must survive the machine, whatever is configured.
    pub(super) sync: bool,
}

/// An event of a group.
pub(super) struct Member {
    pub(super) kind: EventType,
    pub(super) class: Option<Class>,
    /// Who waits for it. `None`: nobody, or the task that writes the group.
    pub(super) waiter: Option<oneshot::Sender<bool>>,
}

/// Losses that have not been logged.
#[derive(Default)]
pub(super) struct Losses {
    pub(super) count: u64,
    pub(super) logged: Option<Instant>,
    pub(super) cause: Option<String>,
}

impl State {
    /// Nothing waits, and there is a segment.
    pub(super) fn new(segment: Segment) -> Self {
        Self {
            next_seq: 1,
            pending: Group::default(),
            segment: Output::Idle(segment),
            failed: None,
            spare: Vec::new(),
            ids: VecDeque::new(),
            rotate: false,
            closing: false,
            thread_waits: false,
            losses: Losses::default(),
        }
    }

    /// Why an event cannot be taken, as far as that is not known already. `None`: it can.
    pub(super) fn refusal(&self, rest: &[u8]) -> Option<Option<&'static str>> {
        if matches!(self.segment, Output::Broken(_)) {
            Some(None)
        } else if self.closing {
            Some(Some("the journal is closed"))
        } else if self.pending.frames.len() > QUEUE_MAX {
            Some(Some("the disk is slower than events come; the queue is full"))
        } else if rest.len() > frame::MAX_PAYLOAD - HEAD_MAX {
            Some(Some("an event is larger than a frame may be"))
        } else {
            None
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.pending.events.is_empty() || self.rotate
    }

    pub(super) fn push(&mut self, event: &Event<'_>, rest: &[u8], boot: Uuid) -> Receipt {
        let receipt = Receipt {
            id: event.id.unwrap_or_else(|| self.next_id(event.time)),
            seq: self.next_seq,
        };
        self.next_seq += 1;
        if self.pending.events.is_empty() {
            self.pending.first = receipt.seq;
        }
        self.pending.last = receipt.seq;
        frame::write(&mut self.pending.frames, receipt.seq, |out| {
            Event::encode_head(out, receipt.id, receipt.seq, boot);
            out.extend_from_slice(rest);
        });
        self.pending.events.push(Member {
            kind: event.kind,
            class: event.class(),
            waiter: None,
        });
        receipt
    }

    pub(super) fn take_pending(&mut self) -> Group {
        let fresh = Group {
            frames: std::mem::take(&mut self.spare),
            ..Group::default()
        };
        std::mem::replace(&mut self.pending, fresh)
    }

    pub(super) fn next_id(&mut self, time: Timestamp) -> Uuid {
        if self.ids.is_empty() {
            self.ids.extend(random::bytes::<{ ID_RANDOM * IDS_AHEAD }>());
        }
        let mut random = [0; ID_RANDOM];
        for (place, byte) in random.iter_mut().zip(self.ids.drain(..ID_RANDOM)) {
            *place = byte;
        }
        let ms = u64::try_from(time.as_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    }
}

impl Losses {
    /// How long until losses are to be logged. `None`: there are none.
    pub(super) fn log_due(&self) -> Option<Duration> {
        let wait = self
            .logged
            .map_or(Duration::ZERO, |at| LOG_PERIOD.saturating_sub(at.elapsed()));
        (self.count > 0).then_some(wait)
    }
}
