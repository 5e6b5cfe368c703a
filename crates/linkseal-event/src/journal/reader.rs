//! Reads a boot's folder in order, past whatever a crash or a bad disk left in it.
//!
//! A torn end is expected where writing stopped: in the last segment of a folder whose process is
//! gone. Anywhere else damage is skipped up to the next whole frame, counted, and logged once per
//! place. Records come out with rising sequence numbers; frames that an error made the writer write
//! twice come out once, and erased events do not come out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prometheus::IntCounter;
use uuid::Uuid;

use super::frame::{self, Parsed, is_blank};
use super::record::Record;
use super::segment::{self, Found, MAGIC};

/// How much is read from a file at once, in bytes.
const CHUNK: usize = 256 << 10;
/// How far the sequence number of a frame found after damage may be ahead of the last one. A higher
/// number is taken for a chance match: lost events leave gaps, but no node loses four billion of them.
const PLAUSIBLE_GAP: u64 = 1 << 32;

/// Up to where a folder may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// To the end: its process is gone.
    End,
    /// To this sequence number: the folder is being written.
    Published(u64),
}

/// Why a read stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The limit was reached.
    Enough,
    /// There is no more, at least for now.
    End,
}

/// Reads one folder.
pub(crate) struct FolderReader {
    folder: PathBuf,
    boot: Uuid,
    /// The last sequence number that came out or was skipped.
    last: u64,
    current: Option<Current>,
    damaged: IntCounter,
}

/// The segment being read.
struct Current {
    found: Found,
    file: File,
    /// A buffer for what is read of it.
    buffer: Vec<u8>,
    /// The part of the buffer that has been read and not been consumed.
    unread: Range<usize>,
    /// Where the buffer begins in the file.
    base: u64,
    /// The last damaged place that was logged.
    reported: Option<u64>,
}

impl FolderReader {
    /// Reads a folder after a sequence number.
    pub(crate) fn new(folder: &Path, boot: Uuid, after: u64, damaged: IntCounter) -> Self {
        Self {
            folder: folder.to_owned(),
            boot,
            last: after,
            current: None,
            damaged,
        }
    }

    /// The boot that wrote the folder.
    pub(crate) fn boot(&self) -> Uuid {
        self.boot
    }

    /// The last sequence number that came out.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Reads up to `limit` events, and calls `take` with the sequence number and the JSON of each. Nothing
    /// is parsed or copied on the way.
    pub(crate) fn read(&mut self, until: Until, limit: usize, mut take: impl FnMut(u64, &[u8])) -> io::Result<Stop> {
        let mut count = 0;
        while count < limit {
            if matches!(until, Until::Published(seq) if self.last >= seq) {
                return Ok(Stop::End);
            }
            let Some(current) = &mut self.current else {
                match self.next_segment()? {
                    Some(next) => self.current = Some(next),
                    None => return Ok(Stop::End),
                }
                continue;
            };
            match frame::parse(current.data(), current.unread.start) {
                Parsed::Frame { seq, payload } => {
                    current.unread.start = payload.end;
                    if seq > self.last {
                        self.last = seq;
                        let json = current.data().get(payload).unwrap_or_default();
                        if !is_blank(json) {
                            take(seq, json);
                            count += 1;
                        }
                    }
                }
                Parsed::Incomplete if current.fill()? => {}
                Parsed::Incomplete | Parsed::Damaged => {
                    if !self.skip_damage(until)? {
                        return Ok(Stop::End);
                    }
                }
            }
        }
        Ok(Stop::Enough)
    }

    /// Adds up to `limit` records to `out`.
    pub(crate) fn read_records(&mut self, until: Until, limit: usize, out: &mut Vec<Record>) -> io::Result<Stop> {
        let boot = self.boot;
        self.read(until, limit, |seq, json| {
            let json = Bytes::copy_from_slice(json);
            out.push(Record { boot, seq, json });
        })
    }

    /// Opens the segment that has the next frame, if one may have it.
    fn next_segment(&mut self) -> io::Result<Option<Current>> {
        let mut all = segment::segments(&self.folder)?;
        // The last one that does not begin after the next frame, else the first that does.
        let next = self.last + 1;
        let place = all.iter().rposition(|f| f.first <= next).unwrap_or(0);
        if place >= all.len() {
            return Ok(None);
        }
        Current::open(all.swap_remove(place))
    }

    /// Moves on to the next whole frame; `false` when there is none yet.
    fn skip_damage(&mut self, until: Until) -> io::Result<bool> {
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        // List the folder before the last read of this segment: once a later one exists, this one
        // does not grow any more.
        let later = segment::segments(&self.folder)?
            .into_iter()
            .find(|f| f.first > current.found.first);
        if current.fill()? {
            // More has been written: what seemed incomplete may be whole.
            return Ok(true);
        }
        if !current.unread.is_empty() {
            let plausible = self.last + 1..self.last.saturating_add(PLAUSIBLE_GAP);
            match frame::resync(current.data(), current.unread.start + 1, plausible) {
                Some(next) => {
                    current.report(&self.damaged, next - current.unread.start);
                    current.unread.start = next;
                    return Ok(true);
                }
                None if later.is_some() || until != Until::End => {
                    current.report(&self.damaged, current.unread.len());
                }
                // The torn end that a crash leaves: its events were never acknowledged at a durability
                // that survives a crash.
                None => tracing::debug!(path = %current.found.path.display(), "skipped the torn end of a segment"),
            }
        }
        let Some(later) = later else { return Ok(false) };
        self.current = Current::open(later)?;
        Ok(true)
    }
}

impl Current {
    /// `None` when it has been removed.
    fn open(found: Found) -> io::Result<Option<Self>> {
        let mut file = match File::open(&found.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        // A segment whose magic is torn or damaged is read all the same.
        let base = file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
        Ok(Some(Self {
            found,
            file,
            buffer: Vec::new(),
            unread: 0..0,
            base,
            reported: None,
        }))
    }

    /// What has been read of it, from where the buffer begins.
    fn data(&self) -> &[u8] {
        self.buffer.get(..self.unread.end).unwrap_or_default()
    }

    /// Reads more; `false` when there is no more.
    fn fill(&mut self) -> io::Result<bool> {
        self.base += self.unread.start as u64;
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        if self.unread.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() + CHUNK, 0);
        }
        let free = self.buffer.get_mut(self.unread.end..).unwrap_or_default();
        loop {
            match self.file.read(free) {
                Ok(read) => {
                    self.unread.end += read;
                    return Ok(read > 0);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn report(&mut self, damaged: &IntCounter, bytes: usize) {
        let place = self.base + self.unread.start as u64;
        if self.reported.replace(place) == Some(place) {
            return;
        }
        damaged.inc();
        tracing::error!(
            path = %self.found.path.display(), place, bytes,
            "damaged part of the journal skipped; its events are lost"
        );
    }
}

#[cfg(test)]
mod tests;
