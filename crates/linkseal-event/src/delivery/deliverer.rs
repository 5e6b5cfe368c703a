//! Delivers a batch to a sink, retrying until the sink holds it, and keeps one bad event from
//! blocking the events behind it.
//!
//! When a receiver rejects a batch permanently, the batch is halved until the rejected event is
//! isolated, and that event becomes a dead letter. This happens at once if the receiver accepts
//! another event, because then the event is at fault. Otherwise the receiver may be rejecting
//! everything, and setting events aside would drain the whole queue; so the event is retried for some
//! minutes first.
//!
//! Transient failures are waited out. If they go on, the batch is halved too, because one event may
//! crash the receiver or the whole batch may take too long. Such an event becomes a dead letter only
//! when the receiver accepts another one after failing on this one for minutes.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use tokio::sync::watch;

use super::context::{DISK_PAUSE, Ended, SinkContext};
use super::subscription::Subscription;
use crate::failure_streak::{FailureStreak, elapsed};
use crate::journal::cursor::Cursor;
use crate::journal::folder::Folder;
use crate::journal::lines::{Lines, LinesBuffer};
use crate::journal::reader::Until;
use crate::sink::{Retry, Sink, SinkError};

/// Pauses after the first, second, … consecutive failure; the last one repeats. Later events wait
/// behind the failing ones, and one small request a minute does not harm a receiver.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
    LONGEST_PAUSE,
];
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Share by which pauses vary at random, so that a fleet does not retry in step.
const JITTER: f64 = 0.2;
/// How long a request in flight may still take at shutdown.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Consecutive transient failures of the whole batch before it is halved: about two minutes.
const WHOLE_TRIES: u32 = 5;
/// Attempts with a single event before it may become a dead letter without a permanent rejection,
/// or without another event being accepted: two to five minutes.
const ALONE_TRIES: u32 = 5;
/// After this many rejected events without an accepted one, the receiver seems to reject everything.
const REJECTED_IN_A_ROW: u32 = 10;
/// Events read ahead to find one that the sink subscribes to, as a probe.
const PROBE_READ: usize = 256;
/// How often the cursor is saved when it only skips events that the sink does not subscribe to.
const SKIP_SAVE_EVERY: Duration = Duration::from_secs(60);

/// Delivers to one sink.
pub(super) struct Deliverer {
    pub(super) context: SinkContext,
    pub(super) sink: Box<dyn Sink>,
    pub(super) subscription: Subscription,
    pub(super) folders: watch::Receiver<Vec<Arc<Folder>>>,
    pub(super) attempts: Attempts,
}

/// The recent attempts at a sink. The default is a sink that has not been tried.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    streak: FailureStreak,
    /// Events set aside since one was accepted.
    rejected: u32,
    /// Failures with a single event.
    alone: u32,
}

/// A worker's position in a folder.
pub(super) struct Position {
    pub(super) folder: Arc<Folder>,
    pub(super) cursor: Cursor,
    /// The sink holds, or does not subscribe to, every event up to this one.
    pub(super) held: u64,
    /// The end of the batch in flight, for a sink that needs stable batches.
    pub(super) offered: Option<u64>,
    /// Whether `held` is ahead of the cursor on disk.
    pub(super) unsaved: bool,
    pub(super) saved_at: Timestamp,
}

/// The result of one attempt.
pub(super) enum Attempt {
    Accepted,
    Failed(SinkError),
    Stopping,
}

/// What is to blame when a single event is not accepted.
enum Blame {
    /// The receiver, as far as can be told.
    Receiver,
    Event,
    /// The event; the one behind it in the batch has been accepted meanwhile.
    EventNextAccepted,
}

