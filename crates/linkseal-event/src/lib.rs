//! What happened: written down before it is answered, then delivered.
//!
//! The data plane fills in an [`Event`], has [`verdict`] judge who asked, and hands it to
//! [`Journal::append`] before it answers. From there on it is the event plane's: `writer` puts
//! frames (`frame`) into segments (`segment`) of this boot's folder, `reader` takes them out again
//! past any damage, [`Delivery`] brings them to each [`sink`] and moves its `cursor`, `retention`
//! removes what all sinks hold. [`Replay`] and [`Follower`] read along; [`Activity`]
//! counts by domain what came of late.

mod activity;
#[cfg(test)]
mod agents;
mod appending;
mod board;
mod burst;
mod cursor;
mod dead_letters;
mod delivery;
mod erase;
#[allow(clippy::module_inception, reason = "the file of the type `Event`")]
mod event;
mod folder;
mod frame;
mod gone;
mod group;
mod handover;
mod home;
mod ids;
mod journal;
#[cfg(test)]
mod journal_tests;
mod json;
mod keeper;
mod losses;
mod metrics;
mod networks;
mod privacy;
mod queue;
mod reader;
mod record;
mod repeats;
mod replay;
mod replaying;
mod retention;
mod room;
mod rules;
mod segment;
mod settings;
pub mod sink;
mod stopped;
mod trouble;
pub mod verdict;
mod whole;
mod worker;
mod writer;

pub use activity::{Activity, HOURS, Hour, Recent, Seen};
pub use appending::{Appending, Lost, Receipt};
pub use board::{SinkCondition, SinkReport};
pub use dead_letters::DeadLetter;
pub use delivery::{Delivery, DeliveryError, SinkCallError};
pub use erase::{EraseError, Erased, Eraser, Selector, erase};
pub use event::{Client, Event, EventType, Request};
pub use journal::{Journal, OpenError};
pub use metrics::Metrics;
pub use networks::{Networks, NetworksError};
pub use privacy::{IpPrivacy, Privacy};
pub use reader::Record;
pub use replay::{Follower, Replay};
pub use settings::{
    Durability, EventSettings, FileSettings, NatsLogin, NatsSettings, SinkKind, SinkSettings, WebhookSecret,
    WebhookSettings,
};
