//! Crashes, full disks, and what happens to calls that share a transaction.

use std::fs;
use std::path::Path;

use super::{hold, open, place};
use crate::domain::ssl::Reason;
use crate::store::conformance::{MINUTE, NOW, add, creation, line, name, record, to};
use crate::store::metrics::Metrics;
use crate::store::sqlite::{SqliteStore, connection};
use crate::store::{Store, StoreError, StoredCertificate, Transition};

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
async fn a_full_disk_loses_nothing_and_passes() {
    let (_dir, path) = place();
    let store = SqliteStore::open(&path, None).unwrap();
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
    // The small call shares a transaction with the large one, and is not harmed by it.
    let (held, go) = hold(&store);
    let release = async { go.send(()).unwrap() };
    let (held, large, small, ()) = tokio::join!(
        held,
        store.transition(change()),
        store.hold_back("ca", NOW + MINUTE),
        release
    );
    held.unwrap();
    assert!(matches!(large, Err(StoreError::Full)));
    small.unwrap();
    assert!(matches!(store.probe().await, Err(StoreError::Full)));
    assert_eq!(store.domain(&domain.name).await.unwrap().as_ref(), Some(&domain));
    assert_eq!(store.certificate(&domain.name).await.unwrap(), None);
    assert_eq!(store.held_back("ca", NOW).await.unwrap(), Some(NOW + MINUTE));

    limit(i64::from(u32::MAX) - 1).await.unwrap();
    store.probe().await.unwrap();
    store.transition(change()).await.unwrap();
    assert_eq!(store.certificate(&domain.name).await.unwrap(), Some(big));
}

#[tokio::test]
async fn a_transaction_that_cannot_be_committed_is_nobodys() {
    let (_dir, path) = place();
    let store = SqliteStore::open(&path, None).unwrap();
    // A deferred reference is checked by COMMIT, when all calls of the group are done.
    let dangling = store.write("test", |db| {
        db.execute_batch("PRAGMA defer_foreign_keys = ON; INSERT INTO certificates VALUES (99, '', x'00')")?;
        Ok(())
    });
    let (held, go) = hold(&store);
    // All three may be one group; the two behind the first are.
    let release = async { go.send(()).unwrap() };
    let (_, dangling, neighbour, ()) = tokio::join!(held, dangling, store.hold_back("ca", NOW + MINUTE), release);
    assert!(matches!(dangling, Err(StoreError::Unavailable(_))));
    assert!(
        matches!(neighbour, Err(StoreError::Unavailable(_))),
        "not stored, so not answered with Ok"
    );
    assert_eq!(store.held_back("ca", NOW).await.unwrap(), None);
    store.hold_back("ca", NOW + MINUTE).await.unwrap();
    assert!(store.held_back("ca", NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn writes_that_wait_share_a_transaction() {
    let (_dir, path) = place();
    let metrics_of = prometheus::Registry::new();
    let store = SqliteStore::open(&path, Some(Metrics::register(&metrics_of))).unwrap();
    let (held, go) = hold(&store);
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
async fn a_call_whose_caller_has_gone_is_not_done() {
    let (_dir, path) = place();
    let store = SqliteStore::open(&path, None).unwrap();
    let (held, go) = hold(&store);
    let abandoned = async {
        let mut create = Box::pin(store.create(creation(record("a.example", "acme", Reason::Queued))));
        // Polled once, it stands in the queue.
        assert!(futures_util::poll!(&mut create).is_pending());
        drop(create);
        go.send(()).unwrap();
    };
    let (held, ()) = tokio::join!(held, abandoned);
    held.unwrap();
    store.probe().await.unwrap();
    assert_eq!(store.domain(&name("a.example")).await.unwrap(), None);
}
