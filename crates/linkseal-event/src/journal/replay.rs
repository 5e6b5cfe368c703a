//! Reads whole journals: everything written since some time ([`Replay`]), or new events as they are
//! written ([`Follower`]). Takes no locks and moves no cursors.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use linkseal_base::clock::Timestamp;
use prometheus::IntCounter;
use uuid::Uuid;

use super::Record;
use super::reader::{FolderReader, Stop, Until};
use super::{Journal, segment};
use crate::event::time_of;

/// Records read at once.
pub(crate) const BATCH: usize = 500;

/// All events in a journal's directory since some time, in order of boot and sequence number, as far
/// as they are kept. Works with and without a running edge.
pub struct Replay {
    dir: PathBuf,
    boots: IntoIter<Uuid>,
    from: Timestamp,
    reader: Option<FolderReader>,
    records: IntoIter<Record>,
    damaged: IntCounter,
}

impl Replay {
    /// Opens a journal's directory (`events.dir`).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(dir: &Path, from: Timestamp) -> io::Result<Self> {
        // Damage is logged; no metrics are scraped here.
        let damaged = IntCounter::new("damaged", "not registered").map_err(io::Error::other)?;
        // A missing directory would look like an empty one below.
        std::fs::read_dir(dir)?;
        let boots = segment::boots(dir)?.into_iter();
        Ok(Self {
            dir: dir.to_owned(),
            boots,
            from,
            reader: None,
            records: Vec::new().into_iter(),
            damaged,
        })
    }

    fn fill(&mut self) -> io::Result<bool> {
        loop {
            let Some(reader) = &mut self.reader else {
                let Some(boot) = self.boots.next() else {
                    return Ok(false);
                };
                let folder = self.dir.join(boot.to_string());
                segment::check_format(&folder)?;
                self.reader = Some(FolderReader::new(&folder, boot, 0, self.damaged.clone()));
                continue;
            };
            let mut records = Vec::new();
            let stop = reader.read_records(Until::End, BATCH, &mut records)?;
            if stop == Stop::End {
                self.reader = None;
            }
            if !records.is_empty() {
                self.records = records.into_iter();
                return Ok(true);
            }
        }
    }

    fn wanted(&self, record: &Record) -> bool {
        time_of(&record.json).is_none_or(|t| t >= self.from)
    }
}

impl Iterator for Replay {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.next() {
                Some(record) if self.wanted(&record) => return Some(Ok(record)),
                Some(_) => {}
                None => match self.fill() {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(e) => return Some(Err(e)),
                },
            }
        }
    }
}

/// Follows this boot's events as they are written; see [`Journal::follow`]. A slow consumer delays
/// nothing and costs no memory, because a follower reads from the journal.
pub struct Follower {
    journal: Journal,
    /// Folders of earlier boots still to be read, oldest first.
    earlier: VecDeque<FolderReader>,
    /// `None` after a read was aborted.
    reader: Option<FolderReader>,
}

impl Journal {
    /// Follows this boot's events after a sequence number, or from now on. A stream's `Last-Event-ID`
    /// of this boot gives the number; for another boot, use [`Journal::resume`].
    pub fn follow(&self, after: Option<u64>) -> Follower {
        let after = after.unwrap_or_else(|| self.published());
        let reader = FolderReader::new(self.folder(), self.boot(), after, self.metrics().damaged.clone());
        Follower {
            journal: self.clone(),
            earlier: VecDeque::new(),
            reader: Some(reader),
        }
    }

    /// Continues after an event of this or an earlier boot, as far back as the journal is kept, and
    /// then follows this boot's events. Blocks briefly.
    ///
    /// # Errors
    /// When the journal's directory cannot be read.
    pub fn resume(&self, boot: Uuid, seq: u64) -> io::Result<Follower> {
        if boot >= self.boot() {
            // An event of a later boot is not from this journal, so its holder has nothing of this one.
            return Ok(self.follow(Some(if boot == self.boot() { seq } else { 0 })));
        }
        let mut follower = self.follow(Some(0));
        let damaged = &self.metrics().damaged;
        for earlier in segment::boots(self.dir())? {
            if earlier >= boot && earlier < self.boot() {
                let after = if earlier == boot { seq } else { 0 };
                let folder = self.dir().join(earlier.to_string());
                segment::check_format(&folder)?;
                let reader = FolderReader::new(&folder, earlier, after, damaged.clone());
                follower.earlier.push_back(reader);
            }
        }
        Ok(follower)
    }
}

impl Follower {
    /// Waits for the next events, and returns at least one. Dropping this future during a read ends the
    /// follower.
    ///
    /// # Errors
    /// When the journal cannot be read, or an earlier read was aborted.
    pub async fn next(&mut self) -> io::Result<Vec<Record>> {
        while let Some(mut reader) = self.earlier.pop_front() {
            let read = tokio::task::spawn_blocking(move || {
                let mut records = Vec::new();
                let result = reader.read_records(Until::End, BATCH, &mut records);
                (reader, records, result)
            });
            let (reader, records, stop) = read.await.map_err(io::Error::other)?;
            if stop? == Stop::Enough {
                self.earlier.push_front(reader);
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
        loop {
            let mut reader = self
                .reader
                .take()
                .ok_or_else(|| io::Error::other("the last read was aborted"))?;
            let changed = self.journal.changed().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let published = self.journal.published();
            if reader.last() >= published {
                self.reader = Some(reader);
                changed.await;
                continue;
            }
            let read = tokio::task::spawn_blocking(move || {
                let mut records = Vec::new();
                let result = reader.read_records(Until::Published(published), BATCH, &mut records);
                (reader, records, result)
            });
            let (reader, records, result) = read.await.map_err(io::Error::other)?;
            self.reader = Some(reader);
            result?;
            if !records.is_empty() {
                return Ok(records);
            }
            // The missing events were removed or damaged; later ones will follow.
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests;
