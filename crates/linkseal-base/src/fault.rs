//! Whose fault an error is. This one value picks the log level, the metric label and the status.

use serde::{Deserialize, Serialize};

/// Who has to act so that the error goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The peer that connected: a recipient, a scanner, an API caller.
    Client,
    /// A back end behind an upstream rule, or a sink.
    Upstream,
    /// The certificate authority.
    Ca,
    /// The DNS (or web server, or proxy) of the domain's owner.
    CustomerDns,
    /// This edge: its disk, its store, its configuration, its code.
    Ours,
}

impl Fault {
    /// The label metrics carry.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Ca => "ca",
            Self::CustomerDns => "customer_dns",
            Self::Ours => "ours",
        }
    }

    /// The level a log line about it has: others' faults must not page the operator.
    pub fn level(self) -> tracing::Level {
        match self {
            Self::Client => tracing::Level::DEBUG,
            Self::CustomerDns => tracing::Level::INFO,
            Self::Upstream | Self::Ca => tracing::Level::WARN,
            Self::Ours => tracing::Level::ERROR,
        }
    }
}

/// An error with its causes: hyper's own text stops at "client error (Connect)".
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
