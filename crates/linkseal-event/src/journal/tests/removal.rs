//! Segments and folders that are removed or renamed while they are written.

use super::*;

#[tokio::test]
async fn a_removed_directory_is_created_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Written));
    remove_all(journal.dir());
    disk.full.store(true, Ordering::Relaxed);
    assert_eq!(journal.append(&event("https://x.example/lost")).await, Err(Lost));
    disk.full.store(false, Ordering::Relaxed);
    heals(&journal).await;
    journal.close(PATIENT);
    assert_eq!(written(&journal).len(), 1);
    assert!(segment::lock(journal.folder()).unwrap().is_none(), "it is locked again");
}

#[tokio::test]
async fn nothing_is_acknowledged_in_a_file_that_was_removed_or_renamed() {
    for durability in [Durability::Written, Durability::Synced] {
        for (what, remove) in REMOVALS {
            let dir = tempfile::tempdir().unwrap();
            let journal = open(&Arc::default(), &settings(dir.path(), durability));
            for url in ["https://x.example/1", "https://x.example/2"] {
                journal.append(&event(url)).await.unwrap();
            }
            remove(&journal);
            journal.append(&event("https://x.example/3")).await.unwrap();
            journal.append(&event("https://x.example/4")).await.unwrap();
            assert!(journal.close(PATIENT));
            let there: Vec<_> = written(&journal).into_iter().map(|(seq, _)| seq).collect();
            assert!(there.ends_with(&[3, 4]), "{what}, {durability:?}: {there:?}");
            assert!(
                segment::lock(journal.folder()).unwrap().is_none(),
                "{what}: it is locked"
            );
            let bytes = journal.metrics().bytes.get() as u64;
            assert_eq!(bytes, size(journal.dir()).unwrap(), "{what}");
            // Without sinks nothing counts as lost.
            assert_eq!(journal.metrics().lost.get(), 0, "{what}");
        }
    }
}

#[tokio::test]
async fn a_removal_is_noticed_without_an_event() {
    for durability in ALL {
        for (what, remove) in REMOVALS {
            let dir = tempfile::tempdir().unwrap();
            let journal = open(&Arc::default(), &settings(dir.path(), durability));
            journal.append(&event("https://x.example/1")).await.unwrap();
            while journal.published() < 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            remove(&journal);
            let next = journal.folder().join(segment::segment_name(2));
            let there = async {
                while !next.exists() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let waited = tokio::time::timeout(PATIENT, there).await;
            assert!(waited.is_ok(), "{what}, {durability:?}");
        }
    }
}

#[tokio::test]
async fn events_are_lost_while_a_removed_directory_cannot_be_created_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Written));
    journal.append(&event("https://x.example/1")).await.unwrap();
    disk.read_only.store(true, Ordering::Relaxed);
    remove_all(journal.dir());
    assert_eq!(journal.append(&event("https://x.example/lost")).await, Err(Lost));
    assert_eq!(journal.metrics().lost.get(), 1);
    disk.read_only.store(false, Ordering::Relaxed);
    heals(&journal).await;
    journal.close(PATIENT);
    let urls: Vec<_> = written(&journal).into_iter().map(|(_, url)| url).collect();
    assert_eq!(urls, ["https://x.example/after"]);
}
