//! One call of the store: a read of one statement or more, or a transaction, which is retried where that is
//! safe.
//!
//! | what fails | what is known | what happens |
//! |---|---|---|
//! | no connection | nothing was done | the call fails |
//! | a deadlock, a lock that is not free, a server that ends or accepts no writes | rolled back | again, a few times |
//! | the connection, before the commit was sent | rolled back | again, on another one |
//! | the connection, in the commit | unknown | the change feed says whether it took place |
//!
//! A transaction that may not take place twice appends to the feed, at least a mark. For any other, the outcome
//! stays unknown, and it is run again.
//!
//! A call runs in a task of its own on the store's runtime: a caller that goes away cannot cut a transaction in
//! two. A connection goes back to its pool only when the call knows that nothing is open on it; otherwise it is
//! closed. Every call answers within [`CALL`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use deadpool::managed::Object;
use linkseal_base::random;
use tokio::time::{Instant, timeout};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::connection::Connector;
use super::failure::Failure;
use super::params::{self, int};
use super::pools::{Pools, Purpose};
use crate::StoreError;

/// The deadline of a statement. The server's own is a little shorter, so that it answers first.
const STATEMENT: Duration = Duration::from_secs(5);
/// The deadline of a commit, which waits for standbys too.
const COMMIT: Duration = Duration::from_secs(10);
/// The deadline of a call with all its tries.
pub(super) const CALL: Duration = Duration::from_secs(30);
/// How often a transaction is tried.
const TRIES: u32 = 6;
/// The same of a read.
const READ_TRIES: u32 = 3;
/// The pause before the second try; doubles, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// For how long it is looked into whether a commit took place.
const LOOKED_INTO: Duration = Duration::from_secs(10);
/// The feed's newest changes of a shard that are searched for a commit.
const SEARCHED: i64 = 20_000;

/// Begins a transaction with the limits that hold behind a pooler too. The two limits on waiting are shorter than
/// the deadline of a statement. What is read after a lock was waited for must be the newest, whatever the role's
/// default isolation is.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 4000; SET LOCAL lock_timeout = 2000;
    SET LOCAL idle_in_transaction_session_timeout = 10000";

/// A parameter of a statement, with its type: statements are never prepared, which poolers and upgrades of the
/// schema would break.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection for the statements of one call.
#[derive(Clone)]
pub(super) struct Db(Arc<Session>);

struct Session {
    connection: Object<Connector>,
    /// Random; marks the changes of this transaction in the feed, in all its tries.
    tag: i64,
    /// The shards of the feed that it has written to, as bits.
    shards: AtomicU16,
    /// Whether the next call can use the connection.
    fit: AtomicBool,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Also after a panic, or at the deadline of the call: something may be open on it.
        if !*self.fit.get_mut() {
            self.connection.close();
        }
    }
}

impl Db {
    fn new(connection: Object<Connector>, tag: i64) -> Self {
        Self(Arc::new(Session {
            connection,
            tag,
            shards: AtomicU16::new(0),
            fit: AtomicBool::new(false),
        }))
    }

    /// Nothing is open on the connection.
    fn fit(&self) {
        self.0.fit.store(true, Ordering::Relaxed);
    }

    /// The rows of a statement.
    pub(super) async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failure> {
        within(STATEMENT, self.0.connection.client.query_typed(sql, params)).await
    }

