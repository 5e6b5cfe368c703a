//! Disks that fail, fill up and hang.

use super::*;

#[tokio::test]
async fn a_torn_write_or_failed_sync_moves_to_a_new_segment_and_loses_nothing() {
    for durability in [Durability::Written, Durability::Synced] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), durability));
        for i in 0..9 {
            match i {
                3 => disk.torn_writes.store(1, Ordering::Relaxed),
                6 if durability == Durability::Synced => disk.failing_syncs.store(1, Ordering::Relaxed),
                _ => {}
            }
            journal.append(&event(&format!("https://x.example/{i}"))).await.unwrap();
        }
        journal.close(PATIENT);
        let expected: Vec<_> = (0..9).map(|i| (i + 1, format!("https://x.example/{i}"))).collect();
        assert_eq!(written(&journal), expected, "{durability:?}");
        assert_eq!(journal.metrics().lost.get(), 0);
        let count = segment::segments(journal.folder()).unwrap().len();
        assert_eq!(count, if durability == Durability::Synced { 3 } else { 2 });
    }
}

#[tokio::test]
async fn a_full_disk_refuses_events_at_once_counts_them_and_recovers() {
    for durability in [Durability::Written, Durability::Synced] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), durability));
        journal.append(&event("https://x.example/before")).await.unwrap();
        disk.full.store(true, Ordering::Relaxed);
        for _ in 0..10 {
            assert_eq!(journal.append(&event("https://x.example/lost")).await, Err(Lost));
        }
        assert_eq!(journal.metrics().lost.get(), 10);
        disk.full.store(false, Ordering::Relaxed);
        let after = async {
            while journal.append(&event("https://x.example/after")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), after).await.unwrap();
        journal.close(PATIENT);
        let urls: Vec<_> = written(&journal).into_iter().map(|(_, url)| url).collect();
        assert_eq!(urls, ["https://x.example/before", "https://x.example/after"]);
    }
}

#[tokio::test]
async fn a_hanging_disk_blocks_no_request_for_long_and_its_queue_is_bounded() {
    for durability in ALL {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), durability));
        disk.block();
        // This thread drives everything, so it must never block.
        let waits = durability != Durability::Queued;
        let (first, second) = (event("https://x.example/1"), event("https://x.example/2"));
        let start = Instant::now();
        let longest = async {
            let mut longest = Duration::ZERO;
            while start.elapsed() < Duration::from_millis(500) {
                let turn = Instant::now();
                tokio::time::sleep(Duration::from_millis(5)).await;
                longest = longest.max(turn.elapsed());
            }
            longest
        };
        let (a, b, longest) = tokio::join!(journal.append(&first), journal.append(&second), longest);
        assert_eq!((a.is_err(), b.is_err()), (waits, waits), "{durability:?}");
        assert!(longest < Duration::from_millis(400), "{longest:?}");
        let waited = start.elapsed();
        assert!(waited < Duration::from_millis(3500), "{waited:?} for {durability:?}");
        assert_eq!(journal.metrics().lost.get(), if waits { 2 } else { 0 });
        if waits {
            // By now it is known that the disk does not respond.
            let start = Instant::now();
            assert_eq!(journal.append(&first).await, Err(Lost));
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        }

        // These futures are dropped after they have submitted their event.
        let before = journal.metrics().lost.get();
        let url = format!("https://x.example/{}", "x".repeat(1_000_000));
        let mut taken = 0;
        while journal.begin(&event(&url)).id().is_some() {
            taken += 1;
            assert!(taken < 100, "the queue is not bounded in bytes");
        }
        assert_eq!(journal.metrics().lost.get(), before + 1);
        disk.unblock();
        assert!(journal.close(PATIENT));
        assert_eq!(
            written(&journal).len(),
            taken + if waits { 3 } else { 2 },
            "{durability:?}"
        );
    }
}

#[test]
fn a_hanging_disk_answers_all_that_wait_without_a_timer_of_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Written));
    disk.block();
    let start = Instant::now();
    let event = event("https://x.example/");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            // A runtime without timers, as an executor of another kind is.
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let first = futures_util::future::join_all((0..10).map(|_| journal.append(&event)));
                    // Submitted in a later turn than the first ones.
                    let later = async {
                        for _ in 0..10 {
                            tokio::task::yield_now().await;
                        }
                        futures_util::future::join_all((0..10).map(|_| journal.append(&event))).await
                    };
                    let (first, later) = tokio::join!(first, later);
                    assert!(first.iter().chain(&later).all(|answer| *answer == Err(Lost)));
                });
            });
        }
    });
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(1500), "{waited:?}");
    assert!(waited < Duration::from_millis(3500), "{waited:?}");
    assert_eq!(journal.metrics().lost.get(), 60);
    // An event that no request waits for is not given up; the disk may still take it.
    drop(journal.begin(&event));
    disk.unblock();
    assert!(journal.close(PATIENT));
    assert_eq!(journal.metrics().lost.get(), 60);
    assert_eq!(written(&journal).len(), 61);
}

#[tokio::test]
async fn closing_on_a_hanging_disk_answers_all_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Written));
    disk.block();
    let (waiting, kept) = (event("https://x.example/waiting"), event("https://x.example/kept"));
    let closing = journal.clone();
    let closed = async {
        // After the event has been submitted.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        tokio::task::spawn_blocking(move || closing.close(Duration::from_millis(100)))
            .await
            .unwrap()
    };
    let kept = journal.begin_synced(&kept);
    let (answer, closed) = tokio::join!(journal.append(&waiting), closed);
    assert_eq!((answer, closed), (Err(Lost), false));
    assert_eq!(journal.metrics().lost.get(), 2);
    disk.unblock();
    // Its producer waits as long as the disk takes.
    kept.written().await.unwrap();
}

