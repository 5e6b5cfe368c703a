//! Obtains certificates from an ACME CA (RFC 8555): one order for one name at one CA, resumable after a crash.
//! The control plane decides when to order and at which CA; this crate does neither.
//!
//! | module | does |
//! |---|---|
//! | `issuer`, `job`, `settings` | [`Issuer`], its inputs and its results |
//! | `order`, `poll` | drives one order to its certificate; polling and retries |
//! | `client` | the CA's calls as a trait, so that tests can script a CA |
//! | `ca`, `calls` | the trait for a real CA: account handling, and the calls themselves |
//! | `http`, `jws` | the transport (bounded in time and size, nonces) and signed requests |
//! | `account`, `acme`, `csr` | the account key, its creation by rustls-acme, certificate requests |
//! | `problem`, `failure` | parses a refusal (RFC 8555 §6.7) and classifies it as the domain's failure |
//! | `renewal` | when a certificate is due, with renewal information (RFC 9773) |
//! | `directory` | fetching a CA's directory outside of any order, for `linkseal doctor` |
//! | `metrics` | orders by result, duration of calls |
//!
//! In the life of a certificate, `linkseal_control` takes a domain from its queue, acquires the domain's lease and
//! calls [`Issuer::issue`]. What cannot be repeated is written to the store before it happens, so that the next
//! call, on this node or another, resumes the order. The result carries the parsed certificate and the
//! sealed key; the control plane stores both and serves the certificate.

mod account;
mod acme;
mod ca;
mod calls;
mod client;
mod csr;
mod directory;
mod failure;
mod http;
mod issuer;
mod job;
mod jws;
mod metrics;
mod order;
mod poll;
mod problem;
pub mod renewal;
mod settings;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use self::account::{AccountKey, AccountKeyError};
pub use self::directory::{DirectoryInfo, fetch_directory};
pub use self::issuer::{Identity, Issuer, IssuerError};
pub use self::job::{IssueError, Issued, Job, Progress, Spent};
pub use self::metrics::Metrics;
pub use self::renewal::RenewalInfo;
pub use self::settings::{CaSettings, Eab};
