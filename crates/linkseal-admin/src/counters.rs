//! What the admin port counts about itself; every series is there from the start.

use prometheus::{IntCounterVec, Opts, Registry};

/// Why someone was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No token was shown.
    NoToken,
    /// A token was shown that is not known here.
    UnknownToken,
    /// The same, too often.
    Throttled,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Another needed its place.
    Displaced,
    /// It took too long, or what was sent was not read.
    Overdue,
}

impl Failure {
    const ALL: [Self; 3] = [Self::NoToken, Self::UnknownToken, Self::Throttled];

    fn label(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::UnknownToken => "unknown_token",
            Self::Throttled => "throttled",
        }
    }
}

impl Closed {
    const ALL: [Self; 2] = [Self::Displaced, Self::Overdue];

    fn label(self) -> &'static str {
        match self {
            Self::Displaced => "displaced",
            Self::Overdue => "overdue",
        }
    }
}

/// The counters. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    failures: IntCounterVec,
    closed: IntCounterVec,
}

impl Counters {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let family = |name: &str, help: &str, label: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let counters = Self {
            failures: family(
                "linkseal_admin_auth_failures_total",
                "Requests to the admin port that showed no right token, by reason: no_token, unknown_token, throttled.",
                "reason",
            )?,
            closed: family(
                "linkseal_admin_connections_closed_total",
                "Connections to the admin port that were closed by this side, by reason: displaced (another needed the \
                 place), overdue (not reading, or too slow).",
                "reason",
            )?,
        };
        for failure in Failure::ALL {
            counters.failures.with_label_values(&[failure.label()]);
        }
        for closed in Closed::ALL {
            counters.closed.with_label_values(&[closed.label()]);
        }
        Ok(counters)
    }

    pub(super) fn refused(&self, failure: Failure) {
        self.failures.with_label_values(&[failure.label()]).inc();
    }

    pub(super) fn closed(&self, why: Closed) {
        self.closed.with_label_values(&[why.label()]).inc();
    }
}
