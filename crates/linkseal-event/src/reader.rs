//! Reads one boot's folder in order, past whatever a crash or a bad disk left in it.
//!
//! A torn end is legal where writing stopped: in the last segment of a folder whose process is
//! gone. Anywhere else damage is skipped up to the next whole frame, counted, and logged once per
//! place. Frames come out with rising sequence numbers; what an error made the writer write twice
//! comes out once; what was erased (`erase`) does not come out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prometheus::IntCounter;
use uuid::Uuid;

use super::erase::is_blank;
use super::frame::{self, Parsed};
use super::segment::{self, Found, MAGIC};

/// How much is read from a file at once, in bytes.
const CHUNK: usize = 256 << 10;
/// How far a frame found after damage may be ahead of the last one. Higher numbers are taken for
/// chance; lost events leave gaps, but no node loses four thousand million of them.
const PLAUSIBLE_GAP: u64 = 1 << 32;

/// An event as it is in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The boot it belongs to.
    pub boot: Uuid,
    /// Its place there.
    pub seq: u64,
    /// The event: one JSON object, without a line end.
    pub json: Bytes,
}

/// Up to where a folder may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Its process is gone: to the end.
    End,
    /// It is being written: to this sequence number.
    Published(u64),
}

/// What stopped a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// As many records as were asked for.
    Enough,
    /// There is no more, for now or for ever.
    End,
}

/// Reads one folder.
pub(super) struct FolderReader {
    folder: PathBuf,
    boot: Uuid,
    /// The last sequence number that came out, or was skipped.
    last: u64,
    current: Option<Current>,
    damaged: IntCounter,
}

/// The segment that is read.
struct Current {
    found: Found,
    file: File,
    /// What has been read of it and not been consumed.
    data: Vec<u8>,
    /// How much of `data` is consumed.
    at: usize,
    /// Where `data` begins in the file.
    base: u64,
    /// A damaged place that has been logged.
    reported: Option<u64>,
}

impl FolderReader {
    /// Reads a folder after a sequence number.
    pub(super) fn new(folder: &Path, boot: Uuid, after: u64, damaged: IntCounter) -> Self {
        Self {
            folder: folder.to_owned(),
            boot,
            last: after,
            current: None,
            damaged,
        }
    }

    /// The last sequence number that came out.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Adds up to `limit` records to `out`.
    pub(super) fn read(&mut self, until: Until, limit: usize, out: &mut Vec<Record>) -> io::Result<Stop> {
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
                    if !self.pass_damage(until)? {
                        return Ok(Stop::End);
                    }
                }
            }
        }
        Ok(Stop::Enough)
    }

    /// Opens the segment that has the next frame. `None`: there is no segment that may have it.
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

    /// Where no whole frame stands: goes to the next one. `false`: there is none (yet).
    fn pass_damage(&mut self, until: Until) -> io::Result<bool> {
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        // Before the last look at this one: once there is a later one, this one grows no more.
        let later = segment::segments(&self.folder)?
            .into_iter()
            .find(|f| f.first > current.found.first);
        if current.fill()? {
            // More was written meanwhile: what seemed incomplete may be whole.
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
                // The torn end that a crash leaves: what it held was never acknowledged as
                // having survived that.
                None => tracing::debug!(path = %current.found.path.display(), "a torn end was left out"),
            }
        }
        let Some(later) = later else { return Ok(false) };
        self.current = Current::open(later)?;
        Ok(true)
    }
}

