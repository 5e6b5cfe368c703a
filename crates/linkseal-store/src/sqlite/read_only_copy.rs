//! A private copy of a store that can be read but not written at the start, because its disk is full or
//! read-only. The copy is served, with its write-ahead log taken in, while opening the store itself is
//! retried. The copy's files are removed as soon as they are open.

use std::env;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use linkseal_base::random;
use rusqlite::Connection;

use super::connection::{self, with_suffix};
use crate::StoreError;

/// Memory, if the temporary directory has no space.
const MEMORY: &str = "/dev/shm";
/// The characters that would end the path in a URI, and their escapes.
const ESCAPED: [(char, &str); 3] = [('%', "%25"), ('?', "%3f"), ('#', "%23")];

/// Opens a copy of the store with `readers` read connections. `None`: the store cannot be read, or
/// there is no space for a copy.
pub(super) fn open(path: &Path, readers: usize) -> Option<Vec<Connection>> {
    // The other process serves it.
    if connection::is_locked(path) {
        return None;
    }
    [env::temp_dir(), PathBuf::from(MEMORY)].iter().find_map(|place| {
        let dir = place.join(format!("linkseal-{:016x}", u64::from_le_bytes(random::bytes())));
        DirBuilder::new().mode(0o700).create(&dir).ok()?;
        let opened = copy(path, &dir.join("store.db"), readers);
        if let Err(error) = fs::remove_dir_all(&dir) {
            tracing::warn!(%error, dir = %dir.display(), "a copy of the store could not be removed; remove it by hand");
        }
        opened
            .inspect_err(|error| tracing::warn!(%error, place = %place.display(), "no read-only copy of the store could be made there"))
            .ok()
    })
}

fn copy(path: &Path, to: &Path, readers: usize) -> Result<Vec<Connection>, StoreError> {
    let failed = |error: std::io::Error| StoreError::NotCopied(error.to_string());
    fs::copy(path, to).map_err(failed)?;
    let log = with_suffix(path, "-wal");
    if log.exists() {
        fs::copy(log, with_suffix(to, "-wal")).map_err(failed)?;
    }
    connection::take_in_log(to)?;
    let uri = format!("file:{}?immutable=1", escaped(&to.to_string_lossy()));
    (0..readers).map(|_| connection::open_immutable(&uri)).collect()
}

fn escaped(path: &str) -> String {
    path.chars()
        .map(|c| match ESCAPED.iter().find(|(special, _)| *special == c) {
            Some((_, escape)) => (*escape).to_owned(),
            None => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_a_path_in_a_uri() {
        assert_eq!(escaped("/tmp/a?b#c%d/é.db"), "/tmp/a%3fb%23c%25d/é.db");
    }
}
