//! The note that a sink has been told to stop: its endpoint said that it is gone for good. It
//! survives a restart; it ends when the sink's settings change, or by a reload.
//!
//! What happens meanwhile stays in the journal, up to the journal's size cap.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::{SinkKind, SinkSettings, whole};

/// Where the note of one sink is, or would be.
#[derive(Clone)]
pub(super) struct Stopped {
    path: PathBuf,
    settings: String,
}

/// What it says.
#[derive(Serialize, Deserialize)]
struct Note {
    since: Timestamp,
    /// A digest of the settings it is about.
    settings: String,
}

impl Stopped {
    /// Names it; `dir` is the journal's directory.
    pub(super) fn new(dir: &Path, sink: &SinkSettings) -> Self {
        Self {
            path: dir.join(format!("stopped-{}", sink.name)),
            settings: digest(&sink.kind),
        }
    }

    /// Since when the sink is stopped. `None`: it is not, or not with these settings.
    pub(super) fn since(&self) -> io::Result<Option<Timestamp>> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        // A damaged note is none: the endpoint will say again what it said.
        let note: Option<Note> = serde_json::from_slice(&text).ok();
        Ok(note.filter(|n| n.settings == self.settings).map(|n| n.since))
    }

    /// Notes it.
    pub(super) fn save(&self, since: Timestamp) -> io::Result<()> {
        let note = Note {
            since,
            settings: self.settings.clone(),
        };
        whole::put(&self.path, &self.path, None, |out| {
            Ok(serde_json::to_writer(out, &note)?)
        })
    }

    /// Ends it.
    pub(super) fn clear(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// Tells settings apart, without telling what they are: secrets are among them, of at least 24
/// random bytes.
fn digest(kind: &SinkKind) -> String {
    let mut hash = Context::new(&SHA256);
    hash.update(format!("{kind:?}").as_bytes());
    if let SinkKind::Webhook(webhook) = kind {
        webhook.secrets.iter().for_each(|s| hash.update(s.bytes()));
    }
    hex::encode(hash.finish())
}
