//! The journal's thread: the only one that writes the journal's files.
//!
//! Requests submit their events through `queue`; everything that has arrived when the thread turns to
//! the disk is written by one `write()` and acknowledged together. A disk that is slow, full or hangs
//! blocks this thread, and none that drives connections. `append_cost` in the tests measures it.
//!
//! After a failed write or fsync the segment is not touched again, except to cut off what is not known
//! to be whole. The group is written once more, to a new segment; if the disk is full, segments that
//! all sinks hold are removed first. If that fails too, its events are lost: they are counted, logged
//! at a bounded rate, and until a new segment can be created (tried once a second) events are refused
//! at once instead of keeping recipients waiting. Sequence numbers of lost events are not reused, so a
//! gap in them is a loss. A journal that cannot be written when the edge starts begins in that state.
//!
//! The open segment, its folder or the whole directory may be removed or renamed by hand. After each
//! write, before it is acknowledged, and once a second the thread checks that the segment's path still
//! leads to it. If not, that is handled like a failed write: the group goes to a new segment, in a new
//! folder if needed, and nothing is acknowledged that no reader can find. The loss is logged, and
//! what sinks did not get is counted as lost when they skip it (`removed`). Events that followers had
//! not read are lost to them without a count.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::batch::EncodedEvents;
use super::group::{Arrivals, Group};
use super::queue::{Gate, Message};
use super::segment::{self, Disk, Segment};
use super::writer_state::WriterState;
use crate::failure_streak::FailureStreak;
use crate::settings::Durability;

/// Pause between attempts to create a segment.
const RETRY: Duration = Duration::from_secs(1);
/// How often the segment is checked while nothing is written.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often due counts of repetitions are collected, while there are any.
const REPEATS_EVERY: Duration = Duration::from_secs(1);
/// How long an event waits for batches that were opened before it.
const AFTER_MAX: Duration = Duration::from_secs(1);
/// With durability `queued` no request waits, so events may gather for this long.
const GATHER: Duration = Duration::from_millis(2);
/// Most bytes written at once.
const GROUP_BYTES: usize = 1 << 20;

/// Writes the journal; owned by its thread.
pub(super) struct Writer {
    state: Arc<WriterState>,
    disk: Arc<dyn Disk>,
    messages: Receiver<Message>,
    segment_max: u64,
    output: Output,
    next_seq: u64,
    arrivals: Arrivals,
    /// Events that wait for the batches below their number.
    after: VecDeque<(u64, Instant, EncodedEvents)>,
    rotate: bool,
    closing: bool,
    /// Whether a segment has existed: if the folder is missing then, it was removed by hand.
    has_begun: bool,
    /// When counts of repetitions are collected; `None` while there are none.
    repeats_due: Option<Instant>,
    check_due: Instant,
    /// Limits log lines about removed segments.
    removals: FailureStreak,
    /// A buffer for the next group.
    spare: Vec<u8>,
}

/// Where events are written.
enum Output {
    Open(Segment),
    /// No segment could be created; when the next attempt is due.
    Broken(Instant),
}

impl Writer {
    pub(super) fn new(
        state: Arc<WriterState>,
        disk: Arc<dyn Disk>,
        messages: Receiver<Message>,
        segment_max: u64,
    ) -> Self {
        Self {
            state,
            disk,
            messages,
            segment_max,
            output: Output::Broken(Instant::now()),
            next_seq: 1,
            arrivals: Arrivals::default(),
            after: VecDeque::new(),
            rotate: false,
            closing: false,
            has_begun: false,
            repeats_due: None,
            check_due: Instant::now() + CHECK_EVERY,
            removals: FailureStreak::default(),
            spare: Vec::new(),
        }
    }

