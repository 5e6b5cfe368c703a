//! SQLite against the conformance suite, and what only a file can undergo: reopening, sharing and foreign
//! files here, crashes and full disks in [`failures`], backups in [`copies`], size in [`growth`], edits by
//! hand in [`unreadable`].

mod copies;
mod failures;
mod growth;
mod unreadable;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use async_trait::async_trait;
use linkseal_base::clock::{Clock, Timestamp};
use linkseal_domain::links::Kill;
use linkseal_domain::ssl::Reason;
use linkseal_link::KillKind;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{SqliteStore, connection};
use crate::conformance::{Fresh, NOW, TestClock, add, audit, held, lease, name, owner, to};
use crate::{NewNode, SharedStore, StoreError, StoredCertificate, Transition};

crate::conformance::conformance_suite!(fresh);

async fn fresh() -> Fresh {
    let (dir, path) = place();
    let clock = Clock::standing_at(NOW);
    Fresh {
        store: Arc::new(SqliteStore::open(&path, clock.clone(), None).unwrap()),
        clock: Box::new(Standing(clock)),
        _kept: Box::new(dir),
    }
}

/// The clock of a store under test.
struct Standing(Clock);

#[async_trait]
impl TestClock for Standing {
    async fn set(&self, at: Timestamp) {
        self.0.set(at.as_millis() - self.0.now().as_millis());
    }
}

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("linkseal.db");
    (dir, path)
}

fn open(path: &Path) -> SharedStore {
    Arc::new(opened(path))
}

fn opened(path: &Path) -> SqliteStore {
    try_open(path).unwrap()
}

fn try_open(path: impl AsRef<Path>) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, Clock::standing_at(NOW), None)
}

fn failure(result: Result<SqliteStore, StoreError>) -> StoreError {
    let Err(error) = result else { panic!("it opened") };
    error
}

/// Blocks the writer until the sender is used: calls that are polled meanwhile queue up behind it.
async fn hold(store: &SqliteStore) -> (impl Future<Output = Result<(), StoreError>>, mpsc::Sender<()>) {
    let (go, gate) = mpsc::channel();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let mut held = Box::pin(store.write("test", move |_| {
        let _waiting = begun.send(());
        let _opened = gate.recv();
        Ok(())
    }));
    assert!(futures_util::poll!(&mut held).is_pending());
    has_begun.await.unwrap();
    (held, go)
}

#[tokio::test]
async fn a_kill_that_an_older_version_spelled_differently_can_be_deleted() {
    let (_dir, path) = place();
    drop(open(&path));
    let old = Connection::open(&path).unwrap();
    let sql = "INSERT INTO kills (kind, value, note, by, since) VALUES ('host', ?1, NULL, 'ops', 0)";
    for value in ["[2001:db8:0:0:0:0:0:5]", "1.2.3.4.5"] {
        old.execute(sql, [value]).unwrap();
    }
    drop(old);
    let store = open(&path);
    let all = store.kills().await.unwrap();
    let kill = Kill::new(KillKind::Host, "2001:db8::5").unwrap();
    assert!(all.iter().any(|stored| stored.kill == kill), "{all:?}");
    for kill in all {
        store.delete_kill(&kill, audit("unkill", "x")).await.unwrap();
    }
    assert!(store.kills().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_answered_change_is_there_after_a_restart() {
    let (_dir, path) = place();
    let store = open(&path);
    let domain = add(&store, "a.example", "acme", Reason::Ordering).await;
    let fence = lease(&store, &domain.name, owner(1)).await.unwrap();
    let certificate = StoredCertificate {
        chain_pem: "chain".into(),
        sealed_key: vec![1, 2],
    };
    let change = Transition {
        certificate: Some(certificate.clone()),
        ..to(&domain, Reason::Ok)
    };
    let domain = store.transition(change).await.unwrap();
    let head = store.feed_end().await.unwrap();
    let node = |n| NewNode {
        name: "edge".into(),
        owner: owner(n),
        former: None,
        version: "1".into(),
    };
    store.join(&node(1)).await.unwrap();
    drop(store);

    let store = open(&path);
    assert_eq!(store.domain(&domain.name).await.unwrap(), Some(domain.clone()));
    assert_eq!(store.certificate(&domain.name).await.unwrap(), Some(certificate));
    assert_eq!(store.feed_end().await.unwrap(), head);
    assert_eq!(store.counts(None).await.unwrap().len(), 1);
    // Every owner of a lease has ended: the lease is free at once, and an old fence cannot write.
    let next = lease(&store, &domain.name, owner(2)).await.unwrap();
    assert!(next.number > fence.number);
    store.join(&node(2)).await.unwrap();
    let stale = Transition {
        fence: Some(fence),
        ..to(&domain, Reason::Renewing)
    };
    assert!(matches!(store.transition(stale).await, Err(StoreError::Fenced)));
    store.release_lease(&held(&domain.name, next)).await.unwrap();
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let (_dir, path) = place();
    fs::write(&path, b"").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(&path);
    add(&store, "a.example", "acme", Reason::Queued).await;
    let copy = path.with_extension("copy");
    store.backup(&copy).await.unwrap();
    for file in [
        path.clone(),
        connection::with_suffix(&path, "-wal"),
        connection::with_suffix(&path, ".lock"),
        copy,
    ] {
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
    }
}

#[tokio::test]
async fn only_one_process_can_open_the_store() {
    let (dir, path) = place();
    let store = open(&path);
    // The same lock keeps another process out: it belongs to the open file, not to the process.
    assert!(matches!(failure(try_open(&path)), StoreError::Locked { .. }));
    let alias = dir.path().join("alias.db");
    std::os::unix::fs::symlink(&path, &alias).unwrap();
    assert!(matches!(failure(try_open(&alias)), StoreError::Locked { .. }));
    drop(store);
    add(&open(&alias), "a.example", "acme", Reason::Queued).await;
    assert!(open(&path).domain(&name("a.example")).await.unwrap().is_some());
}

#[tokio::test]
async fn files_that_are_no_store_of_this_version_are_refused() {
    let (dir, path) = place();
    drop(open(&path));
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(matches!(
        failure(try_open(&path)),
        StoreError::Newer { found: 99, known } if known == i64::try_from(connection::MIGRATIONS.len()).unwrap()
    ));

    let text = dir.path().join("text.db");
    fs::write(
        &text,
        "this is no database, but it is long enough to be read: ".repeat(200),
    )
    .unwrap();
    assert!(
        failure(try_open(&text))
            .to_string()
            .contains("text.db: the file is damaged, or not a store")
    );

    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE mail (id INTEGER)")
        .unwrap();
    let before = fs::read(&foreign).unwrap();
    assert!(failure(try_open(&foreign)).to_string().contains("of another program"));
    assert_eq!(fs::read(&foreign).unwrap(), before, "and is unchanged");

    let nowhere = failure(try_open(dir.path().join("no/such/dir.db")));
    assert!(nowhere.to_string().contains("directory must exist"), "{nowhere}");
}
