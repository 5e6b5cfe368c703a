//! Batches, the order of events, and what an append costs.

#![allow(
    clippy::disallowed_methods,
    reason = "a core's tasks are local, and these tests wait for theirs"
)]

use super::*;
use crate::journal::Appending;

#[tokio::test]
async fn events_of_one_turn_are_written_by_one_write() {
    for durability in [Durability::Written, Durability::Synced] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), durability));
        let before = disk.writes.load(Ordering::Relaxed);
        let event = event("https://x.example/");
        let all = futures_util::future::join_all((0..200).map(|_| journal.append(&event))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(disk.writes.load(Ordering::Relaxed) - before, 1);
        journal.close(PATIENT);
        assert_eq!(written(&journal).len(), 200);
    }
}

#[tokio::test]
async fn followers_are_woken_after_the_leader_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Written));
    let event = event("https://x.example/");
    // Before it has submitted the batch.
    let (leader, follower) = (journal.begin(&event), journal.begin(&event));
    drop(leader);
    follower.written().await.unwrap();
    // After that, before the acknowledgement.
    disk.block();
    let (leader, follower) = (journal.begin(&event), journal.begin(&event));
    let mut follower = std::pin::pin!(follower.written());
    let soon = Duration::from_millis(20);
    let both = async { tokio::join!(leader.written(), follower.as_mut()) };
    assert!(tokio::time::timeout(soon, both).await.is_err());
    disk.unblock();
    follower.await.unwrap();
    // A disk that does not respond is noticed all the same.
    disk.block();
    let (leader, follower) = (journal.begin(&event), journal.begin(&event));
    let mut follower = std::pin::pin!(follower.written());
    let both = async { tokio::join!(leader.written(), follower.as_mut()) };
    assert!(tokio::time::timeout(soon, both).await.is_err());
    assert_eq!(follower.await, Err(Lost));
    assert_eq!(journal.metrics().lost.get(), 2);
    disk.unblock();
}

#[test]
fn events_of_tasks_that_are_spawned_in_a_turn_leave_with_it() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), Durability::Written));
        for _ in 0..50 {
            let before = disk.writes.load(Ordering::Relaxed);
            // As HTTP/2 connections do: each has one request of its own, and tasks for ten more.
            let connections: Vec<_> = (0..3)
                .map(|_| {
                    let journal = journal.clone();
                    tokio::task::spawn_local(async move {
                        let event = event("https://x.example/");
                        let own = journal.begin(&event);
                        let streams: Vec<_> = (0..10)
                            .map(|_| {
                                let journal = journal.clone();
                                let record = async move { journal.append(&typical()).await.unwrap() };
                                tokio::task::spawn_local(record)
                            })
                            .collect();
                        own.written().await.unwrap();
                        for stream in streams {
                            stream.await.unwrap();
                        }
                    })
                })
                .collect();
            for connection in connections {
                connection.await.unwrap();
            }
            assert_eq!(disk.writes.load(Ordering::Relaxed) - before, 1);
        }
        journal.close(PATIENT);
    });
}

#[test]
fn a_dropped_event_is_written_and_holds_up_no_other() {
    /// When an event is dropped: after a number of turns of the runtime, or when its outcome is known but
    /// its task has not been polled again.
    const TURNS: usize = 5;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        for durability in [Durability::Written, Durability::Synced] {
            let dir = tempfile::tempdir().unwrap();
            let disk = Arc::new(TestDisk::default());
            let journal = open(&disk, &settings(dir.path(), durability));
            let mut count = 0;
            for turns in 0..=TURNS {
                // Each alone, and all but each.
                for (who, others) in (0..4).flat_map(|who| [(who, false), (who, true)]) {
                    disk.block();
                    let event = event("https://x.example/");
                    let (dropped, left): (Vec<_>, Vec<_>) = (0..4)
                        .map(|place| (place, journal.begin(&event)))
                        .partition(|(place, _)| (*place == who) != others);
                    let spawn = |(_, appending): (_, Appending)| tokio::task::spawn_local(appending.written());
                    let (dropped, left): (Vec<_>, Vec<_>) = (
                        dropped.into_iter().map(spawn).collect(),
                        left.into_iter().map(spawn).collect(),
                    );
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                    count += 4;
                    if turns == TURNS {
                        disk.unblock();
                        // Without a turn, so that no task is polled.
                        while journal.published() < count {
                            std::thread::yield_now();
                        }
                    }
                    dropped.iter().for_each(tokio::task::JoinHandle::abort);
                    disk.unblock();
                    for task in left {
                        let written = tokio::time::timeout(PATIENT, task).await;
                        assert!(
                            written.unwrap().unwrap().is_ok(),
                            "{who} of 4 dropped after {turns} turns"
                        );
                    }
                    for task in dropped {
                        // It may have finished before.
                        let _ = task.await;
                    }
                }
            }
            journal.close(PATIENT);
            assert_eq!(written(&journal).len() as u64, count);
            assert_eq!(journal.metrics().lost.get(), 0);
        }
    });
}

