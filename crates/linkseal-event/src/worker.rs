//! Feeds one sink from the folders of the journal, in order, until the program stops.
//!
//! No file is touched on the thread that runs this: a disk that hangs holds up this sink only. While
//! our disk lets a sink go no further, as when it takes no cursor, that is tried again until it does,
//! and shown: the sink waits, and `linkseal_delivery_running` is 0.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::shutdown::Tasks;
use tokio::sync::watch;

use super::board::{Board, SinkState, time_of};
use super::cursor::{Cursor, Place};
use super::event::head;
use super::folder::Folder;
use super::handover::Row;
use super::reader::{FolderReader, Record, Stop, Until};
use super::replaying::Replaying;
use super::sink::Sink;
use super::stopped::Stopped;
use super::trouble::elapsed;
use super::{EventType, Journal, segment};

/// How long after a batch a sink waits for more to come with the next one. Recipients do not wait
/// for it; without it, each click would cost fsyncs of its own.
const LINGER: Duration = Duration::from_millis(200);
/// Pause after a failure of our own disk.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How often a segment that cannot be read is tried before it is passed: about a minute.
const READ_TRIES: u32 = 60;
/// How often a sink may put its house in order.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// How often a cursor is saved that only passes events which the sink does not get.
const PASS_EVERY: Duration = Duration::from_secs(60);
/// How long our disk may take to note something before that is shown as a failure.
const HANGS_AFTER: Duration = Duration::from_secs(10);

/// Feeds one sink.
pub(super) struct SinkWorker {
    pub(super) types: Option<Vec<EventType>>,
    pub(super) sink: Box<dyn Sink>,
    pub(super) journal: Journal,
    pub(super) folders: watch::Receiver<Vec<Arc<Folder>>>,
    pub(super) tasks: Tasks,
    pub(super) board: Board,
    pub(super) state: Arc<SinkState>,
    /// Where it is noted that the sink has been told to stop.
    pub(super) stopped: Stopped,
    /// When the sink's house was put in order last.
    pub(super) tended: Timestamp,
    /// How its attempts go.
    pub(super) row: Row,
    /// Dead letters that are being given to it again. `None`: none are.
    pub(super) replaying: Option<Replaying>,
}

/// Why feeding from a folder ended.
pub(super) enum Ended {
    /// The sink holds all of it, or what it lacks is gone.
    Done,
    /// The program stops.
    Stopping,
    /// The sink has been told to stop.
    Stopped,
}

/// Where a feed is in a folder.
pub(super) struct At {
    pub(super) folder: Arc<Folder>,
    pub(super) cursor: Cursor,
    /// What the sink holds, or does not get, up to here.
    pub(super) held: u64,
    /// The end of a batch that is being given to a sink that wants it again as it was.
    pub(super) offered: Option<u64>,
    /// Whether that is further than the cursor on disk.
    unsaved: bool,
    /// When the cursor was saved last.
    saved: Timestamp,
}

