//! What a reload can change, apart from the clients that are built from it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use linkseal_domain::EdgeNames;

/// When certificates are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issue {
    /// As soon as a domain is registered.
    OnRegister,
    /// At the first handshake, or when a person verifies the domain.
    OnDemand,
    /// Never: certificates already stored are served until they expire.
    Off,
}

/// A rate limit: `count` per `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub count: u32,
    pub per: Duration,
}

/// The CA's rate limits, mirrored here so that orders wait instead of failing.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// New orders of the account.
    pub orders_per_account: Limit,
    /// Certificates under one registered domain (public suffix list).
    pub per_registered_domain: Limit,
    /// Failed authorizations of one name.
    pub failed_per_name: Limit,
}

/// What can change by a reload.
#[derive(Clone, Debug)]
pub struct Settings {
    pub issue: Issue,
    /// Where customers point their names.
    pub names: EdgeNames,
    /// How often the DNS of a domain with a certificate is checked.
    pub recheck: Duration,
    /// How long a name may point elsewhere before it is checked only about once a week.
    pub departed_after: Duration,
    /// How issued domains are probed; `None` turns probes off.
    pub probe: Option<ProbeSettings>,
    /// The bounds of admission by DNS; `None` where DNS alone admits no name.
    pub cname: Option<CnameSettings>,
    /// What a token of one tenant needs to take a name.
    pub ownership: Ownership,
    /// How many domains the tokens of one tenant may register; `None` for no limit.
    pub max_domains_per_tenant: Option<u64>,
    /// How many refused names that point here are kept; 0 turns the list off.
    pub rejected_capacity: usize,
}

/// What admission by DNS may cost at most.
#[derive(Clone, Debug)]
pub struct CnameSettings {
    /// Names admitted below one registered domain, and checked there within `negative_ttl`.
    pub per_registered_domain: u32,
    /// Labels a name may have in front of its registered domain.
    pub max_labels: usize,
    /// New names this node admits.
    pub admission_rate: Limit,
    /// Unknown names this node checks.
    pub lookups: Limit,
    /// Unknown names checked at the same time.
    pub max_concurrent_lookups: usize,
    /// How long a name that does not point here is refused without another check.
    pub negative_ttl: Duration,
}

/// How issued domains are probed.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// Each domain is probed once in this time.
    pub every: Duration,
    /// Where to connect instead of the addresses in DNS.
    pub address: Option<SocketAddr>,
    /// The port of HTTPS as clients see it.
    pub port: u16,
    /// The edge's public addresses as configured: probed even if they are private.
    pub own: Vec<IpAddr>,
}

/// What a token of one tenant needs to take a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// A TXT record at the name, or at its registered domain.
    #[default]
    Txt,
    /// Nothing.
    None,
}
