//! Finds the servers that a zone itself names, so that a check can ask behind the caches.
//!
//! Where a resolver still holds "no such name" from before the customer's fix, only these know
//! better. Their addresses come from the customer's own zone: unless allowed, addresses that are
//! not public are refused, so that no zone can point our questions into our own network.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use moka::sync::Cache;

use super::lookup::{Kind, normal};
use super::message::{self, Reading};
use super::resolver::Resolver;

/// How many servers of a zone are asked before giving up.
const MAX_SERVERS: usize = 3;
/// How far up from a name its zone is looked for, in labels.
const MAX_CLIMB: usize = 8;
/// How many zones are remembered.
const MAX_ZONES: u64 = 10_000;
/// How long: enough for the questions of one report, too short to hide a change of DNS host.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Finds and briefly remembers the servers of zones.
#[derive(Debug)]
pub(super) struct Authorities {
    port: u16,
    private: bool,
    zones: Cache<String, Vec<SocketAddr>>,
}

impl Authorities {
    pub(super) fn new(port: u16, private: bool) -> Self {
        Self {
            port,
            private,
            zones: Cache::builder()
                .max_capacity(MAX_ZONES)
                .time_to_live(REMEMBERED)
                .build(),
        }
    }

    /// The servers of the zone that `name` lies in; empty when they cannot be found.
    pub(super) async fn of(&self, name: &str, resolver: &Resolver) -> Vec<SocketAddr> {
        let name = normal(name);
        if let Some(known) = self.zones.get(&name) {
            return known;
        }
        let servers = match self.name_servers(&name, resolver).await {
            Some(hosts) => self.addresses(&hosts, resolver).await,
            None => Vec::new(),
        };
        self.zones.insert(name, servers.clone());
        servers
    }

    /// The NS records of the closest enclosing zone, never of a top-level domain.
    async fn name_servers(&self, name: &str, resolver: &Resolver) -> Option<Vec<String>> {
        let mut zone = name;
        for _ in 0..MAX_CLIMB {
            if !zone.contains('.') {
                return None;
            }
            if let Ok(message) = resolver.ask(zone, Kind::Ns).await
                && let Reading::Records(records) = message::read(&message, zone, Kind::Ns)
                // Those of an alias's target say nothing about this zone.
                && records.iter().all(|r| r.owner == zone)
            {
                return Some(records.iter().map(|r| r.data.to_string()).take(MAX_SERVERS).collect());
            }
            zone = zone.split_once('.')?.1;
        }
        None
    }

    async fn addresses(&self, hosts: &[String], resolver: &Resolver) -> Vec<SocketAddr> {
        let address = |host: &String| {
            let host = host.clone();
            async move {
                for kind in [Kind::A, Kind::Aaaa] {
                    if let Ok(message) = resolver.ask(&host, kind).await
                        && let Reading::Records(records) = message::read(&message, &host, kind)
                    {
                        return records.first().and_then(|r| r.data.to_string().parse::<IpAddr>().ok());
                    }
                }
                None
            }
        };
        let found = join_all(hosts.iter().map(address)).await;
        let allowed = found.into_iter().flatten().filter(|ip| self.private || is_public(*ip));
        allowed.map(|ip| SocketAddr::new(ip, self.port)).collect()
    }
}

/// Whether an address is one of the public internet's (IANA special-purpose registries).
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let special = ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b))
                || (a, b, c) == (192, 0, 0);
            !special
        }
        // Global unicast is 2000::/3; documentation, 6to4 and Teredo in it lead elsewhere.
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            (0x2000..0x4000).contains(&first)
                && first != 0x2002
                && first != 0x3fff
                && !(first == 0x2001 && (second == 0x0db8 || second < 0x0200))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_cannot_point_our_questions_into_our_network() {
        let inside = [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
        ];
        for ip in inside {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "192.0.32.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "2001:500:2f::f",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
