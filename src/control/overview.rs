//! What the control plane tells about its orders: the account, the queue, what is left of the CA's
//! limits, and when it will be through. Read only.

use std::time::Duration;

use super::{Control, Priority};
use crate::clock::Timestamp;
use crate::store::{CaAccount, StoreError};

/// How the orders of this node stand.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The directory URL of the CA in use.
    pub directory: String,
    /// The account there. `None`: nothing has been ordered yet.
    pub account: Option<CaAccount>,
    /// Orders that wait for a slot here, by priority, the highest first.
    pub queue: [(Priority, usize); 4],
    /// The CA's limits as mirrored here.
    pub budgets: [Budget; 3],
    /// Until when all orders are held back. `None`: they are not.
    pub held_back: Option<Timestamp>,
    /// How many wait, and until when.
    pub forecast: Forecast,
}

/// One limit of the CA.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Its name, as configured under `acme.limits`.
    pub limit: &'static str,
    /// How many.
    pub count: u32,
    /// In what time.
    pub per: Duration,
    /// How many of them are left. `None`: it counts for each name apart.
    pub remaining: Option<f64>,
}

/// When the queue will be through.
#[derive(Clone, Copy, Debug)]
pub struct Forecast {
    /// How many orders wait.
    pub queued: usize,
    /// When the last of them is expected to be through. `None`: none waits.
    pub done_by: Option<Timestamp>,
}

impl Control {
    /// How the orders stand.
    pub async fn overview(&self) -> Result<Overview, StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let tools = self.tools();
        let authority = tools.authorities.first();
        let (directory, limits) = (authority.directory(), authority.limits);
        let orders = authority.account_budget();
        let left = store.budget_left(&orders, now).await?;
        let held_back = store.held_back(directory, now).await?;
        let queue = self.queue_depth();
        let queued = queue.iter().map(|(_, waiting)| waiting).sum();
        let budget = |limit, of: super::Limit, remaining| Budget {
            limit,
            count: of.count,
            per: of.per,
            remaining,
        };
        let slots = self.inner.queue.eta(now);
        let budgeted = now + refill(queued, left, limits.orders_per_account);
        let done_by = held_back.map_or(slots, |until| slots.max(until)).max(budgeted);
        Ok(Overview {
            directory: directory.to_owned(),
            account: store.ca_account(directory).await?,
            queue,
            budgets: [
                budget("orders_per_account", limits.orders_per_account, Some(left)),
                budget("per_registered_domain", limits.per_registered_domain, None),
                budget("failed_per_name", limits.failed_per_name, None),
            ],
            held_back,
            forecast: Forecast {
                queued,
                done_by: (queued > 0).then_some(done_by),
            },
        })
    }
}

/// How long it takes until the account's limit has let `orders` through, with `left` of it unused.
fn refill(orders: usize, left: f64, limit: super::Limit) -> Duration {
    let missing = (orders as f64 - left).max(0.0);
    let seconds = limit.per.as_secs_f64() * missing / f64::from(limit.count.max(1));
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Limit;
    use super::*;

    #[test]
    fn what_the_limit_lacks_is_waited_for() {
        let limit = Limit {
            count: 300,
            per: Duration::from_secs(3 * 3600),
        };
        assert_eq!(refill(300, 300.0, limit), Duration::ZERO);
        assert_eq!(refill(0, 0.0, limit), Duration::ZERO);
        assert_eq!(refill(10, 0.0, limit), Duration::from_secs(360));
        assert_eq!(refill(301, 300.5, limit), Duration::from_secs(18));
    }
}
