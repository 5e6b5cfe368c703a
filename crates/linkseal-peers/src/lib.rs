//! Real peers for tests: each is started on free ports, and ends with the test process.
//!
//! - [`postgres`]: PostgreSQL, one server for all tests of a process with a database for each, or a
//!   server of a test's own with standbys, TLS and a clock to set;
//! - [`pgbouncer`]: PgBouncer in front of a PostgreSQL;
//! - [`haproxy`]: HAProxy in front of edges;
//! - [`cutter`]: a TCP proxy that refuses, resets, holds back, cuts and delays, and loses the answer to
//!   a COMMIT;
//! - [`process`]: what they share: a process with its log, which no end of the tests outlives;
//! - [`ports`]: ports for programs that cannot bind port 0.
//!
//! `tests/run.sh` installs the programs. A peer that does not start panics with its log.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test panics on what it does not expect"
)]

pub mod cutter;
pub mod haproxy;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod process;
mod wait;

pub use wait::{TIMEOUT, until, until_within};
