//! How far a sink has come in one boot's folder: durable before anything is removed because of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::segment::sync_parent;

/// The cursor of one sink in one folder. The sink holds every event up to it.
pub(super) struct Cursor {
    path: PathBuf,
}

impl Cursor {
    /// Names it; nothing is read.
    pub(super) fn new(folder: &Path, sink: &str) -> Self {
        Self {
            path: folder.join(format!("cursor-{sink}")),
        }
    }

    /// The last sequence number that the sink holds. `None`: the sink has no part in this folder,
    /// because it was not configured yet when its events happened.
    pub(super) fn load(&self) -> io::Result<Option<u64>> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text.trim_end().parse().unwrap_or_else(|_| {
                tracing::error!(path = %self.path.display(), "a cursor is damaged; its sink gets the folder's events again");
                0
            }))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Moves it. A crash leaves the old one or the new one, never a mixture.
    pub(super) fn save(&self, seq: u64) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        writeln!(file, "{seq}")?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        sync_parent(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_whatever_a_crash_leaves() {
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
        fs::write(dir.path().join("cursor-archive"), "\0\0\0").unwrap();
        assert_eq!(cursor.load().unwrap(), Some(0), "delivered again rather than never");
    }
}
