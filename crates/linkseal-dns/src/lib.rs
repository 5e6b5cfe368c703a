//! What a name's DNS says, and what its owner has to change.
//!
//! | module | holds |
//! |---|---|
//! | `lookup`, `query` | the questions and answers, and one check's memo and deadline |
//! | `resolver` | the real lookup: transport, messages, a zone's own servers |
//! | `check` | where a name points: CNAME chain, addresses, CDNs |
//! | `caa` | whether CAA lets a CA issue |
//! | `report`, `record_report`, `requested`, `near_miss` | the report, record by record, with hints |
//! | `mail` | SPF, DKIM and DMARC |
//! | `providers` | where the zone is hosted, and where to click there |
//! | `proof` | TXT records that prove ownership |
//!
//! [`Checker::https`] decides before every order whether the name points here and the CA may issue;
//! [`Checker::report`] explains everything that is asked of a domain, for the admin API and the
//! people behind it. Both see DNS through [`Lookup`] only.

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
