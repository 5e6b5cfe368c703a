//! The database's clock, by which everything is measured that nodes have to agree on.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

use super::call::Db;
use super::failure::Failure;

/// The time now, also in a transaction that has waited for a lock.
pub(super) async fn now(db: &Db) -> Result<Timestamp, Failure> {
    match db.row("SELECT linkseal.now_ms()", &[]).await? {
        Some(row) => Ok(Timestamp::from_millis(row.try_get(0)?)),
        None => Err(Failure::Rejected("the database has no time".into())),
    }
}

/// A span for a statement, which may add it to the time.
pub(super) fn millis(span: Duration) -> i64 {
    const LONGEST: i64 = i64::MAX / 4;
    i64::try_from(span.as_millis()).map_or(LONGEST, |millis| millis.min(LONGEST))
}

/// The database as it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    pub time: Timestamp,
    /// Whether linkseal's tables are there.
    pub has_schema: bool,
}

pub(super) async fn server(db: Db) -> Result<Server, Failure> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
        EXISTS (SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'linkseal' AND tablename = 'secrets')";
    match db.row(sql, &[]).await? {
        Some(row) => Ok(Server {
            time: Timestamp::from_millis(row.try_get(0)?),
            has_schema: row.try_get(1)?,
        }),
        None => Err(Failure::Rejected("the database has no time".into())),
    }
}
