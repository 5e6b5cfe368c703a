//! What the control plane reports: the overview of orders, metrics, lifecycle events to the event plane.

mod audit_retention;
mod metrics;
mod outbox;
mod overview;

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use parking_lot::Mutex;

pub use outbox::OutboxPublisher;
pub use overview::{AuthorityState, Budget, Forecast, Overview, Standing};

use crate::admission::Admission;
use crate::core::Core;
use crate::order::Orders;
use crate::schedule::Schedule;
use crate::watch::target_caa::TargetCaaWatch;

/// How long the count of certificates at risk is reused.
const AT_RISK_TTL: Duration = Duration::from_secs(30);

/// Reports on the state of this node.
pub struct Report {
    core: Arc<Core>,
    admission: Arc<Admission>,
    schedule: Arc<Schedule>,
    orders: Arc<Orders>,
    target_caa: Arc<TargetCaaWatch>,
    /// Certificates at risk, and when they were counted.
    at_risk: Mutex<Option<(Timestamp, u64)>>,
}

impl Report {
    pub(crate) fn new(
        admission: Arc<Admission>,
        schedule: Arc<Schedule>,
        orders: Arc<Orders>,
        target_caa: Arc<TargetCaaWatch>,
    ) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(&schedule.core),
            admission,
            schedule,
            orders,
            target_caa,
            at_risk: Mutex::default(),
        })
    }

    /// How many certificates are at risk, counted at most twice a minute.
    fn at_risk(&self) -> u64 {
        let now = self.core.clock.now();
        let mut known = self.at_risk.lock();
        if let Some((_, count)) = known.filter(|(at, _)| *at <= now && now < *at + AT_RISK_TTL) {
            return count;
        }
        let mut count = 0;
        self.core
            .registry
            .for_each(|entry| count += u64::from(entry.is_at_risk(now)));
        *known = Some((now, count));
        count
    }
}
