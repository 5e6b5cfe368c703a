//! The file sink: one event a line (NDJSON), in files named after the events' time.
//!
//! A batch is on disk before the sink says that it holds it. When a crash comes between the two,
//! the same batch comes again: the last line of the file tells what it holds already, so each
//! event is in it once. One file is one node's; nothing else should write to it.
//!
//! A file that has reached `max_bytes` is put away under a number when the next batch comes, never
//! while it holds a part of a batch: so a batch that comes again meets what was written of it. A
//! file can be larger than that by one batch. What becomes of files then is `finished`'s matter.
//!
//! A file that is removed, renamed or cut under our feet (by a person, or by logrotate, which needs
//! no signal here) is noticed with the next batch, and another one is begun: nothing is written to a
//! file that has no name any more. Its folder is made again when it is missing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_base::file_id::FileId;
use linkseal_base::shutdown::Tasks;
use serde::Deserialize;
use uuid::Uuid;

use super::pattern::{MINUTE, Pattern};
use super::{Sink, SinkError, finished};
use crate::FileSettings;
use crate::event::head;
use crate::frame;
use crate::reader::Record;
use crate::segment::{create_dir, sync_parent};

/// Most events between two fsyncs.
const BATCH: usize = 4096;
/// How much of a file's end is read to find its last line, in bytes: the longest event and a bit.
const TAIL: u64 = frame::MAX_PAYLOAD as u64 + 4096;
/// The sink.
pub(super) struct FileSink {
    /// `None` while a batch is written elsewhere, and when that was broken off.
    files: Option<Files>,
    pattern: Pattern,
    settings: FileSettings,
    /// The next batch is taken even if the file ends with a later event.
    earlier: bool,
    /// What it writes has been written when these have ended: another one may open the files then.
    tasks: Tasks,
}

