//! What is acknowledged is in the journal, in order.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledged_events_are_in_the_journal_in_order() {
    for durability in ALL {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(&Arc::default(), &settings(dir.path(), durability));
        let tasks = Tasks::new();
        let handles: Vec<_> = (0..64)
            .map(|task| {
                let journal = journal.clone();
                tasks.spawn(async move {
                    let mut receipts = Vec::new();
                    for i in 0..20 {
                        let url = format!("https://x.example/{task}/{i}");
                        receipts.push((journal.append(&event(&url)).await.unwrap(), url));
                    }
                    receipts
                })
            })
            .collect();
        let mut acknowledged = Vec::new();
        for handle in handles {
            acknowledged.extend(handle.await.unwrap());
        }
        assert!(journal.close(PATIENT));
        let ids: HashSet<_> = acknowledged.iter().map(|(r, _)| r.id).collect();
        assert_eq!(ids.len(), 64 * 20);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        let written = written(&journal);
        assert!(written.iter().map(|(seq, _)| *seq).eq(1..=64 * 20), "{durability:?}");
        let urls: HashSet<_> = written.iter().map(|(_, url)| url).collect();
        assert_eq!(
            urls,
            acknowledged.iter().map(|(_, url)| url).collect(),
            "{durability:?}"
        );
        for task in 0..64 {
            // Each task awaited its events one by one.
            let own = format!("https://x.example/{task}/");
            let order = written.iter().filter_map(|(_, url)| url.strip_prefix(&own));
            assert!(order.eq((0..20).map(|i| i.to_string())), "{durability:?}");
        }
        assert_eq!(journal.published(), 64 * 20);
        let bytes = size(journal.dir()).unwrap();
        assert_eq!(journal.metrics().bytes.get() as u64, bytes);
        assert!(
            journal.append(&event("https://x.example/")).await.is_err(),
            "it is closed"
        );
    }
}

#[tokio::test]
async fn kept_events_are_synced_with_any_durability() {
    for durability in [Durability::Queued, Durability::Written] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), durability));
        disk.failing_syncs.store(1, Ordering::Relaxed);
        journal.append(&event("https://x.example/1")).await.unwrap();
        let id = Uuid::now_v7();
        let kept = Event {
            id: Some(id),
            ..event("https://x.example/2")
        };
        // The first sync fails: the event is written to a new segment.
        let receipt = journal.begin_synced(&kept).written().await.unwrap();
        assert_eq!(receipt.id, id);
        assert_eq!(disk.failing_syncs.load(Ordering::Relaxed), 0, "it was synced");
        // Submitted again, it keeps its id.
        assert_eq!(journal.begin_synced(&kept).written().await.unwrap().id, id);
        journal.close(PATIENT);
        assert_eq!(written(&journal).len(), 3);
        assert!(journal.begin_synced(&kept).written().await.is_err(), "it is closed");
        assert_eq!(journal.metrics().lost.get(), 0, "its maker has it still");
    }
}

#[tokio::test]
async fn full_segments_are_followed_by_new_ones() {
    for durability in [Durability::Written, Durability::Synced] {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(
            &Arc::default(),
            &EventSettings {
                max_bytes: 1,
                ..settings(dir.path(), durability)
            },
        );
        let url = format!("https://x.example/{}", "x".repeat(1000));
        for _ in 0..200 {
            journal.append(&event(&url)).await.unwrap();
        }
        journal.close(PATIENT);
        assert_eq!(written(&journal).len(), 200);
        let count = segment::segments(journal.folder()).unwrap().len();
        assert!((2..=5).contains(&count), "{count} segments for {durability:?}");
    }
}

#[tokio::test]
async fn kept_events_wait_for_a_slow_disk_and_are_not_lost() {
    for durability in ALL {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), durability));
        disk.block();
        let kept = event("https://x.example/");
        let mut waiting = std::pin::pin!(journal.begin_synced(&kept).written());
        let longer = Duration::from_millis(2500);
        assert!(tokio::time::timeout(longer, waiting.as_mut()).await.is_err());
        disk.unblock();
        waiting.await.unwrap();
        journal.close(PATIENT);
        assert_eq!(written(&journal).len(), 1, "{durability:?}: once, and not again");
        assert_eq!(journal.metrics().lost.get(), 0);
    }
}

#[tokio::test]
async fn a_later_boot_sorts_later_even_if_the_clock_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), Durability::Written);
    let ahead = Clock::system();
    ahead.advance(Duration::from_secs(1_000_000));
    let first = testing::open(&settings, &ahead);
    first.append(&event("https://x.example/")).await.unwrap();
    let second = open(&Arc::default(), &settings);
    assert!(second.boot() > first.boot());
    assert_eq!(segment::boots(second.dir()).unwrap(), [first.boot(), second.boot()]);
    assert!(
        segment::lock(first.folder()).unwrap().is_none(),
        "the folder is held while it is written"
    );
    drop(first);
}
