//! Feeds one sink from the folders of the journal, in order, until the program stops.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::cursor::Cursor;
use super::delivery::{Folder, Progress, lag};
use super::event::head;
use super::reader::{FolderReader, Record, Stop, Until};
use super::sink::{Again, Sink, SinkError};
use super::stopped::Stopped;
use super::{EventType, Journal};
use crate::clock::Timestamp;
use crate::random;
use crate::shutdown::Tasks;

/// How long after a batch a sink waits for more to come with the next one. Recipients do not wait
/// for it; without it, each click would cost fsyncs of its own.
const LINGER: Duration = Duration::from_millis(200);
/// Pause after a failure of our own disk.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a sink may put its house in order.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// How long a batch that is on its way when the program stops may still take.
const STOP_GRACE: Duration = Duration::from_secs(8);
/// By how much pauses differ at random, so that a fleet does not come back as one.
const JITTER: f64 = 0.2;

/// Feeds one sink.
pub(super) struct Feed {
    pub(super) name: String,
    pub(super) types: Option<Vec<EventType>>,
    pub(super) sink: Box<dyn Sink>,
    pub(super) journal: Journal,
    pub(super) folders: watch::Receiver<Vec<Arc<Folder>>>,
    pub(super) tasks: Tasks,
    pub(super) progress: Progress,
    /// Where it is noted that the sink has been told to stop.
    pub(super) stopped: Stopped,
    /// When the sink's house was put in order last.
    pub(super) tended: Timestamp,
}

/// Why feeding from a folder ended.
enum Ended {
    /// The sink holds all of it.
    Done,
    /// The program stops, or the sink has been told to.
    Stopping,
}

impl Feed {
    /// Feeds until the program stops.
    pub(super) async fn run(mut self) {
        let mut done = 0;
        if self.is_stopped() {
            return self.tasks.stopping().await;
        }
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
        let place = loop {
            match cursor.place() {
                Ok(Some(place)) => break place,
                Ok(None) => return Ended::Done,
                Err(error) => {
                    tracing::error!(%error, sink = self.name, "a sink's cursor cannot be read; trying again");
                    if self.pause(PAUSE).await {
                        return Ended::Stopping;
                    }
                }
            }
        };
        self.progress(folder, place.held);
        let damaged = self.journal.metrics().damaged.clone();
        let mut reader = Some(FolderReader::new(&folder.path, folder.boot, place.held, damaged));
        let mut repeat = place.offered.filter(|_| self.sink.repeats());
        loop {
            let (until, limit) = match (repeat, folder.last) {
                // The same batch as before a restart, whatever came after it.
                (Some(offered), _) => (Until::Published(offered), usize::MAX),
                (None, Some(_)) => (Until::End, self.sink.batch()),
                (None, None) => (Until::Published(self.journal.published()), self.sink.batch()),
            };
            let (records, last, stop) = match self.read(&mut reader, until, limit).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!(%error, path = %folder.path.display(), sink = self.name, "the journal cannot be read; trying again");
                    if self.pause(PAUSE).await {
                        return Ended::Stopping;
                    }
                    let after = self.held();
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
            self.tend().await;
            match (stop, folder.last) {
                (Stop::Enough, _) => {}
                (Stop::End, _) if repeat.take().is_some() => {}
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
    async fn read(
        &self,
        slot: &mut Option<FolderReader>,
        until: Until,
        limit: usize,
    ) -> io::Result<(Vec<Record>, u64, Stop)> {
        let mut reader = slot.take().ok_or_else(|| io::Error::other("a read was broken off"))?;
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
        if records.is_empty() {
            return self.keep_trying(|| cursor.save(last)).await;
        }
        if self.sink.repeats() {
            let held = self.held();
            if let Ended::Stopping = self.keep_trying(|| cursor.offer(held, last)).await {
                return Ended::Stopping;
            }
        }
        let mut failures = 0;
        loop {
            let tasks = self.tasks.clone();
            let given = tokio::select! {
                given = self.sink.deliver(&records) => given,
                () = async { tasks.stopping().await; tokio::time::sleep(STOP_GRACE).await } => return Ended::Stopping,
            };
            let Err(error) = given else { break };
            let pause = match error.again {
                Again::Never => return self.stop(&error).await,
                Again::After(pause) => pause,
                Again::Later => {
                    failures += 1;
                    random::jitter(self.sink.pause(failures), JITTER)
                }
            };
            self.count("retry");
            tracing::warn!(
                sink = self.name,
                cause = error.cause,
                ?pause,
                "a sink did not take its events; trying again"
            );
            if self.pause(pause).await {
                return Ended::Stopping;
            }
        }
        self.count("ok");
        // A cursor that cannot be moved would only have the batch come again, after a restart.
        self.keep_trying(|| cursor.save(last)).await
    }

    /// Moves a cursor, until that is done.
    async fn keep_trying(&self, save: impl Fn() -> io::Result<()>) -> Ended {
        while let Err(error) = save() {
            tracing::error!(%error, sink = self.name, "a sink's cursor cannot be saved; trying again");
            if self.pause(PAUSE).await {
                return Ended::Stopping;
            }
        }
        Ended::Done
    }

    /// Whether the sink was told to stop before.
    fn is_stopped(&self) -> bool {
        let since = self.stopped.since().unwrap_or_else(|error| {
            tracing::error!(%error, sink = self.name, "whether a sink is stopped cannot be read; it is taken to run");
            None
        });
        self.show_stopped(since.is_some());
        if let Some(since) = since {
            tracing::error!(sink = self.name, %since, "a sink is stopped: its endpoint said that it is gone (410); change its settings or reload to go on");
        }
        since.is_some()
    }

    /// Stops feeding a sink that wants no more, and waits for the program's end.
    async fn stop(&self, error: &SinkError) -> Ended {
        self.count("gone");
        self.show_stopped(true);
        tracing::error!(
            sink = self.name,
            cause = error.cause,
            "a sink is stopped: its endpoint said that it is gone; its events stay in the journal. Change its settings or reload to go on"
        );
        if let Err(error) = self.stopped.save(self.journal.clock().now()) {
            tracing::error!(%error, sink = self.name, "that a sink is stopped cannot be noted; it is asked again after a restart");
        }
        self.tasks.stopping().await;
        Ended::Stopping
    }

    fn count(&self, result: &str) {
        let labels = [self.name.as_str(), result];
        self.journal.metrics().deliveries.with_label_values(&labels).inc();
    }

    fn show_stopped(&self, stopped: bool) {
        let gauge = self.journal.metrics().stopped.with_label_values(&[&self.name]);
        gauge.set(stopped.into());
    }

    /// Lets the sink put its house in order. All that it was given is held by now.
    async fn tend(&mut self) {
        let now = self.journal.clock().now();
        if now.saturating_since(self.tended) >= TEND_EVERY {
            self.tended = now;
            self.sink.tend(now).await;
        }
    }

    fn held(&self) -> u64 {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).1
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
            // Nothing came, but the sink's house wants to be put in order.
            () = self.journal.clock().sleep(TEND_EVERY) => return,
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
