//! The rows of the token buckets ([`crate::bucket`]): locked in the order of their keys, and refilled by the
//! database's clock, read after the locks were taken.

use std::collections::BTreeMap;
use std::convert::Infallible;

use linkseal_base::clock::Timestamp;

use super::call::Db;
use super::failure::Failure;
use super::params::{floats, int, ints, texts};
use super::time;
use crate::bucket::{self, Bucket, Level};
use crate::{BudgetAnswer, BudgetTake};

pub(super) async fn take(db: Db, takes: Vec<BudgetTake>) -> Result<BudgetAnswer, Failure> {
    let (levels, now) = locked(&db, &takes).await?;
    let outcome = match bucket::take_all(&takes, now, |key| Ok::<_, Infallible>(levels.get(key).copied())) {
        Ok(outcome) => outcome,
        Err(never) => match never {},
    };
    save(&db, &outcome.changed).await?;
    Ok(outcome.answer)
}

pub(super) async fn give_back(db: Db, takes: Vec<BudgetTake>) -> Result<(), Failure> {
    let (mut levels, now) = locked(&db, &takes).await?;
    let mut buckets = BTreeMap::new();
    for take in &takes {
        let mut bucket = Bucket::of(take, levels.get(&take.key).copied(), now);
        bucket.give_back(take.amount);
        // The same bucket may be named twice.
        levels.insert(take.key.clone(), bucket.level());
        buckets.insert(take.key.clone(), bucket);
    }
    save(&db, &buckets.into_values().collect::<Vec<_>>()).await
}

pub(super) async fn left(db: Db, take: BudgetTake) -> Result<f64, Failure> {
    let keys = vec![take.key.as_str()];
    let sql = "SELECT b.key, b.tokens, b.at, linkseal.now_ms() FROM unnest($1) AS k(key)
        LEFT JOIN linkseal.budgets b ON b.key = k.key";
    let rows = db.rows(sql, &[texts(&keys)]).await?;
    let Some(row) = rows.first() else { return Ok(0.0) };
    let (tokens, at): (Option<f64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
    let stored = tokens.zip(at).map(|(tokens, at)| Level {
        tokens,
        at: Timestamp::from_millis(at),
    });
    let now = Timestamp::from_millis(row.try_get(3)?);
    Ok(Bucket::of(&take, stored, now).level().tokens)
}

/// Deletes buckets that are full: without a row they are as full. Returns how many.
pub(super) async fn drop_full(db: Db, limit: i64) -> Result<u64, Failure> {
    let sql = "DELETE FROM linkseal.budgets WHERE key IN (
            SELECT key FROM linkseal.budgets WHERE full_at <= linkseal.statement_ms()
            ORDER BY full_at LIMIT $1 FOR UPDATE SKIP LOCKED)";
    db.execute(sql, &[int(&limit)]).await
}

/// The levels of all buckets and wait queues that a take may touch, locked, and the time after that. A bucket
/// without a row gets one first, since a row that is not there cannot be locked; it says that it is full.
async fn locked(db: &Db, takes: &[BudgetTake]) -> Result<(BTreeMap<String, Level>, Timestamp), Failure> {
    let mut new: BTreeMap<String, f64> = BTreeMap::new();
    for take in takes {
        new.insert(take.key.clone(), f64::from(take.size));
        new.insert(take.queue_key(), 0.0);
    }
    let (keys, tokens): (Vec<&str>, Vec<f64>) = new.iter().map(|(key, tokens)| (key.as_str(), *tokens)).unzip();
    let sql = "INSERT INTO linkseal.budgets (key, tokens, at, full_at)
        SELECT b.key, b.tokens, linkseal.now_ms(), linkseal.now_ms() FROM unnest($1, $2) AS b(key, tokens)
        ORDER BY b.key ON CONFLICT DO NOTHING";
    db.execute(sql, &[texts(&keys), floats(&tokens)]).await?;
    let sql = "SELECT key, tokens, at FROM linkseal.budgets WHERE key = ANY($1) ORDER BY key FOR UPDATE";
    let mut levels = BTreeMap::new();
    for row in db.rows(sql, &[texts(&keys)]).await? {
        let level = Level {
            tokens: row.try_get(1)?,
            at: Timestamp::from_millis(row.try_get(2)?),
        };
        levels.insert(row.try_get(0)?, level);
    }
    if levels.len() < keys.len() {
        // One was deleted as full in between: without a lock, two takers would both find it full.
        return Err(Failure::RolledBack {
            why: "a bucket was deleted meanwhile".into(),
            reconnect: false,
        });
    }
    Ok((levels, time::now(db).await?))
}

async fn save(db: &Db, buckets: &[Bucket]) -> Result<(), Failure> {
    let keys: Vec<&str> = buckets.iter().map(Bucket::key).collect();
    let tokens: Vec<f64> = buckets.iter().map(|bucket| bucket.level().tokens).collect();
    let at: Vec<i64> = buckets.iter().map(|bucket| bucket.level().at.as_millis()).collect();
    let full: Vec<i64> = buckets.iter().map(|bucket| bucket.full_at().as_millis()).collect();
    let sql = "UPDATE linkseal.budgets b SET tokens = n.tokens, at = n.at, full_at = n.full_at
        FROM unnest($1, $2, $3, $4) AS n(key, tokens, at, full_at) WHERE b.key = n.key";
    db.execute(sql, &[texts(&keys), floats(&tokens), ints(&at), ints(&full)])
        .await?;
    Ok(())
}
