//! The event plane: what happens at the edge is judged, written to disk before the request is
//! answered, and delivered to the operator's systems.
//!
//! The life of an event: the edge fills in an [`Event`] with a verdict from
//! [`verdict::Classifier::judge`] and calls [`EventRecorder::record`]. The recorder adds what the
//! network and neighbouring requests say, and hands the event to the [`Journal`]. The edge answers
//! when [`Appending::written`] returns. From there on [`Delivery`] reads the journal and brings each
//! event to every sink, at least once and in order.
//!
//! Rooms, each with a map in its `mod.rs`:
//! - [`verdict`]: person or machine? Classes, signals, rules, networks, bursts.
//! - `journal`: batches, segments, reading, replay, what may be removed.
//! - `delivery`: one worker per sink, cursors, retries, dead letters, retention.
//! - [`sink`]: what a sink is, and the kinds: file, webhook, NATS.
//! - `erase`: erasing a tenant's or a message's events.
//!
//! At the root: `event` and `event_type` (what an event is and how it is written as JSON, with `json`
//! and `ids`), `privacy` (what an event keeps of a client), `recorder`, [`Activity`] (recent counts per
//! domain for the pages), `settings`, `metrics`, and two helpers, `files` (durable files) and
//! `failure_streak` (failures that are logged at a bounded rate).
//!
//! Callers: linkseal-edge records events; the control plane writes `domain.ssl.*` events through
//! [`Journal::begin_synced`]; linkseal-admin lists, streams, retries and erases; the binary opens the
//! journal, starts delivery and reads journals offline ([`Replay`], [`erase()`]).

mod activity;
mod delivery;
mod erase;
mod event;
mod event_type;
mod failure_streak;
mod files;
mod ids;
mod journal;
mod json;
mod metrics;
mod privacy;
mod recorder;
mod settings;
pub mod sink;
#[cfg(test)]
mod testing;
pub mod verdict;

pub use self::activity::{Activity, HOURS, Hour, Recent, Seen};
pub use self::delivery::{DeadLetter, Delivery, DeliveryError, SinkCallError, SinkCondition, SinkReport};
pub use self::erase::{EraseError, Erased, Eraser, Selector, erase};
pub use self::event::{Client, Event, Request};
pub use self::event_type::EventType;
pub use self::journal::{Appending, Follower, Journal, Lost, OpenError, Receipt, Record, Replay};
pub use self::metrics::Metrics;
pub use self::privacy::{IpPrivacy, Privacy};
pub use self::recorder::EventRecorder;
pub use self::settings::{
    Durability, EventSettings, FileSettings, NatsLogin, NatsSettings, SinkKind, SinkSettings, WebhookSecret,
    WebhookSettings,
};
pub use self::verdict::networks::{Networks, NetworksError};
