//! The journal: every event is written here before its request is answered.
//!
//! [`Journal::append`] returns when an event has reached the configured [`Durability`], or quickly
//! reports that it is lost; the request is served either way. `queue` brings events to the journal's
//! thread in batches, `writer` writes them as frames (`frame`) into segments (`segment`) of this
//! boot's folder (`boot_folder`). `reader` reads a folder, past any damage; sinks get what it finds as
//! `lines`, and [`Replay`] and [`Follower`] read whole journals. A folder also has a `cursor` per sink;
//! `progress` tells from it what all sinks hold, and `reclaim` removes such segments when the disk is
//! full. `repeats` counts the events of a link that is fetched over and over instead of writing each.

mod appending;
mod batch;
pub(crate) mod boot_folder;
pub(crate) mod cursor;
pub(crate) mod folder;
pub(crate) mod frame;
mod group;
pub(crate) mod lines;
mod losses;
mod mailbox;
mod pending;
pub(crate) mod progress;
mod queue;
pub(crate) mod reader;
mod reclaim;
mod record;
mod removed;
mod repeats;
mod replay;
pub(crate) mod segment;
#[cfg(test)]
pub(crate) mod tests;
mod writer;
mod writer_state;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use linkseal_base::clock::Clock;
use parking_lot::Mutex;
use uuid::Uuid;

pub use self::appending::{Appending, Lost, Receipt};
pub use self::record::Record;
pub(crate) use self::replay::BATCH;
pub use self::replay::{Follower, Replay};

use self::boot_folder::BootFolder;
use self::folder::Folder;
use self::losses::Losses;
use self::mailbox::Message;
use self::queue::{Gate, Queue};
use self::reclaim::Reclaimer;
use self::removed::Removed;
use self::repeats::Fate;
use self::segment::{Disk, RealDisk};
use self::writer::Writer;
use self::writer_state::WriterState;
use crate::event::Event;
use crate::metrics::Metrics;
use crate::privacy::Privacy;
use crate::settings::{Durability, EventSettings};

/// How long opening waits for the disk. After that the edge starts with a journal that takes no
/// events until the disk works.
const START: Duration = Duration::from_secs(2);
/// How long dropping the last clone waits for the disk if the journal was not closed before.
const END: Duration = Duration::from_secs(5);
/// Largest segment, in bytes: small enough to remove one at a time at the size cap, large enough that
/// creating files is rare (about 100,000 events).
const SEGMENT_MAX: u64 = 64 << 20;
/// Smallest segment limit, in bytes, for journals with a tiny size cap.
const SEGMENT_MIN: u64 = 64 << 10;
/// At the size cap one segment goes at a time: at most this fraction of the journal.
const SEGMENTS_AT_CAP: u64 = 16;

/// The journal of this boot. Clones are cheap and share it; it closes with the last of them, or by
/// [`Journal::close`].
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    state: Arc<WriterState>,
    threads: Mutex<Option<Threads>>,
    boot: Uuid,
    folder: PathBuf,
    node: Box<str>,
    /// What events keep of clients; a reload changes it.
    privacy: ArcSwap<Privacy>,
    clock: Clock,
    metrics: Metrics,
    /// Whether delivery of this folder has begun; see [`Journal::start_of_delivery`].
    delivered: AtomicBool,
}

