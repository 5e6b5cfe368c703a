//! The file sink: one event per line (NDJSON), in files named after the events' time.
//!
//! A batch is on disk before the sink reports that it holds it. If a crash comes between the two, the
//! batch is delivered again; the last line of the file shows what it last, so each event is written
//! once. A file belongs to one node, and nothing else should write to it.
//!
//! A file that has reached `max_bytes` is rotated when the next batch arrives, never in the middle of
//! a batch, so a retried batch finds what was written of it. A file may therefore exceed the limit by
//! one batch. `finished` handles rotated files.
//!
//! A file that is removed, renamed or truncated from outside (by a person, or by logrotate, which
//! needs no signal here) is noticed with the next batch, and a new one is begun: nothing is written
//! to a file without a name. A missing folder is created again.

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
use crate::journal::frame;
use crate::journal::lines::Lines;
use crate::settings::FileSettings;

/// Most events between two fsyncs.
const BATCH: usize = 4096;
/// How much of a file's end is read to find its last line, in bytes: more than the longest event.
const TAIL: u64 = frame::MAX_PAYLOAD as u64 + 4096;

pub(super) struct FileSink {
    /// `None` while a blocking task writes a batch, and after that was aborted.
    files: Option<Files>,
    pattern: Pattern,
    settings: FileSettings,
    /// Accept the next batch even if the file ends with a later event.
    earlier: bool,
    /// Its writes run here: when these tasks have ended, another process may open the files.
    tasks: Tasks,
}

impl FileSink {
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
    async fn deliver(&mut self, batch: &Lines) -> Result<(), SinkError> {
        let mut files = self.files.take().unwrap_or_else(|| Files {
            pattern: self.pattern.clone(),
            max_bytes: self.settings.max_bytes.unwrap_or(u64::MAX),
            open: None,
        });
        let (batch, earlier) = (batch.clone(), std::mem::take(&mut self.earlier));
        let written = self.tasks.spawn_blocking(move || {
            let result = files.write(&batch, earlier);
            (files, result)
        });
        let (files, result) = written.await.map_err(|e| SinkError::later(e.to_string()))?;
        // After an error the file is opened again and its end is repaired.
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
        // Finished files must not be open; the next batch opens what it needs.
        self.files = None;
        let (pattern, settings) = (self.pattern.clone(), self.settings.clone());
        let maintained = self
            .tasks
            .spawn_blocking(move || finished::maintain(&pattern, &settings, now));
        if let Err(error) = maintained.await {
            tracing::error!(%error, "maintenance of a sink's files panicked; trying again in a minute");
        }
    }
}

/// The blocking side: the file being written.
struct Files {
    pattern: Pattern,
    max_bytes: u64,
    open: Option<Open>,
}

struct Open {
    /// The minute its path was derived from; later minutes may have the same path.
    minute: String,
    path: PathBuf,
    file: File,
    size: u64,
    /// The event in its last line, if that is one of ours.
    last: Option<EventPlace>,
}

/// The place of an event in the journal, read from a line.
#[derive(Deserialize)]
struct EventPlace {
    boot: Uuid,
    seq: u64,
}

impl Files {
    /// Writes a batch; with `earlier`, even events older than the file's last one.
    fn write(&mut self, batch: &Lines, earlier: bool) -> Result<(), String> {
        let boot = batch.boot();
        let Some(first) = batch.first() else { return Ok(()) };
        let first = EventPlace { boot, seq: first.seq };
        self.check_open();
        if self.open.as_ref().is_some_and(|o| o.is_full(self.max_bytes, &first)) {
            self.rotate()?;
        }
        // The lines from here on are for the open file and not written yet.
        let mut begin = 0;
        for (at, event) in batch.iter().enumerate() {
            let time = head(event.json).map_or_else(|| "1970-01-01T00:00:00Z".into(), |h| h.time);
            let minute = time.get(..MINUTE).unwrap_or(&time);
            let open = match &mut self.open {
                Some(open) if open.minute == minute => open,
                _ => {
                    let path = self.pattern.at(&time);
                    if self.open.as_ref().is_none_or(|o| o.path != path) {
                        self.flush(batch.text(begin..at))?;
                        begin = at;
                    }
                    self.switch_to(path, minute, &first)?
                }
            };
            // It was written before a crash or an error. If so, every line before it has been, too.
            let is_held = |h: &EventPlace| h.boot == boot && h.seq >= event.seq;
            if !earlier && open.last.as_ref().is_some_and(is_held) {
                begin = at + 1;
                continue;
            }
            open.last = Some(EventPlace { boot, seq: event.seq });
        }
        self.flush(batch.text(begin..batch.len()))
    }

