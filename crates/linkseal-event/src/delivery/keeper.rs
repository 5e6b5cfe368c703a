//! Looks after the journal's folders while events are delivered: takes the locks of earlier boots'
//! folders in order, publishes each folder to the workers, and runs retention.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::shutdown::Tasks;
use tokio::sync::watch;
use uuid::Uuid;

use super::board::Board;
use super::retention::Retention;
use crate::failure_streak::{FailureStreak, elapsed};
use crate::journal::folder::{END_UNKNOWN, Folder};
use crate::journal::progress::{FolderProgress, folder_progress};
use crate::journal::{Journal, segment};
use crate::settings::EventSettings;

/// How often a folder that another process holds is tried.
pub(super) const LOCK_EVERY: Duration = Duration::from_secs(1);
/// Attempts to lock a folder or to read its end before going on without.
const END_TRIES: u32 = 5;
/// How often the loop checks whether retention is due.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How often retention runs.
pub(super) const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// Locks folders in order and removes old segments.
pub(super) struct Keeper {
    pub(super) journal: Journal,
    pub(super) settings: EventSettings,
    pub(super) board: Board,
    pub(super) folders: watch::Sender<Vec<Arc<Folder>>>,
    pub(super) tasks: Tasks,
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
                // This boot's folder must respect the size cap too, even while an earlier one cannot
                // be locked.
                let mut folders = self.folders.borrow().clone();
                if !folders.iter().any(|f| f.boot == own.boot) {
                    folders.push(Arc::clone(&own));
                }
                let pass = self.tasks.spawn_blocking(move || {
                    retention.pass(&folders);
                    retention
                });
                retention = pass.await.unwrap_or_else(|error| {
                    tracing::error!(%error, "retention of the journal panicked; running it again in a minute");
                    Retention::new(&self.journal, &self.settings)
                });
                self.forget_removed().await;
            }
            tokio::select! {
                () = self.tasks.stopping() => return,
                () = &mut taking, if !taken => {
                    taken = true;
                    // Run retention at once, now that all folders are there.
                    passed = None;
                }
                () = clock.sleep(CHECK_EVERY) => {}
            }
        }
    }

    /// Publishes the folders of earlier boots as their locks become free, and then this boot's.
    async fn take_folders(&self, own: &Arc<Folder>) {
        let boots = self.earlier_boots().await;
        for boot in boots {
            let path = self.journal.dir().join(boot.to_string());
            let Some(lock) = self.lock(&path, boot).await else {
                continue;
            };
            if let Err(error) = self.check_format(&path).await {
                tracing::error!(%error, path = %path.display(), "a journal folder is of another version; skipping it, its events are kept and stay undelivered");
                continue;
            }
            let found = self.progress(&path, boot).await;
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
        let mut streak = FailureStreak::default();
        loop {
            let listed = self.on_disk({
                let dir = dir.clone();
                move || segment::boots(&dir)
            });
            match listed.await {
                Ok(boots) => return boots.into_iter().filter(|b| *b < own).collect(),
                Err(error) if streak.failed("", self.journal.clock().now()) => {
                    tracing::error!(%error, dir = %dir.display(), "the journal's directory cannot be listed; delivery waits until it can");
                }
                Err(_) => {}
            }
            self.journal.clock().sleep(LOCK_EVERY).await;
        }
    }

    /// Takes the lock of a folder. `None` when the process that held it has delivered and removed the
    /// folder, or when the disk fails: the folder is skipped until the next start then.
    async fn lock(&self, path: &Path, boot: Uuid) -> Option<std::fs::File> {
        let (mut streak, mut errors) = (FailureStreak::default(), 0);
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
                Ok(None) if streak.failed("held", now) => {
                    tracing::info!(%boot, "an earlier process still writes its events; delivering ours after them");
                }
                Err(error) => {
                    streak.failed("error", now);
                    errors += 1;
                    if errors >= END_TRIES {
                        tracing::error!(%error, path = %path.display(), "a journal folder cannot be locked; skipping it, its events stay undelivered until the next start (check that this user may read and write it)");
                        return None;
                    }
                }
                Ok(None) => {}
            }
            self.journal.clock().sleep(LOCK_EVERY).await;
        }
    }

    /// Fails when another version wrote a folder. A disk that fails is for [`Keeper::progress`] to report.
    async fn check_format(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        match self.on_disk(move || segment::check_format(&path)).await {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads a folder's end and cursors. `None` when that fails: the folder is delivered as far as it
    /// can be read.
    async fn progress(&self, path: &Path, boot: Uuid) -> Option<FolderProgress> {
        let names: Vec<_> = self.settings.sinks.iter().map(|s| s.name.clone()).collect();
        for attempt in 1..=END_TRIES {
            let (at, names) = (path.to_owned(), names.clone());
            let found = self.on_disk(move || folder_progress(&at, boot, &names));
            match found.await {
                Ok(found) => return Some(found),
                Err(error) if attempt == END_TRIES => {
                    tracing::error!(%error, path = %path.display(), "the end of a journal folder cannot be read; delivering it as far as it can be read, and keeping all of it");
                }
                Err(_) => self.journal.clock().sleep(LOCK_EVERY).await,
            }
        }
        None
    }

    /// Forgets the ends of folders that are gone, and counts what sinks did not get of those that were
    /// removed by hand. A worker in such a folder may have its segment open, and reads it to its end.
    async fn forget_removed(&self) {
        let (dir, own) = (self.journal.dir().to_owned(), self.journal.boot());
        if let Ok(there) = self.on_disk(move || segment::boots(&dir)).await {
            let folders = self.folders.borrow().clone();
            let is_in_use = |boot: Uuid| folders.iter().any(|f| f.boot == boot && f.is_in_use());
            // This boot's own goes on even if its folder was removed.
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
