//! Looks after the journal's folders while events are delivered: takes the locks of earlier boots'
//! in order, and has removed what is old.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::shutdown::Tasks;
use tokio::sync::watch;
use uuid::Uuid;

use super::board::Board;
use super::cursor::Cursor;
use super::folder::{END_UNKNOWN, Folder};
use super::reader::{FolderReader, Stop, Until};
use super::retention::Retention;
use super::trouble::{Trouble, elapsed};
use super::{EventSettings, Journal, segment};

/// How often a folder that another process holds is looked at.
pub(super) const LOCK_EVERY: Duration = Duration::from_secs(1);
/// How often a folder's lock or end that the disk does not give is tried, before it goes on without.
const END_TRIES: u32 = 5;
/// How often it is looked whether old segments are due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often old segments are looked for.
pub(super) const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// Takes the locks of folders in order, and removes what is old.
pub(super) struct Keeper {
    pub(super) journal: Journal,
    pub(super) settings: EventSettings,
    pub(super) board: Board,
    pub(super) folders: watch::Sender<Vec<Arc<Folder>>>,
    pub(super) tasks: Tasks,
}

/// What there is to know of an earlier boot's folder.
pub(super) struct Found {
    pub(super) last: u64,
    /// How far each sink has come in it, in the order of their names.
    pub(super) held: Vec<u64>,
}

