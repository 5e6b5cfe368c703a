//! Checks the DNS of a domain and says what its owner has to change.
//!
//! | module | holds |
//! |---|---|
//! | `lookup`, `query` | questions and answers; the memo and deadline of one check |
//! | `resolver` | the DNS client: transport, messages, authoritative servers |
//! | `check` | where a name points: CNAME chain, addresses, CDNs |
//! | `caa` | whether CAA allows a CA to issue |
//! | `report`, `record_report`, `requested`, `near_miss` | the report, record by record, with hints |
//! | `mail` | SPF, DKIM and DMARC |
//! | `providers` | the DNS provider of a zone, and the steps in its panel |
//! | `proof` | TXT records that prove ownership |
//!
//! [`Checker::https`] runs before every order: does the name point here, and may the CA issue?
//! [`Checker::report`] checks every record requested of a domain, for the admin API and its pages.
//! Both use DNS through [`Lookup`] only.

mod caa;
mod check;
mod lookup;
mod mail;
mod metrics;
mod near_miss;
mod proof;
mod providers;
mod query;
mod record_report;
mod report;
mod requested;
mod resolver;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use caa::{CaIdentity, Caa, Flaw};
pub use check::{Checker, CheckerSettings, Finding, SOCKETS_OF_CHECK, Target, is_synthesized};
pub use lookup::{Answer, Data, Kind, Lookup, LookupError, Record};
pub use mail::dkim::Dkim;
pub use mail::dmarc::DmarcWanted;
pub use metrics::Metrics;
pub use proof::Proof;
pub use providers::ProviderHelp;
pub use record_report::{Purpose, RecordReport, RecordStatus};
pub use report::{DnsReport, SOCKETS_OF_REPORT};
pub use resolver::{Resolver, ResolverError, ResolverSettings};