struct Threads {
    writer: JoinHandle<()>,
    /// Disconnected when the writer ends.
    ended: mpsc::Receiver<()>,
    /// Answers requests when the disk does not.
    watch: JoinHandle<()>,
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configured path can never be the journal's directory.
    #[error("events.dir {path}: cannot be written: {source}; it must be a directory this user may write to")]
    Unusable {
        /// The path tried.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A thread of the journal cannot be started.
    #[error("the journal's thread cannot be started: {0}")]
    Thread(io::Error),
}

impl Journal {
    /// Opens a new folder for this boot in the journal's directory. `node` is the name of this edge.
    /// If the disk is full, read-only, missing or does not respond, the journal opens all the same:
    /// events are lost, counted and logged until the disk takes them.
    ///
    /// # Errors
    /// When the path is, or leads through, a file that is not a directory.
    pub fn open(settings: &EventSettings, node: &str, clock: Clock, metrics: Metrics) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(RealDisk), settings, node, clock, metrics)
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        settings: &EventSettings,
        node: &str,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let dir = settings.dir.clone();
        let queue = Queue::new(Losses::new(metrics.lost.clone(), dir.display().to_string()));
        let state = Arc::new(WriterState::new(
            queue,
            BootFolder::new(dir.clone(), clock.clone()),
            Reclaimer::new(settings.sinks.iter().map(|s| s.name.clone()).collect()),
            settings.durability,
            metrics.clone(),
        ));
        let segment_max = (settings.max_bytes / SEGMENTS_AT_CAP).clamp(SEGMENT_MIN, SEGMENT_MAX);
        let mut writer = Writer::new(Arc::clone(&state), disk, segment_max);
        let queue = Arc::clone(&state.queue);
        let watch = std::thread::Builder::new()
            .name("journal-watch".into())
            .spawn(move || queue.watch())
            .map_err(OpenError::Thread)?;
        let (started, start) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let writer = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                let _end = end;
                // The opener may no longer be waiting.
                let _ = started.send(writer.start());
                writer.run();
            })
            .inspect_err(|_| state.queue.end_watch())
            .map_err(OpenError::Thread)?;
        let started = start.recv_timeout(START);
        let inner = Inner {
            boot: state.boot_folder.boot(),
            folder: state.boot_folder.path(),
            state,
            threads: Mutex::new(Some(Threads { writer, ended, watch })),
            node: node.into(),
            privacy: ArcSwap::from_pointee(settings.privacy),
            clock,
            metrics,
            delivered: AtomicBool::new(false),
        };
        let cause = match started {
            Ok(Ok(())) => None,
            Ok(Err(source)) if is_no_directory(&source) => {
                return Err(OpenError::Unusable { path: dir, source });
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the disk does not respond".to_owned()),
        };
        if let Some(cause) = cause {
            tracing::error!(
                cause, dir = %dir.display(),
                "the journal cannot be written; serving requests, events are lost until it can be (check that events.dir is writable and its disk has free space)"
            );
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes an event; returns when it has reached the configured durability.
    ///
    /// # Errors
    /// [`Lost`] when the disk is full or broken, or the queue is full.
    pub async fn append(&self, event: &Event<'_>) -> Result<Receipt, Lost> {
        self.begin(event).written().await
    }

    /// [`Journal::append`] in two steps: the event is encoded now, so what it borrows need not outlive
    /// this call; [`Appending::written`] waits for its durability.
    pub fn begin(&self, event: &Event<'_>) -> Appending {
        let waits = self.inner.state.durability() != Durability::Queued;
        let queue = &self.inner.state.queue;
        Appending::new(queue.add(event, |out| self.encode(event, out), waits))
    }

    /// [`Journal::begin`] for an event that its producer keeps until it is written: it is synced,
    /// whatever durability is configured. A refused event is submitted again with its id, and is not
    /// counted as lost.
    pub fn begin_synced(&self, event: &Event<'_>) -> Appending {
        let queue = &self.inner.state.queue;
        Appending::new(queue.add_kept(event, |out| self.encode(event, out)))
    }

    /// Writes an event that no request waits for, after every event begun before it.
    pub(crate) fn add_after(&self, event: &Event<'_>) {
        let queue = &self.inner.state.queue;
        queue.add_after(event, |out| self.encode(event, out));
    }

    /// Whether an event is one too many of its link and network. It has been counted then, and the
    /// count is written when it is due.
    pub(crate) fn is_repeated(&self, event: &Event<'_>) -> bool {
        let state = &self.inner.state;
        let fate = state
            .repeats
            .see(event, Instant::now(), |event, out| self.encode(event, out));
        if fate == (Fate::Counted { first: true }) {
            state.queue.send(Message::Repeating);
        }
        fate != Fate::Written
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        event.encode_rest(out, &self.inner.node, **self.inner.privacy.load());
    }

    /// Changes the durability of events from now on.
    pub fn set_durability(&self, durability: Durability) {
        self.inner.state.set_durability(durability);
    }

    /// Changes what events keep of clients from now on.
    pub fn set_privacy(&self, privacy: Privacy) {
        self.inner.privacy.store(Arc::new(privacy));
    }

    /// Writes and syncs what is queued, and stops taking events. Blocks for up to `patience`; call it
    /// on a blocking thread, when nothing appends any more. Returns `false` if the disk did not
    /// respond; what waits for it is counted as lost then.
    pub fn close(&self, patience: Duration) -> bool {
        self.inner.close(patience)
    }

    /// The id of this boot, which is the name of its folder.
    pub fn boot(&self) -> Uuid {
        self.inner.boot
    }

    /// The last sequence number that can be read from this boot's folder.
    pub(crate) fn published(&self) -> u64 {
        self.inner.state.published()
    }

    /// Notified when more can be read. Enable it, check [`Journal::published`], then wait.
    pub(crate) fn changed(&self) -> &tokio::sync::Notify {
        self.inner.state.changed()
    }

    /// A sink skips events of this boot without having got them. Those that were removed from the
    /// folder by hand are counted as lost.
    pub(crate) fn skip_removed(&self, numbers: &Range<u64>, sink: &str) {
        let lost = self.inner.state.removed.skip(numbers);
        if lost > 0 {
            self.metrics().lost.inc_by(lost);
            tracing::error!(
                lost, sink, folder = %self.folder().display(),
                "events lost: they were removed from events.dir before this sink got them"
            );
        }
    }

    /// An earlier boot's folder was removed by hand when a sink held it only up to `held`: counts what
    /// is lost, once for all sinks.
    pub(crate) fn count_removed(&self, folder: &Folder, held: u64) {
        let lost = folder.lose_after(held);
        if lost > 0 {
            self.metrics().lost.inc_by(lost);
            tracing::error!(
                lost, path = %folder.path.display(),
                "events lost: their folder was removed from events.dir before all sinks got them"
            );
        }
    }

    /// What was removed from this boot's folder by hand.
    pub(crate) fn removed(&self) -> &Removed {
        &self.inner.state.removed
    }

    /// Asks for a new segment, so that the current one can be removed in time.
    pub(crate) fn rotate(&self) {
        self.inner.state.queue.send(Message::Rotate);
    }

    /// Where a sink without a cursor starts in this folder: at the beginning until delivery has begun
    /// ([`Journal::delivery_has_begun`]); after that, for sinks added by a reload, at the end.
    pub(crate) fn start_of_delivery(&self) -> u64 {
        if self.inner.delivered.load(Ordering::Acquire) {
            self.published()
        } else {
            0
        }
    }

    /// The sinks have their cursors in this folder now.
    pub(crate) fn delivery_has_begun(&self) {
        self.inner.delivered.store(true, Ordering::Release);
    }

    /// Sets which folders are delivered and to which sinks: what all of them hold is removed first
    /// when space is needed.
    pub(crate) fn set_delivered(&self, sinks: &[String], folders: &[Arc<Folder>]) {
        self.inner.state.reclaimer.set_delivered(sinks, folders);
    }

    /// The directory of all boots' folders.
    pub(crate) fn dir(&self) -> &Path {
        self.inner.state.boot_folder.dir()
    }

    /// The folder of this boot.
    pub(crate) fn folder(&self) -> &Path {
        &self.inner.folder
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }
}

impl Inner {
    fn close(&self, patience: Duration) -> bool {
        let Some(threads) = self.threads.lock().take() else {
            return true;
        };
        let queue = &self.state.queue;
        queue.set_gate(Gate::Closed);
        queue.send(Message::Close);
        let timed_out = threads.ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout);
        let waiting = queue.waiting();
        queue.end_watch();
        if threads.watch.join().is_err() {
            tracing::error!("the watch of the journal panicked");
        }
        if timed_out {
            self.metrics.lost.inc_by(waiting);
            tracing::error!(
                waiting, dir = %self.state.boot_folder.dir().display(),
                "the journal could not be closed because its disk does not respond; the waiting events are lost"
            );
            return false;
        }
        if threads.writer.join().is_err() {
            tracing::error!("the journal's thread panicked");
        }
        true
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close(END);
    }
}

/// Whether a file stands where the directory should be: a mistake in the configuration, which
/// retrying does not fix.
fn is_no_directory(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists
    )
}
