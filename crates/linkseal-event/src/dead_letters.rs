//! Events that a sink's receiver refuses for good, set aside so that those behind them go on.
//!
//! A file per sink beside the journal's folders, `dead-letters-{sink}.ndjson`, one event a line:
//!
//! ```text
//! {"boot":"…","seq":17,"at":"2026-11-22T09:30:00Z","answer":"… answered 422: …","event":{…}}
//! ```
//!
//! An event is on disk here before the sink's cursor passes it. The file is bounded: when it is
//! full, its oldest events go, counted as lost and loud. Operators list, replay and drop them
//! (`/v1/events/sinks/{name}/dead-letters`); erasure reaches them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use linkseal_base::clock::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::reader::Record;
use super::segment::sync_parent;
use super::{Metrics, sink, whole};

/// What the names of the files begin and end with.
const PREFIX: &str = "dead-letters-";
const SUFFIX: &str = ".ndjson";
/// What stands between the beginning of a line and its event. It cannot stand in the answer: quotes
/// are escaped in there.
const EVENT: &[u8] = br#","event":"#;
/// Largest file, in bytes: some ten thousand events.
pub(super) const MAX_BYTES: u64 = 16 << 20;
/// What is left of a full file when its oldest events have gone.
const LEFT: u64 = MAX_BYTES / 4 * 3;

/// The dead letters of all sinks of one journal. Everything here blocks.
#[derive(Debug)]
pub(super) struct DeadLetters {
    dir: PathBuf,
    metrics: Metrics,
    /// One change of a file at a time.
    lock: Mutex<()>,
}

/// An event that was set aside.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DeadLetter {
    /// The boot that the event belongs to.
    #[schemars(with = "String")]
    pub boot: Uuid,
    /// Its place there.
    pub seq: u64,
    /// When it was set aside.
    pub at: Timestamp,
    /// What the receiver said.
    pub answer: String,
    /// The event.
    pub event: serde_json::Value,
}

/// The beginning of a line.
#[derive(Serialize, Deserialize)]
struct Head {
    boot: Uuid,
    seq: u64,
    at: Timestamp,
    answer: String,
}

/// A line, in its parts.
struct Line {
    head: Head,
    event: Bytes,
}

impl DeadLetters {
    /// Those beside a journal's folders.
    pub(super) fn new(dir: &Path, metrics: &Metrics) -> Self {
        Self {
            dir: dir.to_owned(),
            metrics: metrics.clone(),
            lock: Mutex::new(()),
        }
    }

