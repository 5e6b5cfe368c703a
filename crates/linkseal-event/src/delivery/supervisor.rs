//! One run of the delivery, from a start or restart to the next: prepares the cursors, starts a
//! worker per sink, and then runs the keeper.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::shutdown::Tasks;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::context::SinkContext;
use super::deliverer::{Attempts, Deliverer};
use super::keeper::Keeper;
use super::stopped::StopNote;
use super::subscription::Subscription;
use super::worker::SinkWorker;
use crate::failure_streak::FailureStreak;
use crate::journal::Journal;
use crate::journal::cursor::Cursor;
use crate::journal::folder::Folder;
use crate::settings::{EventSettings, SinkSettings};
use crate::sink;

/// Pause before another attempt to start.
const PAUSE: Duration = Duration::from_secs(1);

/// One run of the delivery.
pub(super) struct Supervisor {
    pub(super) journal: Journal,
    pub(super) board: Board,
    pub(super) settings: EventSettings,
    /// Cancelled when the run has begun.
    pub(super) begun: CancellationToken,
    pub(super) tasks: Tasks,
    /// Where sinks begin that have no cursor yet in this boot's folder.
    pub(super) start: u64,
    pub(super) stopped_sinks: StoppedSinks,
}

/// What becomes of sinks that were stopped because their endpoint is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StoppedSinks {
    Keep,
    /// They are tried again: an operator has reloaded the configuration.
    Resume,
}

impl Supervisor {
    pub(super) async fn run(self) {
        // The first attempt is made even at shutdown: without a cursor here, a sink would get nothing
        // of this boot.
        if let Err(error) = self.try_prepare().await {
            tokio::select! {
                () = self.tasks.stopping() => return,
                () = self.prepare(error) => {}
            }
        }
        let (sender, folders) = watch::channel(Vec::new());
        for sink in &self.settings.sinks {
            let worker = WorkerSupervisor {
                settings: sink.clone(),
                journal: self.journal.clone(),
                board: self.board.clone(),
                folders: folders.clone(),
                tasks: self.tasks.clone(),
            };
            self.tasks.spawn(worker.run());
        }
        let keeper = Keeper {
            journal: self.journal.clone(),
            settings: self.settings.clone(),
            board: self.board.clone(),
            folders: sender,
            tasks: self.tasks.clone(),
        };
        // A run that is being stopped right now has already been reported as stopped.
        if !self.tasks.is_stopping() {
            self.board.set_running(true);
            self.begun.cancel();
        }
        keeper.run().await;
    }

    /// Creates the cursors of this boot, retrying until they are durable.
    async fn prepare(&self, mut error: io::Error) {
        let clock = self.journal.clock();
        let mut streak = FailureStreak::default();
        loop {
            if streak.failed(&error.to_string(), clock.now()) {
                tracing::error!(
                    %error, path = %self.journal.folder().display(),
                    "delivery cannot start: sink cursors cannot be saved in events.dir; retrying, events stay in the journal"
                );
            }
            clock.sleep(PAUSE).await;
            match self.try_prepare().await {
                Ok(()) => break,
                Err(again) => error = again,
            }
        }
        if let Some((failures, lasted)) = streak.end(clock.now()) {
            tracing::info!(failures, ?lasted, "delivery of events started");
        }
    }

    /// Creates missing cursors, and loads how far each sink has come.
    async fn try_prepare(&self) -> io::Result<()> {
        let (journal, board) = (self.journal.clone(), self.board.clone());
        let (start, stopped_sinks) = (self.start, self.stopped_sinks);
        let sinks = self.settings.sinks.clone();
        let prepared = self.tasks.spawn_blocking(move || {
            for settings in &sinks {
                let cursor = Cursor::new(journal.folder(), &settings.name);
                let held = cursor.load()?;
                if held.is_none() {
                    cursor.save(start)?;
                }
                if stopped_sinks == StoppedSinks::Resume {
                    StopNote::new(journal.dir(), settings).clear()?;
                }
                board.letters().refresh_count(&settings.name)?;
                if let Some(sink) = board.sink(&settings.name) {
                    let held = held.unwrap_or(start);
                    if let Some(known) = sink.held(journal.boot()) {
                        // The cursor belongs to a folder that was removed and created again.
                        journal.skip_removed(&(known + 1..held + 1), &sink.name);
                    }
                    board.set_held(&sink, journal.boot(), held);
                }
            }
            journal.delivery_has_begun();
            Ok(())
        });
        prepared.await.map_err(io::Error::other)?
    }
}

/// Keeps one sink's worker running.
struct WorkerSupervisor {
    settings: SinkSettings,
    journal: Journal,
    board: Board,
    folders: watch::Receiver<Vec<Arc<Folder>>>,
    tasks: Tasks,
}

impl WorkerSupervisor {
    async fn run(self) {
        // The settings have been checked, so the sink exists and can be built.
        while let Some(worker) = self.worker() {
            let ended = self.tasks.spawn(worker.run()).await;
            let Err(error) = ended.map_err(|e| e.to_string()) else {
                return;
            };
            if self.tasks.is_stopping() {
                return;
            }
            tracing::error!(
                error,
                sink = self.settings.name,
                "the worker of a sink panicked; restarting it"
            );
            self.journal.clock().sleep(PAUSE).await;
        }
    }

    fn worker(&self) -> Option<SinkWorker> {
        let sink = sink::build(&self.settings, self.journal.clock(), &self.tasks)
            .inspect_err(|error| tracing::error!(%error, "a sink cannot be set up"))
            .ok()?;
        Some(SinkWorker::new(Deliverer {
            context: SinkContext {
                journal: self.journal.clone(),
                tasks: self.tasks.clone(),
                state: self.board.sink(&self.settings.name)?,
                board: self.board.clone(),
                stop_note: StopNote::new(self.journal.dir(), &self.settings),
            },
            sink,
            subscription: Subscription::new(self.settings.types.as_deref()),
            folders: self.folders.clone(),
            attempts: Attempts::default(),
        }))
    }
}
