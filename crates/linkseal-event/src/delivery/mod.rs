//! Delivers the journal to the sinks: each at its own pace, in order of boot and sequence number, at
//! least once.
//!
//! Folders of earlier boots come first. A folder is delivered by the process that holds its lock, so
//! an old and a new process that overlap never deliver the same one: the new process waits until the
//! old one has ended. Within a folder each sink has its own durable cursor, which passes only what
//! the sink holds. A failing sink is retried and does not delay the others.
//!
//! [`Delivery`] is the handle. It runs a `supervisor`, which starts a `worker` per sink and then the
//! `keeper` of the folders, who also runs `retention`. A worker reads batches of what its sink
//! subscribes to (`subscription`) and gives them to its `deliverer`, which retries and sets bad events
//! aside in `dead_letters`; `letter_replay` delivers those again on request, and `stopped` remembers
//! that an endpoint is gone. All of them report to the `board`, which outlives restarts and holds a
//! `sink_state` per sink.

mod board;
mod context;
pub(crate) mod dead_letters;
mod deliverer;
mod keeper;
mod letter_replay;
mod report;
mod retention;
mod sink_state;
mod stopped;
mod subscription;
mod supervisor;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use linkseal_base::shutdown::Tasks;
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

pub use self::dead_letters::DeadLetter;
pub use self::report::{SinkCondition, SinkReport};

use self::board::Board;
use self::dead_letters::DeadLetters;
use self::supervisor::{StoppedSinks, Supervisor};
use crate::journal::Journal;
use crate::settings::EventSettings;
use crate::sink::{self, SinkSetupError};

/// How long an ending run may take before that is logged.
const PATIENCE: Duration = Duration::from_secs(30);

/// The running delivery of a journal to its sinks. Clones share it.
#[derive(Clone)]
pub struct Delivery {
    /// The current run; `None` once stopped.
    running: Arc<AsyncMutex<Option<Tasks>>>,
    /// What every run belongs to.
    tasks: Tasks,
    settings: Arc<ArcSwap<EventSettings>>,
    journal: Journal,
    board: Board,
    /// Cancelled when a run has begun.
    begun: CancellationToken,
    /// Measures lags, also while nothing is delivered.
    meter: Tasks,
}

/// Why delivery cannot start. A failing disk is no reason: it is retried until it works.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// A sink's settings are invalid.
    #[error(transparent)]
    Sink(#[from] SinkSetupError),
}

/// Why a call about a sink failed.
#[derive(Debug, thiserror::Error)]
pub enum SinkCallError {
    /// No sink has that name.
    #[error("no sink is named `{0}`; use the name of an events.sink of the configuration")]
    Unknown(String),
    /// Its dead letters cannot be read or changed.
    #[error("the dead letters beside the journal: {0}")]
    Disk(#[from] io::Error),
}

impl Delivery {
    /// Starts delivering, with every later run too, on the runtime of `tasks`. Sinks that are added later get what happens from then on; those there at
    /// the journal's first start get all of this boot.
    ///
    /// # Errors
    /// When a sink's settings are invalid.
    pub fn start(journal: &Journal, settings: &EventSettings, tasks: &Tasks) -> Result<Self, DeliveryError> {
        sink::check(&settings.sinks)?;
        let this = Self {
            running: Arc::default(),
            tasks: tasks.clone(),
            settings: Arc::new(ArcSwap::from_pointee(settings.clone())),
            journal: journal.clone(),
            board: Board::new(journal),
            begun: CancellationToken::new(),
            meter: tasks.child(),
        };
        let running = Arc::new(AsyncMutex::new(Some(this.run(settings, StoppedSinks::Keep))));
        this.meter.spawn_until_stop(this.board.clone().run(this.meter.clone()));
        Ok(Self { running, ..this })
    }

    /// Replaces the settings; the next run, after a reload or an erasure, uses them.
    pub fn set_settings(&self, settings: EventSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// Ends the current run and begins one with the latest settings: two runs never share a cursor.
    /// Sinks that were stopped because their endpoint is gone are tried again.
    pub async fn renew(&self) {
        // `None` at shutdown.
        let _stopped = self.pause(|_| (), StoppedSinks::Resume).await;
    }

    /// Runs blocking work while nothing is delivered, and then resumes delivery with the settings at
    /// that time. `None` when delivery has been stopped; the work was not done then.
    pub(crate) async fn at_rest<T: Send + 'static>(
        &self,
        work: impl FnOnce(&EventSettings) -> T + Send + 'static,
    ) -> Option<T> {
        self.pause(work, StoppedSinks::Keep).await
    }

