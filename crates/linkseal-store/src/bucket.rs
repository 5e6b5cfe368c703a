//! Token buckets that refill continuously and mirror the limits of the CAs. Only the arithmetic, for
//! every store and for the simulator. A bucket of which nothing is stored is full.
//!
//! A caller that finds a bucket empty gets a slot of its own, after the slots of earlier callers: given
//! the same time, thousands would retry for each token. The slots given out form a wait queue, which is
//! kept as a bucket too: its level is minus the tokens still owed, and refills up to zero. Tenants with
//! only a few domains waiting have a queue of their own, so that they do not wait behind another tenant's
//! import. If both queues have a slot for the same token, the first caller takes it, and the other gets
//! the next slot of its queue.

use linkseal_base::clock::Timestamp;

use crate::budgets::{BudgetAnswer, BudgetTake};

/// A time at most this much before the bucket's own comes from a call out of order or from another node,
/// not from a clock that was set back. In milliseconds.
const WOBBLE_MS: i64 = 60_000;
/// Tolerance in tokens: rounding of the refill must not hide a token that is there.
const ROUNDING: f64 = 1e-6;

/// How full a bucket was at a time: what is stored of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    pub tokens: f64,
    pub at: Timestamp,
}

/// The result of taking from several buckets at once.
#[derive(Debug)]
pub struct Outcome {
    pub answer: BudgetAnswer,
    /// The buckets to store.
    pub changed: Vec<Bucket>,
}

/// Takes from all buckets or from none; `load` reads the stored level of a bucket by its key.
pub fn take_all<E>(
    takes: &[BudgetTake],
    now: Timestamp,
    mut load: impl FnMut(&str) -> Result<Option<Level>, E>,
) -> Result<Outcome, E> {
    let mut buckets: Vec<Bucket> = Vec::with_capacity(takes.len());
    let mut lacking: Option<(Timestamp, &str)> = None;
    // Stored even if nothing is taken.
    let mut changed = Vec::new();
    for take in takes {
        // The same bucket may be named twice.
        let mut bucket = match buckets.iter().position(|bucket| bucket.key == take.key) {
            Some(place) => buckets.swap_remove(place),
            None => {
                let bucket = Bucket::of(take, load(&take.key)?, now);
                if bucket.set_back {
                    // Otherwise its refill would never begin.
                    changed.push(bucket.clone());
                }
                bucket
            }
        };
        match bucket.take(take) {
            Taking::Taken => {}
            Taking::Never => lacking = lacking.max(Some((now + take.per, take.key.as_str()))),
            Taking::Ready(ready) => {
                let mut queue = Bucket::queue_of(take, &mut load, now)?;
                let slot = queue.reserve_slot(ready, take.amount);
                lacking = lacking.max(Some((slot, take.key.as_str())));
                changed.push(queue);
            }
        }
        buckets.push(bucket);
    }
    Ok(match lacking {
        Some((until, key)) => Outcome {
            answer: BudgetAnswer::Exhausted {
                key: key.to_owned(),
                until,
            },
            changed,
        },
        None => Outcome {
            answer: BudgetAnswer::Taken,
            changed: buckets,
        },
    })
}

/// The result of taking from one bucket.
enum Taking {
    Taken,
    /// When it will hold enough, in milliseconds since 1970.
    Ready(i64),
    /// It is too small to ever hold enough.
    Never,
}

