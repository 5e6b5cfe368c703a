//! Finds the authoritative servers of a zone, so that a check can bypass the resolvers' caches.
//!
//! While a resolver still has "no such name" from before the customer's fix, only these servers have
//! the new record. Their addresses come from the customer's zone: unless allowed, addresses that
//! are not public are refused, so that no zone can direct our questions into our own network.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use linkseal_net::address::is_public;
use moka::sync::Cache;

use super::message::{self, Reading};
use super::transport::Recursive;
use crate::lookup::{Kind, normal};

/// Servers of a zone that are asked.
const MAX_SERVERS: usize = 3;
/// Labels removed from a name, at most, to find its zone.
const MAX_CLIMB: usize = 8;
/// Names whose servers are cached.
const MAX_ZONES: u64 = 10_000;
/// Cache lifetime: enough for the questions of one report, too short to hide a change of DNS provider.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Finds the authoritative servers of zones and caches them briefly.
#[derive(Debug)]
pub(crate) struct ZoneServers {
    port: u16,
    private: bool,
    zones: Cache<String, Vec<SocketAddr>>,
}

impl ZoneServers {
    pub(crate) fn new(port: u16, private: bool) -> Self {
        Self {
            port,
            private,
            zones: Cache::builder()
                .max_capacity(MAX_ZONES)
                .time_to_live(REMEMBERED)
                .build(),
        }
    }

    /// The servers of the zone of `name`; empty if they cannot be found.
    pub(crate) async fn of(&self, name: &str, resolver: &Recursive) -> Vec<SocketAddr> {
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
    async fn name_servers(&self, name: &str, resolver: &Recursive) -> Option<Vec<String>> {
        let mut zone = name;
        for _ in 0..MAX_CLIMB {
            if !zone.contains('.') {
                return None;
            }
            if let Ok(message) = resolver.ask(zone, Kind::Ns).await
                && let Reading::Records(records) = message::read(&message, zone, Kind::Ns)
                // NS records of an alias's target belong to another zone.
                && records.iter().all(|r| r.owner == zone)
            {
                return Some(records.iter().map(|r| r.data.to_string()).take(MAX_SERVERS).collect());
            }
            zone = zone.split_once('.')?.1;
        }
        None
    }

    async fn addresses(&self, hosts: &[String], resolver: &Recursive) -> Vec<SocketAddr> {
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