#[tokio::test]
async fn the_queue_is_bounded_in_events() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Queued));
    disk.block();
    let mut event = event("");
    event.url = None;
    (event.domain, event.tenant) = ("a", "a");
    let mut taken = 0;
    while journal.begin(&event).id().is_some() {
        taken += 1;
        assert!(taken < 1 << 17, "the queue is not bounded in events");
    }
    disk.unblock();
}

#[tokio::test]
async fn a_hanging_disk_does_not_block_closing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Queued));
    disk.block();
    drop(journal.begin(&event("https://x.example/")));
    let start = Instant::now();
    let closing = journal.clone();
    let patience = Duration::from_millis(100);
    assert!(
        !tokio::task::spawn_blocking(move || closing.close(patience))
            .await
            .unwrap()
    );
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(journal.metrics().lost.get(), 1, "it is counted");
    disk.unblock();
}

#[tokio::test]
async fn an_edge_starts_on_a_failing_disk_and_recovers_with_it() {
    type Ill = (&'static str, fn(&TestDisk), fn(&TestDisk));
    let ills: [Ill; 3] = [
        (
            "full",
            |d| d.full.store(true, Ordering::Relaxed),
            |d| d.full.store(false, Ordering::Relaxed),
        ),
        (
            "read-only",
            |d| d.read_only.store(true, Ordering::Relaxed),
            |d| d.read_only.store(false, Ordering::Relaxed),
        ),
        ("stuck", TestDisk::block, TestDisk::unblock),
    ];
    for (ill, fall, heal) in ills {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        fall(&disk);
        let start = Instant::now();
        let journal = open(&disk, &settings(dir.path(), Durability::Written));
        assert!(start.elapsed() < Duration::from_secs(4), "{ill}");
        assert_eq!(
            journal.append(&event("https://x.example/lost")).await,
            Err(Lost),
            "{ill}"
        );
        assert_eq!(journal.metrics().lost.get(), 1, "{ill}");
        heal(&disk);
        heals(&journal).await;
        assert!(journal.close(PATIENT));
        let urls: Vec<_> = written(&journal).into_iter().map(|(_, url)| url).collect();
        assert_eq!(urls, ["https://x.example/after"], "{ill}");
        assert_eq!(segment::boots(journal.dir()).unwrap(), [journal.boot()], "{ill}");
    }
}

#[tokio::test]
async fn a_full_disk_removes_delivered_segments_before_it_refuses_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let settings = EventSettings {
        max_bytes: 1,
        sinks: vec![testing::sink("archive", SinkKind::File(FileSettings::default()))],
        ..settings(dir.path(), Durability::Written)
    };
    let (boot, last) = earlier_boot(&settings).await;
    let folder = settings.dir.join(boot.to_string());
    let all = segment::segments(&folder).unwrap();
    assert!(all.len() > 4, "{all:?}");
    // The sink holds all but the last segments of that boot.
    let held = all[all.len() - 2].first - 1;
    Cursor::new(&folder, "archive").save(held).unwrap();

    // The disk is full at the start: the journal frees space.
    let disk = Arc::new(TestDisk::default());
    disk.room.store(size(&settings.dir).unwrap(), Ordering::Relaxed);
    let journal = open(&disk, &settings);
    let url = format!("https://x.example/{}", "x".repeat(8000));
    let mut taken = 0;
    while journal.append(&event(&url)).await.is_ok() {
        taken += 1;
        assert!(taken < 1000);
    }
    assert!(taken >= 20, "{taken}");
    assert_eq!(
        journal.metrics().lost.get(),
        1,
        "only when there was nothing more to give up"
    );
    let damaged = prometheus::IntCounter::new("d", "d").unwrap();
    let mut reader = FolderReader::new(&folder, boot, 0, damaged);
    let mut left = Vec::new();
    reader.read_records(Until::End, usize::MAX / 2, &mut left).unwrap();
    assert!(
        left.iter().map(|r| r.seq).eq(held + 1..=last),
        "what the sink does not hold is all there"
    );
    assert_eq!(
        written(&journal).len(),
        taken,
        "and so is what is new and not delivered"
    );
    // A sink that catches up frees space, even if the disk has space for a new segment but no event.
    disk.room.store(
        size(&settings.dir).unwrap() + segment::MAGIC.len() as u64,
        Ordering::Relaxed,
    );
    Cursor::new(&folder, "archive").save(last).unwrap();
    heals(&journal).await;
    assert!(segment::segments(&folder).unwrap().len() < 2);
    assert_eq!(journal.metrics().bytes.get() as u64, size(journal.dir()).unwrap());
}

/// Writes a journal of an earlier boot with several segments; returns its boot and last sequence number.
async fn earlier_boot(settings: &EventSettings) -> (Uuid, u64) {
    let earlier = open(&Arc::default(), settings);
    let url = format!("https://x.example/{}", "x".repeat(8000));
    for _ in 0..50 {
        earlier.append(&event(&url)).await.unwrap();
    }
    earlier.close(PATIENT);
    (earlier.boot(), 50)
}

#[test]
fn an_unusable_directory_is_reported_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("events"), "a file").unwrap();
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let settings = settings(dir.path(), Durability::Written);
    let error = Journal::open(&settings, "edge-1", Clock::system(), metrics)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("events.dir") && error.contains("cannot be written"),
        "{error}"
    );
}
