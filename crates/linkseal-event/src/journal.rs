//! The journal: where every event is written down before its request is answered.
//!
//! [`Journal::append`] returns when the event has survived what the configured
//! [`super::Durability`] says, or says quickly that it is lost; the caller serves the request either way. How
//! events come to the journal's thread is in `queue`, how it writes them in `writer`.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use linkseal_base::clock::Clock;
use uuid::Uuid;

use super::appending::{Appending, Lost, Receipt};
use super::folder::Folder;
use super::gone::Gone;
use super::home::Home;
use super::losses::Losses;
use super::queue::{Gate, Message, Queue};
use super::repeats::{Fate, Repeats};
use super::room::Room;
use super::segment::{Disk, RealDisk};
use super::writer::{Thread, Writer};
use super::{Durability, Event, EventSettings, Metrics, Privacy};

/// How long the start waits for the disk; past this the edge starts with a journal that takes no
/// events until it does.
const START: Duration = Duration::from_secs(2);
/// How long the last of the journal's users waits for the disk, where it was not closed before.
const END: Duration = Duration::from_secs(5);
/// Largest segment, in bytes: small enough to go one at a time at the size cap, large enough that
/// making files is rare (about 100,000 events).
const SEGMENT_MAX: u64 = 64 << 20;
/// Smallest, in bytes, for journals with a tiny size cap.
const SEGMENT_MIN: u64 = 64 << 10;
/// At the size cap the oldest segment goes: at most this share of the journal at once.
const SEGMENTS_AT_CAP: u64 = 16;

/// The journal of this boot. Clones are cheap and share it; it closes with the last of them, or
/// by [`Journal::close`].
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    writer: Arc<Writer>,
    thread: Mutex<Option<Ending>>,
    boot: Uuid,
    folder: PathBuf,
    node: Box<str>,
    /// What of clients is kept; a reload changes it.
    privacy: ArcSwap<Privacy>,
    clock: Clock,
    metrics: Metrics,
    /// Whether sinks have been started on this folder; see [`Journal::start_of_delivery`].
    delivered: AtomicBool,
}

