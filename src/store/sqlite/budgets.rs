//! Token buckets that refill continuously: what a CA allows, mirrored.
//!
//! A bucket without a row is full, so the table holds only what was used lately.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Timestamp;
use crate::store::{BudgetAnswer, BudgetTake, StoreError};

/// Calls that reach the store out of order, or clocks of two nodes: a time so little before the
/// bucket's own is not a clock that was set back. In milliseconds.
const WOBBLE_MS: i64 = 60_000;
/// Rounding of the refill must not make a bucket miss a token that it holds.
const ROUNDING: f64 = 1e-6;
/// Full buckets that go with each write: more than it adds, so they do not pile up.
const DROPPED_AT_ONCE: i64 = 64;

pub(super) fn take(db: &Connection, takes: &[BudgetTake], now: Timestamp) -> Result<BudgetAnswer, StoreError> {
    let mut buckets: Vec<Bucket<'_>> = Vec::with_capacity(takes.len());
    let mut lacking: Option<(Timestamp, &str)> = None;
    for take in takes {
        // The same bucket may be named twice.
        let mut bucket = match buckets.iter().position(|bucket| bucket.key == take.key) {
            Some(place) => buckets.swap_remove(place),
            None => {
                let bucket = Bucket::load(db, take, now)?;
                if bucket.set_back {
                    // Also when nothing is taken: the refill has to begin at some time.
                    bucket.save(db)?;
                }
                bucket
            }
        };
        if let Some(until) = bucket.take(take, now) {
            lacking = lacking.max(Some((until, take.key.as_str())));
        }
        buckets.push(bucket);
    }
    if let Some((until, key)) = lacking {
        return Ok(BudgetAnswer::Exhausted {
            key: key.to_owned(),
            until,
        });
    }
    for bucket in &buckets {
        bucket.save(db)?;
    }
    drop_full(db, now)?;
    Ok(BudgetAnswer::Taken)
}

pub(super) fn give_back(db: &Connection, takes: &[BudgetTake], now: Timestamp) -> Result<(), StoreError> {
    for take in takes {
        let mut bucket = Bucket::load(db, take, now)?;
        bucket.tokens = (bucket.tokens + f64::from(take.amount)).min(bucket.size);
        bucket.save(db)?;
    }
    drop_full(db, now)
}

pub(super) fn left(db: &Connection, take: &BudgetTake, now: Timestamp) -> Result<f64, StoreError> {
    Ok(Bucket::load(db, take, now)?.tokens)
}

pub(super) fn hold_back(db: &Connection, ca: &str, until: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO held_back (ca, until) VALUES (?1, ?2)
        ON CONFLICT DO UPDATE SET until = max(until, excluded.until)";
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

/// A bucket, refilled up to `at`.
struct Bucket<'a> {
    key: &'a str,
    size: f64,
    /// Milliseconds for one token.
    ms_per_token: f64,
    tokens: f64,
    at: i64,
    /// Whether `at` was ahead of the clock and has been set back with it.
    set_back: bool,
}

impl<'a> Bucket<'a> {
    /// Size and time come from the configuration of today, tokens from what is stored.
    fn load(db: &Connection, take: &'a BudgetTake, now: Timestamp) -> Result<Self, StoreError> {
        let stored: Option<(f64, i64)> = db
            .prepare_cached("SELECT tokens, at FROM budgets WHERE key = ?1")?
            .query_row([&take.key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let size = f64::from(take.size);
        let ms_per_token = take.per.as_secs_f64() * 1000.0 / size.max(1.0);
        let now = now.as_millis();
        let (tokens, at) = stored.unwrap_or((size, now));
        let mut bucket = Self {
            key: &take.key,
            size,
            ms_per_token,
            tokens: tokens.min(size),
            at,
            set_back: false,
        };
        bucket.refill(now);
        Ok(bucket)
    }

    fn refill(&mut self, now: i64) {
        let passed = now.saturating_sub(self.at);
        if passed > 0 {
            let gained = if self.ms_per_token > 0.0 {
                passed as f64 / self.ms_per_token
            } else {
                self.size
            };
            self.tokens = (self.tokens + gained).min(self.size);
            self.at = now;
        } else if passed < -WOBBLE_MS {
            // The clock was set back: go on from there, else nothing would refill until it has
            // caught up again. What was taken stays taken.
            self.at = now;
            self.set_back = true;
        }
    }

    /// Takes, or says when it will hold enough.
    fn take(&mut self, take: &BudgetTake, now: Timestamp) -> Option<Timestamp> {
        let amount = f64::from(take.amount);
        if amount > self.size {
            return Some(now + take.per);
        }
        let missing = amount - self.tokens;
        if missing > ROUNDING {
            return Some(Timestamp::from_millis(self.at.saturating_add(self.ms_for(missing))));
        }
        self.tokens = (self.tokens - amount).max(0.0);
        None
    }

    /// How long so many tokens take to come, in milliseconds, rounded up.
    fn ms_for(&self, tokens: f64) -> i64 {
        (tokens * self.ms_per_token).ceil() as i64
    }

    fn save(&self, db: &Connection) -> Result<(), StoreError> {
        let full_at = self.at.saturating_add(self.ms_for(self.size - self.tokens));
        db.prepare_cached("INSERT OR REPLACE INTO budgets (key, tokens, at, full_at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.key, self.tokens, self.at, full_at])?;
        Ok(())
    }
}

fn drop_full(db: &Connection, now: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM budgets WHERE key IN (SELECT key FROM budgets WHERE full_at <= ?1 LIMIT ?2)";
    db.prepare_cached(sql)?
        .execute(params![now.as_millis(), DROPPED_AT_ONCE])?;
    Ok(())
}
