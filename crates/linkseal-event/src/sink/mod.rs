//! Where events are delivered. A sink accepts batches in order and returns when it holds them
//! durably; `delivery` runs each sink at its own pace.
//!
//! | kind | holds a batch when | delivers an event twice when |
//! |---|---|---|
//! | `file` | it is on disk (fdatasync) | a crash comes right after a replayed dead letter; otherwise never, because the file tells what it holds |
//! | `webhook` | the endpoint answered 2xx | the answer was lost; with the same `webhook-id` and body |
//! | `nats` | the stream acknowledged each event | an acknowledgement was lost and the stream's duplicate window is over |
//!
//! No event is lost while the journal has space (`events.max_bytes`); beyond that, losses are counted
//! in `linkseal_events_lost_total` and logged as errors. An event that a receiver rejects permanently
//! becomes a dead letter, so that it does not block the others.
//!
//! `file` writes the current file, whose path is a `pattern`; `finished` numbers, compresses and
//! removes older ones. `webhook` and `nats` are clients of the operator's systems.

mod file;
mod finished;
mod nats;
mod pattern;
mod webhook;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

pub(crate) use self::file::open_lines;
pub(crate) use self::finished::{compressed, encoder};
pub(crate) use self::pattern::COMPRESSED;
use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::shutdown::Tasks;
use linkseal_net::tls_client::{self, Trust};

use crate::event::id_of;
use crate::files::UNFINISHED;
use crate::journal::lines::Lines;
use crate::settings::{SinkKind, SinkSettings};

/// Longest name of a sink: it is part of file names.
const NAME_MAX: usize = 64;

/// Whether a sink can have this name, which becomes the end of file names: one that ends in `.new` would be
/// the unfinished file of another sink.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.len() <= NAME_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(fits)
        && !name.ends_with(UNFINISHED)
}

/// A destination of events.
#[async_trait]
pub(crate) trait Sink: Send + Sync {
    /// Delivers a batch, which is not empty. `Ok` means that the sink holds all of it durably. After an
    /// error the same batch is delivered again.
    async fn deliver(&mut self, batch: &Lines) -> Result<(), SinkError>;

    /// Most events in a batch.
    fn batch(&self) -> usize;

    /// Whether a retried batch must have the same events, also after a restart.
    fn needs_stable_batches(&self) -> bool {
        false
    }

    /// The next batch is not a retry: it must be accepted even if its events were accepted before.
    fn forget_accepted(&mut self) {}

    /// The next batch may be older than what the sink holds and must be accepted all the same: it is a
    /// replayed dead letter.
    fn allow_earlier(&mut self) {}

    /// Periodic maintenance: compress and remove files. Called only when every delivered batch is
    /// durable.
    async fn maintain(&mut self, _now: Timestamp) {}
}

/// Why a sink did not accept a batch.
#[derive(Debug)]
pub(crate) struct SinkError {
    pub(crate) cause: String,
    pub(crate) retry: Retry,
}

/// Whether and when to retry a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// After the usual pause.
    Later,
    /// After the pause that the receiver asked for.
    After(Duration),
    /// The receiver rejects something in this batch, and would do so again.
    Rejected,
    /// The receiver rejects this batch and perhaps any other: its address or our credentials may be
    /// wrong, rather than an event.
    AllRejected,
    /// The receiver is gone for good: not before an operator acts.
    Never,
}

impl SinkError {
    pub(crate) fn later(cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            retry: Retry::Later,
        }
    }
}

/// Why a sink cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SinkSetupError {
    /// The name cannot be part of a file name.
    #[error(
        "events.sink `{name}`: a name has 1 to {NAME_MAX} letters, digits, `.`, `_` and `-`, begins with a letter or \
         digit and does not end in `{UNFINISHED}`"
    )]
    Name {
        /// The invalid name.
        name: String,
    },
    /// Two sinks have the same name: they would share a cursor.
    #[error("events.sink `{name}`: two sinks have this name; each needs its own")]
    Twice {
        /// The invalid name.
        name: String,
    },
    /// The path contains an unknown field.
    #[error("events.sink `{name}`: path `{path}`: {field} is unknown; use %Y %m %d %H %M or %%")]
    Path {
        /// The name of the sink.
        name: String,
        /// The path of the sink.
        path: String,
        /// The unknown field.
        field: String,
    },
    /// A certificate of `ca_file` cannot be trusted.
    #[error("events.sink `{name}`: ca_file: {cause}")]
    Trust {
        /// The name of the sink.
        name: String,
        /// The error of the TLS library.
        cause: String,
    },
}

