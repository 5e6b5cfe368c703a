//! Crashes, full disks, and what happens to calls that share a transaction.

use crate::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_domain::ssl::Reason;

use super::{hold, open, opened, place, try_open};
use crate::conformance::{MINUTE, NOW, add, creation, line, name, record, to};
use crate::metrics::Metrics;
use crate::sqlite::{self, SqliteStore, connection};
use crate::{StoreError, StoredCertificate, Transition};

#[tokio::test]
async fn a_crash_at_any_time_keeps_what_was_answered() {
    let (dir, path) = place();
    let store = open(&path);
    let first = add(&store, "a.example", "acme", Reason::Queued).await;
    let wal = connection::with_suffix(&path, "-wal");
    let whole = fs::metadata(&wal).unwrap().len();
    add(&store, "b.example", "acme", Reason::Queued).await;
    let (main, log) = (fs::read(&path).unwrap(), fs::read(&wal).unwrap());

    // What kill -9 leaves is what is in the files now; a power cut may tear what was not answered.
    let torn = usize::try_from(whole).unwrap() + 100;
    let mut garbled = log.clone();
    garbled[torn..].fill(0xa5);
    for (case, log, second) in [
        ("killed", &log[..], true),
        ("torn", &log[..torn], false),
        ("garbled", &garbled, false),
    ] {
        let crashed = dir.path().join(case);
        fs::write(&crashed, &main).unwrap();
        fs::write(connection::with_suffix(&crashed, "-wal"), log).unwrap();
        let store = open(&crashed);
        assert_eq!(
            store.domain(&first.name).await.unwrap().as_ref(),
            Some(&first),
            "{case}"
        );
        assert_eq!(
            store.domain(&name("b.example")).await.unwrap().is_some(),
            second,
            "{case}"
        );
        let total: u64 = store
            .counts(None)
            .await
            .unwrap()
            .iter()
            .map(|count| count.domains)
            .sum();
        assert_eq!(total, if second { 2 } else { 1 }, "{case}");
        add(&store, "c.example", "acme", Reason::Queued).await;
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_writes_resume_once_it_has_space() {
    let (_dir, path) = place();
    let store = opened(&path);
    let limit = |pages: i64| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        store.write(
            "test",
            move |db| Ok(db.query_row(&sql, [], |row| row.get::<_, i64>(0))?),
        )
    };
    let domain = store
        .create(creation(record("a.example", "acme", Reason::Queued)))
        .await
        .unwrap();
    limit(1).await.unwrap();
    let big = StoredCertificate {
        chain_pem: "x".repeat(200_000),
        sealed_key: vec![1],
    };
    let change = || Transition {
        certificate: Some(big.clone()),
        timeline: vec![line("issued")],
        ..to(&domain, Reason::Ok)
    };
    // The small call shares a transaction with the large one, and still succeeds.
    let (held, go) = hold(&store).await;
    let release = async { go.send(()).unwrap() };
    let (held, large, small, ()) = tokio::join!(
        held,
        store.transition(change()),
        store.hold_back("ca", NOW + MINUTE, None),
        release
    );
    held.unwrap();
    assert!(matches!(large, Err(StoreError::Full)));
    small.unwrap();
    assert!(matches!(store.probe().await, Err(StoreError::Full)));
    assert_eq!(store.domain(&domain.name).await.unwrap().as_ref(), Some(&domain));
    assert_eq!(store.certificate(&domain.name).await.unwrap(), None);
    assert_eq!(store.held_back("ca").await.unwrap(), Some(NOW + MINUTE));

    limit(i64::from(u32::MAX) - 1).await.unwrap();
    store.probe().await.unwrap();
    store.transition(change()).await.unwrap();
    assert_eq!(store.certificate(&domain.name).await.unwrap(), Some(big));
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_served_read_only_until_it_can() {
    let (dir, path) = place();
    let store = open(&path);
    let first = add(&store, "a.example", "acme", Reason::Queued).await;
    // As a crash leaves it: the newest change is only in the write-ahead log.
    let crashed = dir.path().join("crashed.db");
    fs::copy(&path, &crashed).unwrap();
    let log = connection::with_suffix(&path, "-wal");
    fs::copy(log, connection::with_suffix(&crashed, "-wal")).unwrap();
    // A directory in place of the file that a writer needs.
    let in_the_way = connection::with_suffix(&crashed, "-shm");
    fs::create_dir(&in_the_way).unwrap();
    assert!(try_open(&crashed).is_err());
    let metrics = prometheus::Registry::new();
    let assert_writable = |value: u8| {
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&metrics.gather())
            .unwrap();
        assert!(text.contains(&format!("linkseal_store_writable {value}")), "{text}");
    };
    let held = SqliteStore::open_to_serve(&crashed, Clock::system(), Some(Metrics::register(&metrics))).unwrap();
    assert_eq!(held.domain(&first.name).await.unwrap().as_ref(), Some(&first));
    let new = || creation(record("b.example", "acme", Reason::Queued));
    held.create(new()).await.unwrap_err();
    assert!(held.probe().await.is_err());
    assert_writable(0);
    // Opening it is retried automatically.
    fs::remove_dir(&in_the_way).unwrap();
    let writable = async {
        while held.probe().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), writable).await.unwrap();
    held.create(new()).await.unwrap();
    assert_eq!(held.domain(&first.name).await.unwrap().as_ref(), Some(&first));
    assert_writable(1);
    drop(held);
    assert!(open(&crashed).domain(&name("b.example")).await.unwrap().is_some());
}

