//! The result of a DNS check: the verdict that an order depends on, and the summary in the record.

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
