//! The files of the journal: where they are, what they are called, and the one that is written.
//!
//! ```text
//! events/{boot}/{first seq, 20 digits}.log      a segment: eight bytes of magic, then frames
//! events/{boot}/cursor-{sink}                   how far a sink has come in this folder
//! events/{boot}/lock                            held by the process that writes or delivers it
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use linkseal_base::file_id::FileId;
use uuid::Uuid;

/// What each segment begins with: its kind and the version of its format.
pub(super) const MAGIC: &[u8; 8] = b"lsjrnl1\n";
/// What the names of segments end with.
const SUFFIX: &str = ".log";
/// Events are about people: the owner's eyes only.
const DIR_MODE: u32 = 0o700;
/// As above.
pub(super) const FILE_MODE: u32 = 0o600;

/// How much a full segment grows before another attempt to begin a new one, in bytes.
const GROWTH: u64 = 8 << 20;
/// How much room a disk that was full must have before it counts as usable, in bytes.
const PROOF: usize = 64 << 10;

const REMOVED: &str = "the segment was removed or renamed while it was written";

/// Where segments are made: the disk, or a test's.
pub(super) trait Disk: Send + Sync {
    /// Makes a file that did not exist, and makes its name durable.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;

    /// Makes a directory, if it is not there, and makes its name durable.
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        create_dir(path)
    }
}

/// An open segment file.
pub(super) trait SegmentFile: Send {
    /// Appends all of it.
    fn write_all(&mut self, data: &[u8]) -> io::Result<()>;
    /// Waits until what was written survives the machine.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts it to a length.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// The real disk.
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

/// The segment that is written.
pub(super) struct Segment {
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    /// No frame in it has a lower sequence number.
    first: u64,
    /// Which file it is, whatever stands under its name later.
    id: FileId,
    /// How long it is with whole frames only.
    good: u64,
    /// The length from which a new one is begun.
    limit: u64,
}

impl Segment {
    /// Makes one in a folder, and proves by its first bytes that the disk takes data.
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

    /// Waits until what was written survives the machine; of `unsure` bytes at its end it is not
    /// known yet. After an error the segment must be abandoned: the kernel may have dropped what
    /// it could not write, and would call a second attempt a success.
    pub(super) fn sync(&mut self, unsure: usize) -> io::Result<()> {
        self.file
            .sync()
            .inspect_err(|_| self.good = self.good.saturating_sub(unsure as u64))
    }

    /// Fails when its name leads to it no more: it was removed or renamed, alone or with its folder,
    /// and no reader would find what is written to it.
    pub(super) fn check(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(there) if FileId::of(&there) != self.id => Err(io::Error::other(REMOVED)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(io::Error::other(REMOVED))
            }
            // Where the system does not say, it is taken to be there.
            _ => Ok(()),
        }
    }

    /// Where it is, or was.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// No frame in it has a lower sequence number.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Its length.
    pub(super) fn len(&self) -> u64 {
        self.good
    }

    /// Whether a new one should be begun.
    pub(super) fn is_full(&self) -> bool {
        self.good >= self.limit
    }

    /// Goes on for a while when no new one can be made.
    pub(super) fn let_grow(&mut self) {
        self.limit = self.limit.max(self.good) + GROWTH;
    }

    /// Proves that the disk has room for more than a few events again.
    pub(super) fn prove(&mut self) -> io::Result<()> {
        self.file.write_all(&[0; PROOF])?;
        self.file.truncate(self.good)
    }

    /// Whether it holds no frame.
    pub(super) fn is_empty(&self) -> bool {
        self.good <= MAGIC.len() as u64
    }

    /// Leaves a segment that could not be written: cuts off what is not known to be whole, and
    /// removes it when nothing is left. If that fails too, readers find the torn end and skip it.
    pub(super) fn abandon(mut self) {
        let _ = self.file.truncate(self.good);
        if self.is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The name of the segment whose first frame has this sequence number.
pub(super) fn segment_name(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

/// A segment found in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// No frame in it has a lower sequence number.
    pub(super) first: u64,
    /// Where it is.
    pub(super) path: PathBuf,
}

/// The segments of a folder in order. A folder that is gone has none.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        let path = entry?.path();
        let stem = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_suffix(SUFFIX));
        if let Some(first) = stem.filter(|s| s.len() == 20).and_then(|s| s.parse().ok()) {
            found.push(Found { first, path });
        }
    }
    found.sort_by_key(|f| f.first);
    Ok(found)
}

/// The folders of all boots in the journal's directory, oldest first.
pub(super) fn boots(dir: &Path) -> io::Result<Vec<Uuid>> {
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

/// Makes a directory, and those above it, for the owner only; makes its name durable.
pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)?;
    sync_parent(path)
}

/// Makes the names in a file's directory durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// The file whose lock is a folder's.
pub(super) fn lock_path(folder: &Path) -> PathBuf {
    folder.join("lock")
}

/// Whether a folder's lock is free. Makes nothing, so that it can be told on a full disk.
pub(super) fn is_free(folder: &Path) -> bool {
    match File::open(lock_path(folder)) {
        Ok(file) => file.try_lock_shared().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Takes the lock of a folder, without waiting. `None`: another process holds it.
pub(super) fn lock(folder: &Path) -> io::Result<Option<File>> {
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
