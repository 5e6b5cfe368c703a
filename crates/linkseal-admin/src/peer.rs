//! The address a request comes from, as far as it is trusted.

use std::net::IpAddr;

/// The client of a request: the socket's peer, or the client that a trusted proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// Whether the request came over TLS, to this port or to a trusted proxy.
    pub(crate) tls: bool,
}