/// The thread, and what is dropped when it ends.
struct Ending {
    thread: JoinHandle<()>,
    ended: mpsc::Receiver<()>,
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration names something that can never be the journal's directory.
    #[error("events.dir {path}: cannot be written: {source}; it must be a directory this user may write to")]
    Unusable {
        /// The path tried.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The writer's thread cannot be started.
    #[error("the journal's thread cannot be started: {0}")]
    Thread(io::Error),
}

impl Journal {
    /// Opens a new folder for this boot in the journal's directory. `node` is this edge's name. On
    /// a disk that is full, read-only, missing or does not answer, the journal is open all the
    /// same: events are lost, counted and logged until the disk takes them.
    ///
    /// # Errors
    /// When the path is, or leads through, a file that is no directory.
    pub fn open(settings: &EventSettings, node: &str, clock: Clock, metrics: Metrics) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(RealDisk), settings, node, clock, metrics)
    }

    /// As [`Journal::open`], on another disk.
    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        settings: &EventSettings,
        node: &str,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let dir = settings.dir.clone();
        let (queue, messages) = Queue::new(Losses::new(metrics.lost.clone(), dir.display().to_string()));
        let writer = Arc::new(Writer::new(
            Arc::new(queue),
            Home::new(dir.clone(), clock.clone()),
            Room::new(settings.sinks.iter().map(|s| s.name.clone()).collect()),
            settings.durability,
            Repeats::new(metrics.repeated.clone()),
            metrics.clone(),
        ));
        let segment_max = (settings.max_bytes / SEGMENTS_AT_CAP).clamp(SEGMENT_MIN, SEGMENT_MAX);
        let mut own = Thread::new(Arc::clone(&writer), disk, messages, segment_max);
        let (started, start) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                let _end = end;
                // An opener that does not wait any more goes on without.
                let _ = started.send(own.start());
                own.run();
            })
            .map_err(OpenError::Thread)?;
        let started = start.recv_timeout(START);
        let handle = Handle {
            boot: writer.home.id(),
            folder: writer.home.folder(),
            writer,
            thread: Mutex::new(Some(Ending { thread, ended })),
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
            Err(_) => Some("the disk does not answer".to_owned()),
        };
        if let Some(cause) = cause {
            tracing::error!(
                cause, dir = %dir.display(),
                "the journal cannot be written: events are lost until it can (requests are served); see that events.dir is on a disk that has room and may be written to"
            );
        }
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// Writes an event down; returns when it has survived what was configured.
    ///
    /// # Errors
    /// [`Lost`] when it has not: the disk is full or broken, or the queue is full.
    pub async fn append(&self, event: &Event<'_>) -> Result<Receipt, Lost> {
        self.begin(event).written().await
    }

    /// [`Journal::append`] in two steps: the event is taken now, so that what it borrows need not
    /// outlive this call; [`Appending::written`] tells when it has survived.
    pub fn begin(&self, event: &Event<'_>) -> Appending {
        let waits = self.handle.writer.durability() != Durability::Queued;
        let queue = &self.handle.writer.queue;
        Appending::new(queue.record(event, |out| self.encode(event, out), waits))
    }

    /// [`Journal::begin`] of an event that its maker keeps until it is done: it has survived the
    /// machine then, whatever is configured. One that is refused is handed in again, with its id,
    /// and is not counted as lost.
    pub fn begin_synced(&self, event: &Event<'_>) -> Appending {
        let queue = &self.handle.writer.queue;
        Appending::new(queue.keep(event, |out| self.encode(event, out)))
    }

    /// Writes an event that no request waits for, after all that were begun before it.
    pub(super) fn add_after(&self, event: &Event<'_>) {
        let queue = &self.handle.writer.queue;
        queue.record_after(event, |out| self.encode(event, out));
    }

    /// Whether an event is one too many of its link and network: it was counted then, and the
    /// count is written in its time.
    pub(super) fn is_repeated(&self, event: &Event<'_>) -> bool {
        let writer = &self.handle.writer;
        let fate = writer
            .repeats
            .see(event, Instant::now(), |event, out| self.encode(event, out));
        if fate == (Fate::Counted { first: true }) {
            writer.queue.send(Message::Repeating);
        }
        fate != Fate::Written
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        event.encode_rest(out, &self.handle.node, **self.handle.privacy.load());
    }

    /// Changes what an event has survived when it is done, from now on.
    pub fn set_durability(&self, durability: Durability) {
        self.handle.writer.set_durability(durability);
    }

    /// Changes what of clients is kept, from now on.
    pub fn set_privacy(&self, privacy: Privacy) {
        self.handle.privacy.store(Arc::new(privacy));
    }

    /// Writes what is queued, makes it durable and stops taking events. Blocks for as long as
    /// that takes, but no longer than `patience`; call it where blocking is allowed, when nothing
    /// appends any more. Tells whether it was done: a disk that does not answer is left alone, and
    /// what waits for it is counted as lost.
    pub fn close(&self, patience: Duration) -> bool {
        self.handle.close(patience)
    }

    /// The id of this boot: the name of its folder.
    pub fn boot(&self) -> Uuid {
        self.handle.boot
    }

    /// The last sequence number that can be read from the folder.
    pub(super) fn published(&self) -> u64 {
        self.handle.writer.published()
    }

    /// Told when more can be read. Enable it, look at [`Journal::published`], then wait.
    pub(super) fn changed(&self) -> &tokio::sync::Notify {
        self.handle.writer.changed()
    }

    /// A sink goes past events of this boot without having got them. Those that someone removed from
    /// the folder are counted as lost.
    pub(super) fn pass_removed(&self, numbers: &Range<u64>, sink: &str) {
        let lost = self.handle.writer.gone.pass(numbers);
        if lost > 0 {
            self.metrics().lost.inc_by(lost);
            tracing::error!(
                lost, sink, folder = %self.folder().display(),
                "events are lost: they were removed from events.dir before this sink had them"
            );
        }
    }

    /// An earlier boot's folder was removed, and some sink holds it up to here only: counts what is
    /// lost by that, once for all sinks.
    pub(super) fn count_removed(&self, folder: &Folder, held: u64) {
        let lost = folder.lose_after(held);
        if lost > 0 {
            self.metrics().lost.inc_by(lost);
            tracing::error!(
                lost, path = %folder.path.display(),
                "events are lost: their folder was removed from events.dir before all sinks had them"
            );
        }
    }

    /// What others removed from this boot's folder.
    pub(super) fn removed(&self) -> &Gone {
        &self.handle.writer.gone
    }

    /// Asks for a new segment, so that the present one can be removed in time.
    pub(super) fn rotate(&self) {
        self.handle.writer.queue.send(Message::Rotate);
    }

    /// Where a sink starts in this folder that has no cursor in it: at the beginning, when sinks
    /// are started for the first time; later, for sinks added by a reload, at the present.
    ///
    /// [`Journal::delivery_has_begun`] tells which.
    pub(super) fn start_of_delivery(&self) -> u64 {
        if self.handle.delivered.load(Ordering::Acquire) {
            self.published()
        } else {
            0
        }
    }

    /// Sinks have their places in this folder now.
    pub(super) fn delivery_has_begun(&self) {
        self.handle.delivered.store(true, Ordering::Release);
    }

    /// Tells what is delivered, and to which sinks: what all of them hold goes first where room is
    /// needed.
    pub(super) fn set_delivered(&self, sinks: &[String], folders: &[Arc<Folder>]) {
        self.handle.writer.room.set(sinks, folders);
    }

    /// The directory of all boots.
    pub(super) fn dir(&self) -> &Path {
        self.handle.writer.home.dir()
    }

    /// The folder of this boot.
    pub(super) fn folder(&self) -> &Path {
        &self.handle.folder
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.handle.clock
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.handle.metrics
    }
}

impl Handle {
    fn close(&self, patience: Duration) -> bool {
        let Some(ending) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        let queue = &self.writer.queue;
        queue.set_gate(Gate::Closed);
        queue.send(Message::Close);
        if ending.ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            let waiting = queue.waiting();
            self.metrics.lost.inc_by(waiting);
            tracing::error!(
                waiting, dir = %self.writer.home.dir().display(),
                "the journal could not be closed: its disk does not answer; what waits for it is lost"
            );
            return false;
        }
        if ending.thread.join().is_err() {
            tracing::error!("the journal's thread ended by a panic");
        }
        true
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close(END);
    }
}

/// Whether an error says that a file stands where the directory should be: a mistake in the
/// configuration, which does not go away by itself.
fn is_no_directory(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists
    )
}
