//! What a name's DNS says, and what its owner has to change.
//!
//! [`Checker::https`] decides before every order whether the name points here and the CA may issue;
//! [`Checker::report`] explains everything that is asked of a domain, for the admin API and the
//! people behind it. Both see DNS through [`Lookup`] only.

mod authority;
mod caa;
mod caa_value;
mod cdn;
mod check;
mod cname_chain;
mod dkim;
mod dkim_key;
mod dmarc;
mod lookup;
mod message;
mod metrics;
mod near_miss;
mod provider_table;
mod providers;
mod query;
mod record_report;
mod report;
mod requested;
mod resolver;
#[cfg(any(test, feature = "testing"))]
pub mod script;
mod spf;
mod spf_draft;
mod spf_repair;
mod spf_term;
mod spf_walk;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod texts;

pub use caa::{CaIdentity, Caa};
pub use caa_value::Flaw;
pub use check::SOCKETS_OF_LOOK;
pub use check::{CHECK_TIME, Checker, CheckerSettings, Finding, Stale};
pub use cname_chain::{Alias, Target, is_synthesized};
pub use dkim::Dkim;
pub use dmarc::DmarcWanted;
pub use lookup::{Answer, Data, Kind, Lookup, LookupError, Record};
pub use metrics::Metrics;
pub use providers::ProviderHelp;
pub use record_report::{Hint, Purpose, RecordReport, RecordStatus};
pub use report::DnsReport;
pub use report::SOCKETS_OF_REPORT;
pub use resolver::{Resolver, ResolverError, ResolverSettings};
pub use texts::Proof;
