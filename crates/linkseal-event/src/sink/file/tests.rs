use super::*;
use crate::journal::Record;

fn record(boot: Uuid, seq: u64, time: &str) -> Record {
    let json = format!(
        r#"{{"id":"{}","seq":{seq},"boot":"{boot}","type":"open","time":"{time}","node":"edge-1"}}"#,
        Uuid::nil()
    );
    Record {
        boot,
        seq,
        json: json.into(),
    }
}

fn sink(dir: &Path, name: &str) -> FileSink {
    sized(dir, name, None)
}

fn sized(dir: &Path, name: &str, max_bytes: Option<u64>) -> FileSink {
    let path = dir.join(name).to_str().unwrap().to_owned();
    let pattern = Pattern::parse(&path).unwrap();
    let settings = FileSettings {
        path,
        max_bytes,
        ..FileSettings::default()
    };
    FileSink::new(pattern, &settings, &Tasks::new())
}

fn seqs(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|l| serde_json::from_str::<EventPlace>(l).unwrap().seq)
        .collect()
}

const TIME: &str = "2026-11-22T09:30:00.5Z";

#[tokio::test]
async fn events_go_to_the_file_of_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), "%Y/%m/%d-%H.ndjson");
    let boot = Uuid::max();
    let batch = [
        record(boot, 1, TIME),
        record(boot, 2, "2026-11-22T09:59:59Z"),
        record(boot, 3, "2026-11-22T10:00:00Z"),
        // The clock was set back.
        record(boot, 4, "2026-11-22T09:00:00Z"),
    ];
    sink.deliver(&Lines::of(&batch)).await.unwrap();
    sink.deliver(&Lines::of(&[record(boot, 5, "2026-11-22T09:01:00Z")]))
        .await
        .unwrap();
    assert_eq!(seqs(&dir.path().join("2026/11/22-09.ndjson")), [1, 2, 4, 5]);
    assert_eq!(seqs(&dir.path().join("2026/11/22-10.ndjson")), [3]);
}

#[tokio::test]
async fn a_batch_torn_at_any_byte_is_completed_without_duplicates() {
    let boot = Uuid::max();
    let batch: Vec<_> = (1..=3).map(|seq| record(boot, seq, TIME)).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.ndjson");
    sink(dir.path(), "e.ndjson").deliver(&Lines::of(&batch)).await.unwrap();
    let whole = fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        // The next process gets the batch again, and more events.
        let mut again = batch.clone();
        again.push(record(boot, 4, TIME));
        sink(dir.path(), "e.ndjson").deliver(&Lines::of(&again)).await.unwrap();
        assert_eq!(seqs(&path), [1, 2, 3, 4], "cut at {cut}");
    }
    // Another boot has its own sequence numbers.
    sink(dir.path(), "e.ndjson")
        .deliver(&Lines::of(&[record(Uuid::from_u128(7), 2, TIME)]))
        .await
        .unwrap();
    assert_eq!(seqs(&path), [1, 2, 3, 4, 2]);
}

#[tokio::test]
async fn a_replayed_dead_letter_is_written_after_later_events() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), "e.ndjson");
    let boot = Uuid::max();
    sink.deliver(&Lines::of(&[record(boot, 3, TIME), record(boot, 7, TIME)]))
        .await
        .unwrap();
    sink.allow_earlier();
    sink.deliver(&Lines::of(&[record(boot, 5, TIME)])).await.unwrap();
    sink.deliver(&Lines::of(&[record(boot, 8, TIME)])).await.unwrap();
    // A repeated batch is still recognised.
    sink.deliver(&Lines::of(&[record(boot, 8, TIME), record(boot, 9, TIME)]))
        .await
        .unwrap();
    assert_eq!(seqs(&dir.path().join("e.ndjson")), [3, 7, 5, 8, 9]);
}

#[tokio::test]
async fn a_path_that_cannot_be_written_is_retried() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("sub"), "a file").unwrap();
    let mut sink = sink(dir.path(), "sub/e.ndjson");
    let error = sink
        .deliver(&Lines::of(&[record(Uuid::nil(), 1, TIME)]))
        .await
        .unwrap_err();
    assert!(error.cause.contains("sub/e.ndjson"), "{}", error.cause);
    fs::remove_file(dir.path().join("sub")).unwrap();
    sink.deliver(&Lines::of(&[record(Uuid::nil(), 1, TIME)])).await.unwrap();
    assert_eq!(seqs(&dir.path().join("sub/e.ndjson")), [1]);
}