    async fn pause<T: Send + 'static>(
        &self,
        work: impl FnOnce(&EventSettings) -> T + Send + 'static,
        stopped_sinks: StoppedSinks,
    ) -> Option<T> {
        let mut running = self.running.lock().await;
        let old = running.as_ref()?;
        self.board.set_running(false);
        old.stop();
        while !old.wait(PATIENCE).await {
            tracing::warn!("the delivery of events takes long to end; a reload or an erasure waits for it");
        }
        let settings = self.settings.load_full();
        let worked = self.tasks.spawn_blocking({
            let (settings, board) = (settings.clone(), self.board.clone());
            move || {
                let _held = board.letters().hold();
                work(&settings)
            }
        });
        let worked = worked.await;
        *running = Some(self.run(&self.settings.load(), stopped_sinks));
        // `None` when the work panicked, or at shutdown.
        worked.ok()
    }

    /// Begins a run; it delivers as soon as the disk allows.
    fn run(&self, settings: &EventSettings, stopped_sinks: StoppedSinks) -> Tasks {
        let tasks = self.tasks.child();
        self.board.set_sinks(&settings.sinks);
        let max_bytes = i64::try_from(settings.max_bytes).unwrap_or(i64::MAX);
        self.journal.metrics().max_bytes.set(max_bytes);
        let supervisor = Supervisor {
            journal: self.journal.clone(),
            board: self.board.clone(),
            settings: settings.clone(),
            begun: self.begun.clone(),
            tasks: tasks.clone(),
            start: self.journal.start_of_delivery(),
            stopped_sinks,
        };
        tasks.spawn(supervisor.run());
        tasks
    }

    /// Waits until the sinks have their cursors in this boot's folder, so that events from before a
    /// crash are delivered after it; no longer than `patience`, because the disk may be unavailable.
    /// Returns whether they have.
    pub async fn begun(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.begun.cancelled()).await.is_ok()
    }

    /// Delivers what is left to the sinks that accept it at once, and stops; returns whether that was
    /// done within `deadline`. What is not delivered stays in the journal for the next start.
    pub async fn stop(self, deadline: Duration) -> bool {
        let stop = async {
            let Some(running) = self.running.lock().await.take() else {
                return true;
            };
            self.board.set_running(false);
            running.stop();
            self.meter.stop();
            running.wait(deadline).await && self.meter.wait(deadline).await
        };
        tokio::time::timeout(deadline, stop).await.unwrap_or(false)
    }

    /// The state of every sink.
    pub fn sinks(&self) -> Vec<SinkReport> {
        self.board.reports()
    }

    /// Retries a sink now, during any pause and also when it is stopped.
    ///
    /// # Errors
    /// When there is no such sink.
    pub fn retry(&self, name: &str) -> Result<SinkReport, SinkCallError> {
        let sink = self.board.sink(name).ok_or_else(|| unknown(name))?;
        sink.want_retry();
        Ok(self.board.report(&sink))
    }

    /// Up to `limit` dead letters of a sink after a place (boot and sequence number), oldest first.
    ///
    /// # Errors
    /// When there is no such sink, or the disk fails.
    pub async fn dead_letters(
        &self,
        name: &str,
        after: Option<(uuid::Uuid, u64)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, SinkCallError> {
        self.with_letters(name, move |letters, name| letters.list(name, after, limit))
            .await
    }

    /// Starts to deliver a sink's dead letters again, alongside new events; returns how many there are.
    ///
    /// # Errors
    /// As for [`Delivery::dead_letters`].
    pub async fn replay_dead_letters(&self, name: &str) -> Result<u64, SinkCallError> {
        let count = self.with_letters(name, |letters, name| letters.count(name)).await?;
        if count > 0 {
            // A stopped sink gets them once it is retried.
            self.board.sink(name).ok_or_else(|| unknown(name))?.want_replay();
        }
        Ok(count)
    }

    /// Drops a sink's dead letters for good; returns how many there were.
    ///
    /// # Errors
    /// As for [`Delivery::dead_letters`].
    pub async fn drop_dead_letters(&self, name: &str) -> Result<u64, SinkCallError> {
        self.with_letters(name, |letters, name| letters.remove(name, |_, _| true))
            .await
    }

    async fn with_letters<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&DeadLetters, &str) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SinkCallError> {
        let sink = self.board.sink(name).ok_or_else(|| unknown(name))?;
        let letters = self.board.letters().clone();
        let worked = tokio::task::spawn_blocking(move || work(&letters, &sink.name));
        Ok(worked.await.map_err(io::Error::other)??)
    }
}

fn unknown(name: &str) -> SinkCallError {
    SinkCallError::Unknown(name.to_owned())
}
