//! What happened: written down before it is answered, then delivered.
//!
//! The data plane fills in an [`Event`], has [`verdict`] judge who asked, and hands it to
//! [`Journal::append`] before it answers. From there on it is the event plane's: `writer` puts
//! frames (`frame`) into segments (`segment`) of this boot's folder, `reader` takes them out again
//! past any damage, [`Delivery`] brings them to each [`sink`] and moves its `cursor`, `retention`
//! removes what all sinks hold. [`Replay`] and [`Follower`] read along.

mod cursor;
mod delivery;
#[allow(clippy::module_inception, reason = "the file of the type `Event`")]
mod event;
mod feed;
mod frame;
mod journal;
mod json;
mod metrics;
mod privacy;
mod queue;
mod reader;
mod replay;
mod retention;
mod rules;
mod segment;
mod settings;
pub mod sink;
mod stopped;
pub mod verdict;
mod writer;

pub use delivery::{Delivery, DeliveryError};
pub use event::{Client, Event, EventType, Request};
pub use journal::{Appending, Journal, Lost, OpenError, Receipt};
pub use metrics::Metrics;
pub use privacy::IpPrivacy;
pub use reader::Record;
pub use replay::{Follower, Replay};
pub use settings::{
    Durability, EventSettings, FileSettings, NatsLogin, NatsSettings, SinkKind, SinkSettings, WebhookSecret,
    WebhookSettings,
};
