//! Makes room on a full disk: what all sinks hold, and is kept for replay only, goes before an
//! event is refused. Called by the journal's thread, also before any delivery runs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use uuid::Uuid;

use super::cursor::Cursor;
use super::folder::Folder;
use super::home::Home;
use super::keeper::last_seq;
use super::retention::{Old, old_segments};
use super::{Metrics, segment};

/// What decides on what may go.
pub(super) struct Room {
    known: Mutex<Known>,
}

struct Known {
    /// Whose cursors count.
    sinks: Vec<String>,
    /// The folders of earlier boots that this process delivers. Not to be kept: their locks are
    /// released with them.
    folders: Vec<Weak<Folder>>,
}

impl Room {
    /// With the sinks of the configuration; nothing is delivered yet.
    pub(super) fn new(sinks: Vec<String>) -> Self {
        Self {
            known: Mutex::new(Known {
                sinks,
                folders: Vec::new(),
            }),
        }
    }

    /// Tells what is delivered now, and to whom.
    pub(super) fn set(&self, sinks: &[String], folders: &[Arc<Folder>]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sinks = sinks.to_vec();
        known.folders = folders.iter().map(Arc::downgrade).collect();
    }

    /// Gives each sink its part in this boot's folder when that was made anew: a sink without a
    /// cursor in it would get nothing of it after a restart. Next comes event `next`.
    pub(super) fn begin_cursors(&self, folder: &Path, next: u64) -> io::Result<()> {
        let first = segment::segments(folder)?.first().map_or(next, |oldest| oldest.first);
        let sinks = self.known.lock().unwrap_or_else(PoisonError::into_inner).sinks.clone();
        let mut cursors = sinks.iter().map(|sink| Cursor::new(folder, sink));
        cursors.try_for_each(|cursor| cursor.begin(first.saturating_sub(1)))
    }

    /// Removes the oldest segment that all sinks hold; tells whether there was one.
    pub(super) fn give_up_oldest(&self, home: &Home, metrics: &Metrics) -> bool {
        let (sinks, folders) = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let folders: Vec<_> = known.folders.iter().filter_map(Weak::upgrade).collect();
            (known.sinks.clone(), folders)
        };
        if sinks.is_empty() {
            // The journal is all there is of its events.
            return false;
        }
        for boot in segment::boots(home.dir()).unwrap_or_default() {
            match oldest_held(home, boot, &sinks, &folders) {
                Ok(Some(old)) => match std::fs::remove_file(&old.path) {
                    Ok(()) => {
                        metrics.bytes.sub(i64::try_from(old.size).unwrap_or(0));
                        tracing::warn!(
                            path = %old.path.display(), bytes = old.size,
                            "the disk of events.dir is full: the oldest events that all sinks hold were removed before their time (events.keep)"
                        );
                        return true;
                    }
                    Err(error) => {
                        tracing::error!(%error, path = %old.path.display(), "a segment that all sinks hold cannot be removed to make room");
                    }
                },
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, %boot, "a folder of the journal cannot be looked through to make room");
                }
            }
        }
        false
    }
}

/// The oldest segment of a folder that all sinks hold, and no one writes.
fn oldest_held(home: &Home, boot: Uuid, sinks: &[String], folders: &[Arc<Folder>]) -> io::Result<Option<Old>> {
    let path = home.dir().join(boot.to_string());
    let folder = if boot == home.id() {
        Place::own(path)
    } else if let Some(known) = folders.iter().find(|f| f.boot == boot) {
        Place {
            last: known.last,
            path,
            _lock: None,
        }
    } else {
        // No delivery runs here yet, or another process still writes it.
        let Some(lock) = segment::lock(&path)? else {
            return Ok(None);
        };
        Place {
            last: Some(last_seq(&path, boot)?),
            path,
            _lock: Some(lock),
        }
    };
    // In this boot's folder, a sink without a cursor has not begun; in others it has no part.
    let absent = if boot == home.id() { 0 } else { u64::MAX };
    let old = old_segments(&folder.path, folder.last, sinks, absent)?;
    Ok(old.into_iter().find(|old| old.held >= old.last))
}

struct Place {
    path: PathBuf,
    last: Option<u64>,
    _lock: Option<File>,
}

impl Place {
    fn own(path: PathBuf) -> Self {
        Self {
            path,
            last: None,
            _lock: None,
        }
    }
}
