//! PostgreSQL against the conformance suite, here directly; what else is tested:
//!
//! | file | does |
//! |---|---|
//! | `pooled` | the suite through PgBouncer in transaction mode |
//! | `commits` | commits whose answer is lost, or that do not end |
//! | `outages` | servers that end, are replaced, or do not answer |
//! | `concurrency` | two stores at once on one database |
//! | `migrations` | the schema, brought up by several nodes and versions |
//! | `tls` | certificates, and whom the store does not talk to |
//! | `values` | texts and numbers that PostgreSQL does not take |
//! | `size` | a million domains: a measurement |

mod commits;
mod concurrency;
mod migrations;
mod outages;
mod pooled;
mod size;
mod tls;
mod values;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_peers::postgres::{Database, Server};
use linkseal_peers::until;

use super::{Host, LEAST_CONNECTIONS, PostgresStore, Settings};
use crate::conformance::{Fresh, NOW, TestClock};

crate::conformance::conformance_suite!(fresh);

async fn fresh() -> Fresh {
    fresh_through(Server::shared().await.address(), LEAST_CONNECTIONS).await
}

/// A store that connects to this address.
async fn fresh_through(address: SocketAddr, connections: usize) -> Fresh {
    let database = Arc::new(Server::shared().await.database().await);
    let settings = Settings {
        connections,
        ..settings(&database, &[address])
    };
    let store = PostgresStore::open(&settings, None).await.unwrap();
    let clock = Standing(Arc::clone(&database));
    clock.stop().await;
    Fresh {
        store: Arc::new(store),
        clock: Box::new(clock),
        _kept: Box::new(database),
    }
}

fn settings(database: &Database, hosts: &[SocketAddr]) -> Settings {
    let host = |address: &SocketAddr| Host {
        name: address.ip().to_string(),
        port: address.port(),
    };
    Settings {
        hosts: hosts.iter().map(host).collect(),
        user: "linkseal".into(),
        password: None,
        database: database.name().to_owned(),
        tls: None,
        connections: LEAST_CONNECTIONS,
        node: "edge-1".into(),
    }
}

async fn opened(database: &Database) -> PostgresStore {
    opened_at(database, Server::shared().await.address()).await
}

/// Through a peer in front of the server.
async fn opened_at(database: &Database, address: SocketAddr) -> PostgresStore {
    PostgresStore::open(&settings(database, &[address]), None)
        .await
        .unwrap()
}

/// The only value that a statement returns.
async fn value(database: &Database, sql: &str) -> String {
    let rows = database.rows(sql).await;
    rows[0][0].clone().unwrap_or_default()
}

/// Waits until this number of transactions of stores on this database wait for a lock.
async fn lock_waits(database: &Database, wanted: usize) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name LIKE 'linkseal %' AND wait_event_type = 'Lock'";
    until("transactions wait for a lock", async || {
        (value(database, sql).await == wanted.to_string()).then_some(())
    })
    .await;
}

/// The clock of a database under test: the two functions that read it read a table instead.
struct Standing(Arc<Database>);

impl Standing {
    async fn stop(&self) {
        let at = NOW.as_millis();
        let statements = format!(
            "CREATE TABLE linkseal.test_clock (ms bigint NOT NULL);
             INSERT INTO linkseal.test_clock VALUES ({at});
             CREATE OR REPLACE FUNCTION linkseal.now_ms() RETURNS bigint LANGUAGE sql VOLATILE
                AS 'SELECT ms FROM linkseal.test_clock';
             CREATE OR REPLACE FUNCTION linkseal.statement_ms() RETURNS bigint LANGUAGE sql STABLE
                AS 'SELECT ms FROM linkseal.test_clock'"
        );
        self.0.sql(&statements).await;
    }
}

#[async_trait]
impl TestClock for Standing {
    async fn set(&self, at: Timestamp) {
        let at = at.as_millis();
        self.0.sql(&format!("UPDATE linkseal.test_clock SET ms = {at}")).await;
    }
}
