//! Budgets: what a CA allows, mirrored as token buckets that all nodes share.
//!
//! [`crate::bucket`] has the arithmetic.

use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;

use crate::StoreError;

/// Token buckets.
#[async_trait]
pub trait BudgetStore: Send + Sync + 'static {
    /// Takes from several token buckets at once: from all of them or from none. Where some are
    /// lacking, the answer gives the caller a turn, after those of everybody who was sent away
    /// before; where several buckets lack some, it names the one that takes longest. A bucket too
    /// small to ever hold the amount is to be asked again after the time it fills in.
    async fn take_budgets(&self, takes: &[BudgetTake], now: Timestamp) -> Result<BudgetAnswer, StoreError>;

    /// Gives tokens back (an order that did not count after all), never above the bucket's size.
    async fn return_budgets(&self, takes: &[BudgetTake], now: Timestamp) -> Result<(), StoreError>;

    /// What a bucket holds now, without taking.
    async fn budget_left(&self, take: &BudgetTake, now: Timestamp) -> Result<f64, StoreError>;
}

/// Tokens to take from one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetTake {
    /// The bucket's name, such as `failed/https://ca.example/dir/links.customer.example`.
    pub key: String,
    /// Its size.
    pub size: u32,
    /// In what time it fills from empty.
    pub per: Duration,
    /// How many tokens to take.
    pub amount: u32,
    /// Whether who is sent away stands in the short line: that of tenants with only a few domains
    /// waiting, beside the one of large imports. SlugTargets are served at once.
    pub small_tenant: bool,
}

impl BudgetTake {
    /// The slot that a caller is given when the bucket is empty. [`BudgetStore::return_budgets`] takes
    /// it back if it will not be used.
    #[must_use]
    pub fn slot(&self) -> Self {
        Self {
            key: self.queue_key(),
            ..self.clone()
        }
    }

    /// The key under which the slots given out for the bucket are stored.
    pub(crate) fn queue_key(&self) -> String {
        let queue = if self.small_tenant { "short_line" } else { "line" };
        format!("{queue}/{}", self.key)
    }
}

/// Whether the tokens were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetAnswer {
    Taken,
    /// None: this bucket lacks some until the time given.
    Exhausted {
        /// The bucket.
        key: String,
        /// When it will hold enough for the caller: its turn.
        until: Timestamp,
    },
}
