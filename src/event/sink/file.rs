//! The file sink: one event a line (NDJSON), in files named after the events' time.
//!
//! A batch is on disk before the sink says that it holds it. When a crash comes between the two,
//! the same batch comes again: the last line of the file tells what it holds already, so each
//! event is in it once. One file is one node's; nothing else should write to it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::Deserialize;
use uuid::Uuid;

use super::{Sink, SinkError};
use crate::event::event::head;
use crate::event::frame;
use crate::event::reader::Record;
use crate::event::segment::{create_dir, sync_parent};

/// Most events between two fsyncs.
const BATCH: usize = 4096;
/// How much is written at once, in bytes.
const PIECE: usize = 64 << 10;
/// How much of a file's end is read to find its last line, in bytes: the longest event and a bit.
const TAIL: u64 = frame::MAX_PAYLOAD as u64 + 4096;
/// How much of `2026-11-22T09:30:00Z` tells the minute, the finest field of a pattern.
const MINUTE: usize = 16;

/// The path of a file sink, to be filled in with a time.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// This part of `2026-11-22T09:30:00Z`.
    Time(std::ops::Range<usize>),
}

impl Pattern {
    /// Reads a pattern; the error is the field that is not known.
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = path.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let range = match chars.next() {
                Some('%') => {
                    text.push('%');
                    continue;
                }
                Some('Y') => 0..4,
                Some('m') => 5..7,
                Some('d') => 8..10,
                Some('H') => 11..13,
                Some('M') => 14..MINUTE,
                other => return Err(other.map_or("%".into(), |c| format!("%{c}"))),
            };
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Time(range));
        }
        parts.push(Part::Text(text));
        Ok(Self(parts))
    }

    /// The path for a time in RFC 3339, UTC.
    fn at(&self, time: &str) -> PathBuf {
        let part = |p: &Part| match p {
            Part::Text(text) => text.clone(),
            Part::Time(range) => time.get(range.clone()).unwrap_or("0").to_owned(),
        };
        self.0.iter().map(part).collect::<String>().into()
    }
}

/// The sink.
pub(super) struct FileSink {
    /// `None` while a batch is written elsewhere, and when that was broken off.
    files: Option<Files>,
    pattern: Pattern,
}

impl FileSink {
    /// A sink that has opened nothing yet.
    pub(super) fn new(pattern: Pattern) -> Self {
        Self { files: None, pattern }
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn deliver(&mut self, batch: &[Record]) -> Result<(), SinkError> {
        let mut files = self.files.take().unwrap_or_else(|| Files {
            pattern: self.pattern.clone(),
            open: None,
        });
        let batch = batch.to_vec();
        let written = tokio::task::spawn_blocking(move || {
            let result = files.write(&batch);
            (files, result)
        });
        let (files, result) = written.await.map_err(|e| SinkError {
            cause: e.to_string(),
            retry_after: None,
        })?;
        // After an error the file is opened again, and its end repaired.
        self.files = result.is_ok().then_some(files);
        result.map_err(|cause| SinkError {
            cause,
            retry_after: None,
        })
    }

    fn batch(&self) -> usize {
        BATCH
    }
}

/// The blocking side: the file that is written now.
struct Files {
    pattern: Pattern,
    open: Option<Open>,
}

struct Open {
    /// The minute its path was made for; later minutes may have the same path.
    minute: String,
    path: PathBuf,
    file: File,
    /// Whether something was written that is not known to be on disk.
    unsynced: bool,
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
    fn write(&mut self, batch: &[Record]) -> Result<(), String> {
        let mut lines = Vec::with_capacity(PIECE);
        for record in batch {
            let time = head(&record.json).map_or_else(|| "1970-01-01T00:00:00Z".into(), |h| h.time);
            let minute = time.get(..MINUTE).unwrap_or(&time);
            let open = match &mut self.open {
                Some(open) if open.minute == minute => open,
                _ => self.turn_to(&time, minute, &mut lines)?,
            };
            // Written before a crash, or before an error.
            if open
                .holds
                .as_ref()
                .is_some_and(|h| h.boot == record.boot && h.seq >= record.seq)
            {
                continue;
            }
            if lines.len() + record.json.len() >= PIECE {
                open.write(&mut lines)?;
            }
            lines.extend_from_slice(&record.json);
            lines.push(b'\n');
        }
        self.flush(&mut lines)
    }

    /// Goes to the file of another minute, which may be the same.
    fn turn_to(&mut self, time: &str, minute: &str, lines: &mut Vec<u8>) -> Result<&mut Open, String> {
        let path = self.pattern.at(time);
        if self.open.as_ref().is_none_or(|o| o.path != path) {
            self.flush(lines)?;
            let (file, holds) = open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            return Ok(self.open.insert(Open {
                minute: minute.to_owned(),
                path,
                file,
                unsynced: false,
                holds,
            }));
        }
        let open = self.open.as_mut().ok_or("no file is open")?;
        minute.clone_into(&mut open.minute);
        Ok(open)
    }

    /// Writes the rest and makes all of it durable.
    fn flush(&mut self, lines: &mut Vec<u8>) -> Result<(), String> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.write(lines)?;
        if std::mem::take(&mut open.unsynced) {
            open.file.sync_data().map_err(|e| open.says(&e))?;
        }
        Ok(())
    }
}

impl Open {
    fn write(&mut self, lines: &mut Vec<u8>) -> Result<(), String> {
        if lines.is_empty() {
            return Ok(());
        }
        self.unsynced = true;
        self.file.write_all(lines).map_err(|e| self.says(&e))?;
        lines.clear();
        Ok(())
    }

    fn says(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.path.display())
    }
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
        FileSink::new(Pattern::parse(dir.join(name).to_str().unwrap()).unwrap())
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
        // Another boot counts anew.
        sink(dir.path(), "e.ndjson")
            .deliver(&[record(Uuid::from_u128(7), 2, TIME)])
            .await
            .unwrap();
        assert_eq!(seqs(&path), [1, 2, 3, 4, 2]);
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
}
