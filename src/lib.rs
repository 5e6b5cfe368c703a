//! linkseal: a TLS-terminating tracking edge, the CNAME target for customers' open, click and redirect
//! domains. This crate is the program around the others: command line, composition root, log set-up and
//! the simulator. Everything else is in `crates/`.
//!
//! # Life of a connection
//! `linkseal_net::listener` accepts → `linkseal_edge::cores` gives the connection a thread →
//! `linkseal_edge::limits` grants a permit →
//! `linkseal_net::proxy_protocol` reads the load balancer's header → `linkseal_edge::tls` reads the
//! ClientHello → `linkseal_domain::registry`, or admission for an unknown name, decides whether the name
//! is served → `linkseal_domain::cert::cache` returns the certificate, or queues a request to the control
//! plane → handshake → `linkseal_edge::http` serves HTTP/1.1 or HTTP/2: it routes the request,
//! `linkseal_link` verifies the token, `linkseal_event` journals the event, and the reply is sent once
//! `events.durability` is met.
//!
//! # Life of a certificate
//! `linkseal_control` drives it: a domain is registered or admitted → `linkseal_dns` checks its records →
//! its order waits in a priority queue → `linkseal_issuer` obtains the certificate by ACME HTTP-01 and can
//! resume after a restart → the private key is sealed and written to `linkseal_store` → the certificate is
//! served. `linkseal_domain::ssl` and `linkseal_domain::transition` define the states.
//!
//! # Life of an event
//! journal (one append-only log per node) → one worker per sink → file, webhook or NATS; each sink keeps
//! its own cursor, so a slow one holds up neither the edge nor the others.
//!
//! # Map
//! | crate | decides or serves |
//! |---|---|
//! | `linkseal-edge` | the data plane: connections and requests, answered from memory |
//! | `linkseal-control` | the control plane: admission, scheduling, orders, renewal; durable before visible |
//! | `linkseal-issuer`, `linkseal-dns` | its clients: the CAs (RFC 8555) and DNS |
//! | `linkseal-event` | the event plane: classification, journal, delivery |
//! | `linkseal-admin` | the admin port: API and pages |
//! | `linkseal-domain` | what the planes share: names, states, certificates, redirects, kill switches |
//! | `linkseal-link` | signed links: mint, verify, inspect; published on its own |
//! | `linkseal-store` | everything durable but the journal |
//! | `linkseal-config` | the configuration file: read, check, reload |
//! | `linkseal-net`, `linkseal-base` | sockets and addresses; clock, tasks, metrics |
//! | `linkseal-devca` | an in-process ACME CA for `linkseal demo` and the tests |
//!
//! The data plane depends on nothing of the control plane. They share snapshots that the control plane
//! publishes (registry, certificates, ticket keys, kill switches) and two bounded queues that the data
//! plane fills: certificate requests and look-ups of stored redirects.
//!
//! # This crate
//! [`run`] parses the command line. [`app`] builds an edge from a configuration; the integration tests
//! and the benchmarks start theirs there too.

pub mod app;
mod cli;
mod descriptors;
mod simulate;
mod telemetry;

use std::process::ExitCode;
use std::time::Duration;

/// How long blocking work may take to end once everything else has: a disk that does not respond keeps
/// its threads, and must not keep the process.
const BLOCKING_SHUTDOWN: Duration = Duration::from_millis(500);

/// Runs the command that this process's arguments name, and returns its exit status.
pub fn run() -> ExitCode {
    // As many workers as cores; the data plane has threads of its own, which go first.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .on_thread_start(app::background::lower_priority)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("linkseal: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(cli::main());
    runtime.shutdown_timeout(BLOCKING_SHUTDOWN);
    code
}
