//! Events that a sink's receiver rejects permanently, set aside so that they do not block those behind
//! them.
//!
//! One file per sink beside the journal's folders, `dead-letters-{sink}.ndjson`, one event per line:
//!
//! ```text
//! {"boot":"…","seq":17,"at":"2026-11-22T09:30:00Z","answer":"… answered 422: …","event":{…}}
//! ```
//!
//! An event is durable here before the sink's cursor passes it. The file is bounded: when it is full,
//! its oldest events are dropped, counted as lost and logged as an error. Operators list, replay and
//! drop dead letters (`/v1/events/sinks/{name}/dead-letters`); erasure covers them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use linkseal_base::clock::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::files::sync_parent;
use crate::journal::Record;
use crate::metrics::Metrics;
use crate::{files, sink};

const PREFIX: &str = "dead-letters-";
const SUFFIX: &str = ".ndjson";
/// Separates the head of a line from its event. It cannot occur in the answer, where quotes are
/// escaped.
const EVENT: &[u8] = br#","event":"#;
/// Largest file, in bytes: about ten thousand events.
pub(super) const MAX_BYTES: u64 = 16 << 20;
/// How much of a full file is kept, in bytes.
const LEFT: u64 = MAX_BYTES / 4 * 3;

/// The dead letters of all sinks of a journal. Every method blocks.
#[derive(Debug)]
pub(super) struct DeadLetters {
    dir: PathBuf,
    metrics: Metrics,
    /// Allows one change of the files at a time.
    lock: Mutex<()>,
}

/// An event that a sink's receiver rejected.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DeadLetter {
    /// The boot that wrote the event.
    #[schemars(with = "String")]
    pub boot: Uuid,
    /// The sequence number of the event in that boot.
    pub seq: u64,
    /// When it was set aside.
    pub at: Timestamp,
    /// The receiver's answer.
    pub answer: String,
    /// The event.
    pub event: serde_json::Value,
}

/// The head of a line.
#[derive(Serialize, Deserialize)]
struct Head {
    boot: Uuid,
    seq: u64,
    at: Timestamp,
    answer: String,
}

/// A parsed line.
struct Line {
    head: Head,
    event: Bytes,
}

impl DeadLetters {
    /// `dir` is the journal's directory.
    pub(super) fn new(dir: &Path, metrics: &Metrics) -> Self {
        Self {
            dir: dir.to_owned(),
            metrics: metrics.clone(),
            lock: Mutex::new(()),
        }
    }

