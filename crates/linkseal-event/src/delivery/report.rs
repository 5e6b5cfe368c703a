//! The state of a sink as the admin API reports it. The doc comments are published in its schema.

use linkseal_base::clock::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// The state of a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Sink")]
pub struct SinkReport {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind: file, webhook or nats.
    pub kind: &'static str,
    /// Whether events are being delivered to it.
    pub state: SinkCondition,
    /// How many events it does not hold yet.
    pub lag_events: u64,
    /// The age of the oldest of them, in seconds.
    pub lag_seconds: u64,
    /// When it last accepted a batch; null if it has not since the start.
    pub last_success: Option<Timestamp>,
    /// Consecutive failed attempts.
    pub failures: u32,
    /// The error of the last attempt; null if it succeeded.
    pub last_error: Option<String>,
    /// When the next attempt is due; null unless the sink is retrying.
    pub next_attempt: Option<Timestamp>,
    /// Since when it is stopped; null if it is not.
    pub stopped_since: Option<Timestamp>,
    /// Events set aside that have been neither replayed successfully nor dropped.
    pub dead_letters: u64,
}

/// Whether events are being delivered to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkCondition {
    /// It accepts events.
    Running,
    /// Its last attempt failed; another one follows.
    Retrying,
    /// Its endpoint is gone (410); nothing is delivered until it is retried or its settings change.
    Stopped,
    /// Nothing is delivered to it at present: a reload or an erasure is running, or the disk of
    /// events.dir fails.
    Waiting,
}
