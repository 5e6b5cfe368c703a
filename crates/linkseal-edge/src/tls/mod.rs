//! TLS of the edge: ClientHello, admission, certificate, handshake.
//!
//! [`acceptor`] puts the steps together: `hello` reads the name, `waiting` bounds the handshakes that wait
//! for a certificate, `stand_in` serves challenges where there is none, `refusal` says why there is no
//! session, and [`alert`] tells the client.

pub mod acceptor;
pub mod alert;
mod hello;
pub mod metrics;
mod refusal;
mod server_config;
mod stand_in;
#[cfg(test)]
mod tests;
mod waiting;
