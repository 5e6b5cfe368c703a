//! What linkseal knows about one domain, and the rules that change it.
//!
//! Everything here is pure or a snapshot in memory; the only I/O is reading or making a key file. The
//! control plane owns every change: it applies an [`ssl::SslEvent`], stores the result, and then
//! publishes it to the snapshots that the data plane reads.
//!
//! | module | holds |
//! |---|---|
//! | `name`, `unicode`, `pointing` | domain names, their Unicode form, which records make a name point here |
//! | `record` | everything stored about one domain |
//! | `ssl` | its SSL state: reason, certificate, failures, events |
//! | `transition`, `reach` | the one function that changes the state, and how far ahead its rules can plan |
//! | `dns` | the verdict of a DNS check |
//! | `messages`, `language` | the sentence for each state, in English and German |
//! | `lifecycle_event`, `view` | what platforms are notified of, and what the API shows |
//! | `registry`, `admission`, `handshakes` | known domains in memory, who may have a certificate, failed handshakes |
//! | `cert` | certificates in memory and sealed at rest, session-ticket keys |
//! | `links` | stored redirects and kill switches in memory |
//!
//! The life of a certificate, by module: registered (`record`), checked (`dns`), ordered and issued (`ssl`,
//! `transition`), served (`registry`, `cert`), reported (`view`, `messages`, `lifecycle_event`).

pub mod admission;
pub mod cert;
pub mod dns;
mod edge_names;
pub mod handshakes;
mod language;
mod lifecycle_event;
pub mod links;
pub mod messages;
pub mod name;
pub mod pointing;
pub mod reach;
pub mod record;
pub mod registry;
pub mod ssl;
mod stored;
mod transition;
mod unicode;
pub mod view;

pub use edge_names::EdgeNames;
pub use language::{Language, Text};
pub use lifecycle_event::LifecycleEvent;
pub use name::{DomainName, NameError};
pub use record::DomainRecord;
pub use unicode::search_prefix;