impl Deliverer {
    /// Delivers a batch, the events up to `last` that the sink subscribes to, then moves the cursor to
    /// `last`.
    pub(super) async fn deliver_batch(&mut self, batch: Lines, at: &mut Position, last: u64) -> Ended {
        if batch.is_empty() {
            at.advance(last);
            return if self.is_save_due(at) {
                self.save(at).await
            } else {
                Ended::Done
            };
        }
        if self.sink.needs_stable_batches() {
            at.offered = Some(last);
            match self.save(at).await {
                Ended::Done => {}
                ended => return ended,
            }
        }
        self.sink.forget_accepted();
        let mut size = batch.len();
        let mut rest = batch;
        // Whether transient failures have lasted so long that this batch is halved.
        let mut apart = false;
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(size);
            let error = match self.attempt(&piece).await {
                Attempt::Accepted => {
                    self.succeeded();
                    rest = others;
                    size = size.saturating_mul(2);
                    if let Ended::Stopping = self.step(at, &piece, &rest).await {
                        return Ended::Stopping;
                    }
                    continue;
                }
                Attempt::Failed(error) => error,
                Attempt::Stopping => return Ended::Stopping,
            };
            let (rejected, certain) = match error.retry {
                Retry::Never => return self.context.stop(&error.cause).await,
                Retry::Rejected => (true, self.attempts.rejected < REJECTED_IN_A_ROW),
                Retry::AllRejected => (true, false),
                Retry::Later | Retry::After(_) => (false, false),
            };
            apart |= self.attempts.streak.failures() >= WHOLE_TRIES;
            if piece.len() > 1 {
                if rejected || apart {
                    size = piece.len() / 2;
                }
                if rejected {
                    self.context.count("refused");
                    continue;
                }
                if self.wait_after(&error, apart.then_some(DISK_PAUSE)).await {
                    return Ended::Stopping;
                }
                continue;
            }
            let blame = match certain {
                true => Blame::Event,
                false => self.blame(rejected, &others, at, last).await,
            };
            let passed = match blame {
                Blame::Receiver if self.wait_after(&error, None).await => return Ended::Stopping,
                Blame::Receiver => continue,
                Blame::Event => 1,
                Blame::EventNextAccepted => 2,
            };
            self.context.count("refused");
            match self.set_aside(&piece, &error.cause, at).await {
                Ended::Done => {}
                ended => return ended,
            }
            let (done, others) = rest.split_at(passed);
            rest = others;
            if let Ended::Stopping = self.step(at, &done, &rest).await {
                return Ended::Stopping;
            }
        }
        at.offered = None;
        at.advance(last);
        // If this fails, the batch is only delivered again after a restart.
        self.save(at).await
    }

    /// Offers events to the sink once.
    pub(super) async fn attempt(&mut self, piece: &Lines) -> Attempt {
        let tasks = self.context.tasks.clone();
        let result = tokio::select! {
            result = self.sink.deliver(piece) => result,
            () = async { tasks.stopping().await; tokio::time::sleep(STOP_GRACE).await } => return Attempt::Stopping,
        };
        match result {
            Ok(()) => {
                self.context.count("ok");
                Attempt::Accepted
            }
            Err(error) => Attempt::Failed(error),
        }
    }

    pub(super) fn succeeded(&mut self) {
        let context = &self.context;
        let now = context.now();
        if let Some((failures, lasted)) = self.attempts.streak.end(now) {
            tracing::info!(failures, ?lasted, sink = context.name(), "sink accepts events again");
        }
        self.attempts = Attempts {
            streak: std::mem::take(&mut self.attempts.streak),
            ..Attempts::default()
        };
        context.state.succeeded(now);
        let gauge = context
            .journal
            .metrics()
            .last_success
            .with_label_values(&[context.name()]);
        gauge.set(now.as_secs());
    }

    /// Moves the cursor to the worker's position, retrying until it is saved.
    pub(super) async fn save(&self, at: &mut Position) -> Ended {
        let (cursor, held) = (at.cursor.clone(), at.held);
        let offered = at.offered.filter(|_| self.sink.needs_stable_batches());
        let save = move || match offered {
            Some(offered) => cursor.offer(held, offered),
            None => cursor.save(held),
        };
        let ended = self.context.keep_trying(&at.folder, save).await;
        if let Ended::Done = ended {
            at.unsaved = false;
            at.saved_at = self.context.now();
        }
        ended
    }

    fn is_save_due(&self, at: &Position) -> bool {
        at.unsaved && elapsed(at.saved_at, self.context.now()) >= SKIP_SAVE_EVERY
    }

    /// Moves the cursor after a part of a batch; at the end of the batch the caller does.
    async fn step(&self, at: &mut Position, piece: &Lines, rest: &Lines) -> Ended {
        match piece.last_seq() {
            Some(last) if !rest.is_empty() => {
                at.advance(last);
                self.save(at).await
            }
            _ => Ended::Done,
        }
    }

    /// Decides what is to blame when the event before `others` is not accepted.
    async fn blame(&mut self, rejected: bool, others: &Lines, at: &Position, last: u64) -> Blame {
        self.attempts.alone += 1;
        let late = self.attempts.alone >= ALONE_TRIES;
        // A transient failure is no reason to give up on an event early.
        if !rejected && !late {
            return Blame::Receiver;
        }
        let (probe, of_batch) = match others.split_at(1).0 {
            other if !other.is_empty() => (Some(other), true),
            _ => (self.probe_event(at, last).await, false),
        };
        let accepted = match probe {
            Some(other) => matches!(self.attempt(&other).await, Attempt::Accepted),
            None => false,
        };
        // Events before the probe must still be accepted.
        self.sink.forget_accepted();
        if accepted {
            self.succeeded();
        }
        match accepted {
            true if of_batch => Blame::EventNextAccepted,
            true => Blame::Event,
            false if rejected && late => Blame::Event,
            false => Blame::Receiver,
        }
    }

    /// An event after this batch, if there is one yet.
    async fn probe_event(&self, at: &Position, last: u64) -> Option<Lines> {
        let folders = self.folders.borrow().clone();
        for folder in folders.iter().filter(|f| f.boot >= at.folder.boot) {
            let after = if folder.boot == at.folder.boot { last } else { 0 };
            let until = match folder.last {
                Some(_) => Until::End,
                None => Until::Published(self.context.journal.published()),
            };
            let mut reader = self.context.reader(folder, after);
            let subscription = self.subscription.clone();
            let read = self.context.on_disk(move || {
                let mut found = LinesBuffer::new(BytesMut::new());
                reader.read(until, PROBE_READ, |seq, json| {
                    if found.is_empty() && subscription.takes(json) {
                        found.push(seq, json);
                    }
                })?;
                Ok(found)
            });
            if let Some(found) = read.await.ok().filter(|found| !found.is_empty()) {
                return Some(found.finish(folder.boot));
            }
        }
        None
    }

    /// Stores an event as a dead letter.
    async fn set_aside(&mut self, piece: &Lines, cause: &str, at: &Position) -> Ended {
        let Some(record) = piece.records().next() else {
            return Ended::Done;
        };
        self.attempts.rejected = self.attempts.rejected.saturating_add(1);
        self.attempts.alone = 0;
        let in_a_row = self.attempts.rejected;
        let context = &self.context;
        // The first ones are logged one by one, then every hundredth.
        if in_a_row <= REJECTED_IN_A_ROW || in_a_row.is_multiple_of(100) {
            tracing::error!(
                sink = context.name(), boot = %record.boot, seq = record.seq, cause, in_a_row,
                "event set aside as a dead letter because its receiver rejects it (see: linkseal events dead-letters list)"
            );
        }
        let (letters, name) = (context.board.letters().clone(), context.name().to_owned());
        let (cause, now) = (cause.to_owned(), context.now());
        let add = move || letters.add(&name, &record, &cause, now);
        context.keep_trying(&at.folder, add).await
    }

    /// Records a failure and waits before the next attempt, at most for `longest`; returns `true`
    /// when the process is shutting down.
    async fn wait_after(&mut self, error: &SinkError, longest: Option<Duration>) -> bool {
        let context = &self.context;
        let now = context.now();
        let log = self.attempts.streak.failed(&error.cause, now);
        let failures = self.attempts.streak.failures();
        let pause = match error.retry {
            Retry::After(pause) => pause,
            _ => longest.unwrap_or(LONGEST_PAUSE).min(pause_after(failures)),
        };
        context.count("retry");
        context.state.failed(&error.cause, failures, now + pause);
        if log {
            tracing::warn!(
                sink = context.name(),
                cause = error.cause,
                ?pause,
                failures,
                "delivery to a sink failed; retrying"
            );
        }
        context.pause_or_retry(pause).await
    }
}

impl Position {
    /// Moves on without saving the cursor at once.
    pub(super) fn advance(&mut self, last: u64) {
        self.held = last;
        self.unsaved = true;
    }
}

/// The pause after this many consecutive failures, at least one.
fn pause_after(failures: u32) -> Duration {
    let number = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    let pause = PAUSES.get(number).copied().unwrap_or(LONGEST_PAUSE);
    random::jitter(pause, JITTER).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute() {
        let within = |failures, seconds: f64| {
            let pause = pause_after(failures).as_secs_f64();
            (seconds * 0.79..=(seconds * 1.21).min(60.0)).contains(&pause)
        };
        for (failures, seconds) in [
            (1, 1.0),
            (2, 5.0),
            (3, 15.0),
            (4, 30.0),
            (5, 60.0),
            (6, 60.0),
            (u32::MAX, 60.0),
        ] {
            assert!(within(failures, seconds), "{failures}");
        }
    }
}
