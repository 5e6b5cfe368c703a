//! What is known about one sink: how far it has come, its last attempts, and requests of operators.

use std::collections::BTreeMap;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::failure_streak::FailureStreak;

/// What is known about one sink.
#[derive(Debug)]
pub(super) struct SinkState {
    pub(super) name: String,
    /// Notified when an operator asks for a retry or a replay.
    pub(super) wake: Notify,
    pub(super) known: Mutex<Known>,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) kind: &'static str,
    /// How far it has come in each folder.
    pub(super) held: BTreeMap<Uuid, u64>,
    /// The time of the oldest event that it does not hold; `None` when it holds all, or when that is
    /// not known.
    pub(super) oldest: Option<Timestamp>,
    /// Its place when its lag was last measured.
    pub(super) measured_at: Option<(Uuid, u64)>,
    pub(super) last_success: Option<Timestamp>,
    pub(super) stopped: Option<Timestamp>,
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
    pub(super) next_attempt: Option<Timestamp>,
    /// Failures of the journal's disk that keep it from making progress.
    pub(super) disk: FailureStreak,
    retry: bool,
    replay: bool,
}

impl SinkState {
    pub(super) fn new(name: &str, kind: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            wake: Notify::new(),
            known: Mutex::new(Known {
                kind,
                ..Known::default()
            }),
        }
    }

    /// How far it has come in a folder, if known.
    pub(super) fn held(&self, boot: Uuid) -> Option<u64> {
        self.known.lock().held.get(&boot).copied()
    }

    /// Sets the time of the oldest event that it does not hold.
    pub(super) fn set_oldest(&self, time: Option<Timestamp>) {
        self.known.lock().oldest = time;
    }

    /// Records that it accepted a batch.
    pub(super) fn succeeded(&self, now: Timestamp) {
        let mut known = self.known.lock();
        known.last_success = Some(now);
        (known.failures, known.last_error, known.next_attempt) = (0, None, None);
    }

    /// Records a failed attempt; `failures` in a row.
    pub(super) fn failed(&self, cause: &str, failures: u32, next: Timestamp) {
        let mut known = self.known.lock();
        known.failures = failures;
        known.last_error = Some(cause.to_owned());
        known.next_attempt = Some(next);
    }

    /// Records that the journal's disk holds it up; returns whether to log it.
    pub(super) fn disk_failed(&self, cause: &str, now: Timestamp) -> bool {
        let mut known = self.known.lock();
        known.last_error = Some(format!("events.dir: {cause}"));
        known.disk.failed(cause, now)
    }

    /// Records that the disk works; returns how often it had failed and for how long, if that was
    /// logged.
    pub(super) fn disk_works(&self, now: Timestamp) -> Option<(u32, Duration)> {
        let mut known = self.known.lock();
        if known.disk.failures() > 0 {
            known.last_error = None;
        }
        known.disk.end(now)
    }

    /// Whether the journal's disk holds it up.
    pub(super) fn is_held_up(&self) -> bool {
        self.known.lock().disk.failures() > 0
    }

    /// Records since when it is stopped, or that it is not.
    pub(super) fn set_stopped(&self, since: Option<Timestamp>, cause: Option<&str>) {
        let mut known = self.known.lock();
        known.stopped = since;
        known.next_attempt = None;
        if let Some(cause) = cause {
            known.last_error = Some(cause.to_owned());
        }
    }

    /// Requests another attempt now, also when it is stopped.
    pub(super) fn want_retry(&self) {
        self.known.lock().retry = true;
        self.wake.notify_one();
    }

    /// Whether a retry was requested since the last call.
    pub(super) fn take_retry(&self) -> bool {
        std::mem::take(&mut self.known.lock().retry)
    }

    /// Requests a replay of its dead letters.
    pub(super) fn want_replay(&self) {
        self.known.lock().replay = true;
        self.wake.notify_one();
    }

    pub(super) fn wants_replay(&self) -> bool {
        self.known.lock().replay
    }

    /// Whether a replay was requested since the last call.
    pub(super) fn take_replay(&self) -> bool {
        std::mem::take(&mut self.known.lock().replay)
    }
}
