//! The identity of a file, whatever its name: shows that an open file was removed, renamed or replaced.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Device and inode: no other file has both while this one is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
        }
    }
}
