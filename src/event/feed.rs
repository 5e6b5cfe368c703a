//! Feeds one sink from the folders of the journal, in order, until the program stops.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::cursor::Cursor;
use super::delivery::{Folder, Progress, lag};
use super::event::head;
use super::reader::{FolderReader, Record, Stop, Until};
use super::sink::Sink;
use super::{EventType, Journal};
use crate::random;
use crate::shutdown::Tasks;

/// How long after a batch a sink waits for more to come with the next one. Recipients do not wait
/// for it; without it, each click would cost fsyncs of its own.
const LINGER: Duration = Duration::from_millis(200);
/// First pause after a failure of a sink.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest pause: a sink that comes back is noticed within this.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// By how much pauses differ at random, so that a fleet does not come back as one.
const BACKOFF_JITTER: f64 = 0.2;

/// Feeds one sink.
pub(super) struct Feed {
    pub(super) name: String,
    pub(super) types: Option<Vec<EventType>>,
    pub(super) sink: Box<dyn Sink>,
    pub(super) journal: Journal,
    pub(super) folders: watch::Receiver<Vec<Arc<Folder>>>,
    pub(super) tasks: Tasks,
    pub(super) progress: Progress,
}

/// Why feeding from a folder ended.
enum Ended {
    /// The sink holds all of it.
    Done,
    /// The program stops.
    Stopping,
}

impl Feed {
    /// Feeds until the program stops.
    pub(super) async fn run(mut self) {
        let mut done = 0;
        loop {
            let Some(folder) = self.folder(done).await else { return };
            match self.feed(&folder).await {
                Ended::Done => done += 1,
                Ended::Stopping => return,
            }
        }
    }

    /// The folder of that number, once it is there. `None`: the program stops.
    async fn folder(&mut self, number: usize) -> Option<Arc<Folder>> {
        let tasks = self.tasks.clone();
        tokio::select! {
            biased;
            found = self.folders.wait_for(|all| all.len() > number) => found.ok()?.get(number).cloned(),
            () = tasks.stopping() => None,
        }
    }

    async fn feed(&mut self, folder: &Folder) -> Ended {
        let cursor = Cursor::new(&folder.path, &self.name);
        let after = loop {
            match cursor.load() {
                Ok(Some(seq)) => break seq,
                Ok(None) => return Ended::Done,
                Err(error) => {
                    tracing::error!(%error, sink = self.name, "a sink's cursor cannot be read; trying again");
                    if self.pause(BACKOFF_FIRST).await {
                        return Ended::Stopping;
                    }
                }
            }
        };
        self.progress(folder, after);
        let damaged = self.journal.metrics().damaged.clone();
        let mut reader = Some(FolderReader::new(&folder.path, folder.boot, after, damaged));
        loop {
            let until = if folder.last.is_some() {
                Until::End
            } else {
                Until::Published(self.journal.published())
            };
            let (records, last, stop) = match self.read(&mut reader, until).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!(%error, path = %folder.path.display(), sink = self.name, "the journal cannot be read; trying again");
                    if self.pause(BACKOFF_FIRST).await {
                        return Ended::Stopping;
                    }
                    let after = self.progress.lock().unwrap_or_else(PoisonError::into_inner).1;
                    let damaged = self.journal.metrics().damaged.clone();
                    reader = Some(FolderReader::new(&folder.path, folder.boot, after, damaged));
                    continue;
                }
            };
            let empty = records.is_empty();
            if !empty {
                if let Ended::Stopping = self.hand_over(records, &cursor, last).await {
                    return Ended::Stopping;
                }
                self.progress(folder, last);
            }
            match (stop, folder.last) {
                (Stop::Enough, _) => {}
                (Stop::End, Some(_)) => return Ended::Done,
                (Stop::End, None) => {
                    if self.tasks.is_stopping() {
                        // What came meanwhile still goes out.
                        if empty || self.journal.published() <= last {
                            return Ended::Stopping;
                        }
                        continue;
                    }
                    self.wait_for_more(last).await;
                }
            }
        }
    }

    /// Reads a batch where blocking is allowed.
    async fn read(&self, slot: &mut Option<FolderReader>, until: Until) -> io::Result<(Vec<Record>, u64, Stop)> {
        let mut reader = slot.take().ok_or_else(|| io::Error::other("a read was broken off"))?;
        let limit = self.sink.batch();
        let read = tokio::task::spawn_blocking(move || {
            let mut records = Vec::new();
            let stop = reader.read(until, limit, &mut records);
            (reader, records, stop)
        });
        let (reader, records, stop) = read.await.map_err(io::Error::other)?;
        let last = reader.last();
        *slot = Some(reader);
        Ok((records, last, stop?))
    }

    /// Gives a batch to the sink until it holds it, then moves the cursor.
    async fn hand_over(&mut self, mut records: Vec<Record>, cursor: &Cursor, last: u64) -> Ended {
        if let Some(types) = &self.types {
            records.retain(|r| head(&r.json).is_some_and(|h| types.iter().any(|t| t.as_str() == h.kind)));
        }
        let deliveries = self.journal.metrics().deliveries.clone();
        let mut backoff = BACKOFF_FIRST;
        while !records.is_empty() {
            match self.sink.deliver(&records).await {
                Ok(()) => {
                    deliveries.with_label_values(&[self.name.as_str(), "ok"]).inc();
                    break;
                }
                Err(error) => {
                    deliveries.with_label_values(&[self.name.as_str(), "retry"]).inc();
                    let wait = error
                        .retry_after
                        .unwrap_or_else(|| random::jitter(backoff, BACKOFF_JITTER))
                        .min(BACKOFF_MAX);
                    tracing::warn!(
                        sink = self.name,
                        cause = error.cause,
                        ?wait,
                        "a sink did not take its events; trying again"
                    );
                    if self.pause(wait).await {
                        return Ended::Stopping;
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
        // A cursor that cannot be moved would only have the batch come again, after a restart.
        while let Err(error) = cursor.save(last) {
            tracing::error!(%error, sink = self.name, "a sink's cursor cannot be saved; trying again");
            if self.pause(BACKOFF_FIRST).await {
                return Ended::Stopping;
            }
        }
        Ended::Done
    }

    /// Waits until there is something after `last`, and a moment longer for more to come with it.
    async fn wait_for_more(&self, last: u64) {
        let changed = self.journal.changed().notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        tokio::select! {
            () = self.tasks.stopping() => return,
            () = changed, if self.journal.published() <= last => {}
            () = std::future::ready(()), if self.journal.published() > last => {}
        }
        tokio::select! {
            () = self.tasks.stopping() => {}
            () = tokio::time::sleep(LINGER) => {}
        }
    }

    /// Waits; `true` when the program stops.
    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.tasks.stopping() => true,
            () = self.journal.clock().sleep(time) => false,
        }
    }

    fn progress(&self, folder: &Folder, seq: u64) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = (folder.boot, seq);
        let folders = self.folders.borrow().clone();
        let lag = lag(&self.journal, &folders, &self.progress);
        self.journal.metrics().lag.with_label_values(&[&self.name]).set(lag);
    }
}
