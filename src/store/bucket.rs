//! Token buckets that refill continuously: what a CA allows, mirrored. The arithmetic alone, for
//! every store and for the simulator; a bucket of which nothing is stored is full.

use super::{BudgetAnswer, BudgetTake};
use crate::clock::Timestamp;

/// Calls that reach the store out of order, or clocks of two nodes: a time so little before the
/// bucket's own is not a clock that was set back. In milliseconds.
const WOBBLE_MS: i64 = 60_000;
/// Rounding of the refill must not make a bucket miss a token that it holds.
const ROUNDING: f64 = 1e-6;

/// What is stored of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    /// The tokens it held.
    pub(crate) tokens: f64,
    /// When.
    pub(crate) at: Timestamp,
}

/// What came of taking from several buckets at once.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whether the tokens were taken.
    pub(crate) answer: BudgetAnswer,
    /// The buckets to store.
    pub(crate) changed: Vec<Bucket>,
}

/// Takes from all buckets or from none; `load` gives each bucket, refilled up to `now`.
pub(crate) fn take_all<E>(
    takes: &[BudgetTake],
    now: Timestamp,
    mut load: impl FnMut(&BudgetTake) -> Result<Bucket, E>,
) -> Result<Outcome, E> {
    let mut buckets: Vec<Bucket> = Vec::with_capacity(takes.len());
    let mut lacking: Option<(Timestamp, &str)> = None;
    let mut set_back = Vec::new();
    for take in takes {
        // The same bucket may be named twice.
        let mut bucket = match buckets.iter().position(|bucket| bucket.key == take.key) {
            Some(place) => buckets.swap_remove(place),
            None => {
                let bucket = load(take)?;
                if bucket.set_back {
                    // Stored also when nothing is taken: the refill has to begin at some time.
                    set_back.push(bucket.clone());
                }
                bucket
            }
        };
        if let Some(until) = bucket.take(take, now) {
            lacking = lacking.max(Some((until, take.key.as_str())));
        }
        buckets.push(bucket);
    }
    Ok(match lacking {
        Some((until, key)) => Outcome {
            answer: BudgetAnswer::Exhausted {
                key: key.to_owned(),
                until,
            },
            changed: set_back,
        },
        None => Outcome {
            answer: BudgetAnswer::Taken,
            changed: buckets,
        },
    })
}

/// A bucket, refilled up to `at`.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    key: String,
    size: f64,
    /// Milliseconds for one token.
    ms_per_token: f64,
    tokens: f64,
    at: i64,
    /// Whether `at` was ahead of the clock and has been set back with it.
    set_back: bool,
}

impl Bucket {
    /// Size and time come from the configuration of today, tokens from what is stored.
    pub(crate) fn of(take: &BudgetTake, stored: Option<Level>, now: Timestamp) -> Self {
        let size = f64::from(take.size);
        let Level { tokens, at } = stored.unwrap_or(Level { tokens: size, at: now });
        let mut bucket = Self {
            key: take.key.clone(),
            size,
            ms_per_token: take.per.as_secs_f64() * 1000.0 / size.max(1.0),
            tokens: tokens.min(size),
            at: at.as_millis(),
            set_back: false,
        };
        bucket.refill(now.as_millis());
        bucket
    }

    /// Its name.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// What it holds, and when.
    pub(crate) fn level(&self) -> Level {
        Level {
            tokens: self.tokens,
            at: Timestamp::from_millis(self.at),
        }
    }

    /// When it will be full, if nothing is taken.
    pub(crate) fn full_at(&self) -> Timestamp {
        Timestamp::from_millis(self.at.saturating_add(self.ms_for(self.size - self.tokens)))
    }

    /// Puts tokens back, never above its size.
    pub(crate) fn give_back(&mut self, amount: u32) {
        self.tokens = (self.tokens + f64::from(amount)).min(self.size);
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
}
