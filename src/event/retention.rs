//! Which segments of the journal go, and when: those that all sinks hold, after `keep`; at the
//! size cap the oldest, held or not, counted and loud. Only in folders whose lock this process
//! holds.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::cursor::Cursor;
use super::folder::Folder;
use super::reader::{FolderReader, Stop, Until};
use super::segment::{self, Found};
use super::{EventSettings, Journal};
use crate::clock::Timestamp;

/// Longest time a segment is written: what it holds can only go together.
const ROTATE_EVERY: Duration = Duration::from_secs(3600);
/// Segments per `keep`, at least, so that little stays much longer than asked.
const ROTATE_SHARE: u32 = 8;

/// What stays and what goes.
pub(super) struct Retention {
    journal: Journal,
    sinks: Vec<String>,
    keep: Duration,
    max_bytes: u64,
    rotated: Timestamp,
}

/// A segment that is no longer written.
struct Old {
    folder: Arc<Folder>,
    path: PathBuf,
    size: u64,
    /// No frame in it has a higher sequence number.
    last: u64,
    /// What all sinks hold of its folder.
    held: u64,
    /// When it was last seen written or undelivered.
    since: Timestamp,
}

impl Retention {
    pub(super) fn new(journal: &Journal, settings: &EventSettings) -> Self {
        Self {
            journal: journal.clone(),
            sinks: settings.sinks.iter().map(|s| s.name.clone()).collect(),
            keep: settings.keep,
            max_bytes: settings.max_bytes,
            rotated: journal.clock().now(),
        }
    }

    /// Looks once at everything. Blocks.
    pub(super) fn pass(&mut self, folders: &[Arc<Folder>]) {
        let now = self.journal.clock().now();
        if now.saturating_since(self.rotated) >= ROTATE_EVERY.min(self.keep / ROTATE_SHARE) {
            self.rotated = now;
            self.journal.rotate();
        }
        for folder in folders {
            if let Err(error) = self.pass_folder(folder, now) {
                tracing::error!(%error, path = %folder.path.display(), "old segments of the journal cannot be looked through");
            }
        }
        if let Err(error) = self.cap(folders) {
            tracing::error!(%error, "the journal's size cannot be kept below events.max_bytes");
        }
    }

    fn pass_folder(&self, folder: &Arc<Folder>, now: Timestamp) -> io::Result<()> {
        for old in self.old(folder)? {
            if old.held < old.last {
                // Its time counts from when all sinks hold it, also over a restart.
                let ms = u64::try_from(now.as_millis()).unwrap_or(0);
                File::open(&old.path)?.set_modified(UNIX_EPOCH + Duration::from_millis(ms))?;
            } else if now.saturating_since(old.since) > self.keep {
                self.remove(&old)?;
            }
        }
        let is_over = folder.last.is_some() && !folder.is_in_use();
        if is_over && folder.path.exists() && segment::segments(&folder.path)?.is_empty() {
            fs::remove_dir_all(&folder.path)?;
        }
        Ok(())
    }

    /// Brings the journal below its size cap.
    fn cap(&self, folders: &[Arc<Folder>]) -> io::Result<()> {
        let mut size = super::journal::size(self.journal.dir())?;
        for folder in folders {
            for old in self.old(folder)? {
                if size <= self.max_bytes {
                    break;
                }
                let lost = self.undelivered(&old)?;
                self.remove(&old)?;
                size = size.saturating_sub(old.size);
                if lost > 0 {
                    self.journal.metrics().lost.inc_by(lost);
                    tracing::error!(
                        lost, path = %old.path.display(),
                        "the journal reached events.max_bytes: its oldest events were removed before all sinks had them"
                    );
                }
            }
        }
        self.journal
            .metrics()
            .bytes
            .set(i64::try_from(size).unwrap_or(i64::MAX));
        Ok(())
    }

    /// The segments of a folder that are no longer written, oldest first.
    fn old(&self, folder: &Arc<Folder>) -> io::Result<Vec<Old>> {
        let mut held = u64::MAX;
        for sink in &self.sinks {
            held = held.min(Cursor::new(&folder.path, sink).load()?.unwrap_or(u64::MAX));
        }
        let found = segment::segments(&folder.path)?;
        let mut old = Vec::new();
        for (i, Found { path, .. }) in found.iter().enumerate() {
            let last = match (found.get(i + 1), folder.last) {
                (Some(next), _) => next.first.saturating_sub(1),
                (None, Some(last)) => last,
                // It is being written.
                (None, None) => break,
            };
            let meta = path.metadata()?;
            let since = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let since = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
            old.push(Old {
                folder: folder.clone(),
                path: path.clone(),
                size: meta.len(),
                last,
                held,
                since,
            });
        }
        Ok(old)
    }

    /// How many events of a segment some sink does not hold.
    fn undelivered(&self, old: &Old) -> io::Result<u64> {
        if old.held >= old.last {
            return Ok(0);
        }
        let damaged = self.journal.metrics().damaged.clone();
        let mut reader = FolderReader::new(&old.folder.path, old.folder.boot, old.held, damaged);
        let mut count = 0;
        let mut records = Vec::new();
        loop {
            let stop = reader.read(Until::Published(old.last), 1024, &mut records)?;
            count += records.iter().filter(|r| r.seq <= old.last).count() as u64;
            records.clear();
            if stop == Stop::End || reader.last() >= old.last {
                return Ok(count);
            }
        }
    }

    fn remove(&self, old: &Old) -> io::Result<()> {
        fs::remove_file(&old.path)?;
        self.journal.metrics().bytes.sub(i64::try_from(old.size).unwrap_or(0));
        Ok(())
    }
}
