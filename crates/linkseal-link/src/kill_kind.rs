//! The kinds of kill switch, as paths, events and inspections name them.

use serde::{Deserialize, Serialize};

/// What a kill switch applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KillKind {
    /// All links of a tenant.
    Tenant,
    /// All links of a message.
    Message,
    /// All links to a host and its subdomains.
    Host,
}

impl KillKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Message, Self::Host];

    /// The name in paths and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Message => "message",
            Self::Host => "host",
        }
    }

    /// Parses what [`KillKind::as_str`] returns.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}
