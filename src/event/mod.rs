//! What happened: written down before it is answered, then delivered.

mod event;
mod json;
mod privacy;
mod rules;
pub mod verdict;

pub use event::{Client, Event, EventType, Request};
pub use privacy::IpPrivacy;
