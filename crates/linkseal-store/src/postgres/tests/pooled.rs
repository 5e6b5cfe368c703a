//! The conformance suite through PgBouncer in transaction mode: two sessions at the server for many of linkseal, so
//! that each transaction may find itself in another session than the one before.

use std::sync::Arc;

use linkseal_domain::ssl::Reason;
use linkseal_peers::pgbouncer::{Options, PgBouncer};
use linkseal_peers::postgres::Server;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::{PostgresStore, settings, value};
use crate::SharedStore;
use crate::conformance::{Fresh, add, to};

crate::conformance::conformance_suite!(pooled_fresh);

/// Connections of a store: five for each session at the server.
const CONNECTIONS: usize = 10;

async fn pooler() -> &'static PgBouncer {
    static POOLER: OnceCell<PgBouncer> = OnceCell::const_new();
    let start = || async { PgBouncer::start(Server::shared().await, Options::default()).await };
    POOLER.get_or_init(start).await
}

async fn pooled_fresh() -> Fresh {
    super::fresh_through(pooler().await.address(), CONNECTIONS).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_transactions_than_sessions_do_not_mix() {
    let database = Arc::new(Server::shared().await.database().await);
    let settings = super::Settings {
        connections: CONNECTIONS,
        ..settings(&database, &[pooler().await.address()])
    };
    let store: SharedStore = Arc::new(PostgresStore::open(&settings, None).await.unwrap());
    let mut tasks = JoinSet::new();
    for n in 0..24 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut record = add(&store, &format!("d{n}.example"), "acme", Reason::Queued).await;
            for _ in 0..8 {
                record = store.transition(to(&record, Reason::Ok)).await.unwrap();
                assert_eq!(store.domain(&record.name).await.unwrap().as_ref(), Some(&record));
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
        AND pid <> pg_backend_pid()";
    assert_eq!(value(&database, sessions).await, "2");
    assert_eq!(
        value(&database, "SELECT sum(seq) FROM linkseal.feed_heads").await,
        "216"
    );
}
