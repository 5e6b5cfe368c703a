//! DNS for tests: a scripted [`crate::Lookup`] without sockets, and a real server on loopback.

mod script;
mod server;

pub use self::script::{NEGATIVE_TTL, Script, TTL};
pub use self::server::{DnsServer, Failure};
