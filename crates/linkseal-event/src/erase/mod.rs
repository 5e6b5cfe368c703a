//! Erases what the journal and file sinks hold of a tenant or a message.
//!
//! In the journal, segments are rewritten with the matching events blanked, and renamed into place. A
//! blanked frame keeps its length and sequence number, so readers in the middle of a segment and all
//! cursors stay valid; readers skip it. Files of sinks and dead letters are rewritten without the
//! matching lines. After a crash each file is either the old one or the new one, and erasing again
//! completes the work.
//!
//! Delivery must be at rest. On a running node [`Eraser`] takes care of that, while the journal keeps
//! taking events; on a stopped node the folders' locks prevent a node that starts meanwhile from
//! delivering.
//!
//! Out of reach: what webhooks and NATS have received, copies and backups of files, what consumers of
//! the event stream have read, disk blocks that have not been overwritten yet, and events recorded
//! after the call. To prevent the last, stop the tenant's or message's links first.

mod rewrite;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use serde::Deserialize;
use uuid::Uuid;

use self::rewrite::{erase_lines, erase_segment};
use crate::delivery::{Delivery, dead_letters};
use crate::journal::Journal;
use crate::journal::segment::{self, Found};
use crate::settings::EventSettings;
use crate::{files, sink};

/// How long the journal may take to begin a new segment.
const ROTATION: Duration = Duration::from_secs(10);
/// How often that is checked.
const CHECK_EVERY: Duration = Duration::from_millis(5);

/// Erases on a running node. Clones share it.
#[derive(Clone)]
pub struct Eraser {
    delivery: Delivery,
    journal: Journal,
    tasks: Tasks,
}

impl Eraser {
    /// For a journal and its delivery, which runs in `tasks`.
    pub fn new(delivery: Delivery, journal: Journal, tasks: Tasks) -> Self {
        Self {
            delivery,
            journal,
            tasks,
        }
    }

    /// Stops delivery, erases, and starts delivery again; the journal takes events all the while. The
    /// erasure completes even if this future is dropped.
    ///
    /// # Errors
    /// When not everything could be erased.
    pub async fn erase(&self, selector: Selector) -> Result<Erased, EraseError> {
        let this = self.clone();
        let all = self.tasks.spawn(async move {
            let journal = this.journal.clone();
            let work = move |settings: &EventSettings| erase(settings, Some(&journal), &selector);
            this.delivery.at_rest(work).await
        });
        all.await.ok().flatten().unwrap_or(Err(EraseError::Stopping))
    }
}

/// Which events are erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All events of a tenant, by the name it had when they happened.
    Tenant(String),
    /// All events of a message.
    Message(Uuid),
}

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Erased {
    /// Events erased from the journal.
    pub journal_events: u64,
    /// Segments of the journal rewritten.
    pub journal_segments: u64,
    /// Events erased from files of sinks.
    pub file_events: u64,
    /// Files of sinks rewritten.
    pub files: u64,
    /// Dead letters erased: events that were set aside because a receiver rejected them.
    pub dead_letters: u64,
}

/// Why not everything was erased. What was erased stays erased; erase again when the cause is gone.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// A node writes to the journal or delivers from it.
    #[error("{path} is in use by a running node; let that node erase (POST /v1/events/erase), or stop it first")]
    InUse {
        /// The folder that is locked.
        path: PathBuf,
    },
    /// The journal cannot begin a new segment.
    #[error("the journal could not begin a new segment in time; nothing was erased (see its errors in the log)")]
    Stuck,
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The node is shutting down.
    #[error("the node is shutting down; erase again when it is up, or on the stopped node")]
    Stopping,
    /// A sink's settings are invalid.
    #[error(transparent)]
    Sink(#[from] sink::SinkSetupError),
}

