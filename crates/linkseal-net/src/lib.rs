//! The network as several parts of linkseal use it: listening sockets, the PROXY protocol, fair
//! shares per client network, which addresses are public, and the client that asks for an HTTP-01
//! challenge as a CA would.

pub mod address;
pub mod http01;
pub mod http_client;
pub mod listener;
pub mod proxy_protocol;
pub mod retry_after;
pub mod shares;
pub mod tls_client;
pub mod unverified;
