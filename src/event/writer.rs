//! How the journal writes: in groups, by whoever is there first.
//!
//! With durability `written`, a task that finds the journal idle writes its own event: one
//! `write()` into the page cache, on the spot. Tasks that come meanwhile queue up and wait; the
//! writing task takes them along in a next group before it leaves, a few times at most, and then
//! leaves the rest to the journal's thread. That thread does everything that may take long: new
//! segments, recovery after errors, `fdatasync`, and all writing for `queued` and `synced`.
//!
//! Measured by `append_cost` (`cargo test --release --lib event::journal -- --ignored --nocapture`),
//! in a build of this module alone with mimalloc and another random source, on two cores busy with
//! other work, so good to a factor of two; per event, a task switch between events included:
//!
//! | | one task | 64 tasks |
//! |---|---|---|
//! | `written` as above | 5.0 to 7.1 µs CPU | 2.8 to 3.7 µs CPU |
//! | `written` by the thread only (the branch in `submit` taken out) | 30 µs CPU | 2.4 µs CPU |
//! | `synced` | 1.4 ms waiting | 32 µs waiting |
//!
//! A loop that only appends: 2.3 to 2.9 µs CPU, of which a bare `write()` of 800 bytes is 1.6 and
//! serialising 0.6. Two thread hops would cost a lone click more than all the rest of it; under
//! load, groups make both ways equal.
//!
//! After an error of a write or an fsync the segment is never touched again but to cut off what
//! is not known to be whole; the group is written once more to a new segment. When that fails
//! too, its events are lost: counted, logged once in a while, and until a new segment can be made
//! (tried once a second) events are refused at once instead of keeping people waiting. Sequence
//! numbers of lost events are not used again: a gap in them is a loss.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::queue::{Group, Output, State};
use super::segment::{Disk, Segment};
use super::{Durability, Event, Metrics, Receipt};

/// How many groups a task writes for others after its own, before it leaves them to the thread:
/// its own request waits meanwhile.
const GROUPS_FOR_OTHERS: usize = 4;
/// How long after a failed attempt to make a segment the next one is made.
const RETRY: Duration = Duration::from_secs(1);
/// A group's buffer that grew beyond this in a burst is given back.
const BUFFER_KEPT: usize = 1 << 20;

/// What a writer begins with.
pub(super) struct WriterSettings {
    /// The id of this boot.
    pub(super) boot: Uuid,
    /// When an append is done.
    pub(super) durability: Durability,
    /// The size of a segment from which a new one is begun.
    pub(super) segment_max: u64,
}

/// The one writer of this boot's folder.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    settings: WriterSettings,
    /// [`Durability`] as a number; a reload changes it.
    durability: AtomicU8,
    metrics: Metrics,
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    published: AtomicU64,
    changed: Notify,
}

/// What became of an event handed in.
pub(super) enum Submitted {
    /// It is as durable as was asked for.
    Done(Receipt),
    /// It is in a group that is being written; `true` comes when it is as durable as was asked for.
    Waiting(Receipt, oneshot::Receiver<bool>),
    /// It was not taken.
    Lost,
}

