//! Where events go. A sink takes batches in order and answers when it holds them for good;
//! the delivery feeds each at its own pace.

mod file;

use std::time::Duration;

use async_trait::async_trait;

use super::reader::Record;
use super::{SinkKind, SinkSettings};

/// Longest name of a sink: it is part of file names.
const NAME_MAX: usize = 64;

/// Something that keeps events.
#[async_trait]
pub(super) trait Sink: Send + Sync {
    /// Takes a batch, which is not empty. `Ok` means that it holds all of it, whatever happens
    /// next. After an error the same batch comes again.
    async fn deliver(&mut self, batch: &[Record]) -> Result<(), SinkError>;

    /// Most records in a batch.
    fn batch(&self) -> usize;
}

/// Why a sink did not take a batch.
#[derive(Debug)]
pub(super) struct SinkError {
    /// For the log.
    pub(super) cause: String,
    /// When it wants to be asked again. `None`: it did not say.
    pub(super) retry_after: Option<Duration>,
}

/// Why a sink cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
}

/// Makes a sink as configured.
pub(super) fn build(settings: &SinkSettings) -> Result<Box<dyn Sink>, SinkSetupError> {
    match &settings.kind {
        SinkKind::File { path } => {
            let pattern = file::Pattern::parse(path).map_err(|field| SinkSetupError::Path {
                name: settings.name.clone(),
                path: path.clone(),
                field,
            })?;
            Ok(Box::new(file::FileSink::new(pattern)))
        }
    }
}

/// Checks all sinks, so that a bad configuration is said before anything runs.
///
/// # Errors
/// The first thing wrong.
pub fn check(sinks: &[SinkSettings]) -> Result<(), SinkSetupError> {
    for (i, sink) in sinks.iter().enumerate() {
        let name = sink.name.clone();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
            return Err(SinkSetupError::Name { name });
        }
        if sinks.iter().skip(i + 1).any(|s| s.name == name) {
            return Err(SinkSetupError::Twice { name });
        }
        build(sink)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_named() {
        let sink = |name: &str, path: &str| SinkSettings {
            name: name.into(),
            types: None,
            kind: SinkKind::File { path: path.into() },
        };
        let said = |sinks: &[SinkSettings]| check(sinks).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(said(&[sink("a", "x-%Y.ndjson"), sink("b", "100%%")]), "");
        assert!(said(&[sink("../x", "x")]).contains("letters"));
        assert!(said(&[sink("a", "x"), sink("a", "y")]).contains("two"));
        assert!(said(&[sink("a", "x-%q")]).contains("%q is not known"));
        assert!(said(&[sink("a", "x-%")]).contains("% is not known"));
    }
}