    /// Switches to the file of another minute, which may be the same file.
    fn switch_to(&mut self, path: PathBuf, minute: &str, first: &EventPlace) -> Result<&mut Open, String> {
        if self.open.as_ref().is_none_or(|o| o.path != path) {
            self.open(path.clone(), minute)?;
            // It was filled before a restart, or the clock was set back.
            if self.open.as_ref().is_some_and(|o| o.is_full(self.max_bytes, first)) {
                self.rotate()?;
                self.open(path, minute)?;
            }
        }
        let open = self.open.as_mut().ok_or("no file is open")?;
        minute.clone_into(&mut open.minute);
        Ok(open)
    }

    fn open(&mut self, path: PathBuf, minute: &str) -> Result<(), String> {
        let opened = open(&path).and_then(|(file, last)| Ok((file.metadata()?.len(), file, last)));
        let (size, file, last) = opened.map_err(|e| explain(&path, &e))?;
        self.open = Some(Open {
            minute: minute.to_owned(),
            path,
            file,
            size,
            last,
        });
        Ok(())
    }

    /// Turns the open file into a numbered part, so that a new one begins.
    fn rotate(&mut self) -> Result<(), String> {
        let Some(open) = self.open.take() else { return Ok(()) };
        finished::rotate(&open.path).map_err(|e| format!("{}: {e}", open.path.display()))
    }

    fn flush(&mut self, lines: &[u8]) -> Result<(), String> {
        match &mut self.open {
            Some(open) if !lines.is_empty() => open.append(lines).map_err(|e| explain(&open.path, &e)),
            _ => Ok(()),
        }
    }

    /// Closes the open file when its path no longer leads to it, or it was truncated.
    fn check_open(&mut self) {
        let Some(open) = &self.open else { return };
        let change = match (fs::metadata(&open.path), open.file.metadata()) {
            (Ok(there), Ok(ours)) if FileId::of(&there) != FileId::of(&ours) => "it was replaced",
            (Ok(there), Ok(_)) if there.len() < open.size => "it was truncated",
            (Ok(_), Ok(_)) => return,
            (Err(e), _) if e.kind() == io::ErrorKind::NotFound => "it was removed or renamed",
            // Opening it again shows what is wrong.
            _ => "its metadata cannot be read",
        };
        tracing::warn!(path = %open.path.display(), change, "file of a sink changed from outside; reopening it");
        self.open = None;
    }
}

impl Open {
    /// Appends lines and syncs them; fails if the file no longer has a name.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.size += lines.len() as u64;
        if self.file.metadata()?.nlink() == 0 {
            return Err(io::Error::other(
                "it was removed while it was being written; its events are written again",
            ));
        }
        Ok(())
    }

    /// Whether it has reached the limit and holds nothing of the batch that begins with `first`.
    fn is_full(&self, max_bytes: u64, first: &EventPlace) -> bool {
        let of_batch = |h: &EventPlace| h.boot == first.boot && h.seq >= first.seq;
        self.size >= max_bytes && !self.last.as_ref().is_some_and(of_batch)
    }
}

/// An error with its path, and what to do about it.
fn explain(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; let this user write to its folder, or change the sink's `path`"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "; a file stands where a folder of the sink's `path` should be"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free disk space",
        _ => "",
    };
    format!("{}: {error}{advice}", path.display())
}

/// [`open`] for dead letters, whose lines begin with the place of an event too.
pub(crate) fn open_lines(path: &Path) -> io::Result<(File, Option<(Uuid, u64)>)> {
    open(path).map(|(file, last)| (file, last.map(|l| (l.boot, l.seq))))
}

/// Opens a file for appending, completes or removes a torn last line, and returns the place of the last
/// event.
fn open(path: &Path) -> io::Result<(File, Option<EventPlace>)> {
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
    if let Ok(last) = serde_json::from_slice::<EventPlace>(torn) {
        file.write_all(b"\n")?;
        return Ok((file, Some(last)));
    }
    if !torn.is_empty() && (from == 0 || end > 0) {
        tracing::info!(path = %path.display(), bytes = torn.len(), "torn last line of a sink's file removed; its event is delivered again");
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