#[tokio::test]
async fn a_following_event_is_written_after_earlier_ones_of_any_thread() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&Arc::default(), &settings(dir.path(), Durability::Written));
    let first = journal.begin(&event("https://x.example/first"));
    let other = journal.clone();
    std::thread::spawn(move || {
        drop(other.begin(&event("https://x.example/other")));
        other.add_after(&event("https://x.example/follows"));
    })
    .join()
    .unwrap();
    // The other thread's batch is written while this one's is still open.
    let otherwise = async {
        while journal.published() < 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    otherwise.await;
    first.written().await.unwrap();
    journal.close(PATIENT);
    let urls: Vec<_> = written(&journal).into_iter().map(|(_, url)| url).collect();
    let expected = ["other", "first", "follows"].map(|u| format!("https://x.example/{u}"));
    assert_eq!(urls, expected);
}

#[tokio::test]
async fn a_replayed_link_is_counted_and_does_not_displace_others() {
    const REPLAYS: u64 = 5_000;
    const OTHERS: u32 = 300;
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&Arc::default(), &settings(dir.path(), Durability::Written));
    let recorder = EventRecorder::new(Classifier::builtin().unwrap(), journal.clone());
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    std::thread::scope(|scope| {
        // Two connections of one client.
        for _ in 0..2 {
            scope.spawn(|| {
                let mut link = typical();
                link.tenant = "replayed";
                runtime().block_on(async {
                    for _ in 0..REPLAYS / 2 {
                        let appending = recorder.record(link.clone());
                        if !appending.is_settled() {
                            appending.written().await.unwrap();
                        }
                    }
                });
            });
        }
        scope.spawn(|| {
            runtime().block_on(async {
                for message in 0..OTHERS {
                    let mut link = typical();
                    link.message_id = Some(Uuid::from_u128(u128::from(message) + 1));
                    recorder.record(link).written().await.unwrap();
                }
            });
        });
    });
    assert!(journal.close(PATIENT));
    let damaged = prometheus::IntCounter::new("d", "d").unwrap();
    let mut reader = FolderReader::new(journal.folder(), journal.boot(), 0, damaged);
    let mut records = Vec::new();
    reader.read_records(Until::End, usize::MAX / 2, &mut records).unwrap();
    let events: Vec<serde_json::Value> = records
        .iter()
        .map(|r| serde_json::from_slice(&r.json).unwrap())
        .collect();
    let clicks = |tenant: &str| -> Vec<&serde_json::Value> {
        events
            .iter()
            .filter(|e| e["type"] == "click" && e["tenant"] == tenant)
            .collect()
    };
    assert_eq!(clicks("customer").len() as u32, OTHERS, "all of the others' are there");
    assert!(clicks("customer").iter().all(|e| e["repeated"].is_null()));
    let replayed = clicks("replayed");
    let counted: u64 = replayed.iter().filter_map(|e| e["repeated"].as_u64()).sum();
    let written = replayed.iter().filter(|e| e["repeated"].is_null()).count() as u64;
    assert_eq!(written + counted, REPLAYS);
    assert!(replayed.len() < 200, "{}", replayed.len());
    assert_eq!(journal.metrics().lost.get(), 0);
}

/// Measures what an append costs: `cargo test --release -p linkseal-event -- --ignored --nocapture append_cost`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test --release --lib event::journal -- --ignored --nocapture"]
async fn append_cost() {
    const EVENTS: u32 = 100_000;
    for durability in ALL {
        let dir = tempfile::tempdir_in("target").unwrap();
        let journal = open(&Arc::default(), &settings(dir.path(), durability));
        let tasks = Tasks::new();
        let events = if durability == Durability::Synced {
            EVENTS / 50
        } else {
            EVENTS
        };
        for concurrent in [1, 64] {
            let start = Instant::now();
            let handles: Vec<_> = (0..concurrent)
                .map(|_| {
                    let journal = journal.clone();
                    tasks.spawn(async move {
                        let mut lost = 0;
                        for _ in 0..events / concurrent {
                            lost += u32::from(journal.append(&typical()).await.is_err());
                            tokio::task::yield_now().await;
                        }
                        lost
                    })
                })
                .collect();
            let mut lost = 0;
            for handle in handles {
                lost += handle.await.unwrap();
            }
            let each = start.elapsed() / events;
            println!("{durability:?}, {concurrent} at once: {each:?} an event, {lost} lost");
        }
    }
}
