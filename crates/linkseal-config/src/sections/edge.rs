//! `[edge]`: the names of this edge, and how it accepts and ends connections.

use std::num::{NonZeroU16, NonZeroU32};

use linkseal_domain::DomainName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::values::{Address, ConfigDuration, Interval, Label, ListenAddr};

/// The names of this edge, and how it accepts and ends connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// The name that customers' CNAMEs point to. It has a certificate of its own, which clients without SNI get.
    pub name: DomainName,
    /// Former targets that customers still point to.
    #[serde(default)]
    pub aliases: Vec<DomainName>,
    /// Public addresses of the edge, for apex names that use A and AAAA records instead of a CNAME.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// The HTTPS port as clients see it; redirects point to it.
    #[serde(default = "public_https_port")]
    pub public_https_port: NonZeroU16,
    /// The name of this node in events and logs; unique in a fleet. Default: the host name. Changes need a restart.
    #[serde(default = "host_name")]
    pub node: Label,
    /// How long a handshake waits for a certificate that is being obtained, before it ends with an alert. At most 60s.
    #[serde(default = "handshake_wait")]
    pub handshake_wait: ConfigDuration,
    /// After SIGTERM: how long connections are still accepted while health checks already get 503.
    #[serde(default = "drain_delay")]
    pub drain_delay: ConfigDuration,
    /// After `drain_delay`: how long open connections have to end.
    #[serde(default = "drain")]
    pub drain: ConfigDuration,
    /// Open connections over all listeners. Beyond it, connections of the clients that hold most are closed; a twentieth is reserved for port 80, so that challenges and health checks get through.
    #[serde(default = "max_connections")]
    pub max_connections: NonZeroU32,
    /// Open connections per client address (an IPv6 /64 counts as one). Default: a quarter. Set it to max_connections if a load balancer hides the clients' addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections_per_address: Option<NonZeroU32>,
    /// Open connections per client network (an IPv4 /24 or IPv6 /48). Default: half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections_per_network: Option<NonZeroU32>,
    /// Time in which every issued domain is connected to once, at the address in its DNS, to check that it presents its certificate. At least 10m, or "off".
    #[serde(default = "probe_interval")]
    pub probe_interval: Interval,
    /// The address to connect to instead, if this machine cannot reach its own public address.
    #[serde(default)]
    pub probe_address: Option<ListenAddr>,
}

/// The longest useful wait in a handshake; clients give up sooner.
const LONGEST_HANDSHAKE_WAIT: ConfigDuration = ConfigDuration::secs(60);
/// The shortest time in which every domain is probed once.
const SHORTEST_PROBE: ConfigDuration = ConfigDuration::secs(600);

impl Edge {
    /// The defaults under a name.
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

    pub(crate) fn check(&self, found: &mut Findings<'_>) {
        for (i, alias) in self.aliases.iter().enumerate() {
            if *alias == self.name {
                found.problem(
                    &format!("edge.aliases[{i}]"),
                    format!("{alias} is edge.name itself; only former targets belong here"),
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

/// The host name without its domain, or `edge` if that is not a valid label.
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
    fn defaults_are_the_documented_ones() {
        let edge = Edge::new("track.platform.example".parse().unwrap());
        assert_eq!(
            (edge.public_https_port.get(), edge.max_connections.get()),
            (443, 50_000)
        );
        assert_eq!(fallback_name().as_str(), "edge");
    }
}
