//! How far the sinks have come in a folder, read from its cursors and segments.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use linkseal_base::clock::Timestamp;
use uuid::Uuid;

use super::cursor::Cursor;
use super::reader::{FolderReader, Until};
use super::segment::{self, Found};

/// The end of an earlier boot's folder, and how far each sink has come in it.
pub(crate) struct FolderProgress {
    pub(crate) last: u64,
    /// In the order of the sinks asked for.
    pub(crate) held: Vec<u64>,
}

/// A segment that is no longer written.
pub(crate) struct ClosedSegment {
    pub(crate) path: PathBuf,
    /// In bytes.
    pub(crate) size: u64,
    /// No frame in it has a higher sequence number.
    pub(crate) last: u64,
    /// Every sink holds the folder up to this sequence number.
    pub(crate) held: u64,
    /// When it was last seen to be written or undelivered.
    pub(crate) since: Timestamp,
}

/// Reads the end and the cursors of a folder that is no longer written. Blocks.
pub(crate) fn folder_progress(folder: &Path, boot: Uuid, sinks: &[String]) -> io::Result<FolderProgress> {
    let last = last_seq(folder, boot)?;
    // A sink without a cursor has no part in this folder.
    let held = |name| Cursor::new(folder, name).load().map(|held| held.unwrap_or(last));
    let held = sinks.iter().map(|n| held(n)).collect::<io::Result<_>>()?;
    Ok(FolderProgress { last, held })
}

/// The last sequence number in a folder that is no longer written. Blocks.
pub(crate) fn last_seq(path: &Path, boot: Uuid) -> io::Result<u64> {
    // Damage is counted when the folder is delivered, not here.
    let uncounted = prometheus::IntCounter::new("uncounted", "not registered").map_err(io::Error::other)?;
    for found in segment::segments(path)?.into_iter().rev() {
        let mut reader = FolderReader::new(path, boot, found.first.saturating_sub(1), uncounted.clone());
        reader.read(Until::End, usize::MAX, |_, _| {})?;
        if reader.last() >= found.first {
            return Ok(reader.last());
        }
    }
    Ok(0)
}

/// The segments of a folder that are no longer written, oldest first. `last` is the folder's last
/// sequence number, `None` while it is written; `absent` is what a sink without a cursor holds.
pub(crate) fn closed_segments(
    folder: &Path,
    last: Option<u64>,
    sinks: &[String],
    absent: u64,
) -> io::Result<Vec<ClosedSegment>> {
    let mut held = u64::MAX;
    for sink in sinks {
        held = held.min(Cursor::new(folder, sink).load()?.unwrap_or(absent));
    }
    let found = segment::segments(folder)?;
    let mut closed = Vec::new();
    for (i, Found { path, .. }) in found.iter().enumerate() {
        let last = match (found.get(i + 1), last) {
            (Some(next), _) => next.first.saturating_sub(1),
            (None, Some(last)) => last,
            (None, None) => break,
        };
        let meta = match path.metadata() {
            Ok(meta) => meta,
            // It has just been removed to free space.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let since = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        closed.push(ClosedSegment {
            path: path.clone(),
            size: meta.len(),
            last,
            held,
            since,
        });
    }
    Ok(closed)
}
