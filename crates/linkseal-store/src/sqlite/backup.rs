//! Copies of the store: written while it is in use, and put back.
//!
//! A copy is made under another name beside its target, synced, and only then given its own: a
//! file with the right name is whole. Neither way is an existing file ever written over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::random;
use rusqlite::Connection;

use super::connection::{lock, open_reader, schema_of, sync_directory, with_suffix};
use crate::StoreError;

/// What the name of the file ends with that says when the store was copied last.
const BACKED_UP: &str = "-backup";

/// Writes a consistent copy of the store at `from`, also while another process has it open.
/// Takes as long as the disk does: not for a tokio thread.
pub fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    let reader = open_existing(from)?;
    schema_of(&reader).map_err(|error| refused(from, error))?;
    copy(&reader, to, Owner::Caller)?;
    note(from);
    Ok(())
}

/// Notes beside the store that it was copied just now, for its metrics. Where that cannot be written
/// the copy is as good as it is, and the time before stays.
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
        tracing::warn!(%error, path = %to.display(), "when the store was copied cannot be noted");
    }
}

/// When the store was copied last. `None`: never, or that is not noted.
pub(super) fn last(store: &Path) -> Option<Timestamp> {
    let noted = fs::read_to_string(with_suffix(store, BACKED_UP)).ok()?;
    Timestamp::parse_rfc3339(noted.trim())
}

/// Makes the store `to` from the backup `from`, once the backup is known to be whole and of a
/// schema that this version knows. Refuses while `to` exists or is in use.
/// Takes as long as the disk does: not for a tokio thread.
pub fn restore(from: &Path, to: &Path) -> Result<(), StoreError> {
    if let Some(dir) = to.parent().filter(|d| !d.as_os_str().is_empty() && !d.exists()) {
        fs::create_dir(dir).map_err(|error| failed(dir, &error))?;
    }
    let lock = lock(to)?;
    // A log left behind would be played into the new file, which it was not written for.
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

/// Whose a copy is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// That of the process which makes it.
    Caller,
    /// That of the folder it stands in: a store must open for the service, also when root restores it.
    OfFolder,
}

impl Owner {
    /// Gives an open file that stands beside `to` its owner.
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
            // Only root may give files away. For anyone else the file is right as it is: their own.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            given => given,
        }
    }
}

/// A sealed secret of the store at `path`, which tells the key that it needs. `None`: it holds none.
pub fn sealed_secret(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let reader = open_existing(path)?;
    let mut rows = reader
        .prepare("SELECT sealed FROM secrets LIMIT 1")
        .map_err(|error| failed(path, &error))?;
    let mut found = rows
        .query_map([], |row| row.get(0))
        .map_err(|error| failed(path, &error))?;
    found.next().transpose().map_err(|error| failed(path, &error))
}

/// Writes what `db` sees now to a new file.
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
    // Takes one snapshot, and leaves deleted rows behind.
    db.execute("VACUUM INTO ?1", [name])
        .map_err(|error| failed(&to, &error))?;
    partial.publish(&to, owner)
}

/// A copy that is not whole yet; removed when it does not become so.
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

/// Opens a file that must be there, without changing it.
fn open_existing(path: &Path) -> Result<Connection, StoreError> {
    if let Err(error) = fs::metadata(path) {
        return Err(StoreError::NotCopied(format!(
            "{} cannot be read ({error})",
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
        "{} exists already and is never written over; move it away first",
        path.display()
    ))
}

fn failed(to: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::NotCopied(format!("the copy to {} could not be written: {error}", to.display()))
}
