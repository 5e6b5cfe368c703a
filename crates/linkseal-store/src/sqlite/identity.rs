//! Detects that the store's file was removed or replaced while it is open.

use std::fs;
use std::path::{Path, PathBuf};

use linkseal_base::file_id::FileId;

use super::connection::with_suffix;
use crate::StoreError;

/// A file as it was when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    path: PathBuf,
    id: FileId,
}

impl Identity {
    /// The file that is at `path` now.
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            id: FileId::of(&fs::metadata(path)?),
        })
    }

    /// Its size in bytes, with its write-ahead log; 0 if it is missing.
    pub(super) fn bytes(&self) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
        size(&self.path) + size(&with_suffix(&self.path, "-wal"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if the file was removed or replaced: what is written would be lost with the process. One `stat`.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let gone = |what: &str| {
            StoreError::Unavailable(format!(
                "its file {} was {what} while in use, so no change is stored; move it back if it still exists, or \
                 else, before linkseal is stopped, copy it from /proc/{}/fd (docs/operations.md, \"Store lost\")",
                self.path.display(),
                std::process::id()
            ))
        };
        match Self::of(&self.path) {
            Ok(now) if now == *self => Ok(()),
            Ok(_) => Err(gone("replaced")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(gone("removed")),
            Err(error) => Err(StoreError::Unavailable(format!(
                "{} cannot be checked ({error})",
                self.path.display()
            ))),
        }
    }
}