impl FileSink {
    /// A sink that has opened nothing yet.
    pub(super) fn new(pattern: Pattern, settings: &FileSettings, tasks: &Tasks) -> Self {
        Self {
            files: None,
            pattern,
            settings: settings.clone(),
            earlier: false,
            tasks: tasks.clone(),
        }
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn deliver(&mut self, batch: &[Record]) -> Result<(), SinkError> {
        let mut files = self.files.take().unwrap_or_else(|| Files {
            pattern: self.pattern.clone(),
            max_bytes: self.settings.max_bytes.unwrap_or(u64::MAX),
            open: None,
        });
        let (batch, earlier) = (batch.to_vec(), std::mem::take(&mut self.earlier));
        let written = self.tasks.spawn_blocking(move || {
            let result = files.write(&batch, earlier);
            (files, result)
        });
        let (files, result) = written.await.map_err(|e| SinkError::later(e.to_string()))?;
        // After an error the file is opened again, and its end repaired.
        self.files = result.is_ok().then_some(files);
        result.map_err(SinkError::later)
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn expect_earlier(&mut self) {
        self.earlier = true;
    }

    async fn tend(&mut self, now: Timestamp) {
        if !self.settings.compress && self.settings.keep.is_none() {
            return;
        }
        // What is put away must not be open; a later batch opens what it needs.
        self.files = None;
        let (pattern, settings) = (self.pattern.clone(), self.settings.clone());
        let tended = self
            .tasks
            .spawn_blocking(move || finished::tend(&pattern, &settings, now));
        if let Err(error) = tended.await {
            tracing::error!(%error, "finished files of a sink are no longer looked after");
        }
    }
}

/// The blocking side: the file that is written now.
struct Files {
    pattern: Pattern,
    max_bytes: u64,
    open: Option<Open>,
}

struct Open {
    /// The minute its path was made for; later minutes may have the same path.
    minute: String,
    path: PathBuf,
    file: File,
    size: u64,
    /// What its last line holds. `None`: nothing of ours.
    holds: Option<Last>,
}

/// The place of an event, read from a line.
#[derive(Deserialize)]
struct Last {
    boot: Uuid,
    seq: u64,
}

impl Files {
    /// `earlier`: also what happened before the file's last event.
    fn write(&mut self, batch: &[Record], earlier: bool) -> Result<(), String> {
        let mut lines = Vec::new();
        let Some(first) = batch.first() else { return Ok(()) };
        self.look_at_open();
        if self.open.as_ref().is_some_and(|o| o.is_full(self.max_bytes, first)) {
            self.put_away()?;
        }
        for record in batch {
            let time = head(&record.json).map_or_else(|| "1970-01-01T00:00:00Z".into(), |h| h.time);
            let minute = time.get(..MINUTE).unwrap_or(&time);
            let open = match &mut self.open {
                Some(open) if open.minute == minute => open,
                _ => self.turn_to(&time, minute, first, &mut lines)?,
            };
            // Written before a crash, or before an error.
            let is_held = |h: &Last| h.boot == record.boot && h.seq >= record.seq;
            if !earlier && open.holds.as_ref().is_some_and(is_held) {
                continue;
            }
            lines.extend_from_slice(&record.json);
            lines.push(b'\n');
            open.holds = Some(Last {
                boot: record.boot,
                seq: record.seq,
            });
        }
        self.flush(&mut lines)
    }

    /// Goes to the file of another minute, which may be the same.
    fn turn_to(&mut self, time: &str, minute: &str, first: &Record, lines: &mut Vec<u8>) -> Result<&mut Open, String> {
        let path = self.pattern.at(time);
        if self.open.as_ref().is_none_or(|o| o.path != path) {
            self.flush(lines)?;
            self.open(path.clone(), minute)?;
            // From before a restart, or the clock was set back.
            if self.open.as_ref().is_some_and(|o| o.is_full(self.max_bytes, first)) {
                self.put_away()?;
                self.open(path, minute)?;
            }
        }
        let open = self.open.as_mut().ok_or("no file is open")?;
        minute.clone_into(&mut open.minute);
        Ok(open)
    }

    fn open(&mut self, path: PathBuf, minute: &str) -> Result<(), String> {
        let opened = open(&path).and_then(|(file, holds)| Ok((file.metadata()?.len(), file, holds)));
        let (size, file, holds) = opened.map_err(|e| explained(&path, &e))?;
        self.open = Some(Open {
            minute: minute.to_owned(),
            path,
            file,
            size,
            holds,
        });
        Ok(())
    }

    /// Gives the file that is open a number, so that another one begins.
    fn put_away(&mut self) -> Result<(), String> {
        let Some(open) = self.open.take() else { return Ok(()) };
        finished::put_away(&open.path).map_err(|e| format!("{}: {e}", open.path.display()))
    }

    fn flush(&mut self, lines: &mut Vec<u8>) -> Result<(), String> {
        let Some(open) = self.open.as_mut().filter(|_| !lines.is_empty()) else {
            return Ok(());
        };
        open.append(lines).map_err(|e| explained(&open.path, &e))?;
        lines.clear();
        Ok(())
    }

    /// Leaves the open file when its path no longer leads to it, or it was cut.
    fn look_at_open(&mut self) {
        let Some(open) = &self.open else { return };
        let change = match (fs::metadata(&open.path), open.file.metadata()) {
            (Ok(there), Ok(ours)) if FileId::of(&there) != FileId::of(&ours) => "it was replaced",
            (Ok(there), Ok(_)) if there.len() < open.size => "it was cut",
            (Ok(_), Ok(_)) => return,
            (Err(e), _) if e.kind() == io::ErrorKind::NotFound => "it was removed or renamed",
            // Opening it again tells what is wrong.
            _ => "it cannot be looked at",
        };
        tracing::warn!(path = %open.path.display(), change, "a sink's file was changed from outside; it is opened again");
        self.open = None;
    }
}

impl Open {
    /// Appends lines, until they are on disk in a file that has a name.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.size += lines.len() as u64;
        if self.file.metadata()?.nlink() == 0 {
            return Err(io::Error::other(
                "it was removed while it was written; its events are written again",
            ));
        }
        Ok(())
    }

    /// Whether it is large enough, and holds nothing of the batch that begins with `first`.
    fn is_full(&self, max_bytes: u64, first: &Record) -> bool {
        let of_batch = |h: &Last| h.boot == first.boot && h.seq >= first.seq;
        self.size >= max_bytes && !self.holds.as_ref().is_some_and(of_batch)
    }
}

/// What is wrong with a path, and what to do.
fn explained(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; let this user write to its folder, or set the sink's `path` to where it may"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "; a file stands where a folder of the sink's `path` should be"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room",
        _ => "",
    };
    format!("{}: {error}{advice}", path.display())
}

/// As [`open`], for other files of lines that begin with an event's place: the place of the last.
pub(crate) fn open_lines(path: &Path) -> io::Result<(File, Option<(Uuid, u64)>)> {
    open(path).map(|(file, last)| (file, last.map(|l| (l.boot, l.seq))))
}

