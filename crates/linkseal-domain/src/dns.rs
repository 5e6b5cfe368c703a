//! What a DNS check says about a domain: the verdict that an order depends on, and the summary that
//! its record keeps.

use std::net::IpAddr;

use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// The verdict of a DNS check on whether a name points here; what an order depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsVerdict {
    /// The CNAME chain or the addresses lead to this edge.
    Right,
    /// Nothing is published at the name.
    Missing,
    /// It leads elsewhere; `found` is what people see in their zone.
    Elsewhere {
        /// The CNAME target or the addresses found.
        found: String,
    },
    /// A content delivery network's proxy stands in front.
    Proxied {
        /// Whose proxy it is.
        provider: String,
    },
    /// The A records are right, an AAAA record is not; a CA tries IPv6 first.
    StrayAaaa {
        /// The address that is wrong.
        found: IpAddr,
        /// Where the record stands: the name, or the end of its CNAME chain.
        host: String,
    },
    /// A CAA record forbids the CA in use.
    CaaForbids {
        /// Where the record that decides stands.
        host: String,
    },
    /// The servers of the zone gave no usable answer.
    Error {
        /// The zone whose servers fail.
        zone: String,
        /// What they said: SERVFAIL, REFUSED, timeout, DNSSEC bogus.
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
