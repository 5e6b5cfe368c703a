//! Backup and restore.

use crate::prelude::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use linkseal_base::clock::Clock;
use linkseal_domain::ssl::Reason;
use rusqlite::Connection;

use super::{open, place};
use crate::conformance::{add, to};
use crate::metrics::Metrics;
use crate::sqlite::{SqliteStore, backup, connection, restore};
use crate::{DomainQuery, Feed, StoreError};

#[tokio::test]
async fn a_backup_taken_during_writes_can_be_restored() {
    let (dir, path) = place();
    let store = open(&path);
    for n in 0..50 {
        add(&store, &format!("d{n}.example"), "acme", Reason::Queued).await;
    }
    let everything = DomainQuery {
        limit: 1000,
        ..DomainQuery::default()
    };
    let before = store.list(&everything).await.unwrap();
    let copy = dir.path().join("copy.db");
    let writing = async {
        for record in &before {
            store.transition(to(record, Reason::Ok)).await.unwrap();
        }
    };
    let (copied, ()) = tokio::join!(store.backup(&copy), writing);
    copied.unwrap();
    assert!(
        matches!(store.backup(&copy).await, Err(StoreError::NotCopied(_))),
        "an existing file is never overwritten"
    );
    // Also from outside, as the command does while the edge runs.
    let outside = dir.path().join("outside.db");
    backup(&path, &outside).unwrap();
    assert!(matches!(restore(&copy, &path), Err(StoreError::Locked { .. })));
    let now = store.list(&everything).await.unwrap();
    let end = store.feed_end().await.unwrap();
    drop(store);
    backup(&path, &dir.path().join("at_rest.db")).unwrap();
    assert!(
        matches!(restore(&copy, &path), Err(StoreError::NotCopied(_))),
        "an existing store is never overwritten"
    );

    let restored = dir.path().join("restored.db");
    restore(&outside, &restored).unwrap();
    let store = open(&restored);
    assert_eq!(store.list(&everything).await.unwrap(), now);
    assert_eq!(store.feed_end().await.unwrap(), end);

    let restored = dir.path().join("earlier.db");
    restore(&copy, &restored).unwrap();
    let store = open(&restored);
    let fed = store.changes_after(&end, 10).await.unwrap();
    assert_eq!(
        fed,
        Feed::Broken,
        "a store that went back in time lacks the last change"
    );
    let then = store.list(&everything).await.unwrap();
    assert!(
        then.iter()
            .zip(&before)
            .all(|(a, b)| a.name == b.name && (a == b || a.version == b.version + 1))
    );
    let counted: u64 = store
        .counts(None)
        .await
        .unwrap()
        .iter()
        .map(|count| count.domains)
        .sum();
    assert_eq!(counted, 50);
    add(&store, "new.example", "acme", Reason::Queued).await;
    drop(store);
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left.iter().any(|file| file.to_string_lossy().contains("partial")),
        "{left:?}"
    );
}

#[tokio::test]
async fn only_an_intact_backup_is_restored() {
    let (dir, path) = place();
    let store = open(&path);
    for n in 0..200 {
        add(&store, &format!("d{n}.example"), "acme", Reason::Queued).await;
    }
    let copy = dir.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    let whole = fs::read(&copy).unwrap();
    let to = dir.path().join("restored.db");
    let refused = |from: &Path| {
        let error = restore(from, &to).unwrap_err();
        assert!(!to.exists());
        error
    };
    let broken = dir.path().join("broken.db");
    fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(refused(&broken), StoreError::NotCopied(_)));
    let mut garbled = whole.clone();
    garbled[4096 * 3..4096 * 8].fill(0x5a);
    fs::write(&broken, &garbled).unwrap();
    assert!(matches!(refused(&broken), StoreError::NotCopied(_)));
    fs::write(&broken, b"").unwrap();
    assert!(refused(&broken).to_string().contains("it is empty"));
    assert!(matches!(
        refused(&dir.path().join("nothing.db")),
        StoreError::NotCopied(_)
    ));
    fs::write(&broken, &whole).unwrap();
    Connection::open(&broken)
        .unwrap()
        .pragma_update(None, "user_version", 9)
        .unwrap();
    assert!(matches!(refused(&broken), StoreError::Newer { found: 9, .. }));

    // A log that belonged to another file would be replayed into this one.
    let stale = connection::with_suffix(&to, "-wal");
    fs::write(&stale, b"old").unwrap();
    assert!(refused(&copy).to_string().contains("-wal exists already"));
    fs::remove_file(&stale).unwrap();
    restore(&copy, &to).unwrap();
}

