//! Budgets: the limits of the CAs, mirrored as token buckets that all nodes share. They refill by the store's
//! clock, never by a node's.
//!
//! [`crate::bucket`] has the arithmetic.

use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;

use crate::StoreError;

/// Token buckets.
#[async_trait]
pub trait BudgetStore: Send + Sync + 'static {
    /// Takes from several token buckets at once: from all of them or from none. If tokens are lacking, the
    /// answer has a slot for the caller, after the slots of earlier callers; if several buckets lack
    /// tokens, it names the one that takes longest. If a bucket is too small to ever hold the amount, the
    /// slot is [`BudgetTake::per`] from now.
    async fn take_budgets(&self, takes: &[BudgetTake]) -> Result<BudgetAnswer, StoreError>;

    /// Returns tokens (an order that did not count after all), never above the bucket's size.
    async fn return_budgets(&self, takes: &[BudgetTake]) -> Result<(), StoreError>;

    /// What a bucket holds now, without taking.
    async fn budget_left(&self, take: &BudgetTake) -> Result<f64, StoreError>;
}

/// Tokens to take from one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetTake {
    /// The bucket's key, such as `failed/https://ca.example/dir/links.customer.example`.
    pub key: String,
    /// The tokens of a full bucket.
    pub size: u32,
    /// The time in which it fills from empty.
    pub per: Duration,
    /// How many tokens to take.
    pub amount: u32,
    /// Whether the caller belongs in the short queue, which tenants with only a few domains waiting have
    /// beside the queue of large imports. Both are served at the same time.
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

/// Whether the tokens were taken from all buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetAnswer {
    Taken,
    /// None was taken: this bucket lacks tokens.
    Exhausted {
        key: String,
        /// When it will hold enough for the caller: the caller's slot.
        until: Timestamp,
    },
}