    /// Prevents changes until the guard is dropped.
    pub(super) fn hold(&self) -> MutexGuard<'_, ()> {
        self.lock.lock()
    }

    /// Stores an event durably. An event that is added again after a crash is stored once.
    pub(super) fn add(&self, name: &str, record: &Record, answer: &str, now: Timestamp) -> io::Result<()> {
        let _held = self.hold();
        let path = self.path(name);
        self.count_removed(name, &path);
        let line = line(record, answer, now)?;
        if fs::metadata(&path).is_ok_and(|m| m.len() + line.len() as u64 > MAX_BYTES) {
            self.drop_oldest(&path, name)?;
        }
        let (mut file, last) = sink::open_lines(&path)?;
        if last == Some((record.boot, record.seq)) {
            return Ok(());
        }
        file.write_all(&line)?;
        file.sync_data()?;
        let labels = [name];
        self.metrics.dead_letters.with_label_values(&labels).inc();
        self.metrics.dead_letters_waiting.with_label_values(&labels).inc();
        Ok(())
    }

    /// How many dead letters a sink has.
    pub(super) fn count(&self, name: &str) -> io::Result<u64> {
        let mut count = 0;
        each(&self.path(name), |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// The place of the last one.
    pub(super) fn last(&self, name: &str) -> io::Result<Option<(Uuid, u64)>> {
        let _held = self.hold();
        let mut last = None;
        each(&self.path(name), |bytes| {
            last = last.max(Line::parse(bytes).map(|line| line.place()));
            Ok(())
        })?;
        Ok(last)
    }

    /// Up to `limit` after a place, oldest first.
    pub(super) fn list(&self, name: &str, after: Option<(Uuid, u64)>, limit: usize) -> io::Result<Vec<DeadLetter>> {
        let mut found = Vec::new();
        self.after(name, after, limit, |line| {
            found.push(DeadLetter {
                event: serde_json::from_slice(&line.event).unwrap_or_default(),
                boot: line.head.boot,
                seq: line.head.seq,
                at: line.head.at,
                answer: line.head.answer,
            });
        })?;
        Ok(found)
    }

    /// As [`DeadLetters::list`], as records to deliver again.
    pub(super) fn records(&self, name: &str, after: Option<(Uuid, u64)>, limit: usize) -> io::Result<Vec<Record>> {
        let mut found = Vec::new();
        self.after(name, after, limit, |line| {
            found.push(Record {
                boot: line.head.boot,
                seq: line.head.seq,
                json: line.event,
            });
        })?;
        Ok(found)
    }

    fn after(
        &self,
        name: &str,
        after: Option<(Uuid, u64)>,
        limit: usize,
        mut take: impl FnMut(Line),
    ) -> io::Result<()> {
        let _held = self.hold();
        let mut left = limit;
        each(&self.path(name), |bytes| {
            let line = Line::parse(bytes).filter(|l| after.is_none_or(|a| l.place() > a));
            if let Some(line) = line.filter(|_| left > 0) {
                left -= 1;
                take(line);
            }
            Ok(())
        })
    }

    /// Removes those that `gone` selects; returns how many there were.
    pub(super) fn remove(&self, name: &str, gone: impl Fn(Uuid, u64) -> bool) -> io::Result<u64> {
        let _held = self.hold();
        let path = self.path(name);
        self.count_removed(name, &path);
        let (mut removed, mut stay) = (0, 0);
        rewrite(&path, |bytes| {
            let goes = Line::parse(bytes).is_some_and(|l| gone(l.head.boot, l.head.seq));
            *(if goes { &mut removed } else { &mut stay }) += 1;
            !goes
        })?;
        if stay == 0 {
            remove_file(&path)?;
        }
        self.show(name, stay);
        Ok(removed)
    }

    /// Sets the gauge of a sink's dead letters to their number on disk.
    pub(super) fn refresh_count(&self, name: &str) -> io::Result<()> {
        let count = self.count(name)?;
        self.show(name, count);
        Ok(())
    }

    /// Checks whether a sink's file was removed by hand.
    pub(super) fn check_removed(&self, name: &str) {
        let _held = self.hold();
        self.count_removed(name, &self.path(name));
    }

    /// Counts the events of a file that was removed by hand as lost; [`DeadLetters::remove`] updates the
    /// gauge when it removes a file.
    fn count_removed(&self, name: &str, path: &Path) {
        let waiting = self.metrics.dead_letters_waiting.with_label_values(&[name]).get();
        let lost = u64::try_from(waiting).unwrap_or(0);
        if lost == 0 || !matches!(fs::exists(path), Ok(false)) {
            return;
        }
        self.metrics.lost.inc_by(lost);
        self.show(name, 0);
        tracing::error!(
            lost, sink = name, path = %path.display(),
            "dead letters lost: their file was removed by hand (to drop dead letters, use: linkseal events dead-letters drop)"
        );
    }

    fn show(&self, name: &str, count: u64) {
        let gauge = self.metrics.dead_letters_waiting.with_label_values(&[name]);
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Drops the oldest to free space in the file.
    fn drop_oldest(&self, path: &Path, name: &str) -> io::Result<()> {
        let mut excess = fs::metadata(path)?.len().saturating_sub(LEFT);
        let (mut lost, mut stay) = (0, 0);
        rewrite(path, |bytes| {
            if excess == 0 {
                stay += 1;
                return true;
            }
            excess = excess.saturating_sub(bytes.len() as u64);
            lost += 1;
            false
        })?;
        self.metrics.lost.inc_by(lost);
        self.show(name, stay);
        tracing::error!(
            lost, sink = name, path = %path.display(),
            "dead letters lost: their file reached its largest size, and the oldest were dropped (replay or drop dead letters in time)"
        );
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{PREFIX}{name}{SUFFIX}"))
    }
}

/// The files of dead letters in a journal's directory, including those of sinks that are no longer
/// configured.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The event in a line; `None` when the line is invalid.
pub(crate) fn event_of(line: &[u8]) -> Option<&[u8]> {
    let at = line.windows(EVENT.len()).position(|w| w == EVENT)?;
    line.get(at + EVENT.len()..)?.trim_ascii_end().strip_suffix(b"}")
}

fn line(record: &Record, answer: &str, at: Timestamp) -> io::Result<Vec<u8>> {
    let head = Head {
        boot: record.boot,
        seq: record.seq,
        at,
        answer: answer.to_owned(),
    };
    let mut line = serde_json::to_vec(&head)?;
    line.pop();
    line.extend_from_slice(EVENT);
    line.extend_from_slice(&record.json);
    line.extend_from_slice(b"}\n");
    Ok(line)
}

impl Line {
    /// `None` when the line is invalid or torn.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let event = event_of(bytes)?;
        Some(Self {
            head: serde_json::from_slice(bytes).ok()?,
            event: Bytes::copy_from_slice(event),
        })
    }

    fn place(&self) -> (Uuid, u64) {
        (self.head.boot, self.head.seq)
    }
}

/// Calls `f` with each line, including its line end. A missing file has none.
fn each(path: &Path, mut f: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        f(&line)?;
        line.clear();
    }
    Ok(())
}

/// Rewrites a file with the lines that stay.
fn rewrite(path: &Path, mut stays: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    files::replace(path, path, None, |out| {
        each(path, |line| if stays(line) { out.write_all(line) } else { Ok(()) })
    })
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => sync_parent(path),
    }
}

#[cfg(test)]
mod tests;
