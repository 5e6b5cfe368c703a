//! Where this boot's events go: its folder in the journal's directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use linkseal_base::clock::Clock;
use linkseal_base::file_id::FileId;
use linkseal_base::random;
use uuid::Uuid;

use super::segment::{self, Disk};

/// This boot's place in the journal's directory.
pub(super) struct Home {
    dir: PathBuf,
    clock: Clock,
    id: OnceLock<Uuid>,
    /// Tells other processes that the folder is being written.
    lock: Mutex<Option<File>>,
    /// Whether it was said that folders of other boots sort after this one.
    said: AtomicBool,
}

impl Home {
    pub(super) fn new(dir: PathBuf, clock: Clock) -> Self {
        Self {
            dir,
            clock,
            id: OnceLock::new(),
            lock: Mutex::new(None),
            said: AtomicBool::new(false),
        }
    }

    /// The id of this boot; made now if the directory could not be looked at in time.
    pub(super) fn id(&self) -> Uuid {
        *self.id.get_or_init(|| self.after(None))
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.dir.join(self.id().to_string())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Makes the directory and this boot's folder, as far as they are not there, and locks it.
    pub(super) fn prepare(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.create_dir(&self.dir)?;
        let newest = segment::boots(&self.dir)?.pop();
        let id = *self.id.get_or_init(|| self.after(newest));
        if newest > Some(id) && !self.said.swap(true, Ordering::Relaxed) {
            tracing::error!(
                boot = %id,
                "the journal's directory was not there at the start and holds a boot of a later time; restart the edge to have that delivered"
            );
        }
        let folder = self.folder();
        disk.create_dir(&folder)?;
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !lock
            .as_ref()
            .is_some_and(|lock| is_at(lock, &segment::lock_path(&folder)))
        {
            *lock = Some(segment::lock(&folder)?.ok_or(io::ErrorKind::ResourceBusy)?);
        }
        Ok(())
    }

    /// An id that sorts after another, whatever the clock says now.
    fn after(&self, newest: Option<Uuid>) -> Uuid {
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        let ms = newest.map_or(now, |newest| now.max(unix_ms(&newest) + 1));
        uuid::Builder::from_unix_timestamp_millis(ms, &random::bytes()).into_uuid()
    }

    /// The size of all boots' segments, for the gauge. `None`: it cannot be found out.
    pub(super) fn size(&self) -> Option<i64> {
        i64::try_from(size(&self.dir).ok()?).ok()
    }
}

/// Whether a file is the one under a path: a folder that was removed or renamed took its lock along.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => FileId::of(&ours) == FileId::of(&there),
        _ => false,
    }
}

/// The time in a UUIDv7 (RFC 9562 §5.7), in milliseconds since the Unix epoch.
fn unix_ms(id: &Uuid) -> u64 {
    (id.as_u128() >> 80) as u64
}

/// The size of all segments in a journal's directory.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for boot in segment::boots(dir)? {
        for found in segment::segments(&dir.join(boot.to_string()))? {
            // One that another process has just removed has no size.
            sum += found.path.metadata().map_or(0, |m| m.len());
        }
    }
    Ok(sum)
}