/// All files of a sink, including finished and compressed ones. Only file sinks have any.
pub(crate) fn files(settings: &SinkSettings) -> Result<io::Result<Vec<PathBuf>>, SinkSetupError> {
    match &settings.kind {
        SinkKind::File(file) => {
            let pattern = pattern::Pattern::parse(&file.path).map_err(|field| SinkSetupError::Path {
                name: settings.name.clone(),
                path: file.path.clone(),
                field,
            })?;
            Ok(pattern.files())
        }
        SinkKind::Webhook(_) | SinkKind::Nats(_) => Ok(Ok(Vec::new())),
    }
}

/// All files of a file sink with this path.
///
/// # Errors
/// When the path has an unknown field, or a folder cannot be listed.
pub fn sink_files(path: &str) -> io::Result<Vec<PathBuf>> {
    let pattern = pattern::Pattern::parse(path);
    let unknown = |field| io::Error::other(format!("{field} is unknown; use %Y %m %d %H %M or %%"));
    pattern.map_err(unknown)?.files()
}

/// Builds a sink. Its blocking work runs in `tasks`, so that it has ended when they have.
pub(crate) fn build(settings: &SinkSettings, clock: &Clock, tasks: &Tasks) -> Result<Box<dyn Sink>, SinkSetupError> {
    let name = || settings.name.clone();
    let trust = |cause: rustls::Error| SinkSetupError::Trust {
        name: name(),
        cause: cause.to_string(),
    };
    match &settings.kind {
        SinkKind::File(file) => {
            let pattern = pattern::Pattern::parse(&file.path).map_err(|field| SinkSetupError::Path {
                name: name(),
                path: file.path.clone(),
                field,
            })?;
            Ok(Box::new(file::FileSink::new(pattern, file, tasks)))
        }
        SinkKind::Webhook(webhook) => {
            let tls = tls_client::config(Trust::PublicAnd(&webhook.trust), &[]).map_err(trust)?;
            Ok(Box::new(webhook::WebhookSink::new(&settings.name, webhook, tls, clock)))
        }
        SinkKind::Nats(nats) => {
            let tls = tls_client::config(Trust::PublicAnd(&nats.trust), &[]).map_err(trust)?;
            Ok(Box::new(nats::NatsSink::new(nats, tls)))
        }
    }
}

/// Checks all sinks, so that an invalid configuration is reported before anything runs.
///
/// # Errors
/// The first problem found.
pub fn check(sinks: &[SinkSettings]) -> Result<(), SinkSetupError> {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    for (i, sink) in sinks.iter().enumerate() {
        let name = sink.name.clone();
        if !is_name(&name) {
            return Err(SinkSetupError::Name { name });
        }
        if sinks.iter().skip(i + 1).any(|s| s.name == name) {
            return Err(SinkSetupError::Twice { name });
        }
        build(sink, &clock, &tasks)?;
    }
    Ok(())
}

/// An event's id, or its boot and sequence number.
fn event_id(boot: Uuid, seq: u64, json: &[u8]) -> String {
    id_of(json).map_or_else(|| format!("{boot}-{seq}"), |id| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::FileSettings;

    #[test]
    fn invalid_settings_are_reported() {
        let sink = |name: &str, path: &str| SinkSettings {
            name: name.into(),
            types: None,
            kind: SinkKind::File(FileSettings {
                path: path.into(),
                ..FileSettings::default()
            }),
        };
        let said = |sinks: &[SinkSettings]| check(sinks).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(said(&[sink("a", "x-%Y.ndjson"), sink("b", "100%%")]), "");
        assert_eq!(said(&[sink("archive.v2", "x"), sink(&"a".repeat(64), "y")]), "");
        for name in ["../x", "", ".", "..", ".a", "-a", "a b", "a.new", &"a".repeat(65)] {
            assert!(said(&[sink(name, "x")]).contains("letters"), "{name}");
        }
        assert!(said(&[sink("a", "x"), sink("a", "y")]).contains("two"));
        assert!(said(&[sink("a", "x-%q")]).contains("%q is unknown"));
        assert!(said(&[sink("a", "x-%")]).contains("% is unknown"));
    }
}
