//! The files of the journal: their paths and names, and the segment being written.
//!
//! ```text
//! events/{boot}/{first seq, 20 digits}.log      a segment: eight bytes of magic, then frames
//! events/{boot}/cursor-{sink}                   how far a sink has come in this folder
//! events/{boot}/lock                            held by the process that writes or delivers it
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use linkseal_base::file_id::FileId;
use uuid::Uuid;

use crate::files::{FILE_MODE, create_dir, sync_parent};

/// The first bytes of every segment: the format and its version. A later format gets another version
/// and another file ending.
pub(crate) const MAGIC: &[u8; 8] = b"lsjrnl1\n";
const SUFFIX: &str = ".log";
/// Digits of the sequence number in a segment's name.
const DIGITS: usize = 20;
/// How much a full segment may grow before the next attempt to begin a new one, in bytes.
const GROWTH: u64 = 8 << 20;
/// Free space that a disk must have after it was full, in bytes.
const TEST_WRITE: usize = 64 << 10;

const REMOVED: &str = "the segment was removed or renamed while it was being written";

/// Where segments are created: the disk, or a fake in tests.
pub(super) trait Disk: Send + Sync {
    /// Creates a file that did not exist, and makes its name durable.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;

    /// Creates a directory where missing, and makes its name durable.
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        create_dir(path)
    }
}

/// An open segment file.
pub(super) trait SegmentFile: Send {
    fn write_all(&mut self, data: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)?;
        sync_parent(path)?;
        Ok(Box::new(file))
    }
}

impl SegmentFile for File {
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        Write::write_all(self, data)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// The segment being written.
pub(super) struct Segment {
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    /// No frame in it has a lower sequence number.
    first: u64,
    /// Identifies the file, whatever its path leads to later.
    id: FileId,
    /// Its length up to the last whole frame.
    good: u64,
    /// The length from which a new segment is begun.
    limit: u64,
}

impl Segment {
    /// Creates a segment in a folder; writing its first bytes shows that the disk takes data.
    pub(super) fn create(disk: &dyn Disk, folder: &Path, first: u64, limit: u64) -> io::Result<Self> {
        let path = folder.join(segment_name(first));
        let file = disk.create(&path)?;
        let id = FileId::of(&fs::metadata(&path)?);
        let mut segment = Self {
            file,
            path,
            first,
            id,
            good: 0,
            limit,
        };
        match segment.write(MAGIC) {
            Ok(()) => Ok(segment),
            Err(e) => {
                segment.abandon();
                Err(e)
            }
        }
    }

    /// Appends whole frames. After an error the segment must be abandoned.
    pub(super) fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        self.file.write_all(frames)?;
        self.good += frames.len() as u64;
        Ok(())
    }

    /// Makes what was written durable; the last `unsure` bytes are not known to be. After an error the
    /// segment must be abandoned: the kernel may have dropped the data it could not write, and would
    /// report success for a second fsync.
    pub(super) fn sync(&mut self, unsure: usize) -> io::Result<()> {
        self.file
            .sync()
            .inspect_err(|_| self.good = self.good.saturating_sub(unsure as u64))
    }

    /// Fails when its path no longer leads to it: it was removed or renamed, alone or with its folder,
    /// and no reader would find what is written to it.
    pub(super) fn check(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(there) if FileId::of(&there) != self.id => Err(io::Error::other(REMOVED)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(io::Error::other(REMOVED))
            }
            // If the system cannot tell, the segment is assumed to be in place.
            _ => Ok(()),
        }
    }

    /// Its path when it was created.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// No frame in it has a lower sequence number.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn len(&self) -> u64 {
        self.good
    }

    pub(super) fn is_full(&self) -> bool {
        self.good >= self.limit
    }

    /// Raises the limit when no new segment can be created.
    pub(super) fn let_grow(&mut self) {
        self.limit = self.limit.max(self.good) + GROWTH;
    }

    /// Checks that the disk has space for more than a few events again.
    pub(super) fn test_write(&mut self) -> io::Result<()> {
        self.file.write_all(&[0; TEST_WRITE])?;
        self.file.truncate(self.good)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.good <= MAGIC.len() as u64
    }

    /// Gives up a segment that could not be written: cuts off what is not known to be whole, and
    /// removes the file when nothing is left. If that fails too, readers skip the torn end.
    pub(super) fn abandon(mut self) {
        let _ = self.file.truncate(self.good);
        if self.is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The name of the segment whose first frame has this sequence number.
pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:0DIGITS$}{SUFFIX}")
}

/// A segment found in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// No frame in it has a lower sequence number.
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
}

/// The segments of a folder in order; none when the folder is missing.
pub(crate) fn segments(folder: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        let path = entry?.path();
        let stem = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_suffix(SUFFIX));
        if let Some(first) = stem.filter(|s| s.len() == DIGITS).and_then(|s| s.parse().ok()) {
            found.push(Found { first, path });
        }
    }
    found.sort_by_key(|f| f.first);
    Ok(found)
}

/// Fails with [`io::ErrorKind::Unsupported`] when a folder has a segment in a format of another version:
/// reading it as this one's would take it for damage. A torn or damaged magic is no other format.
pub(crate) fn check_format(folder: &Path) -> io::Result<()> {
    for entry in entries(folder)? {
        let path = entry?.path();
        if is_of_other_format(&path)? {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "{} was written by another version, and this one reads *{SUFFIX} files that begin with {} only; \
                     run the version that wrote it, or move its folder out of events.dir",
                    path.display(),
                    MAGIC.escape_ascii()
                ),
            ));
        }
    }
    Ok(())
}

fn is_of_other_format(path: &Path) -> io::Result<bool> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some((number, ending)) = name.split_once('.') else {
        return Ok(false);
    };
    let is_segment = number.len() == DIGITS && number.bytes().all(|b| b.is_ascii_digit());
    // Not the unfinished copy of a segment, `….log.new`.
    if !is_segment || !ending.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(false);
    }
    if !name.ends_with(SUFFIX) {
        return Ok(true);
    }
    let mut magic = [0; MAGIC.len()];
    match File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) => {}
        // Torn, or removed meanwhile.
        Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound) => return Ok(false),
        Err(e) => return Err(e),
    }
    let ([format @ .., version, end], [known @ .., _, known_end]) = (&magic, MAGIC);
    Ok(format == known && end == known_end && version.is_ascii_alphanumeric() && magic != *MAGIC)
}

/// The ids of all boots with a folder in the journal's directory, oldest first.
pub(crate) fn boots(dir: &Path) -> io::Result<Vec<Uuid>> {
    let mut boots = Vec::new();
    for entry in entries(dir)? {
        let entry = entry?;
        if let Some(boot) = entry.file_name().to_str().and_then(|n| Uuid::try_parse(n).ok()) {
            boots.push(boot);
        }
    }
    boots.sort();
    Ok(boots)
}

fn entries(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(e) => Err(e),
    }
}

/// The lock file of a folder.
pub(crate) fn lock_path(folder: &Path) -> PathBuf {
    folder.join("lock")
}

/// Whether no process holds a folder's lock. Creates no file, so that it works on a full disk.
pub(crate) fn is_free(folder: &Path) -> bool {
    match File::open(lock_path(folder)) {
        Ok(file) => file.try_lock_shared().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Tries to take the lock of a folder; `None` when another process holds it.
pub(crate) fn lock(folder: &Path) -> io::Result<Option<File>> {
    let path = lock_path(folder);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(e),
    }
}
