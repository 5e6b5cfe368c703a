//! Shutdown: readiness turns false, connections drain, then delivery, background work, leases and the journal end
//! in the order in which they depend on each other. After the drain they share a few seconds, whatever a
//! disk or an endpoint does: what is unfinished by then resumes at the next start, or is lost, counted and
//! logged.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::App;

/// Deadlines for delivery, background work, releasing leases and closing the journal, counted from the end of the drain. Each
/// has the time that the one before it left.
const DELIVERY_END: Duration = Duration::from_millis(1500);
const BACKGROUND_END: Duration = Duration::from_millis(2500);
const LEASES_END: Duration = Duration::from_millis(3000);
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
            "draining; readiness is false now, new connections are refused after the delay"
        );
        self.draining.store(true, Ordering::Release);
        sleep(delay).await;
        self.cores.set().stop();
        if self.cores.set().wait(deadline).await {
            tracing::info!("drained; all connections have ended");
        } else {
            tracing::warn!(
                open = self.limits.open(),
                "drain deadline exceeded; closing the remaining connections"
            );
        }
        drop(self.cores);
        let drained = Instant::now();
        if !self.delivery.stop(DELIVERY_END).await {
            tracing::info!(
                "delivery stopped with events pending; they are in the journal and are delivered after the next start"
            );
        }
        self.tasks.stop();
        let left = (drained + BACKGROUND_END).saturating_duration_since(Instant::now());
        if !self.tasks.wait(left).await {
            tracing::warn!("background work did not end in time; it resumes at the next start");
        }
        // Otherwise another node, or the next process, could go on with this one's work only once they have ended.
        match timeout_at(drained + LEASES_END, self.control.release_leases()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(released)) => tracing::info!(released, "leases of unfinished work released"),
            Ok(Err(error)) => tracing::warn!(%error, "leases could not be released; they end within a minute"),
            Err(_) => tracing::warn!("the store did not release the leases in time; they end within a minute"),
        }
        let (journal, end) = (self.journal, drained + JOURNAL_END);
        let left = end.saturating_duration_since(Instant::now());
        // `close` has a deadline of its own, but not if no thread is free to run it.
        let closing = tokio::task::spawn_blocking(move || journal.close(left));
        if !matches!(timeout_at(end + Duration::from_millis(100), closing).await, Ok(Ok(_))) {
            tracing::error!("the journal could not be closed cleanly; events still waiting for its disk are lost");
        }
    }
}
