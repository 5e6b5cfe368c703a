//! Brings the schema up to this version. Any node may do it first, and nodes of the version before go on
//! working on the result: a step only adds (tables, columns that may be null or have a constant default), and
//! takes away only what the version before no longer used.
//!
//! The lock is a row: a session's advisory lock would be left behind by a pooler. While another node holds it,
//! this one waits without an open transaction.

use std::time::Duration;

use linkseal_base::random;
use tokio::time::Instant;

use super::call::{self, Db, Repeat};
use super::failure::Failure;
use super::params::int;
use super::pools::{Pools, Purpose};
use crate::StoreError;

/// The schema, step by step. Never change one that was released: add one.
pub(super) const STEPS: &[&str] = &[include_str!("../schema/postgres/001_initial.sql")];
/// The oldest version of the schema that a program must know to work on the newest: raised by a step that takes
/// something away.
pub(super) const LEAST_KNOWN: i64 = 1;

/// How long a step may take. One that waits for a lock gives up after two seconds (`lock_timeout`), since others
/// wait behind it, and is tried again.
const STEP: Duration = Duration::from_secs(60);

/// How long another node's step is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

/// What is there before the first step. All of it can be done by several nodes at once.
const BEFORE: &str = "CREATE SCHEMA IF NOT EXISTS linkseal;
    CREATE TABLE IF NOT EXISTS linkseal.schema (
        single smallint PRIMARY KEY CHECK (single = 1),
        version bigint NOT NULL,
        least_known bigint NOT NULL
    );
    INSERT INTO linkseal.schema (single, version, least_known) VALUES (1, 0, 0) ON CONFLICT DO NOTHING";

/// What the statements of [`BEFORE`] answer when another node has just done the same: a duplicate key, schema,
/// table or object.
const MADE_BY_ANOTHER: [&str; 4] = ["[23505]", "[42P06]", "[42P07]", "[42710]"];

/// What one look at the schema came to.
enum Look {
    Done,
    /// A step was made.
    Stepped(i64),
}

/// Applies the steps that are missing.
pub(super) async fn to_newest(pools: &Pools, steps: &'static [&'static str], least: i64) -> Result<(), StoreError> {
    let until = Instant::now() + PATIENCE;
    let step = move |db| step(db, steps, least);
    loop {
        // Each statement has its own deadline.
        match call::write_within(PATIENCE, pools, Purpose::Work, Repeat::Harmless, &step).await {
            Ok(Look::Done) => return Ok(()),
            Ok(Look::Stepped(0)) => {}
            Ok(Look::Stepped(version)) => {
                tracing::info!(version, "the store's schema has been brought to this version")
            }
            // Another node makes the step.
            Err(Failure::RolledBack { .. }) if Instant::now() < until => {
                tokio::time::sleep(random::jitter(POLL, 0.5)).await;
            }
            Err(failure) => return Err(failure.into_error()),
        }
    }
}

async fn step(db: Db, steps: &'static [&'static str], least_known: i64) -> Result<Look, Failure> {
    let there = "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'linkseal' AND tablename = 'schema'";
    if db.row(there, &[]).await?.is_none() {
        check_encoding(&db).await?;
        return match db.batch(BEFORE).await {
            Ok(()) => Ok(Look::Stepped(0)),
            Err(Failure::Rejected(why)) if why.contains("[42501]") => Err(Failure::Rejected(format!(
                "{why}; the schema cannot be created: GRANT CREATE ON DATABASE to this user, or CREATE SCHEMA linkseal AUTHORIZATION it"
            ))),
            // Two nodes at once: one of them finds what the other has made.
            Err(Failure::Rejected(why)) if MADE_BY_ANOTHER.iter().any(|code| why.contains(code)) => {
                Err(Failure::RolledBack { why, reconnect: false })
            }
            Err(failure) => Err(failure),
        };
    }
    let row = db
        .row(
            "SELECT version, least_known FROM linkseal.schema FOR UPDATE NOWAIT",
            &[],
        )
        .await?
        .ok_or(Failure::Refused(StoreError::NotFound))?;
    let (found, least): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if least > known {
        return Err(StoreError::Newer { found, known }.into());
    }
    let Some(sql) = usize::try_from(found).ok().and_then(|found| steps.get(found)) else {
        return Ok(Look::Done);
    };
    db.long_batch(STEP, sql).await?;
    let version = found + 1;
    db.execute(
        "UPDATE linkseal.schema SET version = $1, least_known = $2",
        &[int(&version), int(&least_known)],
    )
    .await?;
    Ok(Look::Stepped(version))
}

/// With another one, texts from people would be refused one by one.
async fn check_encoding(db: &Db) -> Result<(), Failure> {
    let row = db.row("SELECT current_setting('server_encoding')", &[]).await?;
    let encoding: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
    match encoding.as_deref() {
        Some("UTF8") => Ok(()),
        other => Err(Failure::Rejected(format!(
            "the database's encoding is {}; make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            other.unwrap_or("unknown")
        ))),
    }
}
