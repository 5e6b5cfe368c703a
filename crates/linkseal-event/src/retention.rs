//! Which segments of the journal go, and when: those that all sinks hold, after `keep`; at the
//! size cap the oldest, held or not, counted and loud. Only in folders whose lock this process
//! holds.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use linkseal_base::clock::Timestamp;

use super::cursor::Cursor;
use super::folder::Folder;
use super::reader::{FolderReader, Stop, Until};
use super::segment::{self, Found};
use super::{EventSettings, Journal};

/// Longest time a segment is written: what it holds can only go together.
const ROTATE_EVERY: Duration = Duration::from_secs(3600);
/// Segments per `keep`, at least, so that little stays much longer than asked.
const ROTATE_SHARE: u32 = 8;

/// What a sink without a cursor in a folder holds of it: it has no part in it.
const NO_PART: u64 = u64::MAX;

/// What stays and what goes.
pub(super) struct Retention {
    journal: Journal,
    sinks: Vec<String>,
    keep: Duration,
    max_bytes: u64,
    /// When a new segment was last asked for, by uptime.
    rotated: Duration,
    /// How old segments were when they were first seen to be held, and when that was, by what the
    /// machine has run and not by the time of day.
    seen: HashMap<PathBuf, Seen>,
}

/// When a held segment was first looked at.
#[derive(Clone, Copy)]
struct Seen {
    /// Its age then, by the time of day; less than `keep`.
    age: Duration,
    /// The moment, by [`linkseal_base::clock::Clock::uptime`].
    at: Duration,
}

/// A segment that is no longer written.
pub(super) struct Old {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// No frame in it has a higher sequence number.
    pub(super) last: u64,
    /// What all sinks hold of its folder.
    pub(super) held: u64,
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
            rotated: journal.clock().uptime(),
            seen: HashMap::new(),
        }
    }

    /// Looks once at everything. Blocks.
    pub(super) fn pass(&mut self, folders: &[Arc<Folder>]) {
        self.journal.set_delivered(&self.sinks, folders);
        let (now, uptime) = (self.journal.clock().now(), self.journal.clock().uptime());
        if uptime.saturating_sub(self.rotated) >= self.rotation() {
            self.rotated = uptime;
            self.journal.rotate();
        }
        let before = std::mem::take(&mut self.seen);
        for folder in folders {
            if let Err(error) = self.pass_folder(folder, now, uptime, &before) {
                tracing::error!(%error, path = %folder.path.display(), "old segments of the journal cannot be looked through");
            }
        }
        if let Err(error) = self.cap(folders) {
            tracing::error!(%error, "the journal's size cannot be kept below events.max_bytes");
        }
    }

    /// Longest time that one segment is written.
    fn rotation(&self) -> Duration {
        ROTATE_EVERY.min(self.keep / ROTATE_SHARE)
    }

    fn pass_folder(
        &mut self,
        folder: &Folder,
        now: Timestamp,
        uptime: Duration,
        before: &HashMap<PathBuf, Seen>,
    ) -> io::Result<()> {
        for old in old_segments(&folder.path, folder.last, &self.sinks, NO_PART)? {
            if old.held < old.last {
                // Its time counts from when all sinks hold it, also over a restart.
                let ms = u64::try_from(now.as_millis()).unwrap_or(0);
                File::open(&old.path)?.set_modified(UNIX_EPOCH + Duration::from_millis(ms))?;
                continue;
            }
            let age = now.saturating_since(old.since);
            // A clock that is ahead at the first look removes nothing before it can be set right.
            let first = Seen {
                age: age.min(self.keep - self.rotation()),
                at: uptime,
            };
            let seen = before.get(&old.path).copied().unwrap_or(first);
            if seen.age(age, uptime) > self.keep {
                self.remove(&old)?;
            } else {
                self.seen.insert(old.path, seen);
            }
        }
        let is_over = folder.last.is_some() && !folder.is_in_use();
        if is_over && folder.path.exists() && segment::segments(&folder.path)?.is_empty() {
            folder.set_over();
            fs::remove_dir_all(&folder.path)?;
        }
        Ok(())
    }

    /// Brings the journal below its size cap.
    fn cap(&self, folders: &[Arc<Folder>]) -> io::Result<()> {
        let mut size = super::home::size(self.journal.dir())?;
        for folder in folders {
            for old in old_segments(&folder.path, folder.last, &self.sinks, NO_PART)? {
                if size <= self.max_bytes {
                    break;
                }
                let lost = self.undelivered(folder, &old)?;
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

    /// How many events of a segment some sink does not hold.
    fn undelivered(&self, folder: &Folder, old: &Old) -> io::Result<u64> {
        if old.held >= old.last {
            return Ok(0);
        }
        let damaged = self.journal.metrics().damaged.clone();
        let mut reader = FolderReader::new(&folder.path, folder.boot, old.held, damaged);
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
        match fs::remove_file(&old.path) {
            Ok(()) => {}
            // The journal's thread needed its room.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        }
        self.journal.metrics().bytes.sub(i64::try_from(old.size).unwrap_or(0));
        Ok(())
    }
}

impl Seen {
    /// How long a segment has been held. The time of day counts for no more than has passed since
    /// it was first seen, and for no less: a clock that jumps, or was wrong, removes nothing early
    /// and keeps nothing for long.
    fn age(&self, by_clock: Duration, uptime: Duration) -> Duration {
        let passed = uptime.saturating_sub(self.at);
        by_clock.clamp(passed, self.age + passed)
    }
}

/// The segments of a folder that are no longer written, oldest first. `last`: the folder's last
/// sequence number, `None` when it is being written. `absent`: what a sink without a cursor holds.
pub(super) fn old_segments(folder: &Path, last: Option<u64>, sinks: &[String], absent: u64) -> io::Result<Vec<Old>> {
    let mut held = u64::MAX;
    for sink in sinks {
        held = held.min(Cursor::new(folder, sink).load()?.unwrap_or(absent));
    }
    let found = segment::segments(folder)?;
    let mut old = Vec::new();
    for (i, Found { path, .. }) in found.iter().enumerate() {
        let last = match (found.get(i + 1), last) {
            (Some(next), _) => next.first.saturating_sub(1),
            (None, Some(last)) => last,
            // It is being written.
            (None, None) => break,
        };
        let meta = match path.metadata() {
            Ok(meta) => meta,
            // It has just been removed to make room.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let since = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        old.push(Old {
            path: path.clone(),
            size: meta.len(),
            last,
            held,
            since,
        });
    }
    Ok(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_makes_nothing_old_and_keeps_nothing_young() {
        const HOUR: Duration = Duration::from_secs(3600);
        let seen = Seen {
            age: HOUR,
            at: HOUR * 10,
        };
        for (by_clock, uptime, age, what) in [
            (HOUR * 3, HOUR * 12, HOUR * 3, "a clock that goes as it should"),
            (HOUR * 900, HOUR * 12, HOUR * 3, "set forward"),
            (
                Duration::ZERO,
                HOUR * 12,
                HOUR * 2,
                "set back, or ahead when it was written",
            ),
        ] {
            assert_eq!(seen.age(by_clock, uptime), age, "{what}");
        }
    }
}
