//! Whose fault an error is, and errors with their causes.

/// Who has to act to resolve an error. A finding that is our own fault never counts against a customer's
/// domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The peer that connected: a recipient, a scanner, an API caller.
    Client,
    /// A service this edge depends on: the permission endpoint, a back end, a sink.
    Upstream,
    /// The DNS of the domain's owner.
    CustomerDns,
    /// This edge: its disk, its store, its configuration, its code.
    Ours,
}

impl Fault {
    /// The name in logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::CustomerDns => "customer_dns",
            Self::Ours => "ours",
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
