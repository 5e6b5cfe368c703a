//! The sockets of the admin port and of the health port: accepting within bounds ([`slots`]), TLS off
//! loopback ([`tls`]), serving HTTP/1.1 ([`server`]), and closing connections that take too long
//! ([`watchdog`]).

pub(crate) mod server;
pub(crate) mod slots;
pub(crate) mod tls;
pub(crate) mod watchdog;