/// Erases, and logs what was erased. Blocks for as long as it takes to read everything. `journal` is
/// that of the running node, if one runs; see the module documentation on what must be at rest.
///
/// # Errors
/// When not everything could be erased.
pub fn erase(settings: &EventSettings, journal: Option<&Journal>, selector: &Selector) -> Result<Erased, EraseError> {
    let dir = &settings.dir;
    let own = journal.map(Journal::boot);
    let mut locks = Vec::new();
    let boots = segment::boots(dir).map_err(at(dir))?;
    for boot in boots.iter().filter(|b| Some(**b) != own) {
        let path = dir.join(boot.to_string());
        match segment::lock(&path) {
            Ok(Some(lock)) => locks.push(lock),
            Ok(None) => return Err(EraseError::InUse { path }),
            Err(source) => return Err(EraseError::File { path, source }),
        }
        segment::check_format(&path).map_err(at(&path))?;
    }
    // Without any folder there would be no lock to hold.
    let mut placeholder = None;
    if journal.is_none() && boots.is_empty() {
        let path = dir.join(Uuid::now_v7().to_string());
        files::create_dir(&path).map_err(at(&path))?;
        locks.extend(segment::lock(&path).map_err(at(&path))?);
        placeholder = Some(path);
    }
    let mut segments = Vec::new();
    for boot in boots {
        let folder = dir.join(boot.to_string());
        let end = match journal.filter(|_| Some(boot) == own) {
            Some(journal) => begin_segment(journal)?,
            None => u64::MAX,
        };
        let found = segment::segments(&folder).map_err(at(&folder))?;
        segments.extend(found.into_iter().filter(|s| s.first < end));
    }
    let mut erased = Erased::default();
    for Found { path, .. } in segments {
        let count = erase_segment(&path, |json| selector.matches(json)).map_err(at(&path))?;
        erased.journal_events += count;
        erased.journal_segments += u64::from(count > 0);
    }
    for sink in &settings.sinks {
        for path in sink::files(sink)?.map_err(at(dir))? {
            files::remove_unfinished(&sink::compressed(&path)).map_err(at(&path))?;
            let count = erase_lines(&path, |line| selector.matches(line)).map_err(at(&path))?;
            erased.file_events += count;
            erased.files += u64::from(count > 0);
        }
    }
    for path in dead_letters::files(dir).map_err(at(dir))? {
        erased.dead_letters += erase_lines(&path, |line| {
            dead_letters::event_of(line).is_some_and(|event| selector.matches(event))
        })
        .map_err(at(&path))?;
    }
    if let Some(path) = placeholder {
        fs::remove_dir_all(&path).map_err(at(&path))?;
    }
    drop(locks);
    tracing::info!(
        ?selector,
        journal_events = erased.journal_events,
        file_events = erased.file_events,
        dead_letters = erased.dead_letters,
        "events erased from the journal and file sinks; what webhooks and NATS have received is out of reach"
    );
    Ok(erased)
}

/// Adds the path to an error.
fn at(path: &Path) -> impl FnOnce(io::Error) -> EraseError {
    let path = path.to_owned();
    |source| EraseError::File { path, source }
}

/// Makes the journal begin a new segment; returns the first sequence number of that segment.
fn begin_segment(journal: &Journal) -> Result<u64, EraseError> {
    let written = journal.published();
    let clock = Clock::system();
    let deadline = clock.uptime() + ROTATION;
    journal.rotate();
    loop {
        let all = segment::segments(journal.folder()).map_err(at(journal.folder()))?;
        if let Some(last) = all.last().filter(|s| s.first > written) {
            return Ok(last.first);
        }
        if clock.uptime() >= deadline {
            return Err(EraseError::Stuck);
        }
        #[allow(clippy::disallowed_methods, reason = "this runs on a blocking thread")]
        std::thread::sleep(CHECK_EVERY);
    }
}

impl Selector {
    fn matches(&self, json: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Subject {
            tenant: Option<String>,
            message_id: Option<Uuid>,
        }
        let subject: Option<Subject> = serde_json::from_slice(json).ok();
        subject.is_some_and(|s| match self {
            Self::Tenant(tenant) => s.tenant.as_ref() == Some(tenant),
            Self::Message(message) => s.message_id == Some(*message),
        })
    }
}
