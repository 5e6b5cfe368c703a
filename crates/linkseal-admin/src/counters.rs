//! The admin port's own counters. Every series exists from the start.

use prometheus::{IntCounterVec, Opts, Registry};

/// Why a request was not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthFailure {
    NoToken,
    UnknownToken,
    /// An unknown token, after too many of them.
    Throttled,
}

/// Why a connection was closed from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// For a new connection.
    Displaced,
    /// It took too long, or the client did not read.
    Overdue,
}

impl AuthFailure {
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

/// Clones share the counters.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    failures: IntCounterVec,
    closed: IntCounterVec,
}

impl Counters {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let family = |name: &str, help: &str, label: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let counters = Self {
            failures: family(
                "linkseal_admin_auth_failures_total",
                "Requests to the admin port without a valid token, by reason: no_token, unknown_token, throttled.",
                "reason",
            )?,
            closed: family(
                "linkseal_admin_connections_closed_total",
                "Connections to the admin port closed by this side, by reason: displaced (for a new connection), \
                 overdue (too slow, or not reading).",
                "reason",
            )?,
        };
        for failure in AuthFailure::ALL {
            counters.failures.with_label_values(&[failure.label()]);
        }
        for closed in Closed::ALL {
            counters.closed.with_label_values(&[closed.label()]);
        }
        Ok(counters)
    }

    pub(crate) fn auth_failed(&self, failure: AuthFailure) {
        self.failures.with_label_values(&[failure.label()]).inc();
    }

    pub(crate) fn closed(&self, why: Closed) {
        self.closed.with_label_values(&[why.label()]).inc();
    }
}
