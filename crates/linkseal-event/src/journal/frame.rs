//! How one event is stored in a segment: a header, then its JSON. Pure; no I/O.
//!
//! ```text
//! length u32 | crc32c u32 | seq u64 | payload        (little-endian; length counts the payload)
//! ```
//! The checksum covers length, sequence number and payload, so that damage to any of them is detected.

use std::ops::Range;

/// Bytes before the payload.
pub(super) const HEADER: usize = 16;
/// Longest payload, in bytes. An event is under 8 KiB (a URL of 4096, two headers of 1024), so a
/// greater length can only be damage and no data is awaited for it.
pub(crate) const MAX_PAYLOAD: usize = 1 << 20;
/// The beginning of an erased payload; spaces fill the rest.
const BLANK: &[u8] = br#"{"erased":true}"#;

/// What stands at one place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A whole, undamaged frame.
    Frame {
        seq: u64,
        /// Where its payload is.
        payload: Range<usize>,
    },
    /// The beginning of what may be a frame; the rest may follow.
    Incomplete,
    Damaged,
}

/// Appends a frame whose payload the function writes.
pub(crate) fn write(out: &mut Vec<u8>, seq: u64, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    payload(out);
    let length = (out.len() - start - HEADER) as u32;
    let length = length.to_le_bytes();
    let seq = seq.to_le_bytes();
    let crc = checksum(&length, &seq, out.get(start + HEADER..).unwrap_or_default()).to_le_bytes();
    for (place, byte) in out.iter_mut().skip(start).zip(length.into_iter().chain(crc).chain(seq)) {
        *place = byte;
    }
}

/// Reads what stands at `at`.
pub(crate) fn parse(data: &[u8], at: usize) -> Parsed {
    let Some(rest) = data.get(at..) else {
        return Parsed::Incomplete;
    };
    let Some((length, rest)) = rest.split_first_chunk::<4>() else {
        return Parsed::Incomplete;
    };
    let size = u32::from_le_bytes(*length) as usize;
    if size == 0 || size > MAX_PAYLOAD {
        return Parsed::Damaged;
    }
    let Some((crc, rest)) = rest.split_first_chunk::<4>() else {
        return Parsed::Incomplete;
    };
    let Some((seq, rest)) = rest.split_first_chunk::<8>() else {
        return Parsed::Incomplete;
    };
    let Some(payload) = rest.get(..size) else {
        return Parsed::Incomplete;
    };
    if checksum(length, seq, payload) != u32::from_le_bytes(*crc) {
        return Parsed::Damaged;
    }
    let start = at + HEADER;
    Parsed::Frame {
        seq: u64::from_le_bytes(*seq),
        payload: start..start + size,
    }
}

/// The place of the next frame at or after `from` whose sequence number is in `plausible`.
pub(crate) fn resync(data: &[u8], from: usize, plausible: Range<u64>) -> Option<usize> {
    (from..data.len().checked_sub(HEADER)?).find(|at| {
        // The sequence number first: it rules out nearly every place without a checksum.
        let seq = data.get(at + 8..at + HEADER).and_then(|s| s.first_chunk::<8>());
        seq.is_some_and(|s| plausible.contains(&u64::from_le_bytes(*s)))
            && matches!(parse(data, *at), Parsed::Frame { .. })
    })
}

/// Overwrites an event that is erased. Every event is long enough: it has an id.
pub(crate) fn blank(json: &mut [u8]) {
    for (i, byte) in json.iter_mut().enumerate() {
        *byte = BLANK.get(i).copied().unwrap_or(b' ');
    }
}

/// Whether a payload was erased.
pub(crate) fn is_blank(json: &[u8]) -> bool {
    json.starts_with(BLANK)
}

fn checksum(length: &[u8; 4], seq: &[u8; 8], payload: &[u8]) -> u32 {
    let mut head = [0; 12];
    let (a, b) = head.split_at_mut(4);
    a.copy_from_slice(length);
    b.copy_from_slice(seq);
    crc32c::crc32c_append(crc32c::crc32c(&head), payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(seq: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        write(&mut out, seq, |out| out.extend_from_slice(payload));
        out.split_off(6)
    }

    proptest! {
        #[test]
        fn a_frame_reads_back(seq in any::<u64>(), payload in proptest::collection::vec(any::<u8>(), 1..300)) {
            let frame = framed(seq, &payload);
            prop_assert_eq!(parse(&frame, 0), Parsed::Frame { seq, payload: HEADER..frame.len() });
            prop_assert_eq!(&frame[HEADER..], &payload[..]);
        }

        #[test]
        fn any_changed_bit_shows(
            seq in any::<u64>(),
            payload in proptest::collection::vec(any::<u8>(), 1..300),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut frame = framed(seq, &payload);
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            let is_frame = matches!(parse(&frame, 0), Parsed::Frame { .. });
            prop_assert!(!is_frame);
        }

        #[test]
        fn garbage_is_never_a_frame_and_never_panics(data in any::<Vec<u8>>(), at in 0usize..200) {
            let parsed = parse(&data, at);
            let is_frame = matches!(parsed, Parsed::Frame { .. });
            prop_assert!(!is_frame);
            let _ = resync(&data, at, 0..u64::MAX);
        }

        #[test]
        fn frames_after_damage_are_found(junk in proptest::collection::vec(any::<u8>(), 0..100), seq in 1u64..1000) {
            let mut data = junk.clone();
            data.extend(framed(seq, b"payload"));
            prop_assert_eq!(resync(&data, 0, 1..1000), Some(junk.len()));
        }
    }

    /// A frame as every version so far has written it, byte for byte: what is on disk stays readable.
    const WRITTEN: &[u8] = b"\x0a\x00\x00\x00\xda\x56\xd2\x60\x07\x00\x00\x00\x00\x00\x00\x00{\"id\":\"7\"}";

    #[test]
    fn frames_of_earlier_versions_are_read() {
        let range = HEADER..WRITTEN.len();
        assert_eq!(parse(WRITTEN, 0), Parsed::Frame { seq: 7, payload: range });
        assert_eq!(framed(7, br#"{"id":"7"}"#), WRITTEN);
    }

    #[test]
    fn every_cut_of_a_frame_is_incomplete() {
        let frame = framed(7, b"payload");
        for cut in 0..frame.len() {
            assert_eq!(parse(&frame[..cut], 0), Parsed::Incomplete, "{cut}");
        }
        assert_eq!(
            parse(&[0; 64], 0),
            Parsed::Damaged,
            "zeros, as a crashed file system leaves them"
        );
    }
}
