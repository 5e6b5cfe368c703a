//! Servers that end, are replaced, or do not answer: the store answers early, and comes back by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linkseal_domain::ssl::Reason;
use linkseal_peers::cutter::{Cutter, Mode, Way};
use linkseal_peers::postgres::{Database, Options, Server};
use linkseal_peers::until;
use tokio::task::JoinSet;

use super::super::call::Db;
use super::super::pools::Purpose;
use super::{PostgresStore, lock_waits, opened, opened_at, settings, value};
use crate::conformance::{MINUTE, add, line, owner, to};
use crate::{Lease, LeaseKey, SharedStore, StoreError, Transition};

async fn opened_on(database: &Database, hosts: &[SocketAddr]) -> SharedStore {
    Arc::new(PostgresStore::open(&settings(database, hosts), None).await.unwrap())
}

#[tokio::test]
async fn a_server_that_is_killed_and_started_again_is_used_again() {
    let mut server = Server::start(Options::default()).await;
    let database = server.database().await;
    let store: SharedStore = Arc::new(opened_at(&database, server.address()).await);
    let record = add(&store, "a.example", "acme", Reason::Queued).await;
    server.kill().await;
    for _ in 0..5 {
        let begun = Instant::now();
        let answer = store.domain(&record.name).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        let answer = store.transition(to(&record, Reason::Ok)).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    server.start_again().await;
    let changed = until("the store is back", async || {
        store.transition(to(&record, Reason::Ok)).await.ok()
    })
    .await;
    assert_eq!(store.domain(&record.name).await.unwrap(), Some(changed));
}

#[tokio::test]
async fn a_server_that_accepts_no_writes_is_not_written_to() {
    let server = Server::start(Options::default()).await;
    let database = server.database().await;
    let store: SharedStore = Arc::new(opened_at(&database, server.address()).await);
    let record = add(&store, "a.example", "acme", Reason::Queued).await;
    server.config(&[("default_transaction_read_only", "on")]).await;
    let answer = store.transition(to(&record, Reason::Ok)).await;
    let Err(StoreError::Unavailable(why)) = answer else {
        panic!("{answer:?}")
    };
    assert!(why.contains("it accepts no writes"), "{why}");
    server.config(&[("default_transaction_read_only", "off")]).await;
    until("the store is back", async || {
        store.transition(to(&record, Reason::Ok)).await.ok()
    })
    .await;
}

/// The old primary is demoted and goes on answering reads.
#[tokio::test]
async fn after_a_failover_the_new_primary_is_used() {
    let old = Server::start(Options::default()).await;
    let database = old.database().await;
    let new = old.standby().await;
    let store = opened_on(&database, &[new.address(), old.address()]).await;
    let record = add(&store, "a.example", "acme", Reason::Queued).await;
    let there = format!("SELECT pg_wal_lsn_diff('{}', pg_last_wal_replay_lsn()) <= 0", {
        let end = old.rows("SELECT pg_current_wal_lsn()").await;
        end[0][0].clone().unwrap()
    });
    until("the standby has it", async || {
        (new.rows(&there).await[0][0].as_deref() == Some("t")).then_some(())
    })
    .await;
    old.config(&[("default_transaction_read_only", "on")]).await;
    new.promote().await;
    let changed = store.transition(to(&record, Reason::Ok)).await.unwrap();
    let used = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'linkseal edge-1'";
    for _ in 0..8 {
        assert_eq!(store.domain(&record.name).await.unwrap().as_ref(), Some(&changed));
        assert_eq!(
            store.domains(std::slice::from_ref(&record.name)).await.unwrap(),
            std::slice::from_ref(&changed)
        );
    }
    until("no connection to the old primary is left", async || {
        (old.rows(used).await[0][0].as_deref() == Some("0")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn hosts_that_do_not_answer_are_passed_over_and_not_tried_first_again() {
    let server = Server::shared().await;
    let database = server.database().await;
    drop(opened(&database).await);
    let silent = Cutter::start(server.address()).await;
    silent.set(Mode::Hold(Way::Both)).await;
    let hosts = [silent.addr(), server.address()];
    let store = PostgresStore::open(&settings(&database, &hosts), None).await.unwrap();
    let tried = silent.counts().accepted;
    // On two connections, since both are at it at once.
    let slow = || store.read("now", |db: Db| async move { db.batch("SELECT pg_sleep(0.3)").await });
    let (one, two) = tokio::join!(slow(), slow());
    one.and(two).unwrap();
    assert_eq!(silent.counts().accepted, tried);
    // The pool apart looks for itself, once.
    let slow = || {
        store.read_for(Purpose::Apart, "now", |db: Db| async move {
            db.batch("SELECT pg_sleep(0.3)").await
        })
    };
    slow().await.unwrap();
    let (one, two) = tokio::join!(slow(), slow());
    one.and(two).unwrap();
    assert_eq!(silent.counts().accepted, tried + 1);
}

/// More of them than a call waits for.
#[tokio::test]
async fn the_last_of_many_hosts_is_reached() {
    let server = Server::shared().await;
    let database = server.database().await;
    drop(opened(&database).await);
    let silent = Cutter::start(server.address()).await;
    silent.set(Mode::Hold(Way::Both)).await;
    let hosts = [silent.addr(), silent.addr(), silent.addr(), server.address()];
    let store = PostgresStore::connect(&settings(&database, &hosts), None).unwrap();
    until("the last host is used", async || crate::Store::now(&store).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_ended_in_transactions_lose_and_repeat_nothing() {
    let database = Arc::new(Server::shared().await.database().await);
    let store: SharedStore = Arc::new(opened(&database).await);
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut record = add(&store, &format!("d{n}.example"), "acme", Reason::Queued).await;
            let first = record.version;
            for _ in 0..25 {
                let change = Transition {
                    timeline: vec![line("changed")],
                    ..to(&record, Reason::Ok)
                };
                record = store.transition(change).await.unwrap();
            }
            assert_eq!(record.version, first + 25);
        });
    }
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'linkseal %' AND state <> 'idle'";
    let mut kills = 0;
    // Not more often than a transaction is tried.
    while !tasks.is_empty() && kills < 5 {
        if value(&database, ended).await != "0" {
            kills += 1;
        }
    }
    assert_eq!(kills, 5);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!(value(&database, "SELECT count(*) FROM linkseal.timeline").await, "208");
    assert_eq!(
        value(&database, "SELECT sum(seq) FROM linkseal.feed_heads").await,
        "208"
    );
}

#[tokio::test]
async fn leases_are_renewed_while_all_connections_for_work_are_busy() {
    let database = Server::shared().await.database().await;
    let store: SharedStore = Arc::new(opened(&database).await);
    let record = add(&store, "a.example", "acme", Reason::Queued).await;
    let key = LeaseKey::task("sweep");
    let fence = store.acquire_lease(&key, owner(1), MINUTE).await.unwrap().unwrap();
    let session = database.connect().await;
    session
        .batch_execute("BEGIN; SELECT 1 FROM linkseal.work FOR UPDATE")
        .await
        .unwrap();
    let mut busy = JoinSet::new();
    for _ in 0..6 {
        let (store, change) = (Arc::clone(&store), to(&record, Reason::Ok));
        busy.spawn(async move { store.transition(change).await });
    }
    lock_waits(&database, 2).await;
    let begun = Instant::now();
    let lease = Lease { key, fence };
    let held = store.renew_leases(std::slice::from_ref(&lease), MINUTE).await.unwrap();
    store.feed_end().await.unwrap();
    assert_eq!(held, [lease]);
    assert!(begun.elapsed() < Duration::from_secs(1));
    session.batch_execute("COMMIT").await.unwrap();
    let outcomes = busy.join_all().await;
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn while_no_server_answers_calls_fail_at_once_and_few_try() {
    let server = Server::shared().await;
    let database = server.database().await;
    let cutter = Cutter::start(server.address()).await;
    let store: SharedStore = Arc::new(opened_at(&database, cutter.addr()).await);
    cutter.set(Mode::Reset).await;
    for _ in 0..3 {
        assert!(store.now().await.is_err());
    }
    let (before, begun) = (cutter.counts().accepted, Instant::now());
    for _ in 0..1_000 {
        let answer = store.now().await;
        let Err(StoreError::Unavailable(why)) = answer else {
            panic!("{answer:?}")
        };
        assert!(why.starts_with("PostgreSQL cannot be reached"), "{why}");
    }
    // A tenth of a second at least is between two tries.
    let tries = cutter.counts().accepted - before;
    assert!(u128::from(tries) <= 1 + begun.elapsed().as_millis() / 100, "{tries}");
    cutter.set(Mode::Pass).await;
    until("the store is back", async || store.now().await.ok()).await;
    for _ in 0..10 {
        store.probe().await.unwrap();
    }
}
