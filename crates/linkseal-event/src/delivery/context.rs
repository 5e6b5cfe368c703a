//! What the parts of one sink's worker share: the journal and its disk, the sink's state on the
//! board, and the tasks of this delivery.
//!
//! No file is touched on the worker's own thread, so a disk that hangs blocks this sink only. While
//! the disk of `events.dir` keeps a sink from making progress, for example because its cursor cannot
//! be written, the work is retried until it succeeds; meanwhile the sink is reported as `waiting` and
//! `linkseal_delivery_running` is 0.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::shutdown::Tasks;

use super::board::Board;
use super::sink_state::SinkState;
use super::stopped::StopNote;
use crate::journal::Journal;
use crate::journal::folder::Folder;
use crate::journal::reader::FolderReader;

/// Pause after a failure of the journal's disk.
pub(super) const DISK_PAUSE: Duration = Duration::from_secs(1);
/// A write beside the journal that takes longer than this is reported as a failure while it is
/// still running.
const HANGS_AFTER: Duration = Duration::from_secs(10);

/// Shared by the parts of one sink's worker.
pub(super) struct SinkContext {
    pub(super) journal: Journal,
    pub(super) tasks: Tasks,
    pub(super) board: Board,
    pub(super) state: Arc<SinkState>,
    /// Where it is recorded that the endpoint is gone (410).
    pub(super) stop_note: StopNote,
}

/// Why work for a sink ended.
pub(super) enum Ended {
    /// It is done, or nothing is left to do.
    Done,
    /// The process is shutting down.
    Stopping,
    /// The endpoint is gone (410).
    Stopped,
}

impl SinkContext {
    pub(super) fn name(&self) -> &str {
        &self.state.name
    }

    pub(super) fn now(&self) -> Timestamp {
        self.journal.clock().now()
    }

    pub(super) fn reader(&self, folder: &Folder, after: u64) -> FolderReader {
        FolderReader::new(&folder.path, folder.boot, after, self.journal.metrics().damaged.clone())
    }

    /// Runs blocking work. The delivery does not end before it has returned.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.tasks.spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// Writes something beside the journal, retrying until it succeeds or the folder is gone.
    pub(super) async fn keep_trying(
        &self,
        folder: &Folder,
        work: impl Fn() -> io::Result<()> + Clone + Send + 'static,
    ) -> Ended {
        while let Err(error) = self.on_disk_in_time(work.clone()).await {
            // Retention removed the folder before this sink had read all of it.
            if error.kind() == io::ErrorKind::NotFound && self.is_removed(folder).await {
                return Ended::Done;
            }
            if self.disk_failed(&error) {
                tracing::error!(%error, sink = self.name(), path = %folder.path.display(), "sink progress cannot be saved beside the journal; retrying");
            }
            if self.pause(DISK_PAUSE).await {
                return Ended::Stopping;
            }
        }
        self.disk_works();
        Ended::Done
    }

    /// Runs blocking work and reports it as failing while it takes too long.
    async fn on_disk_in_time(&self, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let mut working = pin!(self.on_disk(work));
        tokio::select! {
            biased;
            done = &mut working => return done,
            () = self.journal.clock().sleep(HANGS_AFTER) => {}
        }
        let error = io::Error::new(io::ErrorKind::TimedOut, "the disk does not respond");
        if self.disk_failed(&error) {
            tracing::error!(%error, sink = self.name(), dir = %self.journal.dir().display(), "sink progress cannot be saved beside the journal; waiting for the disk");
        }
        working.await
    }

    /// Records a failure of the journal's disk; returns whether to log it.
    pub(super) fn disk_failed(&self, error: &io::Error) -> bool {
        let log = self.state.disk_failed(&error.to_string(), self.now());
        self.board.show_running();
        log
    }

    pub(super) fn disk_works(&self) {
        if !self.state.is_held_up() {
            return;
        }
        if let Some((failures, lasted)) = self.state.disk_works(self.now()) {
            tracing::info!(
                failures,
                ?lasted,
                sink = self.name(),
                "the disk of events.dir works again for this sink"
            );
        }
        self.board.show_running();
    }

    /// Whether the folder of an earlier boot has been removed.
    pub(super) async fn is_removed(&self, folder: &Folder) -> bool {
        let path = folder.path.clone();
        folder.last.is_some()
            && self
                .on_disk(move || std::fs::exists(path))
                .await
                .is_ok_and(|there| !there)
    }

    /// Counts the events this sink did not get from an earlier boot's folder that was removed by
    /// hand.
    pub(super) async fn count_removed(&self, folder: &Folder, held: u64) {
        if folder.last.is_none_or(|last| held >= last) || !self.is_removed(folder).await {
            return;
        }
        self.journal.count_removed(folder, held);
    }

    /// Stops delivery to a sink whose endpoint is gone.
    pub(super) async fn stop(&self, cause: &str) -> Ended {
        self.count("gone");
        // A retry requested before this answer must not restart the sink.
        self.state.take_retry();
        let now = self.now();
        self.show_stopped(Some(now), Some(cause));
        tracing::error!(
            sink = self.name(),
            cause,
            "sink stopped because its endpoint is gone (410); its events stay in the journal. Change its settings, reload, or run `linkseal events retry` to resume"
        );
        let note = self.stop_note.clone();
        if let Err(error) = self.on_disk(move || note.save(now)).await {
            tracing::error!(%error, sink = self.name(), "the stop of a sink could not be saved; its endpoint is asked again after a restart");
        }
        Ended::Stopped
    }

    pub(super) fn show_stopped(&self, since: Option<Timestamp>, cause: Option<&str>) {
        self.state.set_stopped(since, cause);
        let gauge = self.journal.metrics().stopped.with_label_values(&[self.name()]);
        gauge.set(since.is_some().into());
    }

    /// Counts an attempt in `linkseal_sink_deliveries_total`.
    pub(super) fn count(&self, result: &str) {
        let labels = [self.name(), result];
        self.journal.metrics().deliveries.with_label_values(&labels).inc();
    }

    /// Waits; returns `true` when the process is shutting down.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.tasks.stopping() => true,
            () = self.journal.clock().sleep(time) => false,
        }
    }

    /// Waits before the next attempt, or until an operator asks for a retry; returns `true` when the
    /// process is shutting down.
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
