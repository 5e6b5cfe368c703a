//! The note that a sink is stopped because its endpoint is gone (410). It survives restarts, and ends
//! when the sink's settings change or with a reload. Meanwhile events stay in the journal, up to its
//! size cap.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::settings::{SinkKind, SinkSettings};

/// The note of one sink, whether it exists or not.
#[derive(Clone)]
pub(super) struct StopNote {
    path: PathBuf,
    settings: String,
}

/// Its content.
#[derive(Serialize, Deserialize)]
struct Note {
    since: Timestamp,
    /// A digest of the settings it was written for.
    settings: String,
}

impl StopNote {
    /// Names the note; `dir` is the journal's directory.
    pub(super) fn new(dir: &Path, sink: &SinkSettings) -> Self {
        Self {
            path: dir.join(format!("stopped-{}", sink.name)),
            settings: digest(&sink.kind),
        }
    }

    /// Since when the sink is stopped; `None` when it is not, or was with other settings.
    pub(super) fn since(&self) -> io::Result<Option<Timestamp>> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        // A damaged note is ignored: the endpoint will answer 410 again.
        let note: Option<Note> = serde_json::from_slice(&text).ok();
        Ok(note.filter(|n| n.settings == self.settings).map(|n| n.since))
    }

    pub(super) fn save(&self, since: Timestamp) -> io::Result<()> {
        let note = Note {
            since,
            settings: self.settings.clone(),
        };
        files::replace(&self.path, &self.path, None, |out| {
            Ok(serde_json::to_writer(out, &note)?)
        })
    }

    pub(super) fn clear(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// Tells settings apart without revealing them: they contain secrets, of at least 24 random bytes.
fn digest(kind: &SinkKind) -> String {
    let mut hash = Context::new(&SHA256);
    hash.update(format!("{kind:?}").as_bytes());
    if let SinkKind::Webhook(webhook) = kind {
        webhook.secrets.iter().for_each(|s| hash.update(s.bytes()));
    }
    hex::encode(hash.finish())
}
