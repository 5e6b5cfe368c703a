//! Backups of the store while it is in use, and restoring them.
//!
//! A copy is written under another name beside its target, synced, and only then given the target's
//! name: a file with that name is complete. An existing file is never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::random;
use rusqlite::Connection;

use super::connection::{is_locked, lock, open_reader, schema_of, sync_directory, with_suffix};
use crate::StoreError;

/// The suffix of the file that records when the last backup was made.
const BACKED_UP: &str = "-backup";

/// Writes a consistent copy of the store at `from`, even while another process has it open. Blocks on the
/// disk: not for a tokio thread.
pub fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    let reader = open_existing(from)?;
    schema_of(&reader).map_err(|error| refused(from, error))?;
    copy(&reader, to, Owner::Caller)?;
    note(from);
    Ok(())
}

/// Records the time of a backup beside the store, for its metrics. If that fails, the backup is valid
/// all the same, and the time of the one before stays.
pub(super) fn note(store: &Path) {
    let to = with_suffix(store, BACKED_UP);
    let text = format!("{}\n", Clock::system().now());
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&to)?;
        file.write_all(text.as_bytes())?;
        Owner::OfFolder.give(&file, &to)
    };
    if let Err(error) = write() {
        tracing::warn!(%error, path = %to.display(), "the time of the backup could not be recorded");
    }
}

/// When the last backup was made. `None`: never, or it was not recorded.
pub(super) fn last(store: &Path) -> Option<Timestamp> {
    let noted = fs::read_to_string(with_suffix(store, BACKED_UP)).ok()?;
    Timestamp::parse_rfc3339(noted.trim())
}

/// Creates the store `to` from the backup `from`, after checking that the backup is intact and has a
/// schema that this version knows. Fails if `to` exists or is in use. Blocks on the disk: not for a tokio
/// thread.
pub fn restore(from: &Path, to: &Path) -> Result<(), StoreError> {
    if let Some(dir) = to.parent().filter(|d| !d.as_os_str().is_empty() && !d.exists()) {
        fs::create_dir(dir).map_err(|error| failed(dir, &error))?;
    }
    let lock = lock(to)?;
    // SQLite would replay a leftover log into the new file.
    for there in [to.to_owned(), with_suffix(to, "-wal"), with_suffix(to, "-journal")] {
        if there.exists() {
            return Err(taken(&there));
        }
    }
    let reader = open_existing(from)?;
    if schema_of(&reader).map_err(|error| refused(from, error))? == 0 {
        return Err(refused(from, StoreError::Unavailable("it is empty".into())));
    }
    check(&reader).map_err(|error| refused(from, error))?;
    copy(&reader, to, Owner::OfFolder)?;
    Owner::OfFolder
        .give(&lock, to)
        .map_err(|error| failed(&with_suffix(to, ".lock"), &error))
}

/// Who owns a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The user of the process.
    Caller,
    /// The owner of its folder: the service must be able to open a store that root restored.
    OfFolder,
}

impl Owner {
    /// Gives an open file beside `to` its owner.
    fn give(self, file: &File, to: &Path) -> io::Result<()> {
        if self == Self::Caller {
            return Ok(());
        }
        let absolute = std::path::absolute(to)?;
        let folder = fs::metadata(absolute.parent().unwrap_or(&absolute))?;
        let now = file.metadata()?;
        if (now.uid(), now.gid()) == (folder.uid(), folder.gid()) {
            return Ok(());
        }
        match fchown(file, Some(folder.uid()), Some(folder.gid())) {
            // Only root can change the owner of a file. Other users keep it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            given => given,
        }
    }
}

/// Any sealed secret of the store at `path`, which names the sealing key that the store needs. `None`: it
/// has none, or the file is empty. Fails for a store that a start would refuse: it is damaged, another
/// program's or a newer version's.
pub fn sealed_secret(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let reader = open_existing(path)?;
    if schema_of(&reader).map_err(|error| refused(path, error))? == 0 {
        return Ok(None);
    }
    let mut rows = reader
        .prepare("SELECT sealed FROM secrets LIMIT 1")
        .map_err(|error| failed(path, &error))?;
    let mut found = rows
        .query_map([], |row| row.get(0))
        .map_err(|error| failed(path, &error))?;
    found.next().transpose().map_err(|error| failed(path, &error))
}

/// Writes a snapshot of `db` to a new file.
pub(super) fn copy(db: &Connection, to: &Path, owner: Owner) -> Result<(), StoreError> {
    // An absolute path is never taken for a URI by SQLite.
    let to = std::path::absolute(to).map_err(|error| failed(to, &error))?;
    if to.exists() {
        return Err(taken(&to));
    }
    let partial = Partial::create(&to)?;
    let name = partial
        .path
        .to_str()
        .ok_or_else(|| failed(&to, &"its name is not UTF-8"))?;
    // Copies one snapshot, without deleted rows.
    db.execute("VACUUM INTO ?1", [name])
        .map_err(|error| failed(&to, &error))?;
    partial.publish(&to, owner)
}

/// An incomplete copy; removed if it is not completed.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn create(to: &Path) -> Result<Self, StoreError> {
        let path = with_suffix(to, &format!(".partial-{}", hex::encode(random::bytes::<4>())));
        // SQLite writes into an empty file, which already has the mode that keys need.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(to, &error))?;
        Ok(Self { path })
    }

    fn publish(self, to: &Path, owner: Owner) -> Result<(), StoreError> {
        let finish = || {
            let file = File::open(&self.path)?;
            owner.give(&file, to)?;
            file.sync_all()?;
            // A link, unlike a rename, fails if the target was created meanwhile.
            match fs::hard_link(&self.path, to) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !to.exists() => {
                    // This file system has no links.
                    fs::rename(&self.path, to)?;
                }
                linked => linked?,
            }
            to.parent().map_or(Ok(()), sync_directory)
        };
        finish().map_err(|error: io::Error| failed(to, &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename it is gone already.
        let _gone = fs::remove_file(&self.path);
    }
}

/// Opens an existing file, without changing it.
fn open_existing(path: &Path) -> Result<Connection, StoreError> {
    if let Err(error) = fs::metadata(path) {
        let in_use = error.kind() == io::ErrorKind::NotFound && is_locked(path);
        let hint = if in_use {
            "; it was removed while linkseal has it open: copy it from /proc/PID/fd before linkseal is stopped \
             (docs/operations.md, \"Store lost\")"
        } else {
            ""
        };
        return Err(StoreError::NotCopied(format!(
            "{} cannot be read ({error}){hint}",
            path.display()
        )));
    }
    open_reader(path).map_err(|error| refused(path, error))
}

/// Reads every page and checks every reference.
fn check(db: &Connection) -> Result<(), StoreError> {
    let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    let dangling = db.prepare("PRAGMA foreign_key_check")?.exists([])?;
    match (verdict.as_str(), dangling) {
        ("ok", false) => Ok(()),
        ("ok", true) => Err(StoreError::Unavailable(
            "it is damaged: a row belongs to no domain".into(),
        )),
        (found, _) => Err(StoreError::Unavailable(format!("it is damaged: {found}"))),
    }
}

fn refused(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(why) => StoreError::NotCopied(format!("{} is not usable: {why}", path.display())),
        other => other,
    }
}

fn taken(path: &Path) -> StoreError {
    StoreError::NotCopied(format!(
        "{} exists already and is never overwritten; move it away first",
        path.display()
    ))
}

fn failed(to: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::NotCopied(format!("the copy to {} could not be written: {error}", to.display()))
}