    /// Keeps every file as it is until the guard is dropped.
    pub(super) fn hold(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets an event aside; it is durable then. One that comes again after a crash is there once.
    pub(super) fn add(&self, name: &str, record: &Record, answer: &str, now: Timestamp) -> io::Result<()> {
        let _held = self.hold();
        let path = self.path(name);
        self.count_removed(name, &path);
        let line = line(record, answer, now)?;
        if fs::metadata(&path).is_ok_and(|m| m.len() + line.len() as u64 > MAX_BYTES) {
            self.make_room(&path, name)?;
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

    /// How many wait.
    pub(super) fn count(&self, name: &str) -> io::Result<u64> {
        let mut count = 0;
        each(&self.path(name), |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// The place of the last. `None`: there is none.
    pub(super) fn last(&self, name: &str) -> io::Result<Option<(Uuid, u64)>> {
        let _held = self.hold();
        let mut last = None;
        each(&self.path(name), |bytes| {
            last = last.max(Line::parse(bytes).map(|line| line.place()));
            Ok(())
        })?;
        Ok(last)
    }

    /// Up to `limit` of them after a place, the oldest first.
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

    /// As [`DeadLetters::list`]: the events, to be given to the sink again.
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

    /// Removes those that `gone` says; how many there were.
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

    /// Shows how many of a sink wait, as they are on disk.
    pub(super) fn look(&self, name: &str) -> io::Result<()> {
        let count = self.count(name)?;
        self.show(name, count);
        Ok(())
    }

    /// Looks whether someone removed a sink's file.
    pub(super) fn look_for_removed(&self, name: &str) {
        let _held = self.hold();
        self.count_removed(name, &self.path(name));
    }

    /// Counts what was in a file that someone removed. Only [`DeadLetters::remove`] does so here.
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
            "a sink's dead letters are lost: their file was removed; drop them with: linkseal events dead-letters drop"
        );
    }

    fn show(&self, name: &str, count: u64) {
        let gauge = self.metrics.dead_letters_waiting.with_label_values(&[name]);
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Lets the oldest go.
    fn make_room(&self, path: &Path, name: &str) -> io::Result<()> {
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
            "a sink's dead letters reached their largest size: the oldest were removed and are lost; replay or drop them in time"
        );
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{PREFIX}{name}{SUFFIX}"))
    }
}

/// The files of dead letters in a journal's directory, also of sinks that are no longer configured.
pub(super) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
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

/// The event in a line. `None`: it is no line of ours.
pub(super) fn event_of(line: &[u8]) -> Option<&[u8]> {
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
    /// `None`: it is none of ours, or torn.
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

/// Calls `f` with each line, its end included. A file that is missing has none.
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

/// Writes a file again with the lines that stay.
fn rewrite(path: &Path, mut stays: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    whole::put(path, path, None, |out| {
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
mod tests {
    use prometheus::Registry;

    use super::*;

    fn letters() -> (tempfile::TempDir, DeadLetters) {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let letters = DeadLetters::new(dir.path(), &metrics);
        (dir, letters)
    }

    fn record(seq: u64, text: &str) -> Record {
        Record {
            boot: Uuid::from_u128(7),
            seq,
            json: format!(r#"{{"seq":{seq},"text":"{text}"}}"#).into(),
        }
    }

    const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn they_are_listed_given_again_byte_by_byte_and_removed() {
        let (dir, letters) = letters();
        let answer = r#"said ,"event":{"x":1}, and "quotes""#;
        for seq in 1..=5 {
            letters.add("platform", &record(seq, "a"), answer, AT).unwrap();
        }
        // The last one again, after a crash.
        letters.add("platform", &record(5, "a"), answer, AT).unwrap();
        let listed = letters.list("platform", None, 100).unwrap();
        assert_eq!(listed.iter().map(|l| l.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(listed[0].answer, answer);
        assert_eq!(listed[0].event["text"], "a");
        let after = Some((Uuid::from_u128(7), 2));
        assert_eq!(
            letters.records("platform", after, 2).unwrap(),
            [record(3, "a"), record(4, "a")]
        );
        assert_eq!(letters.remove("platform", |_, seq| seq % 2 == 0).unwrap(), 2);
        assert_eq!(letters.count("platform").unwrap(), 3);
        assert_eq!(
            letters
                .metrics
                .dead_letters_waiting
                .with_label_values(&["platform"])
                .get(),
            3
        );
        assert_eq!(letters.metrics.dead_letters.with_label_values(&["platform"]).get(), 5);
        assert_eq!(letters.remove("platform", |_, _| true).unwrap(), 3);
        assert!(files(dir.path()).unwrap().is_empty());
        assert_eq!(letters.remove("platform", |_, _| true).unwrap(), 0);
    }

    #[test]
    fn those_whose_file_was_removed_are_counted_as_lost() {
        let (dir, letters) = letters();
        let (lost, waiting) = (
            &letters.metrics.lost,
            letters.metrics.dead_letters_waiting.with_label_values(&["platform"]),
        );
        letters.look_for_removed("platform");
        assert_eq!(lost.get(), 0);
        for (remove, expected) in [(true, 2), (false, 4)] {
            for seq in 1..=2 {
                letters.add("platform", &record(seq, "a"), "no", AT).unwrap();
            }
            fs::remove_file(dir.path().join("dead-letters-platform.ndjson")).unwrap();
            if remove {
                letters.look_for_removed("platform");
                letters.look_for_removed("platform");
                assert_eq!(waiting.get(), 0);
            } else {
                letters.add("platform", &record(3, "a"), "no", AT).unwrap();
                assert_eq!(waiting.get(), 1);
            }
            assert_eq!(lost.get(), expected);
        }
        // Dropped as an operator should.
        assert_eq!(letters.remove("platform", |_, _| true).unwrap(), 1);
        letters.look_for_removed("platform");
        assert_eq!(lost.get(), 4);
    }

    #[test]
    fn a_torn_line_is_removed_when_the_next_one_comes() {
        let (dir, letters) = letters();
        letters.add("platform", &record(1, "a"), "no", AT).unwrap();
        let path = dir.path().join("dead-letters-platform.ndjson");
        let whole = fs::read(&path).unwrap();
        for cut in 1..whole.len() - 1 {
            fs::write(&path, &whole[..cut]).unwrap();
            letters.add("platform", &record(2, "a"), "no", AT).unwrap();
            let listed = letters.list("platform", None, 10).unwrap();
            assert!(listed.last().is_some_and(|l| l.seq == 2), "cut at {cut}");
            assert!(listed.len() <= 2);
        }
    }

    #[test]
    fn a_full_file_lets_its_oldest_go_and_counts_them() {
        let (_dir, letters) = letters();
        let text = "x".repeat(1 << 20);
        for seq in 1..=20 {
            letters.add("platform", &record(seq, &text), "no", AT).unwrap();
        }
        let listed = letters.list("platform", None, 100).unwrap();
        assert_eq!(listed.last().unwrap().seq, 20);
        let lost = letters.metrics.lost.get();
        assert!(lost > 0);
        assert_eq!(listed.len() as u64 + lost, 20);
        assert!(fs::metadata(letters.path("platform")).unwrap().len() <= MAX_BYTES);
    }
}