/// Opens a file to append to it, makes its last line whole or removes it, and tells what it holds.
fn open(path: &Path) -> io::Result<(File, Option<Last>)> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
        create_dir(parent)?;
    }
    let fresh = !fs::exists(path)?;
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    if fresh {
        sync_parent(path)?;
        return Ok((file, None));
    }
    let length = file.seek(SeekFrom::End(0))?;
    let from = file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    (&mut file).take(TAIL).read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let torn = tail.get(end..).unwrap_or_default();
    if let Ok(last) = serde_json::from_slice::<Last>(torn) {
        file.write_all(b"\n")?;
        return Ok((file, Some(last)));
    }
    if !torn.is_empty() && (from == 0 || end > 0) {
        tracing::info!(path = %path.display(), bytes = torn.len(), "a torn last line was removed; its event comes again");
        file.set_len(from + end as u64)?;
    }
    let whole = tail.get(..end).unwrap_or_default().trim_ascii_end();
    let last = whole
        .rsplit(|b| *b == b'\n')
        .next()
        .and_then(|line| serde_json::from_slice(line).ok());
    Ok((file, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(boot: Uuid, seq: u64, time: &str) -> Record {
        let json = format!(
            r#"{{"id":"{}","seq":{seq},"boot":"{boot}","type":"open","time":"{time}","node":"edge-1"}}"#,
            Uuid::nil()
        );
        Record {
            boot,
            seq,
            json: json.into(),
        }
    }

    fn sink(dir: &Path, name: &str) -> FileSink {
        sized(dir, name, None)
    }

    fn sized(dir: &Path, name: &str, max_bytes: Option<u64>) -> FileSink {
        let path = dir.join(name).to_str().unwrap().to_owned();
        let pattern = Pattern::parse(&path).unwrap();
        let settings = FileSettings {
            path,
            max_bytes,
            ..FileSettings::default()
        };
        FileSink::new(pattern, &settings, &Tasks::new())
    }

    fn seqs(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n'));
        text.lines()
            .map(|l| serde_json::from_str::<Last>(l).unwrap().seq)
            .collect()
    }

    const TIME: &str = "2026-11-22T09:30:00.5Z";

    #[tokio::test]
    async fn events_go_to_the_file_of_their_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path(), "%Y/%m/%d-%H.ndjson");
        let boot = Uuid::max();
        let batch = [
            record(boot, 1, TIME),
            record(boot, 2, "2026-11-22T09:59:59Z"),
            record(boot, 3, "2026-11-22T10:00:00Z"),
            // The clock was set back.
            record(boot, 4, "2026-11-22T09:00:00Z"),
        ];
        sink.deliver(&batch).await.unwrap();
        sink.deliver(&[record(boot, 5, "2026-11-22T09:01:00Z")]).await.unwrap();
        assert_eq!(seqs(&dir.path().join("2026/11/22-09.ndjson")), [1, 2, 4, 5]);
        assert_eq!(seqs(&dir.path().join("2026/11/22-10.ndjson")), [3]);
    }

    #[tokio::test]
    async fn a_batch_torn_at_any_byte_is_completed_and_each_event_is_there_once() {
        let boot = Uuid::max();
        let batch: Vec<_> = (1..=3).map(|seq| record(boot, seq, TIME)).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.ndjson");
        sink(dir.path(), "e.ndjson").deliver(&batch).await.unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            // The next process gets the batch again, and more.
            let mut again = batch.clone();
            again.push(record(boot, 4, TIME));
            sink(dir.path(), "e.ndjson").deliver(&again).await.unwrap();
            assert_eq!(seqs(&path), [1, 2, 3, 4], "cut at {cut}");
        }
        // Another boot counts again.
        sink(dir.path(), "e.ndjson")
            .deliver(&[record(Uuid::from_u128(7), 2, TIME)])
            .await
            .unwrap();
        assert_eq!(seqs(&path), [1, 2, 3, 4, 2]);
    }

    #[tokio::test]
    async fn an_event_that_was_set_aside_is_written_behind_later_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path(), "e.ndjson");
        let boot = Uuid::max();
        sink.deliver(&[record(boot, 3, TIME), record(boot, 7, TIME)])
            .await
            .unwrap();
        sink.expect_earlier();
        sink.deliver(&[record(boot, 5, TIME)]).await.unwrap();
        sink.deliver(&[record(boot, 8, TIME)]).await.unwrap();
        // A batch that comes again is still known.
        sink.deliver(&[record(boot, 8, TIME), record(boot, 9, TIME)])
            .await
            .unwrap();
        assert_eq!(seqs(&dir.path().join("e.ndjson")), [3, 7, 5, 8, 9]);
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_written_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sub"), "a file").unwrap();
        let mut sink = sink(dir.path(), "sub/e.ndjson");
        let error = sink.deliver(&[record(Uuid::nil(), 1, TIME)]).await.unwrap_err();
        assert!(error.cause.contains("sub/e.ndjson"), "{}", error.cause);
        fs::remove_file(dir.path().join("sub")).unwrap();
        sink.deliver(&[record(Uuid::nil(), 1, TIME)]).await.unwrap();
        assert_eq!(seqs(&dir.path().join("sub/e.ndjson")), [1]);
    }

    /// All events in the files of a folder, by file name.
    fn all(dir: &Path) -> Vec<(String, Vec<u64>)> {
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
        files.iter().map(|p| (name(p), seqs(p))).collect()
    }

    #[tokio::test]
    async fn a_full_file_is_put_away_between_batches_whatever_crashes() {
        let boot = Uuid::max();
        let batches: Vec<Vec<_>> = (0..4)
            .map(|n| (n * 3 + 1..=n * 3 + 3).map(|seq| record(boot, seq, TIME)).collect())
            .collect();
        let size = batches[0].iter().map(|r| r.json.len() as u64 + 1).sum();
        // A crash after any batch but before its cursor was saved: the batch comes again.
        for crash in 0..batches.len() {
            let dir = tempfile::tempdir().unwrap();
            let mut sink = sized(dir.path(), "e.ndjson", Some(size));
            for batch in &batches[..=crash] {
                sink.deliver(batch).await.unwrap();
            }
            let mut sink = sized(dir.path(), "e.ndjson", Some(size));
            for batch in &batches[crash..] {
                sink.deliver(batch).await.unwrap();
            }
            let expected = [
                ("e.ndjson".to_owned(), vec![10, 11, 12]),
                ("e.part-0001.ndjson".to_owned(), vec![1, 2, 3]),
                ("e.part-0002.ndjson".to_owned(), vec![4, 5, 6]),
                ("e.part-0003.ndjson".to_owned(), vec![7, 8, 9]),
            ];
            assert_eq!(all(dir.path()), expected, "crash after batch {crash}");
        }
    }

    #[tokio::test]
    async fn a_file_changed_under_our_feet_is_opened_again_and_nothing_more_is_lost() {
        type Change = (&'static str, fn(&Path), &'static [u64]);
        let changes: [Change; 7] = [
            (
                "removed",
                |dir| fs::remove_file(dir.join("sub/e.ndjson")).unwrap(),
                &[2, 3],
            ),
            (
                "renamed, as by logrotate",
                |dir| fs::rename(dir.join("sub/e.ndjson"), dir.join("sub/e.1")).unwrap(),
                &[2, 3],
            ),
            (
                "replaced",
                |dir| {
                    fs::rename(dir.join("sub/e.ndjson"), dir.join("sub/e.1")).unwrap();
                    File::create(dir.join("sub/e.ndjson")).unwrap();
                },
                &[2, 3],
            ),
            (
                "cut, as by copytruncate",
                |dir| {
                    let file = OpenOptions::new().write(true).open(dir.join("sub/e.ndjson")).unwrap();
                    file.set_len(0).unwrap();
                },
                &[2, 3],
            ),
            (
                "cut in the middle of a line",
                |dir| {
                    let file = OpenOptions::new().write(true).open(dir.join("sub/e.ndjson")).unwrap();
                    file.set_len(20).unwrap();
                },
                &[2, 3],
            ),
            (
                "its folder removed",
                |dir| fs::remove_dir_all(dir.join("sub")).unwrap(),
                &[2, 3],
            ),
            (
                "its folder renamed",
                |dir| fs::rename(dir.join("sub"), dir.join("old")).unwrap(),
                &[2, 3],
            ),
        ];
        for (what, change, expected) in changes {
            let dir = tempfile::tempdir().unwrap();
            let mut sink = sink(dir.path(), "sub/e.ndjson");
            sink.deliver(&[record(Uuid::max(), 1, TIME)]).await.unwrap();
            change(dir.path());
            sink.deliver(&[record(Uuid::max(), 2, TIME)]).await.unwrap();
            sink.deliver(&[record(Uuid::max(), 3, TIME)]).await.unwrap();
            assert_eq!(seqs(&dir.path().join("sub/e.ndjson")), expected, "{what}");
        }
    }

    #[test]
    fn what_was_written_to_a_file_without_a_name_is_not_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.ndjson");
        let (file, holds) = open(&path).unwrap();
        let mut open = Open {
            minute: String::new(),
            path: path.clone(),
            file,
            size: 0,
            holds,
        };
        open.append(b"{}\n").unwrap();
        fs::remove_file(&path).unwrap();
        assert!(open.append(b"{}\n").is_err());
    }

    #[test]
    fn an_error_says_what_to_do() {
        let said = |kind: io::ErrorKind| explained(Path::new("/archive/e.ndjson"), &kind.into());
        assert!(said(io::ErrorKind::PermissionDenied).contains("let this user write to its folder"));
        assert!(said(io::ErrorKind::ReadOnlyFilesystem).contains("/archive/e.ndjson"));
        assert!(said(io::ErrorKind::StorageFull).contains("make room"));
    }
}