/// A bucket, refilled up to `at`.
#[derive(Clone, Debug)]
pub struct Bucket {
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
    /// Size and refill time come from the present configuration, tokens from the stored level.
    pub fn of(take: &BudgetTake, stored: Option<Level>, now: Timestamp) -> Self {
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

    /// The wait queue of a bucket.
    fn queue_of<E>(
        take: &BudgetTake,
        mut load: impl FnMut(&str) -> Result<Option<Level>, E>,
        now: Timestamp,
    ) -> Result<Self, E> {
        let key = take.queue_key();
        let none = Level { tokens: 0.0, at: now };
        let stored = load(&key)?.unwrap_or(none);
        let mut queue = Self {
            key,
            size: 0.0,
            tokens: stored.tokens.min(0.0),
            at: stored.at.as_millis(),
            set_back: false,
            ..Self::of(take, None, now)
        };
        queue.refill(now.as_millis());
        Ok(queue)
    }

    /// Reserves the next slot, not before `ready`.
    fn reserve_slot(&mut self, ready: i64, amount: u32) -> Timestamp {
        let slot = ready.max(self.at.saturating_add(self.ms_for(-self.tokens)));
        let owed = if self.ms_per_token > 0.0 {
            slot.saturating_sub(self.at) as f64 / self.ms_per_token
        } else {
            0.0
        };
        self.tokens = -(owed + f64::from(amount));
        Timestamp::from_millis(slot)
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its level at the last refill.
    pub fn level(&self) -> Level {
        Level {
            tokens: self.tokens,
            at: Timestamp::from_millis(self.at),
        }
    }

    /// When it will be full, if nothing is taken.
    pub(crate) fn full_at(&self) -> Timestamp {
        Timestamp::from_millis(self.at.saturating_add(self.ms_for(self.size - self.tokens)))
    }

    /// Returns tokens, never above its size.
    pub fn give_back(&mut self, amount: u32) {
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
            // The clock was set back: continue from there, or nothing would refill until it has caught
            // up. Taken tokens stay taken.
            self.at = now;
            self.set_back = true;
        }
    }

    fn take(&mut self, take: &BudgetTake) -> Taking {
        let amount = f64::from(take.amount);
        if amount > self.size {
            return Taking::Never;
        }
        let missing = amount - self.tokens;
        if missing > ROUNDING {
            return Taking::Ready(self.at.saturating_add(self.ms_for(missing)));
        }
        self.tokens = (self.tokens - amount).max(0.0);
        Taking::Taken
    }

    /// How long this many tokens take to refill, in milliseconds, rounded up.
    fn ms_for(&self, tokens: f64) -> i64 {
        (tokens * self.ms_per_token).ceil() as i64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_caller_that_finds_the_bucket_empty_gets_a_slot_of_its_own() {
        let now = Timestamp::from_secs(1_795_305_600);
        let second = Duration::from_secs(1);
        let take = BudgetTake {
            key: "orders".into(),
            size: 10,
            per: second * 10,
            amount: 1,
            small_tenant: false,
        };
        let mut levels: HashMap<String, Level> = HashMap::new();
        let ask = |levels: &mut HashMap<String, Level>, now| {
            let Ok(outcome) =
                take_all::<Infallible>(std::slice::from_ref(&take), now, |key| Ok(levels.get(key).copied()));
            for bucket in outcome.changed {
                levels.insert(bucket.key().to_owned(), bucket.level());
            }
            match outcome.answer {
                BudgetAnswer::Taken => None,
                BudgetAnswer::Exhausted { until, .. } => Some(until),
            }
        };
        assert!((0..10).all(|_| ask(&mut levels, now).is_none()));
        let slots: Vec<_> = (0..1000).map(|_| ask(&mut levels, now).expect("empty")).collect();
        for (place, slot) in (1u32..).zip(&slots) {
            assert_eq!(*slot, now + second * place);
        }
        // A small tenant does not wait behind them.
        let few = [BudgetTake {
            small_tenant: true,
            ..take.clone()
        }];
        let Ok(outcome) = take_all::<Infallible>(&few, now, |key| Ok(levels.get(key).copied()));
        assert!(matches!(outcome.answer, BudgetAnswer::Exhausted { until, .. } if until == now + second));
        // Each caller finds a token at its slot.
        assert!(slots.iter().all(|slot| ask(&mut levels, *slot).is_none()));
        let next = ask(&mut levels, now + second * 1000);
        assert_eq!(next, Some(now + second * 1001), "the queue is empty");
    }
}
