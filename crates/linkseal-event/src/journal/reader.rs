//! Reads a boot's folder in order, past whatever a crash or a bad disk left in it.
//!
//! A torn end is expected where writing stopped: in the last segment of a folder whose process is
//! gone. Anywhere else damage is skipped up to the next whole frame, counted, and logged once per
//! place. Records come out with rising sequence numbers; frames that an error made the writer write
//! twice come out once, and erased events do not come out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
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
    /// What has been read of it and not been consumed.
    data: Vec<u8>,
    /// How much of `data` is consumed.
    at: usize,
    /// Where `data` begins in the file.
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

    /// The last sequence number that came out.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Adds up to `limit` records to `out`.
    pub(crate) fn read(&mut self, until: Until, limit: usize, out: &mut Vec<Record>) -> io::Result<Stop> {
        let wanted = out.len() + limit;
        while out.len() < wanted {
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
            match frame::parse(&current.data, current.at) {
                Parsed::Frame { seq, payload } => {
                    current.at = payload.end;
                    if seq > self.last {
                        self.last = seq;
                        let json = current.data.get(payload).unwrap_or_default();
                        if is_blank(json) {
                            continue;
                        }
                        let json = Bytes::copy_from_slice(json);
                        out.push(Record {
                            boot: self.boot,
                            seq,
                            json,
                        });
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
        if current.at != current.data.len() {
            let plausible = self.last + 1..self.last.saturating_add(PLAUSIBLE_GAP);
            match frame::resync(&current.data, current.at + 1, plausible) {
                Some(next) => {
                    current.report(&self.damaged, next - current.at);
                    current.at = next;
                    return Ok(true);
                }
                None if later.is_some() || until != Until::End => {
                    current.report(&self.damaged, current.data.len() - current.at);
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
            data: Vec::new(),
            at: 0,
            base,
            reported: None,
        }))
    }

    /// Reads more; `false` when there is no more.
    fn fill(&mut self) -> io::Result<bool> {
        self.base += self.at as u64;
        self.data.drain(..self.at);
        self.at = 0;
        let read = (&mut self.file).take(CHUNK as u64).read_to_end(&mut self.data)?;
        Ok(read > 0)
    }

    fn report(&mut self, damaged: &IntCounter, bytes: usize) {
        let place = self.base + self.at as u64;
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
