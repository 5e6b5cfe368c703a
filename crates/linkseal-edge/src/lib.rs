//! The data plane: from an accepted connection to a reply, from memory.
//!
//! It depends on nothing of the control plane. It reads snapshots that the control plane fills
//! ([`linkseal_domain::registry`], [`linkseal_domain::cert::cache`], stored redirects, kill switches, link
//! and ticket keys). It writes events to the journal, and three things for the control plane: certificate
//! requests, look-ups of stored redirects, and failed handshakes.
//!
//! The life of a connection, by the modules it passes:
//!
//! 1. [`connection`]: from the accepted socket to the end of its HTTP. [`cores`] gives it a thread, on
//!    which it stays. [`limits`] gives a permit, or decides which connection makes way; `linkseal_net::proxy_protocol` reads a balancer's header.
//! 2. [`tls`]: ClientHello, admission, certificate, handshake. Handshakes that wait hold a place in a
//!    [`fair::FairRoom`].
//! 3. [`http`]: `server` drives the connection, `service` answers each request: `respond` checks the host
//!    (`gate`), takes the route (`router`) and calls the module that answers; `record` writes the event.
//!    What is not the edge's own goes to a back end (`forward`, [`http::upstream`]).
//!
//! [`presence`] is what the limits know of one connection while it lives. The binary builds one
//! [`http::Context`], one [`tls::acceptor::Acceptor`] and one [`limits::Limits`], and replaces their
//! settings on reload.

pub mod connection;
pub mod cores;
pub mod fair;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod presence;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod waitable;

use std::net::SocketAddr;
use std::sync::Arc;

use linkseal_domain::DomainName;
use linkseal_domain::registry::Entry;
use linkseal_net::listener::Listener;

use self::presence::Presence;

/// A connection, as HTTP is served on it.
#[derive(Clone, Debug)]
pub struct Connection {
    pub listener: Listener,
    /// The socket's peer, or the client named in a trusted balancer's PROXY header.
    pub client: SocketAddr,
    /// The address the client connected to, from the PROXY header if there is one.
    pub local: SocketAddr,
    /// `None` on plain HTTP.
    pub tls: Option<TlsInfo>,
    pub presence: Arc<Presence>,
}

impl Connection {
    pub(crate) fn is_h2(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.h2)
    }
}

/// The TLS side of a connection.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// The admitted name in SNI (RFC 6066 §3). `None`: the client sent none and got edge.name's certificate.
    pub name: Option<DomainName>,
    /// The registry's entry of that name, or of edge.name.
    pub entry: Arc<Entry>,
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Whether ALPN (RFC 7301) chose HTTP/2.
    pub h2: bool,
    /// Whether the certificate is the self-signed stand-in, under which only challenges are served.
    pub challenges_only: bool,
}
