//! The rows of the token buckets ([`crate::bucket`]). A bucket without a row is full, so the table holds
//! only recently used ones.

use linkseal_base::clock::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::bucket::{self, Bucket, Level};
use crate::{BudgetAnswer, BudgetTake, StoreError};

/// Full buckets deleted with each write: more than it adds, so that they do not pile up.
const DROPPED_AT_ONCE: i64 = 64;

pub(super) fn take(db: &Connection, takes: &[BudgetTake], now: Timestamp) -> Result<BudgetAnswer, StoreError> {
    let outcome = bucket::take_all(takes, now, |key| load(db, key))?;
    for bucket in &outcome.changed {
        save(db, bucket)?;
    }
    if outcome.answer == BudgetAnswer::Taken {
        drop_full(db, now)?;
    }
    Ok(outcome.answer)
}

pub(super) fn give_back(db: &Connection, takes: &[BudgetTake], now: Timestamp) -> Result<(), StoreError> {
    for take in takes {
        let mut bucket = Bucket::of(take, load(db, &take.key)?, now);
        bucket.give_back(take.amount);
        save(db, &bucket)?;
    }
    drop_full(db, now)
}

pub(super) fn left(db: &Connection, take: &BudgetTake, now: Timestamp) -> Result<f64, StoreError> {
    Ok(Bucket::of(take, load(db, &take.key)?, now).level().tokens)
}

pub(super) fn hold_back(
    db: &Connection,
    ca: &str,
    until: Timestamp,
    before: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if held_back(db, ca, now)? != before {
        return Err(StoreError::Conflict);
    }
    let sql = "INSERT OR REPLACE INTO held_back (ca, until) VALUES (?1, ?2)";
    db.prepare_cached(sql)?.execute(params![ca, until.as_millis()])?;
    Ok(())
}

pub(super) fn held_back(db: &Connection, ca: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let until: Option<i64> = db
        .prepare_cached("SELECT until FROM held_back WHERE ca = ?1 AND until > ?2")?
        .query_row(params![ca, now.as_millis()], |row| row.get(0))
        .optional()?;
    Ok(until.map(Timestamp::from_millis))
}

fn load(db: &Connection, key: &str) -> Result<Option<Level>, StoreError> {
    let stored: Option<(f64, i64)> = db
        .prepare_cached("SELECT tokens, at FROM budgets WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(stored.map(|(tokens, at)| Level {
        tokens,
        at: Timestamp::from_millis(at),
    }))
}

fn save(db: &Connection, bucket: &Bucket) -> Result<(), StoreError> {
    let Level { tokens, at } = bucket.level();
    db.prepare_cached("INSERT OR REPLACE INTO budgets (key, tokens, at, full_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            bucket.key(),
            tokens,
            at.as_millis(),
            bucket.full_at().as_millis()
        ])?;
    Ok(())
}

fn drop_full(db: &Connection, now: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM budgets WHERE key IN (SELECT key FROM budgets WHERE full_at <= ?1 LIMIT ?2)";
    db.prepare_cached(sql)?
        .execute(params![now.as_millis(), DROPPED_AT_ONCE])?;
    Ok(())
}
