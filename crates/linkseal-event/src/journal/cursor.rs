//! How far a sink has come in a boot's folder. A cursor is durable before anything is removed because
//! of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::files::{self, FILE_MODE};

/// The cursor of one sink in one folder. Everything but [`Cursor::new`] blocks.
#[derive(Clone)]
pub(crate) struct Cursor {
    path: PathBuf,
}

/// The content of a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CursorState {
    /// The sink holds every event up to this one.
    pub(crate) held: u64,
    /// The end of a batch after `held` that the sink may have received: it must be delivered again
    /// unchanged. `None` when there is no such batch, or the sink does not need stable batches.
    pub(crate) offered: Option<u64>,
}

impl Cursor {
    /// Names the cursor; nothing is read.
    pub(crate) fn new(folder: &Path, sink: &str) -> Self {
        Self {
            path: folder.join(format!("cursor-{sink}")),
        }
    }

    /// The last sequence number that the sink holds; `None` when the sink has no part in this folder,
    /// because it was not configured when its events happened.
    pub(crate) fn load(&self) -> io::Result<Option<u64>> {
        Ok(self.state()?.map(|s| s.held))
    }

    /// The full content; `None` as for [`Cursor::load`].
    pub(crate) fn state(&self) -> io::Result<Option<CursorState>> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(CursorState::parse(&text).unwrap_or_else(|| {
                tracing::error!(path = %self.path.display(), "damaged cursor; delivering this folder to its sink again");
                CursorState { held: 0, offered: None }
            }))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Creates it unless it exists. Unlike [`Cursor::save`] this may run while another thread saves;
    /// what a crash leaves of it counts as 0.
    pub(super) fn begin(&self, held: u64) -> io::Result<()> {
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&self.path);
        match created {
            Ok(mut file) => file.write_all(format!("{held}\n").as_bytes()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Moves it. A crash leaves the old cursor or the new one, never a mixture.
    pub(crate) fn save(&self, held: u64) -> io::Result<()> {
        self.write(&format!("{held}\n"))
    }

    /// Records that a batch up to `offered` is about to be delivered.
    pub(crate) fn offer(&self, held: u64, offered: u64) -> io::Result<()> {
        self.write(&format!("{held} {offered}\n"))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        files::replace(&self.path, &self.path, None, |out| out.write_all(text.as_bytes()))
    }
}

impl CursorState {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_ascii_whitespace();
        let held = numbers.next()?.parse().ok()?;
        let offered = numbers.next().map(str::parse).transpose().ok()?;
        Some(Self {
            held,
            offered: offered.filter(|o| *o > held),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_leaves_the_old_cursor_or_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let cursor = Cursor::new(dir.path(), "archive");
        assert_eq!(cursor.load().unwrap(), None);
        cursor.save(17).unwrap();
        assert_eq!(cursor.load().unwrap(), Some(17));
        // A crash while the next one is written: at any byte of it, the old one counts.
        for torn in ["", "1", "18", "18\n"] {
            fs::write(dir.path().join("cursor-archive.new"), torn).unwrap();
            assert_eq!(Cursor::new(dir.path(), "archive").load().unwrap(), Some(17));
        }
        cursor.save(19).unwrap();
        assert_eq!(cursor.load().unwrap(), Some(19));
        assert_eq!(Cursor::new(dir.path(), "other").load().unwrap(), None);
        cursor.begin(7).unwrap();
        assert_eq!(cursor.load().unwrap(), Some(19), "it was there");
        let begun = Cursor::new(dir.path(), "begun");
        begun.begin(7).unwrap();
        assert_eq!(begun.load().unwrap(), Some(7));
        cursor.offer(19, 25).unwrap();
        let state = CursorState {
            held: 19,
            offered: Some(25),
        };
        assert_eq!(cursor.state().unwrap(), Some(state));
        assert_eq!(cursor.load().unwrap(), Some(19));
        fs::write(dir.path().join("cursor-archive"), "\0\0\0").unwrap();
        assert_eq!(cursor.load().unwrap(), Some(0), "delivered again rather than never");
    }
}
