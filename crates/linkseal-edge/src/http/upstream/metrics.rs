//! Metrics of requests to back ends.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// `linkseal_upstream_requests_total`. Clones share the same counters.
#[derive(Clone)]
pub struct Metrics {
    requests: IntCounterVec,
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Outcome {
    Answered,
    /// The back end answered 5xx.
    Failed,
    /// The request could not be passed on: too long, aborted, not understood.
    Refused,
    /// It has been here before.
    Loop,
    /// Too many requests are in progress.
    Busy,
    /// Recent connections failed, so none was tried.
    Down,
    /// No connection.
    Unreachable,
    /// No response in time.
    Timeout,
    /// The connection broke, or the response was not HTTP.
    Broken,
}

impl Outcome {
    const ALL: [Self; 9] = [
        Self::Answered,
        Self::Failed,
        Self::Refused,
        Self::Loop,
        Self::Busy,
        Self::Down,
        Self::Unreachable,
        Self::Timeout,
        Self::Broken,
    ];

    pub(in crate::http) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Loop => "loop",
            Self::Busy => "busy",
            Self::Down => "down",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

impl Metrics {
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let about = Opts::new(
            "linkseal_upstream_requests_total",
            "Requests for back ends, by rule (host and prefix) and what became of them.",
        );
        let requests = IntCounterVec::new(about, &["upstream", "result"])?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self { requests })
    }

    /// The counters of one rule.
    pub(in crate::http) fn of(&self, rule: &str) -> Counters {
        Counters(Outcome::ALL.map(|o| self.requests.with_label_values(&[rule, o.as_str()])))
    }
}

/// The counters of one rule.
pub(in crate::http) struct Counters([IntCounter; Outcome::ALL.len()]);

impl Counters {
    #[allow(
        clippy::indexing_slicing,
        reason = "the number of a variant is below the count of variants"
    )]
    pub(in crate::http) fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].inc();
    }
}
