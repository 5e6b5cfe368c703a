//! The types of events (docs/specification.md §6).

use std::fmt;
use std::str::FromStr;

/// The `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub enum EventType {
    /// A pixel was fetched.
    #[serde(rename = "open")]
    Open,
    /// A signed link was followed.
    #[serde(rename = "click")]
    Click,
    /// A stored redirect was followed.
    #[serde(rename = "redirect")]
    Redirect,
    /// A recipient unsubscribed.
    #[serde(rename = "unsubscribe")]
    Unsubscribe,
    /// A request was passed to a back end.
    #[serde(rename = "upstream")]
    Upstream,
    /// Later requests changed an event's verdict.
    #[serde(rename = "verdict.corrected")]
    VerdictCorrected,
    /// A domain without a certificate got one.
    #[serde(rename = "domain.ssl.issued")]
    SslIssued,
    /// A domain's certificate was renewed in time.
    #[serde(rename = "domain.ssl.renewed")]
    SslRenewed,
    /// A certificate could not be obtained: an order failed, or DNS prevents the renewal.
    #[serde(rename = "domain.ssl.failed")]
    SslFailed,
    /// A certificate will expire soon without a successor.
    #[serde(rename = "domain.ssl.expiring")]
    SslExpiring,
    /// A certificate expired without a successor.
    #[serde(rename = "domain.ssl.expired")]
    SslExpired,
    /// A domain's DNS no longer points here.
    #[serde(rename = "domain.ssl.moved")]
    SslMoved,
}

impl EventType {
    /// All types.
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::Click,
        Self::Redirect,
        Self::Unsubscribe,
        Self::Upstream,
        Self::VerdictCorrected,
        Self::SslIssued,
        Self::SslRenewed,
        Self::SslFailed,
        Self::SslExpiring,
        Self::SslExpired,
        Self::SslMoved,
    ];

    /// The name in events, settings and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Click => "click",
            Self::Redirect => "redirect",
            Self::Unsubscribe => "unsubscribe",
            Self::Upstream => "upstream",
            Self::VerdictCorrected => "verdict.corrected",
            Self::SslIssued => "domain.ssl.issued",
            Self::SslRenewed => "domain.ssl.renewed",
            Self::SslFailed => "domain.ssl.failed",
            Self::SslExpiring => "domain.ssl.expiring",
            Self::SslExpired => "domain.ssl.expired",
            Self::SslMoved => "domain.ssl.moved",
        }
    }

    /// Whether a request causes it, so that it has a verdict.
    pub(crate) fn is_requested(self) -> bool {
        match self {
            Self::Open | Self::Click | Self::Redirect | Self::Unsubscribe | Self::Upstream | Self::VerdictCorrected => {
                true
            }
            Self::SslIssued
            | Self::SslRenewed
            | Self::SslFailed
            | Self::SslExpiring
            | Self::SslExpired
            | Self::SslMoved => false,
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|t| t.as_str() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is no type of event; there are {all}")
        })
    }
}
