//! Events that the journal did not take: counted, and logged at a bounded rate.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::IntCounter;

/// Shortest time between two log lines about losses.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// Counts and logs losses.
pub(super) struct Losses {
    total: IntCounter,
    /// The journal's directory, for the log.
    folder: String,
    unlogged: Mutex<Unlogged>,
}

#[derive(Default)]
struct Unlogged {
    count: u64,
    logged: Option<Instant>,
    cause: Option<String>,
}

impl Losses {
    pub(super) fn new(total: IntCounter, folder: String) -> Self {
        Self {
            total,
            folder,
            unlogged: Mutex::default(),
        }
    }

    /// Counts losses. Without a cause, the last known one is logged.
    pub(super) fn add(&self, count: u64, cause: Option<&str>) {
        if count == 0 {
            return;
        }
        self.total.inc_by(count);
        let mut unlogged = self.unlogged.lock();
        unlogged.count += count;
        if let Some(cause) = cause.filter(|c| unlogged.cause.as_deref() != Some(*c)) {
            unlogged.cause = Some(cause.to_owned());
        }
        drop(unlogged);
        self.log();
    }

    /// Sets why events are going to be lost.
    pub(super) fn set_cause(&self, cause: String) {
        self.unlogged.lock().cause = Some(cause);
    }

    /// Logs new losses if a line is due.
    pub(super) fn log(&self) {
        let mut unlogged = self.unlogged.lock();
        if unlogged.log_due() != Some(Duration::ZERO) {
            return;
        }
        unlogged.logged = Some(Instant::now());
        let lost = std::mem::take(&mut unlogged.count);
        let cause = unlogged.cause.clone();
        // The log may be slow; requests must not wait for it here.
        drop(unlogged);
        tracing::error!(
            lost,
            cause = cause.as_deref().unwrap_or("unknown"),
            folder = self.folder,
            "events lost: the journal cannot take them; requests are still served \
             (check that the disk of events.dir works and has free space)"
        );
    }

    /// How long until losses are to be logged; `None` when there are none.
    pub(super) fn log_due(&self) -> Option<Duration> {
        self.unlogged.lock().log_due()
    }
}

impl Unlogged {
    fn log_due(&self) -> Option<Duration> {
        let wait = self
            .logged
            .map_or(Duration::ZERO, |at| LOG_PERIOD.saturating_sub(at.elapsed()));
        (self.count > 0).then_some(wait)
    }
}
