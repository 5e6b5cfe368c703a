//! `[listen]`: where connections come in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Findings;
use super::text::{ListenAddr, Network};

/// Where connections come in. Changes need a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Plain HTTP: challenges, redirects to HTTPS. A CA looks for challenges at port 80 only.
    pub http: Vec<ListenAddr>,
    /// HTTPS.
    pub https: Vec<ListenAddr>,
    /// The admin API, metrics and pages. Elsewhere than on loopback it needs tokens, and speaks TLS
    /// under edge.name's certificate unless admin.plain is true.
    pub admin: Vec<ListenAddr>,
    /// Plain HTTP with /healthz, /readyz and /metrics only and without tokens, for probes and
    /// scrapers that cannot use the admin port.
    pub health: Vec<ListenAddr>,
    /// Networks whose connections to http and https must begin with a PROXY header, version 1 or 2.
    pub proxy_protocol_from: Vec<Network>,
}

impl Default for Listen {
    fn default() -> Self {
        let any = |port| ListenAddr::from(std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)));
        let local = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 9180));
        Self {
            http: vec![any(80)],
            https: vec![any(443)],
            admin: vec![local.into()],
            health: Vec::new(),
            proxy_protocol_from: Vec::new(),
        }
    }
}

impl Listen {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        if self.https.is_empty() {
            found.problem("listen.https", "needs at least one address, such as \"[::]:443\"");
        }
        if self.http.is_empty() {
            found.warn(
                "listen.http",
                "no address: a CA's HTTP-01 validation has to reach another node at port 80",
            );
        }
        let mut seen: Vec<(ListenAddr, String)> = Vec::new();
        let ports = [
            ("http", &self.http),
            ("https", &self.https),
            ("admin", &self.admin),
            ("health", &self.health),
        ];
        for (name, addresses) in ports {
            for (i, address) in addresses.iter().enumerate() {
                let key = format!("listen.{name}[{i}]");
                // Port 0 is another free port each time.
                match seen.iter().find(|(other, _)| other == address && address.port() != 0) {
                    Some((_, first)) => found.problem(
                        &key,
                        format!("{address} is taken by {first} already; give each its own"),
                    ),
                    None => seen.push((*address, key)),
                }
            }
        }
        for (i, network) in self.proxy_protocol_from.iter().enumerate() {
            if network.get().prefix_len() == 0 {
                let key = format!("listen.proxy_protocol_from[{i}]");
                found.problem(
                    &key,
                    format!("{network} is everybody: anybody could claim any address; give your balancers' networks"),
                );
            }
        }
    }
}
