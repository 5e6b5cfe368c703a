//! The kinds of kill switch, as paths, events and inspections spell them.

use serde::{Deserialize, Serialize};

/// What a kill switch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KillKind {
    /// All links of a tenant.
    Tenant,
    /// All links of a message.
    Message,
    /// All links to a host and what is below it.
    Host,
}

impl KillKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Message, Self::Host];

    /// As paths and events spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Message => "message",
            Self::Host => "host",
        }
    }

    /// Reads what [`KillKind::as_str`] writes. `None`: there is no such kind.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}
