//! TLS of the edge: ClientHello, admission, certificate, handshake.

pub mod acceptor;
pub mod alert;
pub mod hello;
pub mod metrics;
#[cfg(test)]
mod resumption_tests;
pub mod server_config;
mod stand_in;
#[cfg(test)]
mod tests;
pub mod waiting;
