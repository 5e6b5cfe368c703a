//! SQLite: the embedded default, for one process on one machine.
//!
//! What happens on a failure:
//! - kill -9 or a power cut before a commit is synced: the call was not answered, and nothing of it
//!   is stored. Between commit and answer: all of it is stored. The caller reads again; a transition
//!   sent twice fails with `Conflict`, since the first one raised the version.
//! - A torn write-ahead log: SQLite checks every frame and drops the tail after the last whole
//!   commit; every answered call is before it.
//! - A full or read-only disk at the start: see `read_only_copy`.
//! - A full disk: `Full`. The transaction is rolled back, also for the calls that shared it; reads
//!   continue, and so do writes as soon as there is space. `probe` detects it beforehand.
//! - A slow disk: writes queue up to a bound; then, or when an answer takes too long, a call gets
//!   `Unavailable`. Calls whose caller is gone are skipped.
//! - A sync that fails: `Unavailable`. SQLite discards the transaction and writes its pages again
//!   with the next one, so a page that the kernel dropped does not count as durable.
//! - A file that is removed or replaced while it is open: `Unavailable` for every write, until the file is back.
//! - A second process: `Locked`, until the first one has ended, in whatever way.
//! - A damaged file: an error that says so; restore a backup.

mod backup;
mod budgets;
mod calls;
mod connection;
pub(crate) mod copied;
mod domains;
mod feed;
mod history;
mod identity;
mod issuing;
mod leases;
mod links;
mod nodes;
mod opener;
mod orders;
mod outbox;
mod read_only_copy;
mod rows;
mod secrets;
mod stored;
#[cfg(test)]
mod tests;
mod worker;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use linkseal_base::clock::Clock;
use rusqlite::{Connection, InterruptHandle};
use tokio::sync::Semaphore;

use self::identity::Identity;
use self::opener::Opener;
use self::worker::Workers;
use crate::StoreError;
use crate::metrics::Metrics;
use crate::unreadable::Unreadable;

pub use self::backup::{backup, restore, sealed_secret};
pub(crate) use self::connection::with_suffix;

/// Connections that read: one may be busy with a backup and one with a long page.
const READERS: usize = 3;
/// How long a call waits for its answer. Longer than any working disk takes.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a backup may take.
const BACKUP_DEADLINE: Duration = Duration::from_secs(3600);

/// A store in one file. Dropping it waits for the write in progress, then releases the file.
pub struct SqliteStore {
    /// While it could not be opened for writing yet. Ends before the rest: it may hold what it has just opened.
    opener: Option<Opener>,
    live: Arc<ArcSwap<Live>>,
    /// One backup at a time, so that it keeps one reader busy at most.
    backing_up: Arc<Semaphore>,
    unreadable: Arc<Unreadable>,
    clock: Clock,
    metrics: Option<Metrics>,
}

/// The open store: the file itself, or a read-only copy of it.
struct Live {
    // In the order in which they must be dropped: the writer's connection closes last, which takes in
    // the write-ahead log, and the lock outlives every connection.
    readers: Workers,
    writer: Result<Workers, StoreError>,
    _lock: Option<File>,
    interrupts: Vec<InterruptHandle>,
    /// The file that was opened. `None`: a copy.
    file: Option<Identity>,
}

impl Live {
    fn open(path: &Path) -> Result<Self, StoreError> {
        Self::with(connection::open(path)?)
    }

    fn with(opened: connection::Opened) -> Result<Self, StoreError> {
        let file = Identity::of(&opened.path).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let readers = (0..READERS).map(|_| connection::open_reader(&opened.path));
        let readers: Vec<_> = readers.collect::<Result<_, _>>()?;
        Ok(Self {
            interrupts: interrupts(&readers),
            readers: Workers::readers(readers)?,
            writer: Ok(Workers::writer(opened.writer, Some(file.clone()))?),
            _lock: Some(opened.lock),
            file: Some(file),
        })
    }

    /// Read-only; writes fail with the reason.
    fn read_only(readers: Vec<Connection>, why: StoreError) -> Result<Self, StoreError> {
        Ok(Self {
            interrupts: interrupts(&readers),
            readers: Workers::readers(readers)?,
            writer: Err(why),
            _lock: None,
            file: None,
        })
    }
}

fn interrupts(readers: &[Connection]) -> Vec<InterruptHandle> {
    readers.iter().map(Connection::get_interrupt_handle).collect()
}

impl SqliteStore {
    /// Opens the store at `path`; creates it if it does not exist, and migrates it to the newest schema.
    /// Blocks until that is done: call it before serving. `clock`: the process's, with which leases, budgets and
    /// due work are measured: there is no other process. `metrics`: `None` for commands, which export none.
    pub fn open(path: impl AsRef<Path>, clock: Clock, metrics: Option<Metrics>) -> Result<Self, StoreError> {
        Ok(Self::of(Live::open(path.as_ref())?, clock, metrics))
    }

    /// Opens a node's copy of the fleet's store. Its commits are not synced one by one: a power cut may cost the last
    /// of them, in their order.
    pub(crate) fn open_copy(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let opened = connection::open(path)?;
        opened.writer.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(Self::of(Live::with(opened)?, clock, None))
    }

    /// Like [`Self::open`], but a store that can be read and not written is served read-only: changes are
    /// refused, and opening it is retried until that works.
    pub fn open_to_serve(path: impl AsRef<Path>, clock: Clock, metrics: Option<Metrics>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let why = match Live::open(path) {
            Ok(live) => return Ok(Self::of(live, clock, metrics)),
            Err(error @ (StoreError::Locked { .. } | StoreError::Newer { .. })) => return Err(error),
            Err(error) => error,
        };
        let Some(readers) = read_only_copy::open(path, READERS) else {
            return Err(why);
        };
        tracing::error!(
            error = %why,
            "the store cannot be written; serving it read-only and retrying, nothing is ordered or changed meanwhile (free or repair its disk)"
        );
        let mut store = Self::of(Live::read_only(readers, why)?, clock, metrics);
        store.note_writable(false);
        store.opener = Opener::start(path.to_owned(), Arc::downgrade(&store.live));
        Ok(store)
    }

    fn of(live: Live, clock: Clock, metrics: Option<Metrics>) -> Self {
        Self {
            opener: None,
            live: Arc::new(ArcSwap::from_pointee(live)),
            backing_up: Arc::new(Semaphore::new(1)),
            unreadable: Arc::default(),
            clock,
            metrics,
        }
    }

    pub(crate) async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let live = self.live.load_full();
        self.measured(operation, live.readers.call(DEADLINE, work)).await
    }

    pub(crate) async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let live = self.live.load_full();
        let writer = live.writer.as_ref().map_err(Clone::clone)?;
        let answer = self.measured(operation, writer.call(DEADLINE, work)).await;
        match &answer {
            Ok(_) => self.note_writable(true),
            Err(StoreError::Full | StoreError::ReadOnly | StoreError::Unavailable(_)) => self.note_writable(false),
            // Refused for another reason than the disk.
            Err(_) => {}
        }
        answer
    }

    fn note_writable(&self, writable: bool) {
        if let Some(metrics) = &self.metrics {
            metrics.writable(writable);
        }
    }

    async fn measured<T>(&self, operation: &'static str, call: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let answer = call.await;
        if let Some(metrics) = &self.metrics {
            metrics.observe(operation, begun.elapsed());
        }
        answer
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // No caller is left, so whatever still runs, such as a backup, is pointless.
        self.interrupts.iter().for_each(InterruptHandle::interrupt);
    }
}
