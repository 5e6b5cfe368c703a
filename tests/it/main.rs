//! The whole of linkseal against real sockets: one file a behaviour. CAs are the development CA,
//! whose faults are scripted, and Pebble, which is real; time is moved by the clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that meets what it does not expect ends, and it runs tasks of its own"
)]

mod support;

mod admin_flood;
mod admission;
mod authorities;
mod clear;
mod cli;
mod cname;
mod counters;
mod crash;
mod crowded;
mod departed;
mod documents;
mod edge_kill;
mod fairness;
mod faults;
mod first_handshake;
mod health_port;
mod issuing;
mod journal_kill;
mod lifecycle;
mod long_run;
mod minting;
mod nats;
mod operators;
mod ours;
mod pages;
mod pebble_flow;
mod preflight;
mod probe;
mod reasons;
mod renewal;
mod restart;
mod sinks;
mod stalled_disk;
mod store_scale;
mod structure;
mod suspicion;
mod upstream;