    /// The only row of a statement that has one or none.
    pub(super) async fn row(&self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, Failure> {
        within(STATEMENT, self.0.connection.client.query_typed_opt(sql, params)).await
    }

    /// Runs a statement; returns how many rows it has changed.
    pub(super) async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failure> {
        within(STATEMENT, self.0.connection.client.execute_typed(sql, params)).await
    }

    /// Runs statements that take long, with the time that they may take.
    pub(super) async fn long_batch(&self, limit: Duration, sql: &str) -> Result<(), Failure> {
        let limits = format!("SET LOCAL statement_timeout = {}", limit.as_millis());
        self.batch(&limits).await?;
        within(limit + STATEMENT, self.0.connection.client.batch_execute(sql)).await
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Failure> {
        within(STATEMENT, self.0.connection.client.batch_execute(sql)).await
    }

    /// Marks the changes of this transaction in the feed.
    pub(super) fn tag(&self) -> i64 {
        self.0.tag
    }

    /// Notes that the transaction has written to a shard of the feed.
    pub(super) fn wrote_to(&self, shard: i16) {
        self.0.shards.fetch_or(1 << shard, Ordering::Relaxed);
    }

    fn shards(&self) -> Vec<i16> {
        let bits = self.0.shards.load(Ordering::Relaxed);
        (0..16).filter(|shard| bits & (1 << shard) != 0).collect()
    }
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match timeout(deadline, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(too_late(deadline)),
    }
}

/// Whether a transaction whose outcome is unknown, and that wrote nothing to the feed, may be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Twice is as good as once, or on the safe side.
    Harmless,
    /// Twice would give away what there is not.
    Never,
}

/// Runs a read. Its statements are transactions of their own.
pub(super) async fn read<T, W, F>(pools: &Pools, purpose: Purpose, work: &W) -> Result<T, Failure>
where
    W: Fn(Db) -> F,
    F: Future<Output = Result<T, Failure>>,
{
    let tries = read_tries(pools, purpose, work);
    timeout(CALL, tries).await.unwrap_or_else(|_| Err(too_late(CALL)))
}

async fn read_tries<T, W, F>(pools: &Pools, purpose: Purpose, work: &W) -> Result<T, Failure>
where
    W: Fn(Db) -> F,
    F: Future<Output = Result<T, Failure>>,
{
    let (mut pause, mut tries) = (FIRST_PAUSE, 0);
    loop {
        tries += 1;
        let db = Db::new(pools.get(purpose).await?, 0);
        let failure = match Box::pin(work(db.clone())).await {
            Ok(answer) => {
                db.fit();
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        match &failure {
            Failure::Refused(_) | Failure::Rejected(_) => {
                db.fit();
                return Err(failure);
            }
            Failure::RolledBack { reconnect: true, .. } => pools.abandon(&db.0.connection),
            Failure::RolledBack { .. } => db.fit(),
            Failure::Lost(_) => {}
        }
        drop(db);
        if tries == READ_TRIES {
            return Err(failure);
        }
        rest(&mut pause).await;
    }
}

/// Runs a transaction and commits it.
pub(super) async fn write<T, W, F>(pools: &Pools, purpose: Purpose, repeat: Repeat, work: &W) -> Result<T, Failure>
where
    W: Fn(Db) -> F,
    F: Future<Output = Result<T, Failure>>,
{
    write_within(CALL, pools, purpose, repeat, work).await
}

/// As [`write`], with another deadline.
pub(super) async fn write_within<T, W, F>(
    deadline: Duration,
    pools: &Pools,
    purpose: Purpose,
    repeat: Repeat,
    work: &W,
) -> Result<T, Failure>
where
    W: Fn(Db) -> F,
    F: Future<Output = Result<T, Failure>>,
{
    let unknown = AtomicBool::new(false);
    let tries = write_tries(pools, purpose, repeat, work, &unknown);
    let answer = timeout(deadline, tries).await;
    let answer = answer.unwrap_or_else(|_| Err(too_late(deadline)));
    match answer {
        Ok(_) => answer,
        Err(Failure::Refused(ref error)) if !matches!(error, StoreError::Unavailable(_)) => answer,
        // The commit of an earlier try may have taken place.
        Err(_) if unknown.into_inner() => Err(StoreError::OutcomeUnknown.into()),
        Err(_) => answer,
    }
}

/// `unknown`: set while a commit was sent and it is not known whether it took place.
async fn write_tries<T, W, F>(
    pools: &Pools,
    purpose: Purpose,
    repeat: Repeat,
    work: &W,
    unknown: &AtomicBool,
) -> Result<T, Failure>
where
    W: Fn(Db) -> F,
    F: Future<Output = Result<T, Failure>>,
{
    let tag = i64::from_ne_bytes(random::bytes());
    let (mut pause, mut tries) = (FIRST_PAUSE, 0);
    loop {
        tries += 1;
        let db = Db::new(pools.get(purpose).await?, tag);
        let failure = match run(&db, work).await {
            Ok(answer) => {
                let before = unknown.swap(true, Ordering::Relaxed);
                match within(COMMIT, db.0.connection.client.batch_execute("COMMIT")).await {
                    Ok(()) => {
                        db.fit();
                        return Ok(answer);
                    }
                    // A server that ends answers so before a commit and, perhaps, after it.
                    Err(Failure::Lost(why) | Failure::RolledBack { why, reconnect: true }) => {
                        let shards = db.shards();
                        drop(db);
                        match (took_place(pools, purpose, tag, &shards).await?, repeat) {
                            (Some(true), _) => return Ok(answer),
                            (Some(false), _) => unknown.store(false, Ordering::Relaxed),
                            (None, Repeat::Harmless) => {}
                            (None, Repeat::Never) => return Err(StoreError::OutcomeUnknown.into()),
                        }
                        Failure::Lost(why)
                    }
                    // The server has ended the transaction with the error.
                    Err(failure) => {
                        unknown.store(before, Ordering::Relaxed);
                        failure
                    }
                }
            }
            Err(failure) => {
                roll_back(pools, db, &failure).await;
                failure
            }
        };
        if tries == TRIES || matches!(failure, Failure::Refused(_) | Failure::Rejected(_)) {
            return Err(failure);
        }
        rest(&mut pause).await;
    }
}

fn too_late(deadline: Duration) -> Failure {
    Failure::Lost(format!("no answer within {} s", deadline.as_secs()))
}

async fn run<T, W, F>(db: &Db, work: &W) -> Result<T, Failure>
where
    W: Fn(Db) -> F,
    F: Future<Output = Result<T, Failure>>,
{
    db.batch(BEGIN).await?;
    // On the heap: with all its statements it is large.
    Box::pin(work(db.clone())).await
}

/// Leaves the connection fit for the next call, or closes it.
async fn roll_back(pools: &Pools, db: Db, failure: &Failure) {
    match failure {
        Failure::Lost(_) => {}
        Failure::RolledBack { reconnect: true, .. } => pools.abandon(&db.0.connection),
        _ if db.batch("ROLLBACK").await.is_ok() => db.fit(),
        _ => {}
    }
}

/// Whether a commit whose answer was lost took place, by the transaction's changes in the feed. The rows of its
/// shards are locked until the commit has ended in one way or the other, so the look waits for that. `None`: it
/// wrote nothing to the feed.
async fn took_place(pools: &Pools, purpose: Purpose, tag: i64, shards: &[i16]) -> Result<Option<bool>, StoreError> {
    let Some(shard) = shards.first() else { return Ok(None) };
    let until = Instant::now() + LOOKED_INTO;
    let mut pause = FIRST_PAUSE;
    while Instant::now() < until {
        if let Ok(connection) = pools.get(purpose).await {
            let db = Db::new(connection, 0);
            let found = find_commit(&db, tag, *shard).await;
            match &found {
                Err(failure) => roll_back(pools, db, failure).await,
                // Nothing was changed.
                Ok(_) if db.batch("ROLLBACK").await.is_ok() => db.fit(),
                Ok(_) => {}
            }
            if let Ok(found) = found {
                return Ok(Some(found));
            }
        }
        rest(&mut pause).await;
    }
    Err(StoreError::OutcomeUnknown)
}

async fn find_commit(db: &Db, tag: i64, shard: i16) -> Result<bool, Failure> {
    db.batch(BEGIN).await?;
    let sql = "SELECT seq FROM linkseal.feed_heads WHERE shard = $1 FOR UPDATE";
    let head = db.row(sql, &[params::shard(&shard)]).await?;
    let head: i64 = match head {
        Some(row) => row.try_get(0)?,
        None => 0,
    };
    let sql = "SELECT 1 FROM linkseal.changes WHERE shard = $1 AND seq > $2 AND tag = $3 LIMIT 1";
    let after = head.saturating_sub(SEARCHED);
    let found = db.row(sql, &[params::shard(&shard), int(&after), int(&tag)]).await?;
    Ok(found.is_some())
}

/// Full jitter, twice as long each time.
async fn rest(pause: &mut Duration) {
    tokio::time::sleep(pause.mul_f64(random::unit())).await;
    *pause = LONGEST_PAUSE.min(*pause * 2);
}