    /// Creates the folder and its first segment.
    ///
    /// # Errors
    /// When that fails; [`Writer::run`] retries.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.state.queue.set_busy(true);
        let started = self.open_segment(self.next_seq);
        self.state.queue.set_busy(false);
        match started {
            Ok(segment) => {
                self.set_output(Output::Open(segment));
                Ok(())
            }
            Err(error) => {
                self.state.queue.losses.set_cause(error.to_string());
                self.set_output(Output::Broken(Instant::now() + RETRY));
                Err(error)
            }
        }
    }

    /// Writes events until the journal is closed.
    pub(super) fn run(mut self) {
        while !self.closing {
            let group = self.gather();
            self.write(group);
            self.state.queue.losses.log();
            if self.check_due <= Instant::now() {
                self.check_segment();
            }
            if matches!(self.output, Output::Broken(due) if due <= Instant::now()) {
                self.reopen();
            }
        }
        self.end();
    }

    /// Waits for messages or the next due task, and collects what has arrived, up to the size of one
    /// write.
    fn gather(&mut self) -> Group {
        let mut group = Group::new(std::mem::take(&mut self.spare));
        let wait = self.due().saturating_duration_since(Instant::now());
        match self.messages.recv_timeout(wait) {
            Ok(message) => self.take(message, &mut group),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.closing = true,
        }
        if self.state.durability() == Durability::Queued && !self.closing {
            #[allow(clippy::disallowed_methods, reason = "this is the journal's own thread")]
            std::thread::sleep(GATHER);
        }
        self.take_all(&mut group);
        self.add_repeats(&mut group, false);
        self.add_after(&mut group, false);
        group
    }

    /// When something is due even if no message arrives.
    fn due(&self) -> Instant {
        let now = Instant::now();
        let output = match self.output {
            Output::Broken(due) => due,
            Output::Open(_) => self.check_due,
        };
        let losses = self.state.queue.losses.log_due().map(|wait| now + wait);
        let after = (!self.after.is_empty()).then(|| now + AFTER_MAX);
        let others = [losses, after, self.repeats_due];
        others.into_iter().flatten().fold(output, Ord::min)
    }

    fn take_all(&mut self, group: &mut Group) {
        while group.bytes() < GROUP_BYTES
            && let Ok(message) = self.messages.try_recv()
        {
            self.take(message, group);
        }
    }

    fn take(&mut self, message: Message, group: &mut Group) {
        match message {
            Message::Events(submitted) => {
                self.arrivals.arrived(submitted.batch.number);
                group.add(submitted);
            }
            Message::After(number, events) => self.after.push_back((number, Instant::now(), events)),
            Message::Rotate => self.rotate = true,
            Message::Repeating => {
                self.repeats_due.get_or_insert_with(|| Instant::now() + REPEATS_EVERY);
            }
            Message::Close => self.closing = true,
        }
    }

    /// Adds events that waited for other batches, once those have arrived.
    fn add_after(&mut self, group: &mut Group, all: bool) {
        for (number, since, events) in std::mem::take(&mut self.after) {
            // A batch that is never submitted does not hold them back for long.
            if all || self.arrivals.all_below(number) || since.elapsed() >= AFTER_MAX {
                group.add_loose(events);
            } else {
                self.after.push_back((number, since, events));
            }
        }
    }

    /// Adds the counts of repetitions that are due.
    fn add_repeats(&mut self, group: &mut Group, all: bool) {
        if all || self.repeats_due.is_some_and(|due| due <= Instant::now()) {
            let counts = self.state.repeats.due(Instant::now(), all);
            self.repeats_due = counts.more.then(|| Instant::now() + REPEATS_EVERY);
            group.add_counts(counts);
        }
    }

    fn write(&mut self, group: Group) {
        let Output::Open(_) = self.output else {
            return self.lose(group, None);
        };
        if group.is_empty() && !self.rotate {
            self.spare = group.into_buffer();
            return;
        }
        self.state.queue.set_busy(true);
        if let Output::Open(segment) = std::mem::replace(&mut self.output, Output::Broken(Instant::now())) {
            let output = self.write_to(segment, group);
            self.set_output(output);
        }
        self.state.queue.set_busy(false);
    }

    /// Writes a group, to a new segment when the current one is full or must be rotated.
    fn write_to(&mut self, mut segment: Segment, mut group: Group) -> Output {
        let first = self.next_seq;
        self.next_seq = group.encode(first, self.state.boot_folder.boot());
        if (std::mem::take(&mut self.rotate) && !segment.is_empty()) || segment.is_full() {
            if let Err(error) = segment.check() {
                return self.recover(segment, group, first, &error);
            }
            match self.next_segment(first) {
                Ok(next) => segment = next,
                // Too many open files, for example: no reason to lose events.
                Err(error) => {
                    tracing::warn!(%error, folder = %self.state.boot_folder.path().display(), "no new journal segment can be created; continuing in the full one");
                    segment.let_grow();
                }
            }
        }
        match self.commit(&mut segment, &group) {
            Ok(()) => {
                self.complete(group);
                Output::Open(segment)
            }
            Err(error) => self.recover(segment, group, first, &error),
        }
    }

    fn commit(&self, segment: &mut Segment, group: &Group) -> io::Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        segment.write(group.frames())?;
        if group.is_kept() || self.state.durability() == Durability::Synced {
            segment.sync(group.frames().len())?;
        }
        segment.check()
    }

    /// After an error: abandons the segment and writes the group to a new one.
    fn recover(&mut self, segment: Segment, group: Group, first: u64, error: &io::Error) -> Output {
        let removed = segment.check().is_err();
        if removed {
            self.report_removed(&segment);
        } else {
            segment.abandon();
        }
        let attempt = self.freeing_space(|this| {
            let mut next = this.open_segment(first)?;
            match this.commit(&mut next, &group) {
                Ok(()) => Ok(next),
                Err(e) => {
                    next.abandon();
                    Err(e)
                }
            }
        });
        match attempt {
            Ok(next) => {
                if !removed {
                    tracing::error!(%error, folder = %self.state.boot_folder.path().display(), "write to a journal segment failed; its last events were written to a new one");
                }
                self.complete(group);
                Output::Open(next)
            }
            Err(error) => {
                // Before the waiting requests are woken, so that their next events are refused at once.
                self.state.queue.set_gate(Gate::Broken);
                self.lose(group, Some(&error));
                Output::Broken(Instant::now() + RETRY)
            }
        }
    }

    /// Checks that the segment is still in place, and continues in a new one if not.
    fn check_segment(&mut self) {
        self.check_due = Instant::now() + CHECK_EVERY;
        self.state.queue.set_busy(true);
        match std::mem::replace(&mut self.output, Output::Broken(Instant::now())) {
            Output::Open(segment) => {
                let output = match segment.check() {
                    Ok(()) => Output::Open(segment),
                    Err(error) => self.recover(segment, Group::new(Vec::new()), self.next_seq, &error),
                };
                self.set_output(output);
            }
            broken @ Output::Broken(_) => self.output = broken,
        }
        self.state.queue.set_busy(false);
    }

    /// Logs that the segment was removed or renamed, and records which events sinks may miss.
    fn report_removed(&mut self, segment: &Segment) {
        let folder = self.state.boot_folder.path();
        // If no segment is left, the earlier ones were removed too.
        let alone = segment::segments(&folder).is_ok_and(|left| !left.is_empty());
        let first = if alone { segment.first() } else { 1 };
        let last = self.state.published();
        self.state.removed.add(first..last + 1);
        let path = segment.path().display().to_string();
        if self.removals.failed(&path, self.state.boot_folder.clock().now()) {
            tracing::error!(
                path,
                first,
                last,
                "the journal's open segment was removed or renamed; continuing in a new one as soon as it can be created. Its events are lost to sinks that neither hold them nor have it open, and are counted when those sinks continue. Leave the files in events.dir to linkseal: events.keep and events.max_bytes bound them"
            );
        }
    }

    /// Tries to create a segment while there is none.
    fn reopen(&mut self) {
        self.state.queue.set_busy(true);
        // The disk may have space for a new segment but not for the test write; both may free space.
        let attempt = self.freeing_space(|this| {
            let mut segment = this.open_segment(this.next_seq)?;
            match segment.test_write() {
                Ok(()) => Ok(segment),
                Err(e) => {
                    segment.abandon();
                    Err(e)
                }
            }
        });
        let output = match attempt {
            Ok(segment) => {
                tracing::info!(folder = %self.state.boot_folder.path().display(), "the journal can be written again");
                Output::Open(segment)
            }
            Err(error) => {
                // The leftover of an attempt that could not be cleaned up: skip its name.
                if error.kind() == io::ErrorKind::AlreadyExists {
                    self.next_seq += 1;
                }
                self.state.queue.losses.set_cause(error.to_string());
                Output::Broken(Instant::now() + RETRY)
            }
        };
        self.set_output(output);
        self.state.queue.set_busy(false);
    }

    /// Creates the folder where missing, and a segment in it for events from `first` on.
    fn open_segment(&mut self, first: u64) -> io::Result<Segment> {
        self.freeing_space(|this| {
            let state = &this.state;
            state.boot_folder.prepare(&*this.disk)?;
            if this.has_begun {
                state.reclaimer.begin_cursors(&state.boot_folder.path(), first)?;
            }
            this.create_segment(first)
        })
        .inspect(|_| {
            if let Some(size) = self.state.boot_folder.journal_size() {
                self.state.metrics.bytes.set(size);
            }
        })
    }

    fn next_segment(&mut self, first: u64) -> io::Result<Segment> {
        self.freeing_space(|this| this.create_segment(first))
    }

    fn create_segment(&self, first: u64) -> io::Result<Segment> {
        let folder = self.state.boot_folder.path();
        let segment = Segment::create(&*self.disk, &folder, first, self.segment_max)?;
        self.state.metrics.bytes.add(segment.len() as i64);
        Ok(segment)
    }

    /// Runs something that needs disk space; while the disk is full, removes the oldest segment that
    /// all sinks hold and tries again.
    fn freeing_space<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> io::Result<T>) -> io::Result<T> {
        loop {
            let state = Arc::clone(&self.state);
            match attempt(self) {
                Err(e) if is_full(&e) && state.reclaimer.remove_oldest(&state.boot_folder, &state.metrics) => {}
                done => return done,
            }
        }
    }

    /// Publishes a written group to readers and wakes its requests.
    fn complete(&mut self, group: Group) {
        if !group.is_empty() {
            self.state.metrics.bytes.add(group.frames().len() as i64);
            self.state.publish(self.next_seq - 1);
        }
        self.spare = group.complete(&self.state.queue, &self.state.metrics);
    }

    fn lose(&mut self, group: Group, error: Option<&io::Error>) {
        let cause = error.map(ToString::to_string);
        self.spare = group.lose(&self.state.queue, cause.as_deref());
    }

    fn set_output(&mut self, output: Output) {
        self.has_begun |= matches!(output, Output::Open(_));
        self.state.queue.set_gate(match output {
            Output::Open(_) => Gate::Open,
            Output::Broken(_) => Gate::Broken,
        });
        self.output = output;
    }

    /// Writes what is left and syncs it.
    fn end(mut self) {
        loop {
            let mut group = Group::new(std::mem::take(&mut self.spare));
            self.take_all(&mut group);
            let last = group.is_empty();
            self.add_repeats(&mut group, true);
            self.add_after(&mut group, true);
            self.write(group);
            if last {
                break;
            }
        }
        self.state.queue.losses.log();
        if let Output::Open(mut segment) = std::mem::replace(&mut self.output, Output::Broken(Instant::now())) {
            if segment.check().is_err() {
                self.report_removed(&segment);
            } else if let Err(error) = segment.sync(0) {
                tracing::error!(%error, "final sync of the journal failed; its last events may not survive a power failure");
            }
        }
    }
}

/// Whether an error says that the disk is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