impl Keeper {
    pub(super) async fn run(self) {
        let own = Arc::new(Folder::new(
            self.journal.boot(),
            self.journal.folder().to_owned(),
            None,
            None,
        ));
        let mut taking = pin!(self.take_folders(&own));
        let mut taken = false;
        let clock = self.journal.clock().clone();
        let mut retention = Retention::new(&self.journal, &self.settings);
        let mut passed = None;
        loop {
            let now = clock.now();
            if passed.is_none_or(|at| elapsed(at, now) >= RETENTION_EVERY) {
                passed = Some(now);
                // Also what is written now has to stay below the size cap while an earlier folder
                // cannot be had.
                let mut folders = self.folders.borrow().clone();
                if !folders.iter().any(|f| f.boot == own.boot) {
                    folders.push(Arc::clone(&own));
                }
                let pass = self.tasks.spawn_blocking(move || {
                    retention.pass(&folders);
                    retention
                });
                retention = pass.await.unwrap_or_else(|error| {
                    tracing::error!(%error, "looking for old segments of the journal broke off; it is done again in a minute");
                    Retention::new(&self.journal, &self.settings)
                });
                self.forget_removed().await;
            }
            tokio::select! {
                () = self.tasks.stopping() => return,
                () = &mut taking, if !taken => {
                    taken = true;
                    // Their age counts from when they are all there.
                    passed = None;
                }
                () = clock.sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Publishes the folders of earlier boots, as their locks come free, and then this boot's.
    async fn take_folders(&self, own: &Arc<Folder>) {
        let boots = self.earlier_boots().await;
        for boot in boots {
            let path = self.journal.dir().join(boot.to_string());
            let Some(lock) = self.lock(&path, boot).await else {
                continue;
            };
            let found = self.look_at(&path, boot).await;
            let (last, held) = match found {
                Some(found) => (found.last, found.held),
                None => (END_UNKNOWN, Vec::new()),
            };
            if last != END_UNKNOWN {
                self.board.set_end(boot, last);
            }
            for (settings, held) in self.settings.sinks.iter().zip(held) {
                if let Some(sink) = self.board.sink(&settings.name) {
                    self.board.set_held(&sink, boot, held);
                }
            }
            self.publish(Arc::new(Folder::new(boot, path, Some(last), Some(lock))));
        }
        self.publish(Arc::clone(own));
    }

    async fn earlier_boots(&self) -> Vec<Uuid> {
        let (own, dir) = (self.journal.boot(), self.journal.dir().to_owned());
        let mut trouble = Trouble::default();
        loop {
            let listed = self.on_disk({
                let dir = dir.clone();
                move || segment::boots(&dir)
            });
            match listed.await {
                Ok(boots) => return boots.into_iter().filter(|b| *b < own).collect(),
                Err(error) if trouble.failed("", self.journal.clock().now()) => {
                    tracing::error!(%error, dir = %dir.display(), "the journal's directory cannot be listed; events wait until it can");
                }
                Err(_) => {}
            }
            self.journal.clock().sleep(LOCK_EVERY).await;
        }
    }

    /// Takes the lock of a folder. `None`: the other process has delivered and removed it, or the
    /// disk does not let us have it: then it is passed until the next start.
    async fn lock(&self, path: &Path, boot: Uuid) -> Option<std::fs::File> {
        let (mut trouble, mut errors) = (Trouble::default(), 0);
        loop {
            let path = path.to_owned();
            let now = self.journal.clock().now();
            match self
                .on_disk({
                    let path = path.clone();
                    move || segment::lock(&path)
                })
                .await
            {
                Ok(Some(lock)) => return Some(lock),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
                Ok(None) if trouble.failed("held", now) => {
                    tracing::info!(%boot, "an earlier process still writes its events; ours are delivered after them");
                }
                Err(error) => {
                    trouble.failed("error", now);
                    errors += 1;
                    if errors >= END_TRIES {
                        tracing::error!(%error, path = %path.display(), "a folder of the journal cannot be locked and is passed: its events stay there undelivered until the next start; let this user read and write it");
                        return None;
                    }
                }
                Ok(None) => {}
            }
            self.journal.clock().sleep(LOCK_EVERY).await;
        }
    }

    /// Reads a folder's end and cursors. `None`: that cannot be done; it is delivered as far as it
    /// can be read.
    async fn look_at(&self, path: &Path, boot: Uuid) -> Option<Found> {
        let names: Vec<_> = self.settings.sinks.iter().map(|s| s.name.clone()).collect();
        for attempt in 1..=END_TRIES {
            let (at, names) = (path.to_owned(), names.clone());
            let found = self.on_disk(move || look_at(&at, boot, &names));
            match found.await {
                Ok(found) => return Some(found),
                Err(error) if attempt == END_TRIES => {
                    tracing::error!(%error, path = %path.display(), "the end of a journal's folder cannot be read; it is delivered as far as it can be read, and none of it counts as delivered");
                }
                Err(_) => self.journal.clock().sleep(LOCK_EVERY).await,
            }
        }
        None
    }

    /// Forgets the ends of folders that are gone, and counts what sinks lack of those that someone
    /// else removed. A feed that is in one may have its segment open, and reads it to its end.
    async fn forget_removed(&self) {
        let (dir, own) = (self.journal.dir().to_owned(), self.journal.boot());
        if let Ok(there) = self.on_disk(move || segment::boots(&dir)).await {
            let folders = self.folders.borrow().clone();
            let is_in_use = |boot: Uuid| folders.iter().any(|f| f.boot == boot && f.is_in_use());
            // This boot's own goes on, also while someone has removed its folder.
            let stays = |boot: Uuid| boot == own || there.contains(&boot) || is_in_use(boot);
            for folder in folders.iter().filter(|folder| !stays(folder.boot)) {
                if let Some(held) = self.board.least_held(folder.boot) {
                    self.journal.count_removed(folder, held);
                }
            }
            self.board.keep_ends(stays);
        }
    }

    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        self.tasks.spawn_blocking(work).await.map_err(io::Error::other)?
    }

    fn publish(&self, folder: Arc<Folder>) {
        self.folders.send_modify(|all| all.push(folder));
    }
}

/// Reads a folder's end and cursors. Blocks.
pub(super) fn look_at(folder: &Path, boot: Uuid, sinks: &[String]) -> io::Result<Found> {
    let last = last_seq(folder, boot)?;
    // A sink without a cursor has no part in it.
    let held = |name| Cursor::new(folder, name).load().map(|held| held.unwrap_or(last));
    let held = sinks.iter().map(|n| held(n)).collect::<io::Result<_>>()?;
    Ok(Found { last, held })
}

/// The last sequence number in a folder that is no longer written.
pub(super) fn last_seq(path: &Path, boot: Uuid) -> io::Result<u64> {
    // Only the last segment with frames matters; damage in it is counted when it is delivered.
    let uncounted = prometheus::IntCounter::new("uncounted", "not registered").map_err(io::Error::other)?;
    for found in segment::segments(path)?.into_iter().rev() {
        let mut reader = FolderReader::new(path, boot, found.first.saturating_sub(1), uncounted.clone());
        let mut records = Vec::new();
        while reader.read(Until::End, 1024, &mut records)? == Stop::Enough {
            records.clear();
        }
        if reader.last() >= found.first {
            return Ok(reader.last());
        }
    }
    Ok(0)
}