#[test]
fn dropping_a_store_ends_the_thread_that_opens_it_again() {
    let (_dir, path) = place();
    drop(open(&path));
    fs::create_dir(connection::with_suffix(&path, "-shm")).unwrap();
    let held = SqliteStore::open_to_serve(&path, Clock::system(), None).unwrap();
    let live = Arc::clone(&held.live);
    assert_eq!(Arc::weak_count(&live), 1, "the thread waits for its next attempt");
    drop(held);
    assert_eq!(Arc::weak_count(&live), 0, "it could hold the file open");
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_not_served() {
    let (dir, path) = place();
    let nowhere = dir.path().join("no/such/dir.db");
    assert!(SqliteStore::open_to_serve(nowhere, Clock::system(), None).is_err());
    let store = open(&path);
    let locked = SqliteStore::open_to_serve(&path, Clock::system(), None);
    assert!(matches!(locked, Err(StoreError::Locked { .. })));
    drop(store);
    let text = dir.path().join("text.db");
    fs::write(&text, "this is no database, but it is long enough: ".repeat(200)).unwrap();
    assert!(SqliteStore::open_to_serve(&text, Clock::system(), None).is_err());
}

#[tokio::test]
async fn a_file_that_is_removed_or_replaced_while_in_use_is_detected() {
    let (dir, path) = place();
    let store = open(&path);
    store.probe().await.unwrap();
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    let error = store.probe().await.unwrap_err().to_string();
    assert!(error.contains("was removed while in use"), "{error}");
    fs::write(&path, b"").unwrap();
    let error = store.probe().await.unwrap_err().to_string();
    assert!(error.contains("was replaced while in use"), "{error}");
    fs::rename(&aside, &path).unwrap();
    store.probe().await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_into_a_removed_file_and_what_it_has_can_be_rescued() {
    let (dir, path) = place();
    let metrics = prometheus::Registry::new();
    let store = SqliteStore::open(&path, Clock::system(), Some(Metrics::register(&metrics))).unwrap();
    let first = store
        .create(creation(record("a.example", "acme", Reason::Queued)))
        .await
        .unwrap();
    for file in [path.clone(), connection::with_suffix(&path, "-wal")] {
        fs::remove_file(file).unwrap();
    }
    // Without a probe in between.
    for _ in 0..2 {
        let refused = store
            .create(creation(record("b.example", "acme", Reason::Queued)))
            .await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&metrics.gather())
            .unwrap();
        assert!(text.contains("linkseal_store_writable 0"), "{text}");
    }
    assert_eq!(store.domain(&first.name).await.unwrap().as_ref(), Some(&first));
    let backup = sqlite::backup(&path, &dir.path().join("copy.db")).unwrap_err();
    assert!(backup.to_string().contains("/proc/PID/fd"), "{backup}");

    // The steps of docs/operations.md, "Store lost".
    let rescued = dir.path().join("rescued.db");
    for fd in fs::read_dir("/proc/self/fd").unwrap() {
        let fd = fd.unwrap().path();
        let Ok(to) = fs::read_link(&fd) else { continue };
        for suffix in ["", "-wal"] {
            let name = connection::with_suffix(&path, &format!("{suffix} (deleted)"));
            if to == name {
                fs::copy(&fd, connection::with_suffix(&rescued, suffix)).unwrap();
            }
        }
    }
    drop(store);
    sqlite::restore(&rescued, &path).unwrap();
    let store = open(&path);
    assert_eq!(store.domain(&first.name).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.domain(&name("b.example")).await.unwrap(), None);
}

#[tokio::test]
async fn a_transaction_that_cannot_be_committed_fails_for_all_its_calls() {
    let (_dir, path) = place();
    let store = opened(&path);
    // A deferred reference is checked by COMMIT, when all calls of the group are done.
    let dangling = store.write("test", |db| {
        db.execute_batch("PRAGMA defer_foreign_keys = ON; INSERT INTO certificates VALUES (99, '', x'00')")?;
        Ok(())
    });
    let (held, go) = hold(&store).await;
    // The two behind the first are one group.
    let release = async { go.send(()).unwrap() };
    let (_, dangling, neighbour, ()) = tokio::join!(held, dangling, store.hold_back("ca", NOW + MINUTE, None), release);
    assert!(matches!(dangling, Err(StoreError::Unavailable(_))));
    assert!(
        matches!(neighbour, Err(StoreError::Unavailable(_))),
        "not stored, so not answered with Ok"
    );
    assert_eq!(store.held_back("ca").await.unwrap(), None);
    store.hold_back("ca", NOW + MINUTE, None).await.unwrap();
    assert!(store.held_back("ca").await.unwrap().is_some());
}

#[tokio::test]
async fn writes_that_wait_share_a_transaction() {
    let (_dir, path) = place();
    let metrics_of = prometheus::Registry::new();
    let store = SqliteStore::open(&path, Clock::system(), Some(Metrics::register(&metrics_of))).unwrap();
    let (held, go) = hold(&store).await;
    let frames = |path: &Path| fs::metadata(connection::with_suffix(path, "-wal")).unwrap().len();
    let before = frames(&path);
    let names: Vec<String> = (0..100).map(|n| format!("d{n}.example")).collect();
    let creates = names
        .iter()
        .map(|text| store.create(creation(record(text, "acme", Reason::Queued))));
    let release = async {
        tokio::task::yield_now().await;
        go.send(()).unwrap();
    };
    let (held, created, ()) = tokio::join!(held, futures_util::future::join_all(creates), release);
    held.unwrap();
    assert!(created.into_iter().all(|outcome| outcome.is_ok()));
    // Alone, each writes at least the eight pages of its tables and indexes.
    let pages = (frames(&path) - before) / 4096;
    assert!(pages < 400, "{pages} pages for 100 domains");
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&metrics_of.gather())
        .unwrap();
    assert!(
        text.contains(r#"linkseal_store_seconds_count{operation="create"} 100"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_call_whose_caller_is_gone_is_skipped() {
    let (_dir, path) = place();
    let store = opened(&path);
    let (held, go) = hold(&store).await;
    let abandoned = async {
        let mut create = Box::pin(store.create(creation(record("a.example", "acme", Reason::Queued))));
        // Polled once, it is in the queue.
        assert!(futures_util::poll!(&mut create).is_pending());
        drop(create);
        go.send(()).unwrap();
    };
    let (held, ()) = tokio::join!(held, abandoned);
    held.unwrap();
    store.probe().await.unwrap();
    assert_eq!(store.domain(&name("a.example")).await.unwrap(), None);
}
