//! The end of an edge: health checks are told, connections drain, and what runs behind them ends in
//! the order in which others depend on it. After the drain, all of it together has a few seconds,
//! whatever a disk or an endpoint does: what is not done by then is taken up at the next start, or
//! is lost, counted and logged.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::App;

/// From the end of the drain on: until when sinks may take what is left, background work may end,
/// and the journal may be closed. Each has what the one before it left.
const DELIVERY_END: Duration = Duration::from_millis(1500);
const BACKGROUND_END: Duration = Duration::from_millis(2500);
const JOURNAL_END: Duration = Duration::from_secs(4);

impl App {
    /// Stops, within `edge.drain_delay`, `edge.drain` and [`JOURNAL_END`].
    pub(super) async fn drain(self) {
        let config = self.config.load_full();
        let (delay, deadline) = (config.edge.drain_delay.get(), config.edge.drain.get());
        tracing::info!(
            ?delay,
            ?deadline,
            open = self.limits.open(),
            "draining: health checks are told first"
        );
        self.draining.store(true, Ordering::Release);
        sleep(delay).await;
        self.edge_tasks.stop();
        if self.edge_tasks.wait(deadline).await {
            tracing::info!("drained: every connection has ended");
        } else {
            tracing::warn!(
                open = self.limits.open(),
                "the drain's deadline has passed: what is still open is cut"
            );
        }
        let drained = Instant::now();
        if !self.delivery.stop(DELIVERY_END).await {
            tracing::info!("some events are delivered after the next start: they are in the journal");
        }
        self.tasks.stop();
        let left = (drained + BACKGROUND_END).saturating_duration_since(Instant::now());
        if !self.tasks.wait(left).await {
            tracing::warn!("background work has not ended in time; it is taken up again at the next start");
        }
        let (journal, end) = (self.journal, drained + JOURNAL_END);
        let left = end.saturating_duration_since(Instant::now());
        // It bounds itself; that is no use where no thread is free to run it.
        let closing = tokio::task::spawn_blocking(move || journal.close(left));
        if !matches!(timeout_at(end + Duration::from_millis(100), closing).await, Ok(Ok(_))) {
            tracing::error!("the journal could not be closed in order; what waits for its disk is lost");
        }
    }
}
