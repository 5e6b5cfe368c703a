//! PostgreSQL: the store that the nodes of a fleet share.
//!
//! | file | does |
//! |---|---|
//! | `settings` | where the database is |
//! | `connection`, `pools` | connections, and what happens while none can be made |
//! | `call`, `failure`, `params` | runs a read or a transaction; what is tried again; parameters with their types |
//! | `time` | the database's clock |
//! | `migrate` | brings the schema up to this version |
//! | `store` | the store's traits: which call is which room's statement |
//! | `domains`, `listing`, `orders`, `work` | domains; their pages; their orders; their leases and claims |
//! | `counts` | what is counted, in deltas that one node adds up |
//! | `feed`, `history`, `outbox` | changes, timelines and audit log, lifecycle events |
//! | `budgets`, `cas`, `links`, `secrets`, `nodes` | the smaller tables |
//! | `maintenance` | what one node of the fleet does for all |
//!
//! Locks are taken in one order: work, domains, budgets (by key), count deltas, feed heads (by shard). The last
//! statement of a writing transaction appends to the feed.
//!
//! What happens on a failure:
//! - The database is away, slow, read-only or fails over: `Unavailable` within 30 s ([`call::CALL`]), at once after a
//!   few calls in a row. Nothing of a call that answers so is stored.
//! - The connection is lost in a commit: the feed tells whether it took place ([`call`]). `OutcomeUnknown`, within
//!   the same time, where it cannot be looked up: the database stays away, or waits for a standby that is missing.
//! - The database loses its last commits (asynchronous replication, a restored backup): the change feed says
//!   `Broken`, and its followers read everything again.
//! - A node dies: its leases end by the database's clock, and its claims come due.

mod budgets;
mod call;
mod cas;
mod connection;
mod counts;
mod domains;
mod failure;
mod feed;
mod history;
mod links;
mod listing;
mod maintenance;
mod migrate;
mod nodes;
mod orders;
mod outbox;
mod params;
mod pools;
mod secrets;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod work;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tokio::runtime::Handle;

use self::call::{Db, Repeat};
use self::failure::Failure;
use self::pools::{Pools, Purpose};
use crate::StoreError;
use crate::metrics::Metrics;
use crate::unreadable::Unreadable;

pub use self::settings::{Host, LEAST_CONNECTIONS, Settings};
pub use self::time::Server;

/// The store of a fleet. Clones share its connections.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    pools: Pools,
    /// Where its calls run and its connections live, whichever runtime asks.
    runtime: Handle,
    unreadable: Unreadable,
    /// Whose probe it is.
    node: String,
    /// The leases that this process was granted: makes each fence of its owners unique.
    grants: AtomicU64,
    metrics: Option<Metrics>,
}

impl PostgresStore {
    /// Connects, and brings the schema up to this version; another node may be doing that already. Calls run on
    /// the runtime that this is called on. `metrics`: `None` for commands, which export none.
    pub async fn open(settings: &Settings, metrics: Option<Metrics>) -> Result<Self, StoreError> {
        let store = Self::connect(settings, metrics)?;
        store.migrate().await?;
        Ok(store)
    }

    /// Brings the schema up to this version. Goes on if the caller does not wait for it.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let call = Box::pin(async move {
            let (steps, least_known) = (migrate::STEPS, migrate::LEAST_KNOWN);
            migrate::to_newest(&inner.pools, steps, least_known).await
        });
        self.in_a_task("migrate", call).await
    }

    /// A store that connects when it is used first, with the schema that is there.
    pub fn connect(settings: &Settings, metrics: Option<Metrics>) -> Result<Self, StoreError> {
        Ok(Self {
            inner: Arc::new(Inner {
                pools: Pools::new(settings)?,
                runtime: Handle::current(),
                unreadable: Unreadable::default(),
                node: settings.node.clone(),
                grants: AtomicU64::new(0),
                metrics,
            }),
        })
    }

    /// Looks at the server, also before its first migration.
    pub async fn server(&self) -> Result<Server, StoreError> {
        self.read("server", time::server).await
    }

    /// Runs a read. `work` may run more than once.
    async fn read<T, W, F>(&self, operation: &'static str, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Fn(Db) -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.read_for(Purpose::Work, operation, work).await
    }

    async fn read_for<T, W, F>(&self, purpose: Purpose, operation: &'static str, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Fn(Db) -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let call = Box::pin(async move {
            let answer = call::read(&inner.pools, purpose, &work).await;
            answer.map_err(Failure::into_error)
        });
        self.in_a_task(operation, call).await
    }

    /// Runs a transaction. `work` may run more than once, each time from its beginning.
    async fn write<T, W, F>(&self, operation: &'static str, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Fn(Db) -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.write_for(Purpose::Work, Repeat::Harmless, operation, work).await
    }

    async fn write_for<T, W, F>(
        &self,
        purpose: Purpose,
        repeat: Repeat,
        operation: &'static str,
        work: W,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Fn(Db) -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let call = Box::pin(async move {
            let answer = call::write(&inner.pools, purpose, repeat, &work).await;
            answer.map_err(Failure::into_error)
        });
        let answer = self.in_a_task(operation, call).await;
        if let Some(metrics) = &self.inner.metrics {
            match &answer {
                Ok(_) => metrics.writable(true),
                Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown) => metrics.writable(false),
                // Refused by a rule.
                Err(_) => {}
            }
        }
        answer
    }

    async fn in_a_task<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let ended = |_| Err(StoreError::Unavailable("linkseal is stopping".into()));
        let answer = self.inner.runtime.spawn(call).await.unwrap_or_else(ended);
        if let Some(metrics) = &self.inner.metrics {
            metrics.observe(operation, begun.elapsed());
        }
        answer
    }
}
