//! The journal's thread: the only one that touches the journal's files for writing.
//!
//! Requests hand their events over by `queue`; what has come when the thread turns to the disk is
//! written by one `write()` and answered together. A disk that is slow, full or hangs keeps this
//! thread, and none that drives connections.
//!
//! Measured by `append_cost` (`cargo test --release --lib event::journal -- --ignored --nocapture`)
//! on two cores busy with other work, so good to a factor of two: see there.
//!
//! After an error of a write or an fsync the segment is never touched again but to cut off what
//! is not known to be whole; the group is written once more to a new segment, after segments that
//! all sinks hold have made room where the disk is full. When that fails too, its events are lost:
//! counted, logged once in a while, and until a new segment can be made (tried once a second)
//! events are refused at once instead of keeping people waiting. Sequence numbers of lost events
//! are not used again: a gap in them is a loss. A journal that cannot be written when the edge
//! starts begins in that state.
//!
//! Others may remove or rename the segment that is written, its folder or the whole directory. After
//! each write, before it is answered, and once a second it is looked whether the segment's name still
//! leads to it. If not, that is an error like those above: the group goes to a new segment, in a new
//! folder where needed, and nothing is answered that no reader finds. What was in the old one is
//! logged, and what sinks lack of it is counted as lost when they go past it (`gone`). What followers
//! had not read is lost to them, without a count.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::gone::Gone;
use super::group::{Arrivals, Group};
use super::home::Home;
use super::queue::{Content, Gate, Message, Queue};
use super::repeats::Repeats;
use super::room::Room;
use super::segment::{Disk, Segment};
use super::trouble::Trouble;
use super::{Durability, Metrics, segment};

/// How long after a failed attempt to make a segment the next one is made.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked whether the segment is still there, while nothing is written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often repetitions whose time is over are looked for, while there are any.
const REPEATS_EVERY: Duration = Duration::from_secs(1);
/// How long an event waits for batches that were opened before it.
const AFTER_MAX: Duration = Duration::from_secs(1);
/// With `queued` no request waits: events may gather for so long.
const GATHER: Duration = Duration::from_millis(2);
/// Most bytes that are written at once.
const GROUP_BYTES: usize = 1 << 20;

/// What the journal's thread shares with all others.
pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) repeats: Repeats,
    pub(super) room: Room,
    pub(super) home: Home,
    /// What others removed from this boot's folder.
    pub(super) gone: Gone,
    /// [`Durability`] as a number; a reload changes it.
    durability: AtomicU8,
    metrics: Metrics,
    published: AtomicU64,
    changed: Notify,
}

/// The thread's own.
pub(super) struct Thread {
    writer: Arc<Writer>,
    disk: Arc<dyn Disk>,
    messages: Receiver<Message>,
    segment_max: u64,
    output: Output,
    next_seq: u64,
    arrivals: Arrivals,
    /// Events that wait for batches below their number.
    after: VecDeque<(u64, Instant, Content)>,
    rotate: bool,
    closing: bool,
    /// Whether there has been a segment: a folder that is not there was removed by others.
    has_begun: bool,
    /// When repetitions are looked at. `None`: there are none.
    repeats_due: Option<Instant>,
    /// When it is looked next whether the segment is still there.
    look_due: Instant,
    /// What others remove, for the log.
    removals: Trouble,
    /// A buffer to use again.
    spare: Vec<u8>,
}

/// Where events go.
enum Output {
    /// To a segment.
    Open(Segment),
    /// Nowhere: none could be made; the next attempt is due then.
    Broken(Instant),
}

impl Writer {
    pub(super) fn new(
        queue: Arc<Queue>,
        home: Home,
        room: Room,
        durability: Durability,
        repeats: Repeats,
        metrics: Metrics,
    ) -> Self {
        Self {
            queue,
            repeats,
            room,
            home,
            gone: Gone::default(),
            durability: AtomicU8::new(durability as u8),
            metrics,
            published: AtomicU64::new(0),
            changed: Notify::new(),
        }
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

    pub(super) fn durability(&self) -> Durability {
        match self.durability.load(Ordering::Relaxed) {
            0 => Durability::Queued,
            1 => Durability::Written,
            _ => Durability::Synced,
        }
    }
}

impl Thread {
    pub(super) fn new(writer: Arc<Writer>, disk: Arc<dyn Disk>, messages: Receiver<Message>, segment_max: u64) -> Self {
        Self {
            writer,
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
            look_due: Instant::now() + LOOK_EVERY,
            removals: Trouble::default(),
            spare: Vec::new(),
        }
    }

    /// Makes the folder and its first segment.
    ///
    /// # Errors
    /// When that cannot be done now; [`Thread::run`] tries again.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.writer.queue.set_busy(true);
        let started = self.begin(self.next_seq);
        self.writer.queue.set_busy(false);
        match started {
            Ok(segment) => {
                self.set(Output::Open(segment));
                Ok(())
            }
            Err(error) => {
                self.writer.queue.losses.set_cause(error.to_string());
                self.set(Output::Broken(Instant::now() + RETRY));
                Err(error)
            }
        }
    }

