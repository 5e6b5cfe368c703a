//! Frees space on a full disk: segments that every sink holds, and that are kept for replay only, are
//! removed before an event is refused. Runs on the journal's thread, also before delivery starts.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use uuid::Uuid;

use super::boot_folder::BootFolder;
use super::cursor::Cursor;
use super::folder::Folder;
use super::progress::{ClosedSegment, closed_segments, last_seq};
use super::segment;
use crate::metrics::Metrics;

/// Decides which segments may be removed to free space.
pub(super) struct Reclaimer {
    delivered: Mutex<Delivered>,
}

struct Delivered {
    /// The sinks whose cursors count.
    sinks: Vec<String>,
    /// The folders of earlier boots that this process delivers; weak, because dropping a folder
    /// releases its lock.
    folders: Vec<Weak<Folder>>,
}

impl Reclaimer {
    /// For the configured sinks, before anything is delivered.
    pub(super) fn new(sinks: Vec<String>) -> Self {
        Self {
            delivered: Mutex::new(Delivered {
                sinks,
                folders: Vec::new(),
            }),
        }
    }

    /// Sets which folders are being delivered, and to which sinks.
    pub(super) fn set_delivered(&self, sinks: &[String], folders: &[Arc<Folder>]) {
        let mut delivered = self.delivered.lock();
        delivered.sinks = sinks.to_vec();
        delivered.folders = folders.iter().map(Arc::downgrade).collect();
    }

    /// Creates the missing cursors after this boot's folder was created again: a sink without a
    /// cursor would get none of its events after a restart. `next` is the next sequence number.
    pub(super) fn begin_cursors(&self, folder: &Path, next: u64) -> io::Result<()> {
        let first = segment::segments(folder)?.first().map_or(next, |oldest| oldest.first);
        let sinks = {
            let delivered = self.delivered.lock();
            delivered.sinks.clone()
        };
        let mut cursors = sinks.iter().map(|sink| Cursor::new(folder, sink));
        cursors.try_for_each(|cursor| cursor.begin(first.saturating_sub(1)))
    }

    /// Removes the oldest segment that every sink holds; returns whether there was one.
    pub(super) fn remove_oldest(&self, own: &BootFolder, metrics: &Metrics) -> bool {
        let (sinks, folders) = {
            let delivered = self.delivered.lock();
            let folders: Vec<_> = delivered.folders.iter().filter_map(Weak::upgrade).collect();
            (delivered.sinks.clone(), folders)
        };
        if sinks.is_empty() {
            // The journal is the only copy of its events.
            return false;
        }
        for boot in segment::boots(own.dir()).unwrap_or_default() {
            match oldest_held(own, boot, &sinks, &folders) {
                Ok(Some(old)) => match std::fs::remove_file(&old.path) {
                    Ok(()) => {
                        metrics.bytes.sub(i64::try_from(old.size).unwrap_or(0));
                        tracing::warn!(
                            path = %old.path.display(), bytes = old.size,
                            "the disk of events.dir is full; the oldest segment that all sinks hold was removed before events.keep"
                        );
                        return true;
                    }
                    Err(error) => {
                        tracing::error!(%error, path = %old.path.display(), "a segment that all sinks hold cannot be removed to free space");
                    }
                },
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, %boot, "a journal folder cannot be searched for segments to remove");
                }
            }
        }
        false
    }
}

/// The oldest segment of a folder that every sink holds and no process writes.
fn oldest_held(
    own: &BootFolder,
    boot: Uuid,
    sinks: &[String],
    folders: &[Arc<Folder>],
) -> io::Result<Option<ClosedSegment>> {
    let path = own.dir().join(boot.to_string());
    let folder = if boot == own.boot() {
        Searched {
            path,
            last: None,
            _lock: None,
        }
    } else if let Some(known) = folders.iter().find(|f| f.boot == boot) {
        Searched {
            last: known.last,
            path,
            _lock: None,
        }
    } else {
        // Either no delivery runs here yet, or another process still writes it.
        let Some(lock) = segment::lock(&path)? else {
            return Ok(None);
        };
        segment::check_format(&path)?;
        Searched {
            last: Some(last_seq(&path, boot)?),
            path,
            _lock: Some(lock),
        }
    };
    // A sink without a cursor has not begun in this boot's folder, and has no part in others.
    let absent = if boot == own.boot() { 0 } else { u64::MAX };
    let closed = closed_segments(&folder.path, folder.last, sinks, absent)?;
    Ok(closed.into_iter().find(|segment| segment.held >= segment.last))
}

/// A folder, with its lock held while it is searched.
struct Searched {
    path: PathBuf,
    last: Option<u64>,
    _lock: Option<File>,
}