/// All events in the files of a folder, by file name.
fn all(dir: &Path) -> Vec<(String, Vec<u64>)> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|p| (name(p), seqs(p))).collect()
}

#[tokio::test]
async fn a_full_file_is_rotated_between_batches_across_crashes() {
    let boot = Uuid::max();
    let batches: Vec<Vec<_>> = (0..4)
        .map(|n| (n * 3 + 1..=n * 3 + 3).map(|seq| record(boot, seq, TIME)).collect())
        .collect();
    let size = batches[0].iter().map(|r| r.json.len() as u64 + 1).sum();
    // A crash after any batch but before its cursor was saved: the batch is delivered again.
    for crash in 0..batches.len() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sized(dir.path(), "e.ndjson", Some(size));
        for batch in &batches[..=crash] {
            sink.deliver(&Lines::of(batch)).await.unwrap();
        }
        let mut sink = sized(dir.path(), "e.ndjson", Some(size));
        for batch in &batches[crash..] {
            sink.deliver(&Lines::of(batch)).await.unwrap();
        }
        let expected = [
            ("e.ndjson".to_owned(), vec![10, 11, 12]),
            ("e.part-0001.ndjson".to_owned(), vec![1, 2, 3]),
            ("e.part-0002.ndjson".to_owned(), vec![4, 5, 6]),
            ("e.part-0003.ndjson".to_owned(), vec![7, 8, 9]),
        ];
        assert_eq!(all(dir.path()), expected, "crash after batch {crash}");
    }
}

#[tokio::test]
async fn a_file_changed_from_outside_is_reopened_and_nothing_more_is_lost() {
    type Change = (&'static str, fn(&Path), &'static [u64]);
    let changes: [Change; 7] = [
        (
            "removed",
            |dir| fs::remove_file(dir.join("sub/e.ndjson")).unwrap(),
            &[2, 3],
        ),
        (
            "renamed, as by logrotate",
            |dir| fs::rename(dir.join("sub/e.ndjson"), dir.join("sub/e.1")).unwrap(),
            &[2, 3],
        ),
        (
            "replaced",
            |dir| {
                fs::rename(dir.join("sub/e.ndjson"), dir.join("sub/e.1")).unwrap();
                File::create(dir.join("sub/e.ndjson")).unwrap();
            },
            &[2, 3],
        ),
        (
            "cut, as by copytruncate",
            |dir| {
                let file = OpenOptions::new().write(true).open(dir.join("sub/e.ndjson")).unwrap();
                file.set_len(0).unwrap();
            },
            &[2, 3],
        ),
        (
            "cut in the middle of a line",
            |dir| {
                let file = OpenOptions::new().write(true).open(dir.join("sub/e.ndjson")).unwrap();
                file.set_len(20).unwrap();
            },
            &[2, 3],
        ),
        (
            "its folder removed",
            |dir| fs::remove_dir_all(dir.join("sub")).unwrap(),
            &[2, 3],
        ),
        (
            "its folder renamed",
            |dir| fs::rename(dir.join("sub"), dir.join("old")).unwrap(),
            &[2, 3],
        ),
    ];
    for (what, change, expected) in changes {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path(), "sub/e.ndjson");
        sink.deliver(&Lines::of(&[record(Uuid::max(), 1, TIME)])).await.unwrap();
        change(dir.path());
        sink.deliver(&Lines::of(&[record(Uuid::max(), 2, TIME)])).await.unwrap();
        sink.deliver(&Lines::of(&[record(Uuid::max(), 3, TIME)])).await.unwrap();
        assert_eq!(seqs(&dir.path().join("sub/e.ndjson")), expected, "{what}");
    }
}

#[test]
fn lines_written_to_a_file_without_a_name_are_not_held() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.ndjson");
    let (file, last) = open(&path).unwrap();
    let mut open = Open {
        minute: String::new(),
        path: path.clone(),
        file,
        size: 0,
        last,
    };
    open.append(b"{}\n").unwrap();
    fs::remove_file(&path).unwrap();
    assert!(open.append(b"{}\n").is_err());
}

#[test]
fn errors_say_what_to_do() {
    let said = |kind: io::ErrorKind| explain(Path::new("/archive/e.ndjson"), &kind.into());
    assert!(said(io::ErrorKind::PermissionDenied).contains("let this user write to its folder"));
    assert!(said(io::ErrorKind::ReadOnlyFilesystem).contains("/archive/e.ndjson"));
    assert!(said(io::ErrorKind::StorageFull).contains("free disk space"));
}