    /// Writes what comes, until the journal is closed.
    pub(super) fn run(mut self) {
        while !self.closing {
            let group = self.gather();
            self.write(group);
            self.writer.queue.losses.log();
            if self.look_due <= Instant::now() {
                self.look();
            }
            if matches!(self.output, Output::Broken(due) if due <= Instant::now()) {
                self.mend();
            }
        }
        self.end();
    }

    /// Waits until something is to be done; what has come until then, up to what is written at once.
    fn gather(&mut self) -> Group {
        let mut group = Group::new(std::mem::take(&mut self.spare));
        let wait = self.due().saturating_duration_since(Instant::now());
        match self.messages.recv_timeout(wait) {
            Ok(message) => self.take(message, &mut group),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.closing = true,
        }
        if self.writer.durability() == Durability::Queued && !self.closing {
            #[allow(clippy::disallowed_methods, reason = "this is the journal's own thread")]
            std::thread::sleep(GATHER);
        }
        self.take_all(&mut group);
        self.add_repeats(&mut group, false);
        self.add_after(&mut group, false);
        group
    }

    /// When something is to be done although nothing comes.
    fn due(&self) -> Instant {
        let now = Instant::now();
        let output = match self.output {
            Output::Broken(due) => due,
            Output::Open(_) => self.look_due,
        };
        let losses = self.writer.queue.losses.log_due().map(|wait| now + wait);
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
            Message::Events(handed) => {
                self.arrivals.arrived(handed.batch.number);
                group.add(handed);
            }
            Message::After(number, content) => self.after.push_back((number, Instant::now(), content)),
            Message::Rotate => self.rotate = true,
            Message::Repeating => {
                self.repeats_due.get_or_insert_with(|| Instant::now() + REPEATS_EVERY);
            }
            Message::Close => self.closing = true,
        }
    }

    /// Takes along what had to wait for other batches that have come now.
    fn add_after(&mut self, group: &mut Group, all: bool) {
        for (number, since, content) in std::mem::take(&mut self.after) {
            // A batch that is never handed over keeps nothing back for long.
            if all || self.arrivals.all_below(number) || since.elapsed() >= AFTER_MAX {
                group.add_loose(content);
            } else {
                self.after.push_back((number, since, content));
            }
        }
    }

    /// Takes along the counts of repetitions whose time is over.
    fn add_repeats(&mut self, group: &mut Group, all: bool) {
        if all || self.repeats_due.is_some_and(|due| due <= Instant::now()) {
            let counts = self.writer.repeats.due(Instant::now(), all);
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
        self.writer.queue.set_busy(true);
        if let Output::Open(segment) = std::mem::replace(&mut self.output, Output::Broken(Instant::now())) {
            let output = self.write_to(segment, group);
            self.set(output);
        }
        self.writer.queue.set_busy(false);
    }

    /// Writes a group, to a new segment when the present one is full or is to be left.
    fn write_to(&mut self, mut segment: Segment, mut group: Group) -> Output {
        let first = self.next_seq;
        self.next_seq = group.encode(first, self.writer.home.id());
        if (std::mem::take(&mut self.rotate) && !segment.is_empty()) || segment.is_full() {
            if let Err(error) = segment.check() {
                return self.save(segment, group, first, &error);
            }
            match self.next_segment(first) {
                Ok(next) => segment = next,
                // Too many open files, for example: no reason to lose anything.
                Err(error) => {
                    tracing::warn!(%error, folder = %self.writer.home.folder().display(), "the journal stays in a full segment: no new one can be made");
                    segment.let_grow();
                }
            }
        }
        match self.commit(&mut segment, &group) {
            Ok(()) => {
                self.complete(group);
                Output::Open(segment)
            }
            Err(error) => self.save(segment, group, first, &error),
        }
    }

    fn commit(&self, segment: &mut Segment, group: &Group) -> io::Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        segment.write(group.frames())?;
        if group.is_kept() || self.writer.durability() == Durability::Synced {
            segment.sync(group.frames().len())?;
        }
        segment.check()
    }

    /// After an error: leaves the segment, and writes the group to a new one.
    fn save(&mut self, segment: Segment, group: Group, first: u64, error: &io::Error) -> Output {
        let removed = segment.check().is_err();
        if removed {
            self.tell_removed(&segment);
        } else {
            segment.abandon();
        }
        let attempt = self.with_room(|this| {
            let mut next = this.begin(first)?;
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
                    tracing::error!(%error, folder = %self.writer.home.folder().display(), "a segment of the journal could not be written; its last events are in a new one");
                }
                self.complete(group);
                Output::Open(next)
            }
            Err(error) => {
                // Before those who wait are told: what they send next is refused at once.
                self.writer.queue.set_gate(Gate::Broken);
                self.lose(group, Some(&error));
                Output::Broken(Instant::now() + RETRY)
            }
        }
    }

    /// Looks whether the segment is still there, and goes on in a new one if not.
    fn look(&mut self) {
        self.look_due = Instant::now() + LOOK_EVERY;
        self.writer.queue.set_busy(true);
        match std::mem::replace(&mut self.output, Output::Broken(Instant::now())) {
            Output::Open(segment) => {
                let output = match segment.check() {
                    Ok(()) => Output::Open(segment),
                    Err(error) => self.save(segment, Group::new(Vec::new()), self.next_seq, &error),
                };
                self.set(output);
            }
            broken @ Output::Broken(_) => self.output = broken,
        }
        self.writer.queue.set_busy(false);
    }

    /// Someone removed or renamed the segment. Takes in what sinks may lack because of that.
    fn tell_removed(&mut self, segment: &Segment) {
        let folder = self.writer.home.folder();
        // Where no segment is left, those before it went too.
        let alone = segment::segments(&folder).is_ok_and(|left| !left.is_empty());
        let first = if alone { segment.first() } else { 1 };
        let last = self.writer.published();
        self.writer.gone.add(first..last + 1);
        let path = segment.path().display().to_string();
        if self.removals.failed(&path, self.writer.home.clock().now()) {
            tracing::error!(
                path,
                first,
                last,
                "the journal's open segment was removed or renamed, alone or with its folder; the journal goes on in a new one as soon as that can be made. Its events are lost to sinks that neither hold them nor have it open, and are counted as lost when those go on. Leave the files in events.dir to linkseal: events.keep and events.max_bytes bound them"
            );
        }
    }

    /// Tries to make a segment after a time without.
    fn mend(&mut self) {
        self.writer.queue.set_busy(true);
        // A disk may have room for a segment and none for the proof: what all sinks hold goes then too.
        let attempt = self.with_room(|this| {
            let mut segment = this.begin(this.next_seq)?;
            match segment.prove() {
                Ok(()) => Ok(segment),
                Err(e) => {
                    segment.abandon();
                    Err(e)
                }
            }
        });
        let output = match attempt {
            Ok(segment) => {
                tracing::info!(folder = %self.writer.home.folder().display(), "the journal can be written again");
                Output::Open(segment)
            }
            Err(error) => {
                // What is left of an attempt that could not even be cleaned away: pass its name.
                if error.kind() == io::ErrorKind::AlreadyExists {
                    self.next_seq += 1;
                }
                self.writer.queue.losses.set_cause(error.to_string());
                Output::Broken(Instant::now() + RETRY)
            }
        };
        self.set(output);
        self.writer.queue.set_busy(false);
    }

    /// The folder, when it is not there, and a segment in it for events from `first` on.
    fn begin(&mut self, first: u64) -> io::Result<Segment> {
        self.with_room(|this| {
            let writer = &this.writer;
            writer.home.prepare(&*this.disk)?;
            if this.has_begun {
                writer.room.begin_cursors(&writer.home.folder(), first)?;
            }
            this.create_segment(first)
        })
        .inspect(|_| {
            if let Some(size) = self.writer.home.size() {
                self.writer.metrics.bytes.set(size);
            }
        })
    }

    fn next_segment(&mut self, first: u64) -> io::Result<Segment> {
        self.with_room(|this| this.create_segment(first))
    }

    fn create_segment(&self, first: u64) -> io::Result<Segment> {
        let folder = self.writer.home.folder();
        let segment = Segment::create(&*self.disk, &folder, first, self.segment_max)?;
        self.writer.metrics.bytes.add(segment.len() as i64);
        Ok(segment)
    }

    /// Does something that needs room on the disk; where that is full, segments that all sinks
    /// hold go first, oldest first.
    fn with_room<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt(self) {
                Err(e) if is_full(&e) && self.writer.room.give_up_oldest(&self.writer.home, &self.writer.metrics) => {}
                done => return done,
            }
        }
    }

    /// A group is as durable as was asked for: readers may see it, waiters go on.
    fn complete(&mut self, group: Group) {
        if !group.is_empty() {
            self.writer.metrics.bytes.add(group.frames().len() as i64);
            self.writer.published.store(self.next_seq - 1, Ordering::Release);
            self.writer.changed.notify_waiters();
        }
        self.spare = group.complete(&self.writer.queue, &self.writer.metrics);
    }

    fn lose(&mut self, group: Group, error: Option<&io::Error>) {
        let cause = error.map(ToString::to_string);
        self.spare = group.lose(&self.writer.queue, cause.as_deref());
    }

    fn set(&mut self, output: Output) {
        self.has_begun |= matches!(output, Output::Open(_));
        self.writer.queue.set_gate(match output {
            Output::Open(_) => Gate::Open,
            Output::Broken(_) => Gate::Broken,
        });
        self.output = output;
    }

    /// Writes what is left and makes it durable.
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
        self.writer.queue.losses.log();
        if let Output::Open(mut segment) = std::mem::replace(&mut self.output, Output::Broken(Instant::now())) {
            if segment.check().is_err() {
                self.tell_removed(&segment);
            } else if let Err(error) = segment.sync(0) {
                tracing::error!(%error, "the journal's last events may not survive the machine");
            }
        }
    }
}

/// Whether an error says that there is no room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