impl Current {
    /// `None`: it has been removed.
    fn open(found: Found) -> io::Result<Option<Self>> {
        let mut file = match File::open(&found.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        // A segment whose magic is torn or damaged has frames all the same, or none.
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
            "a damaged place in the journal was skipped; events in it are lost"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with segments of frames `first..=last` each, and the frames' boundaries.
    fn folder(segments: &[(u64, u64)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (first, last) in segments {
            fs::write(dir.path().join(segment::segment_name(*first)), content(*first, *last)).unwrap();
        }
        dir
    }

    fn content(first: u64, last: u64) -> Vec<u8> {
        let mut data = MAGIC.to_vec();
        for seq in first..=last {
            frame::write(&mut data, seq, |out| {
                out.extend_from_slice(format!("event {seq}").as_bytes())
            });
        }
        data
    }

    fn read(dir: &tempfile::TempDir, after: u64, until: Until) -> (Vec<u64>, u64) {
        let damaged = IntCounter::new("d", "d").unwrap();
        let mut reader = FolderReader::new(dir.path(), Uuid::nil(), after, damaged.clone());
        let mut out = Vec::new();
        // Small steps, so that stopping and going on is tested too.
        while reader.read(until, 2, &mut out).unwrap() == Stop::Enough {}
        for record in &out {
            assert_eq!(record.json, format!("event {}", record.seq));
        }
        (out.iter().map(|r| r.seq).collect(), damaged.get())
    }

    #[test]
    fn segments_are_read_in_order_from_any_place() {
        let dir = folder(&[(1, 3), (4, 4), (7, 9)]);
        assert_eq!(read(&dir, 0, Until::End), (vec![1, 2, 3, 4, 7, 8, 9], 0));
        assert_eq!(read(&dir, 2, Until::End), (vec![3, 4, 7, 8, 9], 0));
        assert_eq!(read(&dir, 5, Until::End), (vec![7, 8, 9], 0));
        assert_eq!(read(&dir, 9, Until::End), (vec![], 0));
        assert_eq!(read(&dir, 2, Until::Published(7)), (vec![3, 4, 7], 0));
        fs::remove_file(dir.path().join(segment::segment_name(1))).unwrap();
        assert_eq!(
            read(&dir, 0, Until::End),
            (vec![4, 7, 8, 9], 0),
            "what retention took is passed"
        );
    }

    #[test]
    fn the_last_frame_may_be_torn_at_every_byte() {
        let whole = content(4, 6);
        let before = content(4, 5).len();
        for cut in before..whole.len() {
            let dir = folder(&[(1, 3)]);
            fs::write(dir.path().join(segment::segment_name(4)), &whole[..cut]).unwrap();
            assert_eq!(read(&dir, 0, Until::End), (vec![1, 2, 3, 4, 5], 0), "cut at {cut}");
        }
        // Nor does it matter that the file system left zeros or rubbish there.
        for junk in [0u8, 0xa5] {
            let dir = folder(&[]);
            let mut data = content(1, 2);
            data.extend([junk; 700]);
            fs::write(dir.path().join(segment::segment_name(1)), data).unwrap();
            assert_eq!(read(&dir, 0, Until::End), (vec![1, 2], 0));
        }
    }

    #[test]
    fn a_torn_segment_before_others_is_damage() {
        let dir = folder(&[(4, 5)]);
        let torn = content(1, 3);
        fs::write(dir.path().join(segment::segment_name(1)), &torn[..torn.len() - 1]).unwrap();
        assert_eq!(read(&dir, 0, Until::End), (vec![1, 2, 4, 5], 1));
    }

    #[test]
    fn any_damaged_byte_costs_its_own_frame_only() {
        let whole = content(1, 5);
        let (start, end) = (content(1, 2).len(), content(1, 3).len());
        for at in start..end {
            let mut data = whole.clone();
            data[at] ^= 0x40;
            let dir = folder(&[(6, 7)]);
            fs::write(dir.path().join(segment::segment_name(1)), data).unwrap();
            assert_eq!(read(&dir, 0, Until::End), (vec![1, 2, 4, 5, 6, 7], 1), "byte {at}");
        }
    }

    #[test]
    fn what_was_written_twice_comes_once() {
        let dir = folder(&[(1, 5), (4, 8)]);
        assert_eq!(read(&dir, 0, Until::End), (vec![1, 2, 3, 4, 5, 6, 7, 8], 0));
    }

    #[test]
    fn a_live_folder_is_followed() {
        let dir = folder(&[(1, 2)]);
        let damaged = IntCounter::new("d", "d").unwrap();
        let mut reader = FolderReader::new(dir.path(), Uuid::nil(), 0, damaged.clone());
        let mut out = Vec::new();
        assert_eq!(reader.read(Until::Published(2), 9, &mut out).unwrap(), Stop::End);
        let more = content(1, 4);
        // Half a frame is there already; it is not published.
        fs::write(dir.path().join(segment::segment_name(1)), &more[..more.len() - 3]).unwrap();
        assert_eq!(reader.read(Until::Published(3), 9, &mut out).unwrap(), Stop::End);
        assert_eq!(reader.last(), 3);
        fs::write(dir.path().join(segment::segment_name(1)), &more).unwrap();
        fs::write(dir.path().join(segment::segment_name(5)), content(5, 6)).unwrap();
        assert_eq!(reader.read(Until::Published(6), 9, &mut out).unwrap(), Stop::End);
        assert_eq!(out.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(damaged.get(), 0);
    }

    #[test]
    fn a_frame_that_is_completed_while_it_is_looked_at_is_no_damage() {
        let whole = content(1, 2);
        for (seen, until) in [
            // Nothing of it was there, or some.
            (content(1, 1).len(), Until::End),
            (content(1, 1).len() + 5, Until::End),
            (content(1, 1).len() + 5, Until::Published(2)),
        ] {
            let dir = folder(&[]);
            let path = dir.path().join(segment::segment_name(1));
            fs::write(&path, &whole[..seen]).unwrap();
            let damaged = IntCounter::new("d", "d").unwrap();
            let mut reader = FolderReader::new(dir.path(), Uuid::nil(), 0, damaged.clone());
            let mut out = Vec::new();
            assert_eq!(reader.read(until, 1, &mut out).unwrap(), Stop::Enough);
            assert!(!reader.current.as_mut().unwrap().fill().unwrap());
            // Between the look that found nothing more and the search for the next frame.
            fs::write(&path, &whole).unwrap();
            assert!(reader.pass_damage(until).unwrap());
            reader.read(until, 1, &mut out).unwrap();
            assert_eq!(out.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2], "{seen}");
            assert_eq!(damaged.get(), 0);
        }
    }
}
