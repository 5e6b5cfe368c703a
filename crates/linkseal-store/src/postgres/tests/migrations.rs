//! The schema, brought up by several nodes and versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use linkseal_domain::ssl::Reason;
use linkseal_peers::postgres::{Database, Server};
use linkseal_peers::until;
use tokio::task::JoinSet;

use super::super::migrate::{self, LEAST_KNOWN, STEPS};
use super::super::pools::Pools;
use super::{PostgresStore, opened, settings, value};
use crate::conformance::{add, to};
use crate::{SharedStore, Store, StoreError};

/// The schema of a later version: adds what this one does not know.
const LATER: &[&str] = &[
    STEPS[0],
    "ALTER TABLE linkseal.domains ADD COLUMN colour text;
     CREATE TABLE linkseal.colours (name text PRIMARY KEY);
     CREATE INDEX domains_by_colour ON linkseal.domains (colour)",
];

async fn brought_up(database: &Database, least: i64) -> Result<(), StoreError> {
    let server = Server::shared().await;
    let pools = Pools::new(&settings(database, &[server.address()])).unwrap();
    migrate::to_newest(&pools, LATER, least).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_open_an_empty_database_at_once() {
    let server = Server::shared().await;
    let database = server.database().await;
    let settings = settings(&database, &[server.address()]);
    let mut nodes = JoinSet::new();
    for _ in 0..8 {
        let settings = settings.clone();
        nodes.spawn(async move {
            let store = PostgresStore::open(&settings, None).await.unwrap();
            store.probe().await.unwrap();
        });
    }
    nodes.join_all().await;
    assert_eq!(
        value(&database, "SELECT version FROM linkseal.schema").await,
        STEPS.len().to_string()
    );
    assert_eq!(value(&database, "SELECT count(*) FROM linkseal.feed_heads").await, "16");
}

#[tokio::test]
async fn a_newer_schema_is_used_as_long_as_it_says_so() {
    let server = Server::shared().await;
    let database = server.database().await;
    drop(opened(&database).await);
    brought_up(&database, LEAST_KNOWN).await.unwrap();
    assert_eq!(value(&database, "SELECT version FROM linkseal.schema").await, "2");
    let store: SharedStore = Arc::new(opened(&database).await);
    add(&store, "a.example", "acme", Reason::Queued).await;

    database.sql("UPDATE linkseal.schema SET least_known = 2").await;
    let settings = settings(&database, &[server.address()]);
    let refused = PostgresStore::open(&settings, None).await.map(drop).unwrap_err();
    assert!(
        matches!(refused, StoreError::Newer { found: 2, known: 1 }),
        "{refused:?}"
    );
    let sentence = refused.to_string();
    assert!(sentence.contains("run the newer version"), "{sentence}");
}

#[tokio::test]
async fn a_role_that_may_not_create_the_schema_learns_what_to_grant() {
    let server = Server::shared().await;
    let database = server.database().await;
    let name = database.name();
    server.sql(&format!("ALTER DATABASE {name} OWNER TO postgres")).await;
    let settings = settings(&database, &[server.address()]);
    let refused = PostgresStore::open(&settings, None).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("GRANT CREATE ON DATABASE"), "{refused}");
    server
        .sql(&format!("GRANT CREATE ON DATABASE {name} TO linkseal"))
        .await;
    drop(opened(&database).await);
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let server = Server::shared().await;
    server
        .sql("CREATE DATABASE latin OWNER linkseal ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        .await;
    let settings = super::Settings {
        database: "latin".into(),
        ..settings(&server.database().await, &[server.address()])
    };
    let refused = PostgresStore::open(&settings, None).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("LATIN1"), "{refused}");
}

/// A step that waits for a lock has all others wait behind it: it gives up, and is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_the_version_before_work_while_the_schema_is_brought_up() {
    let database = Arc::new(Server::shared().await.database().await);
    let store: SharedStore = Arc::new(opened(&database).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for n in 0..4 {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut record = add(&store, &format!("d{n}.example"), "acme", Reason::Queued).await;
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                record = store.transition(to(&record, Reason::Ok)).await.unwrap();
                assert_eq!(store.domain(&record.name).await.unwrap().as_ref(), Some(&record));
                longest = longest.max(begun.elapsed());
            }
            longest
        });
    }
    // A report that reads for long.
    let reader = database.connect().await;
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM linkseal.domains")
        .await
        .unwrap();
    let (brought_up, ()) = tokio::join!(brought_up(&database, LEAST_KNOWN), async {
        let gave_up = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE%'";
        // It waits, gives up, and waits again.
        for wanted in ["1", "0", "1"] {
            until("the step waits or gives up", async || {
                (value(&database, gave_up).await == wanted).then_some(())
            })
            .await;
        }
        reader.batch_execute("COMMIT").await.unwrap();
    });
    brought_up.unwrap();
    stop.store(true, Ordering::Relaxed);
    for longest in tasks.join_all().await {
        assert!(longest < Duration::from_secs(8), "{longest:?}");
    }
    assert_eq!(value(&database, "SELECT version FROM linkseal.schema").await, "2");
}