impl SinkWorker {
    /// Feeds until the program stops.
    pub(super) async fn run(mut self) {
        let mut done = 0;
        if self.is_stopped().await && self.wait_stopped().await {
            return;
        }
        loop {
            let Some(folder) = self.folder(done).await else { return };
            match self.feed(&folder).await {
                Ended::Done => done += 1,
                Ended::Stopping => return,
                Ended::Stopped if self.wait_stopped().await => return,
                Ended::Stopped => {}
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

    async fn feed(&mut self, folder: &Arc<Folder>) -> Ended {
        let _inside = folder.enter();
        let cursor = Cursor::new(&folder.path, &self.state.name);
        let place = match self.place(&cursor, folder).await {
            Ok(place) => place,
            Err(ended) => {
                if let Some(held) = self.state.held(folder.boot) {
                    self.count_removed(folder, held).await;
                }
                return ended;
            }
        };
        let mut at = At {
            folder: Arc::clone(folder),
            cursor,
            held: place.held,
            offered: place.offered,
            unsaved: false,
            saved: self.journal.clock().now(),
        };
        let ended = self.feed_from(&mut at).await;
        if at.unsaved {
            self.save(&mut at).await;
        }
        ended
    }

    async fn feed_from(&mut self, at: &mut At) -> Ended {
        let folder = Arc::clone(&at.folder);
        self.board.set_held(&self.state, folder.boot, at.held);
        let mut reader = Some(self.reader(&folder, at.held));
        let mut repeat = at.offered.filter(|_| self.sink.repeats());
        let mut failures = 0;
        loop {
            if let Ended::Stopped = self.replay_some().await {
                return Ended::Stopped;
            }
            let (until, limit) = match (repeat, folder.last) {
                // The same batch as before a restart, whatever came after it.
                (Some(offered), _) => (Until::Published(offered), usize::MAX),
                (None, Some(_)) => (Until::End, self.sink.batch()),
                (None, None) => (Until::Published(self.journal.published()), self.sink.batch()),
            };
            let (records, last, stop) = match self.read(&mut reader, until, limit).await {
                Ok((records, last, stop)) => {
                    failures = 0;
                    self.disk_works();
                    let last = self.pass_removed(at, &records, last, stop);
                    (records, last, stop)
                }
                Err(error) => {
                    failures += 1;
                    if self.disk_failed(&error) {
                        tracing::error!(%error, path = %folder.path.display(), sink = self.state.name, "the journal cannot be read; trying again");
                    }
                    if self.pause(PAUSE).await {
                        return Ended::Stopping;
                    }
                    if failures >= READ_TRIES {
                        failures = 0;
                        if let Some(ended) = self.pass_unreadable(at).await {
                            return ended;
                        }
                    }
                    reader = Some(self.reader(&folder, at.held));
                    continue;
                }
            };
            let empty = last <= at.held;
            if !empty {
                self.state.set_oldest(records.first().and_then(|r| time_of(&r.json)));
                match self.hand_over(records, at, last).await {
                    Ended::Done => self.board.set_held(&self.state, folder.boot, at.held),
                    ended => return ended,
                }
            }
            self.tend().await;
            match (stop, folder.last) {
                (Stop::Enough, _) => {}
                (Stop::End, _) if repeat.take().is_some() => {}
                (Stop::End, Some(_)) => {
                    self.count_removed(&folder, at.held).await;
                    return Ended::Done;
                }
                (Stop::End, None) => {
                    if self.tasks.is_stopping() {
                        // What came meanwhile still goes out.
                        if empty || self.journal.published() <= last {
                            return Ended::Stopping;
                        }
                        continue;
                    }
                    if !self.is_replaying() {
                        self.wait_for_more(last).await;
                    }
                }
            }
        }
    }

    /// What the cursor in a folder says. `Err`: there is nothing to do in it, or the program stops.
    async fn place(&self, cursor: &Cursor, folder: &Folder) -> Result<Place, Ended> {
        loop {
            let read = self.on_disk({
                let cursor = cursor.clone();
                move || cursor.place()
            });
            match read.await {
                Ok(Some(place)) => return Ok(place),
                // The sink was not configured yet when its events happened.
                Ok(None) if folder.last.is_some() => return Err(Ended::Done),
                // It was when this delivery began: someone removed it.
                Ok(None) => {
                    let held = self.state.held(folder.boot).unwrap_or(0);
                    return Ok(Place { held, offered: None });
                }
                Err(error) => {
                    if self.disk_failed(&error) {
                        tracing::error!(%error, sink = self.state.name, "a sink's cursor cannot be read; trying again");
                    }
                    if self.pause(PAUSE).await {
                        return Err(Ended::Stopping);
                    }
                }
            }
        }
    }

    fn reader(&self, folder: &Folder, after: u64) -> FolderReader {
        FolderReader::new(&folder.path, folder.boot, after, self.journal.metrics().damaged.clone())
    }

    /// Reads a batch where blocking is allowed.
    async fn read(
        &self,
        slot: &mut Option<FolderReader>,
        until: Until,
        limit: usize,
    ) -> io::Result<(Vec<Record>, u64, Stop)> {
        let mut reader = slot.take().ok_or_else(|| io::Error::other("a read was broken off"))?;
        let read = self.tasks.spawn_blocking(move || {
            let mut records = Vec::new();
            let stop = reader.read(until, limit, &mut records);
            (reader, records, stop)
        });
        let (reader, records, stop) = read.await.map_err(io::Error::other)?;
        let last = reader.last();
        *slot = Some(reader);
        Ok((records, last, stop?))
    }

    /// Goes past a segment that the disk does not give back, so that what is behind it is not held
    /// up for ever. `Some`: there is nothing behind it in this folder.
    async fn pass_unreadable(&self, at: &mut At) -> Option<Ended> {
        let path = at.folder.path.clone();
        let segments = self.on_disk(move || segment::segments(&path)).await.unwrap_or_default();
        let later = segments.iter().map(|s| s.first).find(|first| *first > at.held + 1);
        match later {
            Some(first) => {
                let lost = first - 1 - at.held;
                self.journal.metrics().lost.inc_by(lost);
                tracing::error!(lost, path = %at.folder.path.display(), sink = self.state.name, "a segment of the journal cannot be read and was passed; a sink does not get what is in it");
                self.pass(at, first - 1);
                None
            }
            None if at.folder.last.is_some() => {
                tracing::error!(path = %at.folder.path.display(), sink = self.state.name, "the end of a journal's folder cannot be read and was passed; it is tried again after a restart");
                Some(Ended::Done)
            }
            None => None,
        }
    }

    /// The records that the sink gets.
    pub(super) fn wanted(&self, mut records: Vec<Record>) -> Vec<Record> {
        if let Some(types) = &self.types {
            records.retain(|r| head(&r.json).is_some_and(|h| types.iter().any(|t| t.as_str() == h.kind)));
        }
        records
    }

    /// Goes on without saving that at once.
    pub(super) fn pass(&self, at: &mut At, last: u64) {
        at.held = last;
        at.unsaved = true;
    }

    /// Whether it is time to save what was passed.
    pub(super) fn is_save_due(&self, at: &At) -> bool {
        at.unsaved && elapsed(at.saved, self.journal.clock().now()) >= PASS_EVERY
    }

    /// Moves the cursor to where the feed is, until that is done.
    pub(super) async fn save(&self, at: &mut At) -> Ended {
        let (cursor, held) = (at.cursor.clone(), at.held);
        let offered = at.offered.filter(|_| self.sink.repeats());
        let save = move || match offered {
            Some(offered) => cursor.offer(held, offered),
            None => cursor.save(held),
        };
        let ended = self.keep_trying(&at.folder, save).await;
        if let Ended::Done = ended {
            at.unsaved = false;
            at.saved = self.journal.clock().now();
        }
        ended
    }

    /// Changes something on our disk, until that is done, or there is no folder any more.
    pub(super) async fn keep_trying(
        &self,
        folder: &Folder,
        work: impl Fn() -> io::Result<()> + Clone + Send + 'static,
    ) -> Ended {
        while let Err(error) = self.on_disk_in_time(work.clone()).await {
            // Retention took what the sink had not got: its time was over.
            if error.kind() == io::ErrorKind::NotFound && self.is_removed(folder).await {
                return Ended::Done;
            }
            if self.disk_failed(&error) {
                tracing::error!(%error, sink = self.state.name, path = %folder.path.display(), "what a sink holds cannot be noted beside the journal; trying again");
            }
            if self.pause(PAUSE).await {
                return Ended::Stopping;
            }
        }
        self.disk_works();
        Ended::Done
    }

    /// Does something on our disk; what takes long is shown as a failure before it has ended.
    async fn on_disk_in_time(&self, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let mut working = pin!(self.on_disk(work));
        tokio::select! {
            biased;
            done = &mut working => return done,
            () = self.journal.clock().sleep(HANGS_AFTER) => {}
        }
        let error = io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
        if self.disk_failed(&error) {
            tracing::error!(%error, sink = self.state.name, dir = %self.journal.dir().display(), "what a sink holds cannot be noted beside the journal; waiting for the disk");
        }
        working.await
    }

    /// Our disk lets this sink go no further; tells whether that belongs into the log.
    fn disk_failed(&self, error: &io::Error) -> bool {
        let tell = self.state.disk_failed(&error.to_string(), self.journal.clock().now());
        self.board.show_running();
        tell
    }

    /// It does.
    fn disk_works(&self) {
        if !self.state.is_held_up() {
            return;
        }
        if let Some((failures, lasted)) = self.state.disk_works(self.journal.clock().now()) {
            tracing::info!(
                failures,
                ?lasted,
                sink = self.state.name,
                "the disk of events.dir serves a sink again"
            );
        }
        self.board.show_running();
    }

    /// After a read: goes past what others removed from this boot's folder, which is lost to this
    /// sink. Answers up to where there is nothing more to read.
    fn pass_removed(&self, at: &At, records: &[Record], last: u64, stop: Stop) -> u64 {
        let removed = self.journal.removed();
        if at.folder.last.is_some() || removed.is_empty() {
            return last;
        }
        let mut next = at.held + 1;
        for record in records {
            self.journal.pass_removed(&(next..record.seq), &self.state.name);
            next = record.seq + 1;
        }
        let last = last.max(at.held);
        let end = match stop {
            Stop::Enough => last + 1,
            Stop::End => removed.end(last + 1),
        };
        self.journal.pass_removed(&(next..end), &self.state.name);
        end - 1
    }

    /// Counts what this sink lacks of an earlier boot's folder that someone removed.
    async fn count_removed(&self, folder: &Folder, held: u64) {
        if folder.last.is_none_or(|last| held >= last) || !self.is_removed(folder).await {
            return;
        }
        self.journal.count_removed(folder, held);
    }

    /// Whether an earlier boot's folder is gone.
    async fn is_removed(&self, folder: &Folder) -> bool {
        let path = folder.path.clone();
        folder.last.is_some()
            && self
                .on_disk(move || std::fs::exists(path))
                .await
                .is_ok_and(|there| !there)
    }

    /// Does something that blocks where that is allowed. This delivery has not ended before it has.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.tasks.spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// Whether the sink was told to stop before.
    async fn is_stopped(&self) -> bool {
        let stopped = self.stopped.clone();
        let since = self.on_disk(move || stopped.since()).await.unwrap_or_else(|error| {
            tracing::error!(%error, sink = self.state.name, "whether a sink is stopped cannot be read; it is taken to run");
            None
        });
        self.show_stopped(since, None);
        if let Some(since) = since {
            tracing::error!(sink = self.state.name, %since, "a sink is stopped: its endpoint said that it is gone (410); change its settings, reload, or retry it (linkseal events retry) to go on");
        }
        since.is_some()
    }

    /// Waits until an operator has the sink retried; `true` when the program stops.
    async fn wait_stopped(&mut self) -> bool {
        while !self.state.take_retry() {
            tokio::select! {
                () = self.tasks.stopping() => return true,
                () = self.state.wake.notified() => {}
            }
        }
        tracing::info!(
            sink = self.state.name,
            "a sink that was stopped is retried, as an operator asked for"
        );
        let stopped = self.stopped.clone();
        if let Err(error) = self.on_disk(move || stopped.clear()).await {
            tracing::error!(%error, sink = self.state.name, "the note that a sink is stopped cannot be removed; it is stopped again after a restart");
        }
        self.show_stopped(None, None);
        false
    }

    pub(super) fn show_stopped(&self, since: Option<Timestamp>, cause: Option<&str>) {
        self.state.set_stopped(since, cause);
        let gauge = self.journal.metrics().stopped.with_label_values(&[&self.state.name]);
        gauge.set(since.is_some().into());
    }

    pub(super) fn count(&self, result: &str) {
        let labels = [self.state.name.as_str(), result];
        self.journal.metrics().deliveries.with_label_values(&labels).inc();
    }

    /// Lets the sink put its house in order. All that it was given is held by now.
    async fn tend(&mut self) {
        let now = self.journal.clock().now();
        if elapsed(self.tended, now) >= TEND_EVERY {
            self.tended = now;
            self.sink.tend(now).await;
        }
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
            // An operator wants something.
            () = self.state.wake.notified() => return,
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

    /// Waits before another attempt, no longer than until an operator asks for it; `true` when the
    /// program stops.
    pub(super) async fn pause_or_retry(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.tasks.stopping() => true,
            () = self.state.wake.notified() => {
                self.state.take_retry();
                false
            }
            () = self.journal.clock().sleep(time) => false,
        }
    }
}
