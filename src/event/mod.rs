//! What happened: written down before it is answered, then delivered.

mod cursor;
mod delivery;
mod event;
mod frame;
mod journal;
mod json;
mod metrics;
mod privacy;
mod reader;
mod replay;
mod retention;
mod rules;
mod segment;
mod settings;
pub mod sink;
pub mod verdict;
mod writer;

pub use delivery::{Delivery, DeliveryError};
pub use event::{Client, Event, EventType, Request};
pub use journal::{Appending, Journal, Lost, OpenError, Receipt};
pub use metrics::Metrics;
pub use privacy::IpPrivacy;
pub use reader::Record;
pub use replay::{Follower, Replay};
pub use settings::{Durability, EventSettings, SinkKind, SinkSettings};
