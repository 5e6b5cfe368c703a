//! What the control plane reports: the overview of orders, metrics, lifecycle events to the event plane.

mod audit_retention;
mod census;
mod metrics;
mod outbox;
mod overview;

use std::sync::Arc;

use self::census::Counted;
pub use outbox::OutboxPublisher;
pub use overview::{AuthorityState, Budget, Forecast, Overview, Standing};

use crate::admission::Admission;
use crate::core::Core;
use crate::order::Orders;
use crate::schedule::Schedule;
use crate::watch::target_caa::TargetCaaWatch;

/// Reports on the state of this node.
pub struct Report {
    core: Arc<Core>,
    admission: Arc<Admission>,
    schedule: Arc<Schedule>,
    orders: Arc<Orders>,
    target_caa: Arc<TargetCaaWatch>,
    counted: Counted,
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
            counted: Counted::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::Bench;

    /// What a scrape and the overview say about all domains is maintained with every change, so that they take as
    /// long with ten million domains as with ten.
    #[tokio::test]
    async fn a_scrape_and_the_overview_read_no_stored_domain() {
        let bench = Bench::new().await;
        bench.break_store();
        let report = bench.control.report();
        report.refresh_metrics().await.unwrap();
        report.overview().await.unwrap();
    }
}
