//! Files that are durable and whole: directories and names are synced, and a replaced file is either
//! the old one or the new one after a crash, never a mixture.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Events are personal data: only the owner may read them.
const DIR_MODE: u32 = 0o700;
/// See [`DIR_MODE`].
pub(crate) const FILE_MODE: u32 = 0o600;
/// Suffix of a file until it is whole.
pub(crate) const UNFINISHED: &str = ".new";

/// Writes a file and renames it into place.
///
/// It gets the owner and the mode of `like`, if that exists: the service can still read what an
/// operator rewrote as root. `modified` sets its modification time.
pub(crate) fn replace(
    path: &Path,
    like: &Path,
    modified: Option<SystemTime>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let new = unfinished(path);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&new)?;
    copy_owner_and_mode(&file, like)?;
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    if let Some(modified) = modified {
        file.set_modified(modified)?;
    }
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// Removes what a crash during [`replace`] left of a file.
pub(crate) fn remove_unfinished(path: &Path) -> io::Result<()> {
    match fs::remove_file(unfinished(path)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Creates a directory and its parents, readable by the owner only, and makes its name durable.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)?;
    sync_parent(path)
}

/// Makes the names in a file's directory durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// A path with a suffix after its file name.
pub(crate) fn with_suffix(path: &Path, suffix: impl AsRef<OsStr>) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

fn unfinished(path: &Path) -> PathBuf {
    with_suffix(path, UNFINISHED)
}

fn copy_owner_and_mode(file: &File, like: &Path) -> io::Result<()> {
    let (old, new) = match fs::metadata(like) {
        Ok(old) => (old, file.metadata()?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_keeps_owner_and_mode_and_the_old_file_when_writing_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.ndjson");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root may give files away; others see their own owner kept.
        let owner = match fs::metadata(&path).unwrap().uid() {
            0 => {
                std::os::unix::fs::chown(&path, Some(4321), Some(4322)).unwrap();
                (4321, 4322)
            }
            uid => (uid, fs::metadata(&path).unwrap().gid()),
        };
        let broken = replace(&path, &path, None, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert!(broken.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        replace(&path, &path, Some(SystemTime::UNIX_EPOCH), |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), owner);
        assert_eq!(meta.mode() & 0o7777, 0o640);
        assert_eq!(meta.modified().unwrap(), SystemTime::UNIX_EPOCH);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
