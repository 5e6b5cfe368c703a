//! What the event plane is told by the configuration (its `events` section).

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{EventType, IpPrivacy};

/// The settings of the journal and its sinks.
#[derive(Clone, Debug)]
pub struct EventSettings {
    /// The journal's directory; made when it is missing.
    pub dir: PathBuf,
    /// What an event has survived before the answer goes out.
    pub durability: Durability,
    /// How long delivered segments stay for replay.
    pub keep: Duration,
    /// The size of the journal beyond which its oldest segments go.
    pub max_bytes: u64,
    /// What of addresses is kept.
    pub ip: IpPrivacy,
    /// Where events go.
    pub sinks: Vec<SinkSettings>,
}

/// What an event has survived before the answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is in the journal's queue.
    Queued,
    /// The kernel has it: it survives the process.
    #[default]
    Written,
    /// The disk has it: it survives the machine.
    Synced,
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "queued" => Ok(Self::Queued),
            "written" => Ok(Self::Written),
            "synced" => Ok(Self::Synced),
            other => Err(format!("`{other}` is not one of queued, written, synced")),
        }
    }
}

/// One sink.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// Its name: metrics carry it, its cursors are named after it. Letters, digits, `-`, `_`.
    pub name: String,
    /// The types of events it gets. `None`: all.
    pub types: Option<Vec<EventType>>,
    /// What it is.
    pub kind: SinkKind,
}

/// What a sink is.
#[derive(Clone, Debug)]
pub enum SinkKind {
    /// NDJSON files.
    File {
        /// Their path; `%Y %m %d %H %M` (UTC, of the event's time) and `%%` are filled in.
        path: String,
    },
}
