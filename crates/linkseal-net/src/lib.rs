//! The network, as several parts of linkseal use it. It decides nothing about domains and holds no
//! state beyond sockets, pools and the shares of client networks.
//!
//! As a server, at the start of a connection's life: [`listener`] binds and accepts, [`proxy_protocol`]
//! reads who the client is behind a balancer, [`shares`] bounds what one client network may use. Called
//! by the data plane (`linkseal-edge`) and the admin port.
//!
//! As a client: [`tls_client`] sets up TLS, [`http_client`] bounds calls in time and size,
//! [`retry_after`] parses when to try again; used for CAs, sinks, upstreams, the platform's admission
//! endpoint and the command line. [`http01`] fetches a challenge as a CA does, for the control plane's
//! pre-flight check and the development CA; [`unverified`] is TLS without verification, for that and for
//! the control plane's probe. [`address`] says which addresses are public, before we connect to where
//! others point us.

pub mod address;
pub mod http01;
pub mod http_client;
pub mod listener;
pub mod proxy_protocol;
pub mod retry_after;
pub mod shares;
pub mod tls_client;
pub mod unverified;
