//! Which segments of the journal are removed, and when: those that all sinks hold, after `keep`; at
//! the size cap the oldest, held or not, counted and logged as an error. Only in folders whose lock
//! this process holds.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use linkseal_base::clock::Timestamp;

use crate::journal::folder::Folder;
use crate::journal::progress::{ClosedSegment, closed_segments};
use crate::journal::reader::{FolderReader, Until};
use crate::journal::{Journal, boot_folder, segment};
use crate::settings::EventSettings;

/// Longest time a segment is written: its events can only be removed together.
const ROTATE_EVERY: Duration = Duration::from_secs(3600);
/// Fewest segments per `keep`, so that events do not stay much longer than configured.
const ROTATE_SHARE: u32 = 8;

/// What a sink without a cursor holds of a folder: it has no part in it.
const NO_PART: u64 = u64::MAX;

/// Removes old segments.
pub(super) struct Retention {
    journal: Journal,
    sinks: Vec<String>,
    keep: Duration,
    max_bytes: u64,
    /// When a new segment was last asked for, by uptime.
    rotated: Duration,
    /// The held segments, as they were when first seen.
    seen: HashMap<PathBuf, FirstSeen>,
}

/// The age of a held segment when it was first seen.
#[derive(Clone, Copy)]
struct FirstSeen {
    /// By the time of day; less than `keep`.
    age: Duration,
    /// The moment, by [`linkseal_base::clock::Clock::uptime`].
    at: Duration,
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

    /// Checks all folders once. Blocks.
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
                tracing::error!(%error, path = %folder.path.display(), "retention of a journal folder failed; trying again in a minute");
            }
        }
        if let Err(error) = self.enforce_cap(folders) {
            tracing::error!(%error, "the journal's size cannot be kept below events.max_bytes; trying again in a minute");
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
        before: &HashMap<PathBuf, FirstSeen>,
    ) -> io::Result<()> {
        for old in closed_segments(&folder.path, folder.last, &self.sinks, NO_PART)? {
            if old.held < old.last {
                // Its age counts from when all sinks hold it, also across restarts.
                let ms = u64::try_from(now.as_millis()).unwrap_or(0);
                File::open(&old.path)?.set_modified(UNIX_EPOCH + Duration::from_millis(ms))?;
                continue;
            }
            let age = now.saturating_since(old.since);
            // If the clock is ahead at the first look, there is time to set it right before anything
            // is removed.
            let first = FirstSeen {
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
            folder.set_expired();
            fs::remove_dir_all(&folder.path)?;
        }
        Ok(())
    }

    /// Brings the journal below its size cap.
    fn enforce_cap(&self, folders: &[Arc<Folder>]) -> io::Result<()> {
        let mut size = boot_folder::size(self.journal.dir())?;
        for folder in folders {
            for old in closed_segments(&folder.path, folder.last, &self.sinks, NO_PART)? {
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
                        "events lost: the journal reached events.max_bytes, and its oldest events were removed before all sinks had them"
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

    /// How many events of a segment are not held by every sink.
    fn undelivered(&self, folder: &Folder, old: &ClosedSegment) -> io::Result<u64> {
        if old.held >= old.last {
            return Ok(0);
        }
        let damaged = self.journal.metrics().damaged.clone();
        let mut reader = FolderReader::new(&folder.path, folder.boot, old.held, damaged);
        let mut count = 0;
        reader.read(Until::Published(old.last), usize::MAX, |seq, _| {
            count += u64::from(seq <= old.last);
        })?;
        Ok(count)
    }

    fn remove(&self, old: &ClosedSegment) -> io::Result<()> {
        match fs::remove_file(&old.path) {
            Ok(()) => {}
            // The journal's thread has removed it to free space.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        }
        self.journal.metrics().bytes.sub(i64::try_from(old.size).unwrap_or(0));
        Ok(())
    }
}

impl FirstSeen {
    /// How long a segment has been held. The time of day may add neither more nor less than the time
    /// that has passed since the segment was first seen: a clock that jumps or was wrong removes
    /// nothing early and keeps nothing for long.
    fn age(&self, by_clock: Duration, uptime: Duration) -> Duration {
        let passed = uptime.saturating_sub(self.at);
        by_clock.clamp(passed, self.age + passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_changes_no_age() {
        const HOUR: Duration = Duration::from_secs(3600);
        let seen = FirstSeen {
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
