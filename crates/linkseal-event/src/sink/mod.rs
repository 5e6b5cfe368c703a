//! Where events go. A sink takes batches in order and answers when it holds them for good;
//! the delivery feeds each at its own pace.
//!
//! | kind | holds a batch when | an event comes twice when | is told of failures |
//! |---|---|---|---|
//! | `file` | it is on disk (fdatasync) | a crash comes right after a dead letter was given again; else never: the file tells what it holds | log, metrics |
//! | `webhook` | the endpoint answered 2xx | an answer got lost; same `webhook-id`, same body | log, metrics, and the endpoint by retries |
//! | `nats` | the stream acknowledged each event | an acknowledgement got lost and the stream's duplicate window is over | log, metrics |
//!
//! Nothing is lost while the journal has room (`events.max_bytes`); what goes beyond it is counted
//! in `linkseal_events_lost_total` and logged as an error. An event that a receiver refuses for good
//! is set aside (`dead_letters`), so that it holds up no other.

mod file;
mod finished;
mod nats;
mod pattern;
mod webhook;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use uuid::Uuid;

pub(crate) use self::file::open_lines;
pub(crate) use self::finished::{compressed, encoder};
pub(crate) use self::pattern::COMPRESSED;
use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::shutdown::Tasks;
use linkseal_net::tls_client::{self, Trust};

use crate::journal::Record;
use crate::settings::{SinkKind, SinkSettings};

/// Longest name of a sink: it is part of file names.
const NAME_MAX: usize = 64;
/// Something that keeps events.
#[async_trait]
pub(crate) trait Sink: Send + Sync {
    /// Takes a batch, which is not empty. `Ok` means that it holds all of it, whatever happens
    /// next. After an error the same batch comes again.
    async fn deliver(&mut self, batch: &[Record]) -> Result<(), SinkError>;

    /// Most records in a batch.
    fn batch(&self) -> usize;

    /// Whether a batch that was given must come again as it was, also after a restart.
    fn needs_stable_batches(&self) -> bool {
        false
    }

    /// What is given next is not a batch that comes again: it is to be taken even if it was given
    /// before.
    fn forget_accepted(&mut self) {}

    /// The next batch happened before what the sink may hold already, and is to be taken all the
    /// same: it was set aside then.
    fn allow_earlier(&mut self) {}

    /// Puts its house in order. Called now and then, when it holds all that it was given.
    async fn maintain(&mut self, _now: Timestamp) {}
}

/// Why a sink did not take a batch.
#[derive(Debug)]
pub(crate) struct SinkError {
    /// For the log.
    pub(crate) cause: String,
    /// Whether and when it may be asked again.
    pub(crate) retry: Retry,
}

/// When a sink may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// After its usual pause.
    Later,
    /// After as long as it said.
    After(Duration),
    /// It refuses something in this batch, and would do so again.
    Rejected,
    /// It refuses this batch, and perhaps any other: it may be its address or our credentials that
    /// are wrong, rather than an event.
    AllRejected,
    /// Not before someone changes something: it says that it is gone for good.
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
    /// A name that is no part of a file name.
    #[error("events.sink `{name}`: a name has 1 to {NAME_MAX} letters, digits, `-` and `_`")]
    Name {
        /// The name.
        name: String,
    },
    /// Two sinks of one name: they would share a cursor.
    #[error("events.sink `{name}`: there are two of this name; each needs one of its own")]
    Twice {
        /// The name.
        name: String,
    },
    /// A path with a field that is not known.
    #[error("events.sink `{name}`: path `{path}`: {field} is not known; there are %Y %m %d %H %M and %%")]
    Path {
        /// The sink.
        name: String,
        /// Its path.
        path: String,
        /// The field.
        field: String,
    },
    /// What is to be trusted cannot be.
    #[error("events.sink `{name}`: ca_file: {cause}")]
    Trust {
        /// The sink.
        name: String,
        /// What is wrong.
        cause: String,
    },
}

/// The files there are of a sink, finished ones and compressed ones among them. Only file sinks
/// have any.
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

/// As [`files`], of a file sink's path.
///
/// # Errors
/// When the path is none of a sink, or a folder cannot be listed.
pub fn sink_files(path: &str) -> io::Result<Vec<PathBuf>> {
    let pattern = pattern::Pattern::parse(path);
    let unknown = |field| io::Error::other(format!("{field} stands for no part of a time"));
    pattern.map_err(unknown)?.files()
}

/// Makes a sink as configured.
/// `tasks`: where its blocking work runs, so that it has ended when they have.
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

/// Checks all sinks, so that a bad configuration is said before anything runs.
///
/// # Errors
/// The first thing wrong.
pub fn check(sinks: &[SinkSettings]) -> Result<(), SinkSetupError> {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    for (i, sink) in sinks.iter().enumerate() {
        let name = sink.name.clone();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
            return Err(SinkSetupError::Name { name });
        }
        if sinks.iter().skip(i + 1).any(|s| s.name == name) {
            return Err(SinkSetupError::Twice { name });
        }
        build(sink, &clock, &tasks)?;
    }
    Ok(())
}

/// An event's id, or what tells it apart as well.
fn event_id(record: &Record) -> String {
    #[derive(Deserialize)]
    struct Id {
        id: Uuid,
    }
    let id: Option<Id> = serde_json::from_slice(&record.json).ok();
    id.map_or_else(|| format!("{}-{}", record.boot, record.seq), |i| i.id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::FileSettings;

    #[test]
    fn wrong_settings_are_named() {
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
        assert!(said(&[sink("../x", "x")]).contains("letters"));
        assert!(said(&[sink("a", "x"), sink("a", "y")]).contains("two"));
        assert!(said(&[sink("a", "x-%q")]).contains("%q is not known"));
        assert!(said(&[sink("a", "x-%")]).contains("% is not known"));
    }
}
