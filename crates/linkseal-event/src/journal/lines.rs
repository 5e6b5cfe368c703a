//! Events of one boot as lines in one buffer, as they are read from the journal for a sink: a run of
//! lines can be written as it is, and an event is a slice.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::record::Record;

/// Events of one boot in order; each is its JSON, followed by a line end. Clones share the buffer.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    boot: Uuid,
    text: Bytes,
    places: Arc<[Place]>,
    /// Which of `places` these are.
    range: Range<usize>,
}

/// One of the [`Lines`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'l> {
    pub(crate) seq: u64,
    /// The event, without the line end.
    pub(crate) json: &'l [u8],
}

/// Collects [`Lines`].
pub(crate) struct LinesBuffer {
    text: BytesMut,
    places: Vec<Place>,
}

/// Where a line ends; it begins where the one before it ends.
#[derive(Clone, Copy, Debug)]
struct Place {
    seq: u64,
    end: usize,
}

impl LinesBuffer {
    /// An empty one that uses the memory of `text`.
    pub(crate) fn new(mut text: BytesMut) -> Self {
        text.clear();
        Self {
            text,
            places: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, seq: u64, json: &[u8]) {
        self.text.put_slice(json);
        self.text.put_u8(b'\n');
        let end = self.text.len();
        self.places.push(Place { seq, end });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn finish(self, boot: Uuid) -> Lines {
        Lines {
            boot,
            range: 0..self.places.len(),
            text: self.text.freeze(),
            places: self.places.into(),
        }
    }
}

impl Lines {
    /// The boot that wrote them.
    pub(crate) fn boot(&self) -> Uuid {
        self.boot
    }

    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Line<'_>> {
        self.spans().map(|(seq, span)| Line {
            seq,
            json: self.text.get(span).unwrap_or_default(),
        })
    }

    pub(crate) fn first(&self) -> Option<Line<'_>> {
        self.iter().next()
    }

    pub(crate) fn last(&self) -> Option<Line<'_>> {
        let last = self.places().last()?;
        let start = self.begin(self.range.end - 1);
        Some(Line {
            seq: last.seq,
            json: self.text.get(start..last.end - 1).unwrap_or_default(),
        })
    }

    /// The sequence number of the last one.
    pub(crate) fn last_seq(&self) -> Option<u64> {
        self.places().last().map(|place| place.seq)
    }

    /// The first `count`, or all, and the others.
    pub(crate) fn split_at(&self, count: usize) -> (Self, Self) {
        let middle = self.range.start + count.min(self.len());
        let part = |range| Self { range, ..self.clone() };
        (part(self.range.start..middle), part(middle..self.range.end))
    }

    /// The text of those with these indices, with their line ends.
    pub(crate) fn text(&self, lines: Range<usize>) -> &[u8] {
        let at = |index| self.begin(self.range.start + index);
        self.text.get(at(lines.start)..at(lines.end)).unwrap_or_default()
    }

    /// The same as records, which share the buffer.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> {
        self.spans().map(|(seq, span)| Record {
            boot: self.boot,
            seq,
            json: self.text.slice(span),
        })
    }

    /// The buffer, to be used again when nothing else uses it any more.
    pub(crate) fn buffer(&self) -> Bytes {
        self.text.clone()
    }

    /// The sequence numbers, and where the JSON is in the text.
    fn spans(&self) -> impl Iterator<Item = (u64, Range<usize>)> {
        let mut start = self.begin(self.range.start);
        self.places().iter().map(move |place| {
            let span = start..place.end - 1;
            start = place.end;
            (place.seq, span)
        })
    }

    fn places(&self) -> &[Place] {
        self.places.get(self.range.clone()).unwrap_or_default()
    }

    /// Where the line at this index of `places` begins.
    fn begin(&self, index: usize) -> usize {
        let before = index.checked_sub(1).and_then(|before| self.places.get(before));
        before.map_or(0, |place| place.end)
    }
}

impl From<&Record> for Lines {
    fn from(record: &Record) -> Self {
        let mut lines = LinesBuffer::new(BytesMut::with_capacity(record.json.len() + 1));
        lines.push(record.seq, &record.json);
        lines.finish(record.boot)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Lines {
        /// Records of one boot as they would be read.
        pub(crate) fn of(records: &[Record]) -> Self {
            let mut lines = LinesBuffer::new(BytesMut::new());
            records.iter().for_each(|r| lines.push(r.seq, &r.json));
            let boot = records.first().map_or(Uuid::nil(), |r| r.boot);
            assert!(records.iter().all(|r| r.boot == boot));
            lines.finish(boot)
        }
    }

    #[test]
    fn parts_share_one_text() {
        let record = |seq: u64| Record {
            boot: Uuid::max(),
            seq,
            json: format!("event {seq}").into(),
        };
        let records: Vec<_> = (8..=11).map(record).collect();
        let all = Lines::of(&records);
        assert_eq!((all.len(), all.last_seq()), (4, Some(11)));
        assert_eq!(all.text(0..4), b"event 8\nevent 9\nevent 10\nevent 11\n");
        assert_eq!(all.records().collect::<Vec<_>>(), records);

        let (first, rest) = all.split_at(1);
        assert_eq!(first.text(0..1), b"event 8\n");
        assert_eq!(rest.text(1..3), b"event 10\nevent 11\n");
        assert_eq!(
            rest.first().map(|line| (line.seq, line.json)),
            Some((9, &b"event 9"[..]))
        );
        let (middle, last) = rest.split_at(2);
        assert_eq!(middle.records().collect::<Vec<_>>(), records[1..3]);
        assert_eq!(last.iter().map(|line| line.seq).collect::<Vec<_>>(), [11]);
        let (whole, none) = last.split_at(usize::MAX);
        assert_eq!(
            (whole.last_seq(), none.last_seq(), none.is_empty()),
            (Some(11), None, true)
        );
        assert_eq!(middle.last().map(|line| line.json), Some(&b"event 10"[..]));
        assert_eq!(Lines::from(&records[3]).text(0..1), b"event 11\n");
        assert!(Lines::of(&[]).first().is_none());
    }
}
