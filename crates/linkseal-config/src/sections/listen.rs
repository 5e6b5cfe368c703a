//! `[listen]`: the listening sockets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::values::{ListenAddr, Network};

/// The listening sockets. Changes need a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Addresses for plain HTTP: ACME challenges and redirects to HTTPS. CAs connect to port 80 only.
    pub http: Vec<ListenAddr>,
    /// Addresses for HTTPS.
    pub https: Vec<ListenAddr>,
    /// Addresses for the admin API, metrics and pages. Other than on loopback it requires admin.tokens and uses TLS with the certificate of edge.name, unless admin.plain is true.
    pub admin: Vec<ListenAddr>,
    /// Addresses for /healthz, /readyz and /metrics alone, over plain HTTP and without tokens, for probes and scrapers that cannot use the admin port.
    pub health: Vec<ListenAddr>,
    /// Networks whose connections to http and https must begin with a PROXY protocol header, version 1 or 2.
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
    pub(crate) fn check(&self, found: &mut Findings<'_>) {
        if self.https.is_empty() {
            found.problem("listen.https", "needs at least one address, such as \"[::]:443\"");
        }
        if self.http.is_empty() {
            found.warn(
                "listen.http",
                "has no address: HTTP-01 validations then have to reach another node at port 80",
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
                // Port 0 picks another free port each time.
                match seen.iter().find(|(other, _)| other == address && address.port() != 0) {
                    Some((_, first)) => found.problem(
                        &key,
                        format!("{address} is already used by {first}; addresses must be unique"),
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
                    format!("{network} is the whole Internet: every client could claim any address; use your load balancers' networks"),
                );
            }
        }
    }
}
