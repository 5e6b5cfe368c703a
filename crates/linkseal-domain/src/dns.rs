//! The result of a DNS check: the verdict that an order depends on, and the summary in the record.

use std::fmt;
use std::net::IpAddr;

use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether a name points here. An order depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsVerdict {
    /// The CNAME chain or the addresses point to this edge.
    Right,
    /// Nothing is published at the name.
    Missing,
    /// The name points elsewhere.
    Elsewhere {
        /// The CNAME target or the addresses, as people see them in their zone.
        found: String,
    },
    /// The proxy of a content delivery network is in front of the name.
    Proxied {
        /// The network's name.
        provider: String,
    },
    /// The A records are right, an AAAA record is not; a CA tries IPv6 first.
    StrayAaaa {
        /// The wrong address.
        found: IpAddr,
        /// Where the record is published: the name, or the end of its CNAME chain.
        host: String,
    },
    /// A CAA record forbids the CA in use.
    CaaForbids {
        /// Where the deciding record is published.
        host: String,
    },
    /// The servers of the zone gave no usable answer.
    Error {
        /// The zone whose servers fail.
        zone: String,
        /// How they fail: SERVFAIL, REFUSED, timeout, DNSSEC bogus.
        error: String,
    },
}

impl DnsVerdict {
    /// The verdict as a word, for metrics and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Missing => "missing",
            Self::Elsewhere { .. } => "elsewhere",
            Self::Proxied { .. } => "proxied",
            Self::StrayAaaa { .. } => "stray_aaaa",
            Self::CaaForbids { .. } => "caa_forbids",
            Self::Error { .. } => "error",
        }
    }
}

/// For logs: the word, and what was found.
impl fmt::Display for DnsVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Right | Self::Missing => Ok(()),
            Self::Elsewhere { found } => write!(f, " ({found})"),
            Self::Proxied { provider } => write!(f, " ({provider})"),
            Self::StrayAaaa { found, host } => write!(f, " ({found} at {host})"),
            Self::CaaForbids { host } => write!(f, " (at {host})"),
            Self::Error { zone, error } => write!(f, " ({zone}: {error})"),
        }
    }
}

/// The summary of the last DNS check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DnsSummary {
    /// When DNS was checked; null before the first check.
    pub checked: Option<Timestamp>,
    /// Whether the name points here, so that HTTPS can work.
    #[serde(default)]
    pub https: bool,
    /// Whether all expected records are published.
    #[serde(default)]
    pub verified: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_logged_in_words() {
        let error = DnsVerdict::Error {
            zone: "customer.example".to_owned(),
            error: "SERVFAIL".to_owned(),
        };
        assert_eq!(error.to_string(), "error (customer.example: SERVFAIL)");
        assert_eq!(DnsVerdict::Missing.to_string(), "missing");
    }
}
