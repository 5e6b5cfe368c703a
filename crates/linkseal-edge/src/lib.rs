//! The data plane: from an accepted connection to a reply, all from memory.
//!
//! It imports nothing of the control plane. What it reads is in snapshots that the control plane
//! fills ([`linkseal_domain::registry`], [`linkseal_domain::cert::cache`], link and ticket keys); what it
//! writes are two queues (the journal, certificate requests).

pub mod connection;
mod displace;
pub mod fair;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod presence;
#[cfg(test)]
mod testing;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use linkseal_domain::DomainName;
use linkseal_domain::registry::Entry;
use linkseal_net::listener::Listener;

use self::presence::Presence;

/// What is known of a connection before its first request.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where it came in.
    pub listener: Listener,
    /// The client: the socket's peer, or what a trusted balancer's PROXY header says.
    pub client: SocketAddr,
    /// The address it was made to; from the PROXY header when there is one.
    pub local: SocketAddr,
    /// The TLS side. `None` on plain HTTP.
    pub tls: Option<TlsInfo>,
    /// What those who look after all connections know of it.
    pub presence: Arc<Presence>,
}

impl Connection {
    /// Whether it speaks HTTP/2.
    pub fn is_h2(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.h2)
    }
}

/// The TLS side of a connection.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// The name in SNI (RFC 6066 §3), admitted. `None`: the client sent none and got edge.name's certificate.
    pub name: Option<DomainName>,
    /// The registry's entry of that name, or of edge.name.
    pub entry: Arc<Entry>,
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Whether ALPN (RFC 7301) chose HTTP/2.
    pub h2: bool,
    /// Whether this handshake was the self-signed stand-in's, which serves challenges only.
    pub challenges_only: bool,
}
