//! How far a sink has come in one boot's folder: durable before anything is removed because of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::segment::FILE_MODE;
use super::whole;

/// The cursor of one sink in one folder. All of it blocks but [`Cursor::new`].
#[derive(Clone)]
pub(super) struct Cursor {
    path: PathBuf,
}

/// What a cursor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The sink holds every event up to this one.
    pub(super) held: u64,
    /// The end of a batch that the sink may have got after that: it must come again as it was.
    /// `None`: there is none, or the sink does not mind.
    pub(super) offered: Option<u64>,
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
        Ok(self.place()?.map(|p| p.held))
    }

    /// All that it says. `None`: as for [`Cursor::load`].
    pub(super) fn place(&self) -> io::Result<Option<Place>> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(Place::parse(&text).unwrap_or_else(|| {
                tracing::error!(path = %self.path.display(), "a cursor is damaged; its sink gets the folder's events again");
                Place { held: 0, offered: None }
            }))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes it, unless it is there. Not as [`Cursor::save`] does, which another thread may be doing;
    /// what a crash leaves of it counts as 0.
    pub(super) fn begin(&self, held: u64) -> io::Result<()> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&self.path);
        match made {
            Ok(mut file) => file.write_all(format!("{held}\n").as_bytes()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Moves it. A crash leaves the old one or the new one, never a mixture.
    pub(super) fn save(&self, held: u64) -> io::Result<()> {
        self.write(&format!("{held}\n"))
    }

    /// Notes that a batch up to `offered` is about to be given to the sink.
    pub(super) fn offer(&self, held: u64, offered: u64) -> io::Result<()> {
        self.write(&format!("{held} {offered}\n"))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        whole::put(&self.path, &self.path, None, |out| out.write_all(text.as_bytes()))
    }
}

impl Place {
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
        cursor.begin(7).unwrap();
        assert_eq!(cursor.load().unwrap(), Some(19), "it was there");
        let begun = Cursor::new(dir.path(), "begun");
        begun.begin(7).unwrap();
        assert_eq!(begun.load().unwrap(), Some(7));
        cursor.offer(19, 25).unwrap();
        let place = Place {
            held: 19,
            offered: Some(25),
        };
        assert_eq!(cursor.place().unwrap(), Some(place));
        assert_eq!(cursor.load().unwrap(), Some(19));
        fs::write(dir.path().join("cursor-archive"), "\0\0\0").unwrap();
        assert_eq!(cursor.load().unwrap(), Some(0), "delivered again rather than never");
    }
}