#[tokio::test]
async fn a_restored_store_has_the_owner_of_its_folder() {
    let (dir, path) = place();
    let store = open(&path);
    add(&store, "a.example", "acme", Reason::Queued).await;
    let copy = dir.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    let folder = dir.path().join("var");
    fs::create_dir(&folder).unwrap();
    // Only root can change an owner; for other users it is themselves.
    let is_root = fs::metadata(&folder).unwrap().uid() == 0;
    if is_root {
        chown(&folder, Some(61_234), Some(61_235)).unwrap();
    }
    let restored = folder.join("linkseal.db");
    restore(&copy, &restored).unwrap();
    let of = |path: &Path| {
        let there = fs::metadata(path).unwrap();
        (there.uid(), there.gid())
    };
    assert_eq!(of(&restored), of(&folder));
    assert_eq!(of(&connection::with_suffix(&restored, ".lock")), of(&folder));
    assert_eq!(fs::metadata(&restored).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn an_open_error_names_the_file_or_its_directory_as_the_cause() {
    let (dir, _) = place();
    let refused = |path: &Path| connection::open(path).err().map(|e| e.to_string()).unwrap_or_default();
    let missing = refused(&dir.path().join("missing/linkseal.db"));
    assert!(missing.contains("its directory must exist"), "{missing}");
    let folder = refused(dir.path());
    assert!(folder.contains("it must be a file"), "{folder}");
    let file = dir.path().join("of_another.db");
    fs::write(&file, b"").unwrap();
    if fs::metadata(&file).unwrap().uid() == 0 {
        chown(&file, Some(61_234), Some(61_235)).unwrap();
        let needs = connection::what_it_needs(&file);
        assert!(
            needs.contains("belongs to user 61234 and linkseal runs as user 0"),
            "{needs}"
        );
    }
}

#[tokio::test]
async fn the_size_of_a_store_and_its_last_backup_are_exported() {
    let (dir, path) = place();
    let registry = prometheus::Registry::new();
    let store = SqliteStore::open(&path, Clock::system(), Some(Metrics::register(&registry))).unwrap();
    let shown = async |name: &str| {
        store.probe().await.unwrap();
        let families = registry.gather();
        let found = families.iter().find(|family| family.name() == name).unwrap();
        found.get_metric()[0].get_gauge().get_value()
    };
    assert!(shown("linkseal_store_bytes").await >= 4096.0);
    assert_eq!(shown("linkseal_store_backup_timestamp_seconds").await, 0.0);
    let begun = Clock::system().now().as_secs() as f64;
    backup(&path, &dir.path().join("copy.db")).unwrap();
    let noted = shown("linkseal_store_backup_timestamp_seconds").await;
    assert!(noted >= begun, "{noted} {begun}");
    // A refused backup does not count.
    fs::write(dir.path().join("linkseal.db-backup"), "2026-01-01T00:00:00Z").unwrap();
    backup(&path, &dir.path().join("copy.db")).unwrap_err();
    let noted = shown("linkseal_store_backup_timestamp_seconds").await;
    assert_eq!(noted, 1_767_225_600.0);
    store.backup(&dir.path().join("another.db")).await.unwrap();
    assert!(shown("linkseal_store_backup_timestamp_seconds").await >= begun);
}
