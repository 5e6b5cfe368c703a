//! From "this domain is due" to "its order is in the queue".
//!
//! | file | part |
//! |---|---|
//! | `scheduler` | claims what is due, in the store and in the fast lane |
//! | `in_progress` | one task per name at a time, under one lease; handshakes wait for it |
//! | `prepare` | the steps for one due domain: time, renewal information, admission, DNS |
//! | `dns_step` | the DNS step: check, pre-flight, mass-failure guard, queue |
//! | `handshake` | answers handshakes that wait for a certificate |
//! | `forget` | removes a domain for good |
//! | `eta` | when an order is expected to end |

mod dns_step;
mod eta;
mod forget;
mod handshake;
mod in_progress;
mod prepare;
pub mod scheduler;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use dashmap::DashMap;
use linkseal_domain::DomainName;
use tokio::sync::Semaphore;

pub(crate) use in_progress::NameGuard;

use self::in_progress::InProgress;
use crate::admission::Admission;
use crate::checks::Checks;
use crate::core::Core;
use crate::fairness::Fairness;
use crate::fairness::queue::Queue;

/// Certificates loaded from the store at the same time for handshakes.
const CONCURRENT_LOADS: usize = 64;

/// The schedule of this node.
pub(crate) struct Schedule {
    pub(crate) core: Arc<Core>,
    pub(crate) fairness: Arc<Fairness>,
    admission: Arc<Admission>,
    pub(crate) checks: Arc<Checks>,
    /// Prepared orders that wait for a slot.
    pub(crate) queue: Arc<Queue>,
    /// Names being worked on here, from their preparation to the end of their order.
    in_progress: DashMap<DomainName, InProgress>,
    loads: Arc<Semaphore>,
}

impl Schedule {
    pub(crate) fn new(
        core: Arc<Core>,
        fairness: Arc<Fairness>,
        admission: Arc<Admission>,
        checks: Arc<Checks>,
        max_concurrent_orders: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            core,
            fairness,
            admission,
            checks,
            queue: Arc::new(Queue::new(max_concurrent_orders)),
            in_progress: DashMap::new(),
            loads: Arc::new(Semaphore::new(CONCURRENT_LOADS)),
        })
    }
}
