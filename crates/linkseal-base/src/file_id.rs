//! Which file a file is, whatever stands under its name later: how it is noticed that one which is open
//! was removed, renamed or replaced.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// What no other file has while this one is open.
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
