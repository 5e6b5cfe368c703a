use std::fs;

use super::*;

/// A folder with one segment of frames for each `first..=last`.
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
    // Small steps, so that stopping and resuming is tested too.
    while reader.read_records(until, 2, &mut out).unwrap() == Stop::Enough {}
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
    // The file system may also leave zeros or garbage there.
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
fn frames_written_twice_are_read_once() {
    let dir = folder(&[(1, 5), (4, 8)]);
    assert_eq!(read(&dir, 0, Until::End), (vec![1, 2, 3, 4, 5, 6, 7, 8], 0));
}

#[test]
fn a_live_folder_is_followed() {
    let dir = folder(&[(1, 2)]);
    let damaged = IntCounter::new("d", "d").unwrap();
    let mut reader = FolderReader::new(dir.path(), Uuid::nil(), 0, damaged.clone());
    let mut out = Vec::new();
    assert_eq!(
        reader.read_records(Until::Published(2), 9, &mut out).unwrap(),
        Stop::End
    );
    let more = content(1, 4);
    // Half of the next frame is written; it is not published.
    fs::write(dir.path().join(segment::segment_name(1)), &more[..more.len() - 3]).unwrap();
    assert_eq!(
        reader.read_records(Until::Published(3), 9, &mut out).unwrap(),
        Stop::End
    );
    assert_eq!(reader.last(), 3);
    fs::write(dir.path().join(segment::segment_name(1)), &more).unwrap();
    fs::write(dir.path().join(segment::segment_name(5)), content(5, 6)).unwrap();
    assert_eq!(
        reader.read_records(Until::Published(6), 9, &mut out).unwrap(),
        Stop::End
    );
    assert_eq!(out.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(damaged.get(), 0);
}

#[test]
fn a_frame_completed_during_the_read_is_not_damage() {
    let whole = content(1, 2);
    for (seen, until) in [
        // None of the frame was written, or a part.
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
        assert_eq!(reader.read_records(until, 1, &mut out).unwrap(), Stop::Enough);
        assert!(!reader.current.as_mut().unwrap().fill().unwrap());
        // Between the read that found nothing more and the search for the next frame.
        fs::write(&path, &whole).unwrap();
        assert!(reader.skip_damage(until).unwrap());
        reader.read_records(until, 1, &mut out).unwrap();
        assert_eq!(out.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2], "{seen}");
        assert_eq!(damaged.get(), 0);
    }
}
