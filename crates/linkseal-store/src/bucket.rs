//! Token buckets that refill continuously: what a CA allows, mirrored. The arithmetic alone, for
//! every store and for the simulator; a bucket of which nothing is stored is full.
//!
//! Who finds a bucket empty is given a turn of its own, after those that were sent away before:
//! told the same time, thousands would come for each token. The turns given out are kept as a
//! bucket too, whose tokens are the turns still owed, below zero, and which fills up to none.
//! Tenants with only a few domains waiting have a line of their own, so that they do not stand
//! behind someone's import; where both lines claim a token, who comes first has it, and the other
//! is given the next turn of its line.

use linkseal_base::clock::Timestamp;

use crate::budgets::{BudgetAnswer, BudgetTake};

/// Calls that reach the store out of order, or clocks of two nodes: a time so little before the
/// bucket's own is not a clock that was set back. In milliseconds.
const WOBBLE_MS: i64 = 60_000;
/// Rounding of the refill must not make a bucket miss a token that it holds.
const ROUNDING: f64 = 1e-6;

/// What is stored of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The tokens it held.
    pub tokens: f64,
    /// When.
    pub at: Timestamp,
}

/// What came of taking from several buckets at once.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the tokens were taken.
    pub answer: BudgetAnswer,
    /// The buckets to store.
    pub changed: Vec<Bucket>,
}

/// Takes from all buckets or from none; `load` gives what is stored of a bucket, by its name.
pub fn take_all<E>(
    takes: &[BudgetTake],
    now: Timestamp,
    mut load: impl FnMut(&str) -> Result<Option<Level>, E>,
) -> Result<Outcome, E> {
    let mut buckets: Vec<Bucket> = Vec::with_capacity(takes.len());
    let mut lacking: Option<(Timestamp, &str)> = None;
    // Stored also when nothing is taken.
    let mut changed = Vec::new();
    for take in takes {
        // The same bucket may be named twice.
        let mut bucket = match buckets.iter().position(|bucket| bucket.key == take.key) {
            Some(place) => buckets.swap_remove(place),
            None => {
                let bucket = Bucket::of(take, load(&take.key)?, now);
                if bucket.set_back {
                    // The refill has to begin at some time.
                    changed.push(bucket.clone());
                }
                bucket
            }
        };
        match bucket.take(take) {
            Taking::Taken => {}
            Taking::Never => lacking = lacking.max(Some((now + take.per, take.key.as_str()))),
            Taking::Ready(ready) => {
                let mut line = Bucket::line_of(take, &mut load, now)?;
                let turn = line.give_turn(ready, take.amount);
                lacking = lacking.max(Some((turn, take.key.as_str())));
                changed.push(line);
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

/// What came of taking from one bucket.
enum Taking {
    Taken,
    /// It will hold enough then.
    Ready(i64),
    /// It is too small to ever hold so much.
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
    /// Size and time come from the configuration of today, tokens from what is stored.
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

    /// The turns given out to those who found the bucket empty.
    fn line_of<E>(
        take: &BudgetTake,
        mut load: impl FnMut(&str) -> Result<Option<Level>, E>,
        now: Timestamp,
    ) -> Result<Self, E> {
        let key = take.queue_key();
        let none = Level { tokens: 0.0, at: now };
        let stored = load(&key)?.unwrap_or(none);
        let mut line = Self {
            key,
            size: 0.0,
            tokens: stored.tokens.min(0.0),
            at: stored.at.as_millis(),
            set_back: false,
            ..Self::of(take, None, now)
        };
        line.refill(now.as_millis());
        Ok(line)
    }

    /// Gives out the next turn, not before `ready`.
    fn give_turn(&mut self, ready: i64, amount: u32) -> Timestamp {
        let turn = ready.max(self.at.saturating_add(self.ms_for(-self.tokens)));
        let owed = if self.ms_per_token > 0.0 {
            turn.saturating_sub(self.at) as f64 / self.ms_per_token
        } else {
            0.0
        };
        self.tokens = -(owed + f64::from(amount));
        Timestamp::from_millis(turn)
    }

    /// Its name.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it holds, and when.
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

    /// Puts tokens back, never above its size.
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
            // The clock was set back: go on from there, else nothing would refill until it has
            // caught up again. What was taken stays taken.
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
    fn whoever_is_sent_away_has_a_turn_of_its_own() {
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
        let mut ask = |now| {
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
        assert!((0..10).all(|_| ask(now).is_none()));
        let turns: Vec<_> = (0..1000).map(|_| ask(now).expect("empty")).collect();
        for (place, turn) in (1u32..).zip(&turns) {
            assert_eq!(*turn, now + second * place);
        }
        // Who has only a few does not stand behind them.
        let few = [BudgetTake {
            small_tenant: true,
            ..take.clone()
        }];
        let Ok(outcome) = take_all::<Infallible>(&few, now, |key| Ok(levels.get(key).copied()));
        assert!(matches!(outcome.answer, BudgetAnswer::Exhausted { until, .. } if until == now + second));
        let mut ask = |now| {
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
        // Each finds its token, and no one is sent away twice.
        assert!(turns.iter().all(|turn| ask(*turn).is_none()));
        assert_eq!(ask(now + second * 1000), Some(now + second * 1001), "the line has gone");
    }
}
