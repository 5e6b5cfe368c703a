//! The folder of this boot in the journal's directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::file_id::FileId;
use linkseal_base::uuid7;
use parking_lot::Mutex;
use uuid::Uuid;

use super::segment::{self, Disk};

/// The folder that this process writes its events to.
pub(super) struct BootFolder {
    dir: PathBuf,
    clock: Clock,
    boot: OnceLock<Uuid>,
    /// Keeps other processes from delivering the folder while it is written.
    lock: Mutex<Option<File>>,
    /// Whether it was logged that folders of other boots sort after this one.
    warned: AtomicBool,
}

impl BootFolder {
    pub(super) fn new(dir: PathBuf, clock: Clock) -> Self {
        Self {
            dir,
            clock,
            boot: OnceLock::new(),
            lock: Mutex::new(None),
            warned: AtomicBool::new(false),
        }
    }

    /// The id of this boot; chosen now if the directory could not be read in time.
    pub(super) fn boot(&self) -> Uuid {
        *self.boot.get_or_init(|| self.id_after(None))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(self.boot().to_string())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Creates the directory and this boot's folder where missing, and locks the folder.
    pub(super) fn prepare(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.create_dir(&self.dir)?;
        let newest = segment::boots(&self.dir)?.pop();
        let boot = *self.boot.get_or_init(|| self.id_after(newest));
        if newest > Some(boot) && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::error!(
                %boot,
                "events.dir was missing at the start and now holds a folder from a later boot; restart the edge to have it delivered"
            );
        }
        let folder = self.path();
        disk.create_dir(&folder)?;
        let mut lock = self.lock.lock();
        if !lock
            .as_ref()
            .is_some_and(|lock| is_at(lock, &segment::lock_path(&folder)))
        {
            *lock = Some(segment::lock(&folder)?.ok_or(io::ErrorKind::ResourceBusy)?);
        }
        Ok(())
    }

    /// An id that sorts after another one, whatever the clock says now.
    fn id_after(&self, newest: Option<Uuid>) -> Uuid {
        let now = self.clock.now();
        let newest = newest.map(|newest| Timestamp::from_millis(uuid7::unix_ms(&newest) + 1));
        uuid7::at(newest.map_or(now, |newest| now.max(newest)))
    }

    /// The size of all boots' segments, for the gauge; `None` when it cannot be determined.
    pub(super) fn journal_size(&self) -> Option<i64> {
        i64::try_from(size(&self.dir).ok()?).ok()
    }
}

/// Whether a path still leads to this open file: a folder that was removed or renamed took its lock
/// file with it.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => FileId::of(&ours) == FileId::of(&there),
        _ => false,
    }
}

/// The size of all segments in a journal's directory, in bytes.
pub(crate) fn size(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for boot in segment::boots(dir)? {
        for found in segment::segments(&dir.join(boot.to_string()))? {
            // Another process may just have removed it.
            sum += found.path.metadata().map_or(0, |m| m.len());
        }
    }
    Ok(sum)
}
