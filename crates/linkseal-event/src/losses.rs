//! Events that the journal did not take: counted, and logged once in a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

/// Losses are logged at most once in this time.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// Losses, and what has been said of them.
pub(super) struct Losses {
    total: IntCounter,
    /// Where the journal is, for the log.
    folder: String,
    unsaid: Mutex<Unsaid>,
}

#[derive(Default)]
struct Unsaid {
    count: u64,
    logged: Option<Instant>,
    cause: Option<String>,
}

impl Losses {
    pub(super) fn new(total: IntCounter, folder: String) -> Self {
        Self {
            total,
            folder,
            unsaid: Mutex::default(),
        }
    }

    /// Counts losses. `cause`: `None` when it is known from an earlier one.
    pub(super) fn add(&self, count: u64, cause: Option<&str>) {
        if count == 0 {
            return;
        }
        self.total.inc_by(count);
        let mut unsaid = self.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.count += count;
        if let Some(cause) = cause.filter(|c| unsaid.cause.as_deref() != Some(*c)) {
            unsaid.cause = Some(cause.to_owned());
        }
        drop(unsaid);
        self.log();
    }

    /// Notes why events are going to be lost.
    pub(super) fn set_cause(&self, cause: String) {
        self.unsaid.lock().unwrap_or_else(PoisonError::into_inner).cause = Some(cause);
    }

    /// Logs what has not been logged, when it is time for that.
    pub(super) fn log(&self) {
        let mut unsaid = self.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        if unsaid.log_due() != Some(Duration::ZERO) {
            return;
        }
        unsaid.logged = Some(Instant::now());
        let lost = std::mem::take(&mut unsaid.count);
        let cause = unsaid.cause.clone();
        // The log may be slow; nothing waits for it here.
        drop(unsaid);
        tracing::error!(
            lost,
            cause = cause.as_deref().unwrap_or("unknown"),
            folder = self.folder,
            "events are lost: the journal cannot take them (requests are still served); \
             see that events.dir is on a disk that has room and answers"
        );
    }

    /// How long until losses are to be logged. `None`: there are none.
    pub(super) fn log_due(&self) -> Option<Duration> {
        self.unsaid.lock().unwrap_or_else(PoisonError::into_inner).log_due()
    }
}

impl Unsaid {
    fn log_due(&self) -> Option<Duration> {
        let wait = self
            .logged
            .map_or(Duration::ZERO, |at| LOG_PERIOD.saturating_sub(at.elapsed()));
        (self.count > 0).then_some(wait)
    }
}
