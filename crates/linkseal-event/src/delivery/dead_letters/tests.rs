use prometheus::Registry;

use super::*;

fn letters() -> (tempfile::TempDir, DeadLetters) {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let letters = DeadLetters::new(dir.path(), &metrics);
    (dir, letters)
}

fn record(seq: u64, text: &str) -> Record {
    Record {
        boot: Uuid::from_u128(7),
        seq,
        json: format!(r#"{{"seq":{seq},"text":"{text}"}}"#).into(),
    }
}

const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

#[test]
fn dead_letters_are_listed_read_back_unchanged_and_removed() {
    let (dir, letters) = letters();
    let answer = r#"said ,"event":{"x":1}, and "quotes""#;
    for seq in 1..=5 {
        letters.add("platform", &record(seq, "a"), answer, AT).unwrap();
    }
    // Add the last one again, as after a crash.
    letters.add("platform", &record(5, "a"), answer, AT).unwrap();
    let listed = letters.list("platform", None, 100).unwrap();
    assert_eq!(listed.iter().map(|l| l.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(listed[0].answer, answer);
    assert_eq!(listed[0].event["text"], "a");
    let after = Some((Uuid::from_u128(7), 2));
    assert_eq!(
        letters.records("platform", after, 2).unwrap(),
        [record(3, "a"), record(4, "a")]
    );
    assert_eq!(letters.remove("platform", |_, seq| seq % 2 == 0).unwrap(), 2);
    assert_eq!(letters.count("platform").unwrap(), 3);
    assert_eq!(
        letters
            .metrics
            .dead_letters_waiting
            .with_label_values(&["platform"])
            .get(),
        3
    );
    assert_eq!(letters.metrics.dead_letters.with_label_values(&["platform"]).get(), 5);
    assert_eq!(letters.remove("platform", |_, _| true).unwrap(), 3);
    assert!(files(dir.path()).unwrap().is_empty());
    assert_eq!(letters.remove("platform", |_, _| true).unwrap(), 0);
}

#[test]
fn dead_letters_whose_file_was_removed_are_counted_as_lost() {
    let (dir, letters) = letters();
    let (lost, waiting) = (
        &letters.metrics.lost,
        letters.metrics.dead_letters_waiting.with_label_values(&["platform"]),
    );
    letters.check_removed("platform");
    assert_eq!(lost.get(), 0);
    for (remove, expected) in [(true, 2), (false, 4)] {
        for seq in 1..=2 {
            letters.add("platform", &record(seq, "a"), "no", AT).unwrap();
        }
        fs::remove_file(dir.path().join("dead-letters-platform.ndjson")).unwrap();
        if remove {
            letters.check_removed("platform");
            letters.check_removed("platform");
            assert_eq!(waiting.get(), 0);
        } else {
            letters.add("platform", &record(3, "a"), "no", AT).unwrap();
            assert_eq!(waiting.get(), 1);
        }
        assert_eq!(lost.get(), expected);
    }
    // Dropped properly.
    assert_eq!(letters.remove("platform", |_, _| true).unwrap(), 1);
    letters.check_removed("platform");
    assert_eq!(lost.get(), 4);
}

#[test]
fn a_torn_line_is_removed_when_the_next_one_is_added() {
    let (dir, letters) = letters();
    letters.add("platform", &record(1, "a"), "no", AT).unwrap();
    let path = dir.path().join("dead-letters-platform.ndjson");
    let whole = fs::read(&path).unwrap();
    for cut in 1..whole.len() - 1 {
        fs::write(&path, &whole[..cut]).unwrap();
        letters.add("platform", &record(2, "a"), "no", AT).unwrap();
        let listed = letters.list("platform", None, 10).unwrap();
        assert!(listed.last().is_some_and(|l| l.seq == 2), "cut at {cut}");
        assert!(listed.len() <= 2);
    }
}

#[test]
fn a_full_file_drops_its_oldest_and_counts_them() {
    let (_dir, letters) = letters();
    let text = "x".repeat(1 << 20);
    for seq in 1..=20 {
        letters.add("platform", &record(seq, &text), "no", AT).unwrap();
    }
    let listed = letters.list("platform", None, 100).unwrap();
    assert_eq!(listed.last().unwrap().seq, 20);
    let lost = letters.metrics.lost.get();
    assert!(lost > 0);
    assert_eq!(listed.len() as u64 + lost, 20);
    assert!(fs::metadata(letters.path("platform")).unwrap().len() <= MAX_BYTES);
}
