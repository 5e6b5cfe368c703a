//! `[edge]`: what this edge is called and how it takes and ends connections.

use std::num::{NonZeroU16, NonZeroU32};

use linkseal_domain::DomainName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Findings;
use super::text::{Address, ConfigDuration, Interval, Label, ListenAddr};

/// What this edge is called and how it takes and ends connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// The name customers' CNAMEs point to. It has a certificate of its own, served when there is no SNI.
    pub name: DomainName,
    /// Older targets that customers still point to.
    #[serde(default)]
    pub aliases: Vec<DomainName>,
    /// Public addresses of the edge, for apex names that have A and AAAA records instead of a CNAME.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// The port of HTTPS as clients see it; redirects go there.
    #[serde(default = "public_https_port")]
    pub public_https_port: NonZeroU16,
    /// The name of this node in events, leases and logs. Default: the host name. A change needs a restart.
    #[serde(default = "host_name")]
    pub node: Label,
    /// How long a handshake waits for a certificate that is being obtained; then it ends with an alert.
    #[serde(default = "handshake_wait")]
    pub handshake_wait: ConfigDuration,
    /// After SIGTERM: how long health checks get 503 while connections are still accepted.
    #[serde(default = "drain_delay")]
    pub drain_delay: ConfigDuration,
    /// How long open connections then have to end.
    #[serde(default = "drain")]
    pub drain: ConfigDuration,
    /// Connections open at once, over all listeners. When there are more, those who hold most make way; a twentieth
    /// is kept for port 80, so that challenges and health checks get in.
    #[serde(default = "max_connections")]
    pub max_connections: NonZeroU32,
    /// How many of them one address may hold; an IPv6 /64 is one. Default: a quarter. Set it to max_connections where a
    /// balancer in front hides who the clients are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections_per_address: Option<NonZeroU32>,
    /// How many of them one network may hold, a /24 of IPv4 or a /48 of IPv6. Default: half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections_per_network: Option<NonZeroU32>,
    /// In what time every issued domain is connected to once, where its DNS leads, to see that its certificate is
    /// presented; or "off".
    #[serde(default = "probe_interval", alias = "probe")]
    pub probe_interval: Interval,
    /// Where to connect for that instead, for networks that cannot reach their own public address. Absent: where DNS leads.
    #[serde(default)]
    pub probe_address: Option<ListenAddr>,
}

/// Longest useful wait in a handshake: clients give up before.
const LONGEST_HANDSHAKE_WAIT: ConfigDuration = ConfigDuration::secs(60);
/// Shortest time in which every domain is probed once.
const SHORTEST_PROBE: ConfigDuration = ConfigDuration::secs(600);

impl Edge {
    /// Everything by default under a name.
    pub fn new(name: DomainName) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            addresses: Vec::new(),
            public_https_port: public_https_port(),
            node: host_name(),
            handshake_wait: handshake_wait(),
            drain_delay: drain_delay(),
            drain: drain(),
            max_connections: max_connections(),
            max_connections_per_address: None,
            max_connections_per_network: None,
            probe_interval: probe_interval(),
            probe_address: None,
        }
    }

    pub(super) fn check(&self, found: &mut Findings<'_>) {
        for (i, alias) in self.aliases.iter().enumerate() {
            if *alias == self.name {
                found.problem(
                    &format!("edge.aliases[{i}]"),
                    format!("{alias} is edge.name itself; only older targets belong here"),
                );
            }
        }
        if self.handshake_wait > LONGEST_HANDSHAKE_WAIT {
            found.problem(
                "edge.handshake_wait",
                format!("must be at most {LONGEST_HANDSHAKE_WAIT}: no client waits longer"),
            );
        }
        if self.probe_interval.get().is_some_and(|every| every < SHORTEST_PROBE) {
            found.problem(
                "edge.probe_interval",
                format!("must be \"off\" or at least {SHORTEST_PROBE}"),
            );
        }
        if self.probe_address.is_some_and(|address| address.port() == 0) {
            found.problem("edge.probe_address", "port 0 cannot be connected to");
        }
    }
}

fn public_https_port() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(442)
}

fn handshake_wait() -> ConfigDuration {
    ConfigDuration::secs(10)
}

fn drain_delay() -> ConfigDuration {
    ConfigDuration::secs(5)
}

fn drain() -> ConfigDuration {
    ConfigDuration::secs(30)
}

fn probe_interval() -> Interval {
    Interval::Every(ConfigDuration::hours(6))
}

fn max_connections() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(49_999)
}

/// The host's name without its domain, or `edge` where it cannot be used as a label.
fn host_name() -> Label {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let first = name.trim().split('.').next().unwrap_or_default();
    first.parse().unwrap_or_else(|_| fallback_name())
}

#[allow(clippy::expect_used, reason = "a literal that is a label; tested")]
fn fallback_name() -> Label {
    "edge".parse().expect("a label")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_contract() {
        let edge = Edge::new("track.platform.example".parse().unwrap());
        assert_eq!(
            (edge.public_https_port.get(), edge.max_connections.get()),
            (443, 50_000)
        );
        assert_eq!(fallback_name().as_str(), "edge");
    }
}