impl Writer {
    /// A writer with its first segment.
    pub(super) fn create(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        settings: WriterSettings,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let segment = Segment::create(&*disk, &folder, 1, settings.segment_max)?;
        metrics.bytes.add(segment.len() as i64);
        let state = State::new(segment);
        Ok(Self {
            disk,
            folder,
            durability: AtomicU8::new(settings.durability as u8),
            settings,
            metrics,
            state: Mutex::new(state),
            work: Condvar::new(),
            published: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    pub(super) fn boot(&self) -> Uuid {
        self.settings.boot
    }

    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// When an append is done, from now on.
    pub(super) fn set_durability(&self, durability: Durability) {
        self.durability.store(durability as u8, Ordering::Relaxed);
    }

    fn durability(&self) -> Durability {
        match self.durability.load(Ordering::Relaxed) {
            0 => Durability::Queued,
            1 => Durability::Written,
            _ => Durability::Synced,
        }
    }

    /// Asks the thread for a new segment, if the present one holds anything.
    pub(super) fn rotate(&self) {
        self.lock().rotate = true;
        self.work.notify_one();
    }

    /// Tells the thread to finish.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    /// Takes an event whose members from `type` on are in `rest`. `sync`: it is done when it
    /// survives the machine, whatever is configured; whoever asks for that keeps it until then,
    /// so that one refused is not lost.
    pub(super) fn submit(&self, event: &Event<'_>, rest: &[u8], sync: bool) -> Submitted {
        let mut state = self.lock();
        if let Some(cause) = state.refusal(rest) {
            if !sync {
                self.lose(&mut state, 1, cause.map(str::to_owned));
            }
            return Submitted::Lost;
        }
        let receipt = state.push(event, rest, self.settings.boot);
        state.pending.sync |= sync;
        let durability = if sync { Durability::Synced } else { self.durability() };
        if durability == Durability::Queued {
            self.wake_thread(&mut state);
            return Submitted::Done(receipt);
        }
        if durability == Durability::Written
            && let Some(segment) = self.take_segment(&mut state)
        {
            return self.lead(state, segment, receipt);
        }
        let (sender, receiver) = oneshot::channel();
        if let Some(member) = state.pending.events.last_mut() {
            member.waiter = Some(sender);
        }
        if !matches!(state.segment, Output::Busy) || durability == Durability::Synced {
            self.wake_thread(&mut state);
        }
        Submitted::Waiting(receipt, receiver)
    }

    /// An event has waited too long, on a disk that neither takes nor refuses it. It may still be
    /// written; it is counted and logged here, because the thread is stuck as well.
    pub(super) fn overdue(&self) {
        let mut state = self.lock();
        self.lose(&mut state, 1, Some("the disk does not answer".to_owned()));
        self.log_losses(&mut state);
    }

    /// The segment, for a task to write on the spot. `None`: somebody writes, or there is more to
    /// do than a write.
    fn take_segment(&self, state: &mut State) -> Option<Segment> {
        if state.rotate || state.pending.events.len() != 1 {
            return None;
        }
        match std::mem::replace(&mut state.segment, Output::Busy) {
            Output::Idle(segment) if !segment.is_full() => Some(segment),
            other => {
                state.segment = other;
                None
            }
        }
    }

    /// Writes a task's own event, and some of those that come meanwhile.
    fn lead<'s>(&'s self, mut state: MutexGuard<'s, State>, mut segment: Segment, receipt: Receipt) -> Submitted {
        for _ in 0..=GROUPS_FOR_OTHERS {
            let group = state.take_pending();
            drop(state);
            let result = segment.write(&group.frames);
            state = self.lock();
            if let Err(error) = result {
                return self.leave_to_thread(state, segment, group, error, receipt);
            }
            self.complete(&mut state, group);
            if state.pending.events.is_empty() || state.pending.sync || segment.is_full() {
                break;
            }
        }
        state.segment = Output::Idle(segment);
        if state.has_work() || state.closing {
            self.wake_thread(&mut state);
        }
        Submitted::Done(receipt)
    }

    /// A write failed: the thread takes it from here.
    fn leave_to_thread(
        &self,
        mut state: MutexGuard<'_, State>,
        segment: Segment,
        mut group: Group,
        error: io::Error,
        receipt: Receipt,
    ) -> Submitted {
        // The task's own event is in this group, or was in one that has been written.
        let submitted = match group.events.first_mut().filter(|_| group.first <= receipt.seq) {
            Some(own) => {
                let (sender, receiver) = oneshot::channel();
                own.waiter = Some(sender);
                Submitted::Waiting(receipt, receiver)
            }
            None => Submitted::Done(receipt),
        };
        state.failed = Some((segment, group, error));
        self.wake_thread(&mut state);
        submitted
    }

    /// The thread: writes whatever tasks do not, until the journal is closed.
    pub(super) fn run(&self) {
        let mut state = self.lock();
        loop {
            self.log_losses(&mut state);
            if let Some((segment, group, error)) = state.failed.take() {
                drop(state);
                let output = self.save(segment, group, &error);
                state = self.lock();
                self.settle(&mut state, output);
                continue;
            }
            match std::mem::replace(&mut state.segment, Output::Busy) {
                Output::Idle(segment) if state.has_work() => {
                    let group = state.take_pending();
                    let leave = std::mem::take(&mut state.rotate);
                    drop(state);
                    let output = self.write(segment, group, leave);
                    state = self.lock();
                    self.settle(&mut state, output);
                }
                Output::Idle(mut segment) if state.closing => {
                    if let Err(e) = segment.sync(0) {
                        tracing::error!(error = %e, "the journal's last events may not survive the machine");
                    }
                    return;
                }
                Output::Broken(due) if state.closing => {
                    self.settle(&mut state, Output::Broken(due));
                    return;
                }
                Output::Broken(due) if due <= Instant::now() => {
                    let first = state.next_seq;
                    drop(state);
                    let output = self.mend(first);
                    state = self.lock();
                    self.settle(&mut state, output);
                }
                output => {
                    let wait = match &output {
                        Output::Broken(due) => Some(due.saturating_duration_since(Instant::now())),
                        _ => state.losses.log_due(),
                    };
                    state.segment = output;
                    state = self.wait(state, wait);
                }
            }
        }
    }

    fn wait<'s>(&'s self, mut state: MutexGuard<'s, State>, at_most: Option<Duration>) -> MutexGuard<'s, State> {
        state.thread_waits = true;
        let mut state = match at_most {
            None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                self.work
                    .wait_timeout(state, time)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        state.thread_waits = false;
        state
    }

    /// What the thread leaves behind: a segment to write to, or none. Events that came while it
    /// was busy do not wait for one.
    fn settle(&self, state: &mut State, output: Output) {
        if matches!(output, Output::Broken(_)) {
            // Dropping the senders tells the waiters.
            let group = state.take_pending();
            self.lose(state, group.events.len() as u64, None);
        }
        state.segment = output;
    }

    /// Writes a group, to a new segment when the present one is full or is to be left.
    fn write(&self, mut segment: Segment, group: Group, leave: bool) -> Output {
        if (leave && !segment.is_empty()) || segment.is_full() {
            let first = if group.events.is_empty() {
                self.lock().next_seq
            } else {
                group.first
            };
            match self.next_segment(first) {
                Ok(next) => segment = next,
                // Too many open files, for example: no reason to lose anything.
                Err(error) => {
                    tracing::warn!(%error, folder = %self.folder.display(), "the journal stays in a full segment: no new one can be made");
                    segment.let_grow();
                }
            }
        }
        match self.commit(&mut segment, &group) {
            Ok(()) => {
                let mut state = self.lock();
                self.complete(&mut state, group);
                Output::Idle(segment)
            }
            Err(error) => self.save(segment, group, &error),
        }
    }

    fn commit(&self, segment: &mut Segment, group: &Group) -> io::Result<()> {
        segment.write(&group.frames)?;
        if (group.sync || self.durability() == Durability::Synced) && !group.events.is_empty() {
            segment.sync(group.frames.len())?;
        }
        Ok(())
    }

    /// After an error: leaves the segment, and writes the group to a new one.
    fn save(&self, segment: Segment, group: Group, error: &io::Error) -> Output {
        segment.abandon();
        let attempt = self
            .next_segment(group.first)
            .and_then(|mut next| match self.commit(&mut next, &group) {
                Ok(()) => Ok(next),
                Err(e) => {
                    next.abandon();
                    Err(e)
                }
            });
        let mut state = self.lock();
        match attempt {
            Ok(next) => {
                tracing::error!(%error, folder = %self.folder.display(), "a segment of the journal could not be written; its last events are in a new one");
                self.complete(&mut state, group);
                Output::Idle(next)
            }
            Err(error) => {
                self.lose(&mut state, group.events.len() as u64, Some(error.to_string()));
                Output::Broken(Instant::now() + RETRY)
            }
        }
    }

    /// Tries to make a segment after a time without.
    fn mend(&self, first: u64) -> Output {
        let attempt = self.next_segment(first).and_then(|mut segment| match segment.prove() {
            Ok(()) => Ok(segment),
            Err(e) => {
                segment.abandon();
                Err(e)
            }
        });
        match attempt {
            Ok(segment) => {
                tracing::info!(folder = %self.folder.display(), "the journal can be written again");
                Output::Idle(segment)
            }
            Err(error) => {
                self.lock().losses.cause = Some(error.to_string());
                Output::Broken(Instant::now() + RETRY)
            }
        }
    }

    fn next_segment(&self, first: u64) -> io::Result<Segment> {
        let segment = Segment::create(&*self.disk, &self.folder, first, self.settings.segment_max)?;
        self.metrics.bytes.add(segment.len() as i64);
        Ok(segment)
    }

    /// A group is as durable as was asked for: readers may see it, waiters go on.
    fn complete(&self, state: &mut State, group: Group) {
        if !group.events.is_empty() {
            self.metrics.bytes.add(group.frames.len() as i64);
            self.published.store(group.last, Ordering::Release);
            self.changed.notify_waiters();
        }
        for member in group.events {
            self.metrics.written(member.kind, member.class);
            if let Some(waiter) = member.waiter {
                // A request that was given up has nobody waiting.
                let _ = waiter.send(true);
            }
        }
        let mut frames = group.frames;
        if frames.capacity() <= BUFFER_KEPT && state.spare.capacity() < frames.capacity() {
            frames.clear();
            state.spare = frames;
        }
    }

    /// Counts losses. `cause`: `None` when it is known from an earlier one.
    fn lose(&self, state: &mut State, count: u64, cause: Option<String>) {
        self.metrics.lost.inc_by(count);
        state.losses.count += count;
        if cause.is_some() {
            state.losses.cause = cause;
        }
        if count > 0 {
            self.wake_thread(state);
        }
    }

    fn log_losses(&self, state: &mut State) {
        if state.losses.log_due() != Some(Duration::ZERO) {
            return;
        }
        let losses = &mut state.losses;
        let cause = losses.cause.as_deref().unwrap_or("unknown");
        tracing::error!(
            lost = losses.count,
            cause,
            folder = %self.folder.display(),
            "events are lost: the journal cannot take them (requests are still served)"
        );
        losses.count = 0;
        losses.logged = Some(Instant::now());
    }

    fn wake_thread(&self, state: &mut State) {
        if std::mem::take(&mut state.thread_waits) {
            self.work.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock; should it ever, the journal goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
