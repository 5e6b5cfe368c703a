//! What linkseal knows about one domain: its name, its record, its SSL state, and who may have one.
//!
//! Everything here is either pure or a read-only snapshot: the control plane owns the changes.

pub mod admission;
pub mod cert;
pub mod dns;
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

pub use language::{Language, Text};
pub use lifecycle_event::LifecycleEvent;
pub use name::{DomainName, NameError};
pub use record::DomainRecord;
pub use transition::GIVE_UP_AFTER;
pub use unicode::search_prefix;
