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
use crate::event::head;
use crate::files::{create_dir, sync_parent};
use crate::journal::Record;
use crate::journal::frame;
use crate::settings::FileSettings;

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

    fn allow_earlier(&mut self) {
        self.earlier = true;
    }

    async fn maintain(&mut self, now: Timestamp) {
        if !self.settings.compress && self.settings.keep.is_none() {
            return;
        }
        // What is put away must not be open; a later batch opens what it needs.
        self.files = None;
        let (pattern, settings) = (self.pattern.clone(), self.settings.clone());
        let tended = self
            .tasks
            .spawn_blocking(move || finished::maintain(&pattern, &settings, now));
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
mod tests;
