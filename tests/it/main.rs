//! linkseal as a whole, over real sockets: one file per behaviour. The CAs are the development CA,
//! whose faults a test scripts, and Pebble, a real one. Time passes when a test advances the clock.
//!
//! `support/` starts edges, CAs, DNS servers and peers. `tests/run.sh` installs the peers and runs
//! everything; `cargo test --test it ca_faults::` runs one file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test panics on what it does not expect, and spawns its own tasks"
)]

mod support;

mod admin_flood;
mod admission;
mod ca_fallback;
mod ca_faults;
mod cli;
mod cname_admission;
mod connection_shares;
mod crash;
mod dead_letters;
mod documents;
mod domain_events;
mod edge_kill_under_load;
mod fairness;
mod first_handshake;
mod fleet;
mod fleet_away;
mod fleet_renewal;
mod health_port;
mod issuance;
mod journal_kill;
mod mass_failure;
mod metrics;
mod minting_examples;
mod moved_domains;
mod nats;
mod operator_actions;
mod operator_faults;
mod pages;
mod pebble_flow;
mod plain_http;
mod preflight;
mod probe;
mod reasons;
mod renewal;
mod serve;
mod socket_activation;
mod stalled_disk;
mod store_scale;
mod structure;
mod upstream;
mod webhook_receiver;
