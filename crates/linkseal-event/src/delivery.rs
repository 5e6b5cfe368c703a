//! Brings what is in the journal to the sinks: each at its own pace, in order of boot and
//! sequence, at least once.
//!
//! Folders of earlier boots come first. A folder is delivered by the process that holds its lock,
//! so that an old and a new process that overlap never deliver one together: the new one waits
//! until the old one is gone. Within a folder each sink has its own durable cursor, which passes
//! only what the sink holds. A sink that fails is tried again, and stands in no one's way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use linkseal_base::shutdown::Tasks;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_util::sync::CancellationToken;

use super::board::{Board, SinkReport};
use super::cursor::Cursor;
use super::dead_letters::{DeadLetter, DeadLetters};
use super::folder::Folder;
use super::handover::Row;
use super::keeper::Keeper;
use super::sink::{self, SinkSetupError};
use super::stopped::Stopped;
use super::trouble::Trouble;
use super::worker::SinkWorker;
use super::{EventSettings, Journal, SinkSettings};

/// How long a delivery that ends may take before that is said.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before another attempt to start.
const PAUSE: Duration = Duration::from_secs(1);

/// The running delivery of a journal to its sinks. Clones share it.
#[derive(Clone)]
pub struct Delivery {
    /// `None`: it was stopped.
    running: Arc<AsyncMutex<Option<Tasks>>>,
    settings: Arc<ArcSwap<EventSettings>>,
    journal: Journal,
    board: Board,
    /// Cancelled when a delivery has begun.
    begun: CancellationToken,
    /// Measures lags, also while nothing is delivered.
    meter: Tasks,
}

/// Why delivery cannot start. Whatever the disk says is no reason: it is tried again until it can.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// A sink's settings.
    #[error(transparent)]
    Sink(#[from] SinkSetupError),
}

/// Why something cannot be done with a sink.
#[derive(Debug, thiserror::Error)]
pub enum SinkCallError {
    /// No sink has that name.
    #[error("no sink is registered as `{0}`; give the name of an events.sink of the configuration")]
    Unknown(String),
    /// Its dead letters cannot be read or changed.
    #[error("the dead letters beside the journal: {0}")]
    Disk(#[from] io::Error),
}

impl Delivery {
    /// Starts delivering. From here on, sinks that are new get what happens from now on; those
    /// there at the journal's first start get all of this boot.
    ///
    /// # Errors
    /// When a sink's settings are wrong.
    pub fn start(journal: &Journal, settings: &EventSettings, tasks: &Tasks) -> Result<Self, DeliveryError> {
        sink::check(&settings.sinks)?;
        let this = Self {
            running: Arc::default(),
            settings: Arc::new(ArcSwap::from_pointee(settings.clone())),
            journal: journal.clone(),
            board: Board::new(journal),
            begun: CancellationToken::new(),
            meter: tasks.child(),
        };
        let running = Arc::new(AsyncMutex::new(Some(this.run(settings, tasks, Begin::AsBefore))));
        this.meter.spawn_until_stop(this.board.clone().run(this.meter.clone()));
        Ok(Self { running, ..this })
    }

    /// Takes over new settings: what goes on next, after a reload or an erasure, goes on with them.
    pub fn set_settings(&self, settings: EventSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// Goes on with other settings, once what is on its way has ended: two deliveries never share
    /// a cursor. Sinks that their endpoints had stopped run again.
    ///
    /// # Errors
    /// As for [`Delivery::start`]; the old ones stay in force then.
    pub async fn restart(
        &self,
        journal: &Journal,
        settings: &EventSettings,
        tasks: &Tasks,
    ) -> Result<(), DeliveryError> {
        debug_assert_eq!(journal.boot(), self.journal.boot(), "it delivers one journal");
        sink::check(&settings.sinks)?;
        self.set_settings(settings.clone());
        self.renew(tasks).await;
        Ok(())
    }

    /// Goes on with the latest settings, as [`Delivery::restart`] does.
    pub async fn renew(&self, tasks: &Tasks) {
        // Stopped meanwhile: the program ends.
        let _stopped = self.pause(tasks, |_| (), Begin::Afresh).await;
    }

    /// Does something that blocks while nothing is delivered, and goes on with the settings as they
    /// are then. `None`: it was stopped meanwhile, and nothing was done.
    pub(super) async fn at_rest<T: Send + 'static>(
        &self,
        tasks: &Tasks,
        work: impl FnOnce(&EventSettings) -> T + Send + 'static,
    ) -> Option<T> {
        self.pause(tasks, work, Begin::AsBefore).await
    }

    async fn pause<T: Send + 'static>(
        &self,
        tasks: &Tasks,
        work: impl FnOnce(&EventSettings) -> T + Send + 'static,
        begin: Begin,
    ) -> Option<T> {
        let mut running = self.running.lock().await;
        let old = running.as_ref()?;
        self.board.set_running(false);
        old.stop();
        while !old.wait(PATIENCE).await {
            tracing::warn!("the delivery of events takes its time to end; what is to come after it waits");
        }
        let settings = self.settings.load_full();
        let worked = tasks.spawn_blocking({
            let (settings, board) = (settings.clone(), self.board.clone());
            move || {
                let _held = board.letters().hold();
                work(&settings)
            }
        });
        let worked = worked.await;
        *running = Some(self.run(&self.settings.load(), tasks, begin));
        // A panic in it, or the end of the program.
        worked.ok()
    }

    /// Runs one delivery; it begins as soon as the disk lets it.
    fn run(&self, settings: &EventSettings, tasks: &Tasks, begin: Begin) -> Tasks {
        let tasks = tasks.child();
        self.board.set_sinks(&settings.sinks);
        let max_bytes = i64::try_from(settings.max_bytes).unwrap_or(i64::MAX);
        self.journal.metrics().max_bytes.set(max_bytes);
        let run = Run {
            journal: self.journal.clone(),
            board: self.board.clone(),
            settings: settings.clone(),
            begun: self.begun.clone(),
            tasks: tasks.clone(),
            start: self.journal.start_of_delivery(),
            begin,
        };
        tasks.spawn(run.run());
        tasks
    }

    /// Waits until the sinks have their cursors in this boot's folder, so that an event that comes
    /// before a crash is theirs; no longer than `patience`, for a disk may be away. `false`: they have
    /// none yet.
    pub async fn begun(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.begun.cancelled()).await.is_ok()
    }

    /// Delivers what is left to the sinks that take it at once, and stops; tells whether that was
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

    /// How all sinks are.
    pub fn sinks(&self) -> Vec<SinkReport> {
        self.board.reports()
    }

    /// Has a sink retried now, however long its pause would last, and also when it is stopped.
    ///
    /// # Errors
    /// When there is no such sink.
    pub fn retry(&self, name: &str) -> Result<SinkReport, SinkCallError> {
        let sink = self.board.sink(name).ok_or_else(|| unknown(name))?;
        sink.want_retry();
        Ok(self.board.report(&sink))
    }

    /// Up to `limit` dead letters of a sink after a place, the oldest first.
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

    /// Has a sink's dead letters given to it again, beside what is new; how many there are.
    ///
    /// # Errors
    /// As for [`Delivery::dead_letters`].
    pub async fn replay_dead_letters(&self, name: &str) -> Result<u64, SinkCallError> {
        let count = self.with_letters(name, |letters, name| letters.count(name)).await?;
        if count > 0 {
            // One that is stopped gets them once it is retried.
            self.board.sink(name).ok_or_else(|| unknown(name))?.want_replay();
        }
        Ok(count)
    }

    /// Drops a sink's dead letters for good; how many there were.
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

/// One delivery, from one restart to the next.
struct Run {
    journal: Journal,
    board: Board,
    settings: EventSettings,
    /// Cancelled when it has begun.
    begun: CancellationToken,
    tasks: Tasks,
    /// Where sinks begin that have no cursor yet in this boot's folder.
    start: u64,
    begin: Begin,
}

/// What becomes of sinks that their endpoints have stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// They stay stopped.
    AsBefore,
    /// They run again: an operator has reloaded the configuration.
    Afresh,
}

impl Run {
    async fn run(self) {
        // The first attempt is made in any case: a sink without a cursor here has no part in this boot.
        if let Err(error) = self.try_prepare().await {
            tokio::select! {
                () = self.tasks.stopping() => return,
                () = self.prepare(error) => {}
            }
        }
        let (sender, folders) = watch::channel(Vec::new());
        for sink in &self.settings.sinks {
            let runs = Fed {
                settings: sink.clone(),
                journal: self.journal.clone(),
                board: self.board.clone(),
                folders: folders.clone(),
                tasks: self.tasks.clone(),
            };
            self.tasks.spawn(runs.run());
        }
        let keeper = Keeper {
            journal: self.journal.clone(),
            settings: self.settings.clone(),
            board: self.board.clone(),
            folders: sender,
            tasks: self.tasks.clone(),
        };
        // A delivery that is told to stop at this moment is shown as stopped by who tells it.
        if !self.tasks.is_stopping() {
            self.board.set_running(true);
            self.begun.cancel();
        }
        keeper.run().await;
    }

    /// Makes the cursors of this boot durable, until that is done.
    async fn prepare(&self, mut error: io::Error) {
        let clock = self.journal.clock();
        let mut trouble = Trouble::default();
        loop {
            if trouble.failed(&error.to_string(), clock.now()) {
                tracing::error!(
                    %error, path = %self.journal.folder().display(),
                    "events are not delivered: what sinks hold cannot be noted in events.dir; trying again. Events stay in the journal meanwhile"
                );
            }
            clock.sleep(PAUSE).await;
            match self.try_prepare().await {
                Ok(()) => break,
                Err(again) => error = again,
            }
        }
        if let Some((failures, lasted)) = trouble.over(clock.now()) {
            tracing::info!(failures, ?lasted, "events are delivered again");
        }
    }

    /// Makes cursors where there are none, and takes in what there is.
    async fn try_prepare(&self) -> io::Result<()> {
        let (journal, board, start, begin) = (self.journal.clone(), self.board.clone(), self.start, self.begin);
        let sinks = self.settings.sinks.clone();
        let prepared = self.tasks.spawn_blocking(move || {
            for settings in &sinks {
                let cursor = Cursor::new(journal.folder(), &settings.name);
                let held = cursor.load()?;
                if held.is_none() {
                    cursor.save(start)?;
                }
                if begin == Begin::Afresh {
                    Stopped::new(journal.dir(), settings).clear()?;
                }
                board.letters().look(&settings.name)?;
                if let Some(sink) = board.sink(&settings.name) {
                    let held = held.unwrap_or(start);
                    if let Some(known) = sink.held(journal.boot()) {
                        // The cursor is a new one, of a folder that was made anew.
                        journal.pass_removed(&(known + 1..held + 1), &sink.name);
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

/// The feeding of one sink, which begins again when it breaks off.
struct Fed {
    settings: SinkSettings,
    journal: Journal,
    board: Board,
    folders: watch::Receiver<Vec<Arc<Folder>>>,
    tasks: Tasks,
}

impl Fed {
    async fn run(self) {
        // The settings were checked: there is a sink, and it can be built.
        while let Some(feed) = self.feed() {
            let ended = self.tasks.spawn(feed.run()).await;
            let Err(error) = ended.map_err(|e| e.to_string()) else {
                return;
            };
            if self.tasks.is_stopping() {
                return;
            }
            tracing::error!(
                error,
                sink = self.settings.name,
                "feeding a sink broke off; it begins again"
            );
            self.journal.clock().sleep(PAUSE).await;
        }
    }

    fn feed(&self) -> Option<SinkWorker> {
        let sink = sink::build(&self.settings, self.journal.clock(), &self.tasks)
            .inspect_err(|error| tracing::error!(%error, "a sink cannot be set up"))
            .ok()?;
        Some(SinkWorker {
            types: self.settings.types.clone(),
            sink,
            journal: self.journal.clone(),
            folders: self.folders.clone(),
            tasks: self.tasks.clone(),
            state: self.board.sink(&self.settings.name)?,
            board: self.board.clone(),
            stopped: Stopped::new(self.journal.dir(), &self.settings),
            tended: self.journal.clock().now(),
            row: Row::default(),
            replaying: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use linkseal_base::clock::Clock;
    use prometheus::Registry;
    use uuid::Uuid;

    use super::super::journal_tests::remove_all;
    use super::super::keeper::{LOCK_EVERY, RETENTION_EVERY};
    use super::super::segment;
    use super::super::{Durability, Event, EventType, FileSettings, IpPrivacy, Metrics, SinkKind, SinkSettings};
    use super::*;

    /// One node's directory over several boots.
    struct Node {
        dir: tempfile::TempDir,
        clock: Clock,
        settings: EventSettings,
    }

    impl Node {
        fn new(sinks: &[(&str, Option<EventType>)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let sink = |(name, only): &(&str, Option<EventType>)| SinkSettings {
                name: (*name).to_owned(),
                types: only.map(|t| vec![t]),
                kind: file(dir.path().join(name).join("e.ndjson")),
            };
            let settings = EventSettings {
                dir: dir.path().join("journal"),
                durability: Durability::Written,
                keep: Duration::from_secs(72 * 3600),
                max_bytes: 1 << 30,
                privacy: IpPrivacy::Full.into(),
                sinks: sinks.iter().map(sink).collect(),
            };
            Self {
                dir,
                clock: Clock::system(),
                settings,
            }
        }

        fn boot(&self) -> Journal {
            let metrics = Metrics::register(&Registry::new()).unwrap();
            Journal::open(&self.settings, "edge-1", self.clock.clone(), metrics).unwrap()
        }

        /// A sink that cannot write, until it is healed.
        fn break_sink(&self, name: &str) {
            std::fs::write(self.dir.path().join(name), "in the way").unwrap();
        }

        fn heal_sink(&self, name: &str) {
            std::fs::remove_file(self.dir.path().join(name)).unwrap();
        }

        /// What a sink holds: the slugs, in order.
        fn held(&self, sink: &str) -> Vec<String> {
            let path = self.dir.path().join(sink).join("e.ndjson");
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let slug = |l: &str| {
                serde_json::from_str::<serde_json::Value>(l).ok()?["slug"]
                    .as_str()
                    .map(str::to_owned)
            };
            text.lines().filter_map(slug).collect()
        }

        /// Waits for a condition, with time passing quickly.
        async fn wait(&self, mut condition: impl FnMut() -> bool) {
            let done = async {
                while !condition() {
                    self.clock.advance(Duration::from_secs(1));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), done)
                .await
                .expect("the condition comes true");
        }
    }

    fn file(path: PathBuf) -> SinkKind {
        SinkKind::File(FileSettings {
            path: path.display().to_string(),
            ..FileSettings::default()
        })
    }

    async fn append(journal: &Journal, kind: EventType, slugs: std::ops::Range<u32>) {
        for slug in slugs {
            let slug = slug.to_string();
            let mut event = Event::new(kind, journal.clock().now(), "a.example", "a");
            event.slug = Some(&slug);
            journal.append(&event).await.unwrap();
        }
    }

    fn slugs(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|n| n.to_string()).collect()
    }

    fn segments(journal_dir: &Path, boot: Uuid) -> usize {
        segment::segments(&journal_dir.join(boot.to_string())).unwrap().len()
    }

    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn each_sink_gets_its_types_in_order_and_stopping_delivers_the_rest() {
        let node = Node::new(&[("all", None), ("clicks", Some(EventType::Click))]);
        let journal = node.boot();
        append(&journal, EventType::Open, 0..5).await;
        let delivery = Delivery::start(&journal, &node.settings, &Tasks::new()).unwrap();
        append(&journal, EventType::Click, 5..10).await;
        node.wait(|| node.held("all") == slugs(0..10)).await;
        append(&journal, EventType::Open, 10..12).await;
        append(&journal, EventType::Click, 12..15).await;
        assert!(delivery.stop(DEADLINE).await);
        assert_eq!(node.held("all"), slugs(0..15));
        assert_eq!(node.held("clicks"), [slugs(5..10), slugs(12..15)].concat());
        assert_eq!(journal.metrics().lag.with_label_values(&["clicks"]).get(), 0);
    }

    #[tokio::test]
    async fn a_dead_sink_holds_up_nobody_and_gets_everything_once_it_lives() {
        let node = Node::new(&[("good", None), ("dead", None)]);
        node.break_sink("dead");
        let journal = node.boot();
        let delivery = Delivery::start(&journal, &node.settings, &Tasks::new()).unwrap();
        append(&journal, EventType::Click, 0..20).await;
        node.wait(|| node.held("good") == slugs(0..20)).await;
        node.wait(|| journal.metrics().deliveries.with_label_values(&["dead", "retry"]).get() >= 3)
            .await;
        node.wait(|| journal.metrics().lag.with_label_values(&["dead"]).get() == 20)
            .await;
        node.heal_sink("dead");
        append(&journal, EventType::Click, 20..30).await;
        node.wait(|| node.held("dead") == slugs(0..30)).await;
        node.wait(|| node.held("good") == slugs(0..30)).await;
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_later_boot_delivers_the_earlier_ones_first_when_their_processes_are_gone() {
        let node = Node::new(&[("archive", None)]);
        node.break_sink("archive");
        let first = node.boot();
        let delivery = Delivery::start(&first, &node.settings, &Tasks::new()).unwrap();
        append(&first, EventType::Click, 0..3).await;
        assert!(
            delivery.stop(DEADLINE).await,
            "a sink that fails does not keep the program from stopping"
        );
        node.heal_sink("archive");

        let second = node.boot();
        let delivery = Delivery::start(&second, &node.settings, &Tasks::new()).unwrap();
        append(&second, EventType::Click, 5..8).await;
        // The first process still runs.
        append(&first, EventType::Click, 3..5).await;
        for _ in 0..20 {
            node.clock.advance(LOCK_EVERY);
            tokio::task::yield_now().await;
        }
        assert_eq!(node.held("archive"), slugs(0..0));
        drop(first);
        node.wait(|| node.held("archive") == slugs(0..8)).await;
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_new_sink_gets_what_happens_from_then_on() {
        let node = Node::new(&[("old", None)]);
        let journal = node.boot();
        let tasks = Tasks::new();
        let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
        append(&journal, EventType::Click, 0..3).await;
        node.wait(|| node.held("old") == slugs(0..3)).await;
        assert!(delivery.stop(DEADLINE).await);
        // A reload adds one.
        let mut settings = node.settings.clone();
        settings.sinks.push(SinkSettings {
            name: "new".into(),
            types: None,
            kind: file(node.dir.path().join("new/e.ndjson")),
        });
        let delivery = Delivery::start(&journal, &settings, &tasks).unwrap();
        append(&journal, EventType::Click, 3..6).await;
        node.wait(|| node.held("new") == slugs(3..6) && node.held("old") == slugs(0..6))
            .await;
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn delivered_segments_go_after_a_while_and_undelivered_ones_stay() {
        let node = Node::new(&[("good", None), ("dead", None)]);
        node.break_sink("dead");
        let first = node.boot();
        let boot = first.boot();
        let delivery = Delivery::start(&first, &node.settings, &Tasks::new()).unwrap();
        append(&first, EventType::Click, 0..3).await;
        assert!(delivery.stop(DEADLINE).await);
        drop(first);

        let second = node.boot();
        let delivery = Delivery::start(&second, &node.settings, &Tasks::new()).unwrap();
        node.wait(|| node.held("good") == slugs(0..3)).await;
        node.clock.advance(node.settings.keep * 2);
        // Several passes later it is still there, because one sink lacks it.
        node.wait(|| journal_age(&node.settings.dir, boot, &node.clock) < 2 * RETENTION_EVERY)
            .await;
        assert_eq!(segments(&node.settings.dir, boot), 1);
        node.heal_sink("dead");
        // Its cursor too: until that is saved, the segment's time starts again.
        let lag = || second.metrics().lag.with_label_values(&["dead"]).get();
        node.wait(|| node.held("dead") == slugs(0..3) && lag() == 0).await;
        assert_eq!(segments(&node.settings.dir, boot), 1, "it is kept for replay");
        node.clock.advance(node.settings.keep * 2);
        let gone = || {
            node.clock.advance(Duration::from_secs(60));
            !node.settings.dir.join(boot.to_string()).exists()
        };
        node.wait(gone).await;
        assert!(delivery.stop(DEADLINE).await);
        assert_eq!(second.metrics().lost.get(), 0);
    }

    /// How long ago, by the clock, a folder's only segment was last seen written or undelivered.
    fn journal_age(dir: &Path, boot: Uuid, clock: &Clock) -> Duration {
        let found = segment::segments(&dir.join(boot.to_string())).unwrap().remove(0);
        let touched = found.path.metadata().unwrap().modified().unwrap();
        let since = touched.duration_since(std::time::UNIX_EPOCH).unwrap();
        let touched = linkseal_base::clock::Timestamp::from_millis(since.as_millis() as i64);
        clock.now().saturating_since(touched)
    }

    #[tokio::test]
    async fn at_the_size_cap_the_oldest_go_and_are_counted() {
        let mut node = Node::new(&[("dead", None)]);
        node.settings.max_bytes = 200_000;
        node.break_sink("dead");
        let journal = node.boot();
        let delivery = Delivery::start(&journal, &node.settings, &Tasks::new()).unwrap();
        const EVENTS: u32 = 1500;
        append(&journal, EventType::Click, 0..EVENTS).await;
        node.wait(|| journal.metrics().lost.get() > 0).await;
        node.wait(|| super::super::home::size(&node.settings.dir).unwrap() <= node.settings.max_bytes)
            .await;
        let lost = journal.metrics().lost.get() as u32;
        // A batch read before the cap may still be on its way; what is neither is wrong.
        node.heal_sink("dead");
        node.wait(|| node.held("dead").last().is_some_and(|s| *s == (EVENTS - 1).to_string()))
            .await;
        let held = node.held("dead");
        assert!(held.len() as u32 >= EVENTS - lost, "{} held, {lost} lost", held.len());
        assert!(
            held.iter()
                .zip(held.iter().skip(1))
                .all(|(a, b)| a.parse::<u32>().unwrap() < b.parse().unwrap())
        );
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_reload_at_a_bad_moment_heals_by_itself_and_is_seen_meanwhile() {
        let node = Node::new(&[("old", None)]);
        let journal = node.boot();
        let tasks = Tasks::new();
        let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
        let running = || journal.metrics().running.get();
        append(&journal, EventType::Click, 0..3).await;
        node.wait(|| node.held("old") == slugs(0..3) && running() == 1).await;
        // A disk that does not take the new sink's cursor.
        let in_the_way = journal.folder().join("cursor-new.new");
        std::fs::create_dir(&in_the_way).unwrap();
        let mut settings = node.settings.clone();
        settings.sinks.push(SinkSettings {
            name: "new".into(),
            types: None,
            kind: file(node.dir.path().join("new/e.ndjson")),
        });
        delivery.restart(&journal, &settings, &tasks).await.unwrap();
        append(&journal, EventType::Click, 3..6).await;
        let lag = |sink: &str| journal.metrics().lag.with_label_values(&[sink]).get();
        node.wait(|| lag("old") == 3).await;
        assert_eq!(running(), 0);
        let seconds = || journal.metrics().lag_seconds.with_label_values(&["old"]).get();
        node.wait(|| seconds() > 30).await;
        assert!(
            delivery
                .sinks()
                .iter()
                .all(|s| s.state == super::super::SinkCondition::Waiting)
        );
        std::fs::remove_dir(&in_the_way).unwrap();
        node.wait(|| node.held("old") == slugs(0..6) && node.held("new") == slugs(3..6))
            .await;
        node.wait(|| lag("old") == 0 && lag("new") == 0 && seconds() == 0 && running() == 1)
            .await;
        assert!(delivery.stop(DEADLINE).await);
        assert_eq!(running(), 0);
    }

    #[tokio::test]
    async fn a_node_starts_without_a_disk_for_its_cursors() {
        let node = Node::new(&[("archive", None)]);
        let journal = node.boot();
        let in_the_way = journal.folder().join("cursor-archive.new");
        std::fs::create_dir(&in_the_way).unwrap();
        let delivery = Delivery::start(&journal, &node.settings, &Tasks::new()).unwrap();
        append(&journal, EventType::Click, 0..3).await;
        std::fs::remove_dir(&in_the_way).unwrap();
        node.wait(|| node.held("archive") == slugs(0..3)).await;
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_reload_while_the_disk_takes_no_cursor_leaves_no_event_out() {
        let node = Node::new(&[("archive", None)]);
        let journal = node.boot();
        let in_the_way = journal.folder().join("cursor-archive.new");
        std::fs::create_dir(&in_the_way).unwrap();
        let tasks = Tasks::new();
        let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
        append(&journal, EventType::Click, 0..3).await;
        delivery.renew(&tasks).await;
        append(&journal, EventType::Click, 3..6).await;
        std::fs::remove_dir(&in_the_way).unwrap();
        node.wait(|| node.held("archive") == slugs(0..6)).await;
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_locked_holds_up_nothing() {
        let node = Node::new(&[("archive", None)]);
        let first = node.boot();
        append(&first, EventType::Click, 0..3).await;
        let lock = segment::lock_path(first.folder());
        drop(first);
        // A directory where the lock should be cannot be opened, not by root either.
        std::fs::remove_file(&lock).unwrap();
        std::fs::create_dir(&lock).unwrap();
        let second = node.boot();
        let delivery = Delivery::start(&second, &node.settings, &Tasks::new()).unwrap();
        append(&second, EventType::Click, 3..6).await;
        node.wait(|| node.held("archive") == slugs(3..6)).await;
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_clock_that_is_ahead_at_the_start_removes_nothing() {
        let node = Node::new(&[("archive", None)]);
        let first = node.boot();
        let boot = first.boot();
        let delivery = Delivery::start(&first, &node.settings, &Tasks::new()).unwrap();
        append(&first, EventType::Click, 0..3).await;
        node.wait(|| node.held("archive") == slugs(0..3)).await;
        assert!(delivery.stop(DEADLINE).await);
        drop(first);
        let ahead = i64::try_from(node.settings.keep.as_millis()).unwrap() * 2;
        node.clock.set(ahead);
        let second = node.boot();
        let delivery = Delivery::start(&second, &node.settings, &Tasks::new()).unwrap();
        let end = node.clock.uptime() + 5 * RETENTION_EVERY;
        node.wait(|| node.clock.uptime() > end).await;
        node.clock.set(-ahead);
        let end = node.clock.uptime() + 5 * RETENTION_EVERY;
        node.wait(|| node.clock.uptime() > end).await;
        assert_eq!(segments(&node.settings.dir, boot), 1, "it is kept for replay");
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_journal_that_is_removed_while_it_runs_is_delivered_on() {
        for whole in [true, false] {
            let node = Node::new(&[("good", None), ("dead", None)]);
            node.break_sink("dead");
            let journal = node.boot();
            let tasks = Tasks::new();
            let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
            append(&journal, EventType::Click, 0..5).await;
            let lag = |sink: &str| journal.metrics().lag.with_label_values(&[sink]).get();
            let retries = || journal.metrics().deliveries.with_label_values(&["dead", "retry"]).get();
            node.wait(|| node.held("good") == slugs(0..5) && lag("good") == 0 && retries() > 0)
                .await;
            remove(&journal, whole);
            append(&journal, EventType::Click, 5..8).await;
            node.wait(|| node.held("good") == slugs(0..8) && lag("good") == 0).await;
            assert_eq!(lag("dead"), 8);
            // It has its first batch in hand and the segment open.
            node.heal_sink("dead");
            node.wait(|| node.held("dead") == slugs(0..8) && lag("dead") == 0).await;
            node.wait(|| journal.metrics().running.get() == 1).await;
            assert_eq!(journal.metrics().lost.get(), 0);
            // All sinks have cursors in what there is now, and go on after a restart.
            assert!(delivery.stop(DEADLINE).await);
            append(&journal, EventType::Click, 8..10).await;
            drop(journal);
            let second = node.boot();
            let delivery = Delivery::start(&second, &node.settings, &Tasks::new()).unwrap();
            node.wait(|| node.held("good") == slugs(0..10) && node.held("dead") == slugs(0..10))
                .await;
            assert!(delivery.stop(DEADLINE).await);
        }
    }

    #[tokio::test]
    async fn what_sinks_lack_of_a_removed_journal_is_counted_once() {
        for (whole, reload) in [(true, true), (false, true), (false, false)] {
            let node = Node::new(&[("dead", None), ("late", None)]);
            node.break_sink("dead");
            node.break_sink("late");
            let journal = node.boot();
            let tasks = Tasks::new();
            let mut delivery = Some(Delivery::start(&journal, &node.settings, &tasks).unwrap());
            append(&journal, EventType::Click, 0..5).await;
            let lag = |sink: &str| journal.metrics().lag.with_label_values(&[sink]).get();
            let retries = |sink: &str| journal.metrics().deliveries.with_label_values(&[sink, "retry"]).get();
            node.wait(|| retries("dead") > 0 && retries("late") > 0).await;
            if !reload {
                // What is open is closed before.
                assert!(delivery.take().unwrap().stop(DEADLINE).await);
            }
            remove(&journal, whole);
            append(&journal, EventType::Click, 5..8).await;
            let delivery = match delivery {
                Some(delivery) => {
                    delivery.renew(&tasks).await;
                    delivery
                }
                None => Delivery::start(&journal, &node.settings, &tasks).unwrap(),
            };
            node.heal_sink("dead");
            node.wait(|| node.held("dead") == slugs(5..8) && lag("dead") == 0).await;
            node.heal_sink("late");
            node.wait(|| node.held("late") == slugs(5..8) && lag("late") == 0).await;
            assert_eq!(journal.metrics().lost.get(), 5, "whole: {whole}, reload: {reload}");
            assert!(delivery.stop(DEADLINE).await);
        }
    }

    #[tokio::test]
    async fn a_journal_that_is_removed_before_its_first_event_is_delivered_after_a_restart() {
        let node = Node::new(&[("archive", None)]);
        node.break_sink("archive");
        let first = node.boot();
        let delivery = Delivery::start(&first, &node.settings, &Tasks::new()).unwrap();
        node.wait(|| first.metrics().running.get() == 1).await;
        remove(&first, true);
        append(&first, EventType::Click, 0..3).await;
        assert!(delivery.stop(DEADLINE).await);
        drop(first);
        node.heal_sink("archive");
        let second = node.boot();
        let delivery = Delivery::start(&second, &node.settings, &Tasks::new()).unwrap();
        node.wait(|| node.held("archive") == slugs(0..3)).await;
        assert!(delivery.stop(DEADLINE).await);
    }

    /// Removes a journal's directory, or the open segment only.
    fn remove(journal: &Journal, whole: bool) {
        if whole {
            return remove_all(journal.dir());
        }
        let open = segment::segments(journal.folder()).unwrap().pop().unwrap();
        std::fs::remove_file(open.path).unwrap();
    }

    #[tokio::test]
    async fn a_cursor_that_cannot_be_moved_is_shown_and_heals() {
        let node = Node::new(&[("archive", None), ("other", None)]);
        let journal = node.boot();
        let delivery = Delivery::start(&journal, &node.settings, &Tasks::new()).unwrap();
        let running = || journal.metrics().running.get();
        node.wait(|| running() == 1).await;
        let in_the_way = journal.folder().join("cursor-archive.new");
        std::fs::create_dir(&in_the_way).unwrap();
        append(&journal, EventType::Click, 0..3).await;
        // It has a first batch, and comes no further.
        node.wait(|| running() == 0 && !node.held("archive").is_empty()).await;
        let reports = delivery.sinks();
        assert_eq!(reports[0].state, super::super::SinkCondition::Waiting);
        let why = reports[0].last_error.clone().unwrap();
        assert!(why.starts_with("events.dir: "), "{why}");
        assert_eq!(reports[1].state, super::super::SinkCondition::Running);
        append(&journal, EventType::Click, 3..6).await;
        let lag = |sink: &str| journal.metrics().lag.with_label_values(&[sink]).get();
        node.wait(|| node.held("other") == slugs(0..6) && lag("archive") == 6)
            .await;
        assert_eq!(running(), 0);
        std::fs::remove_dir(&in_the_way).unwrap();
        node.wait(|| running() == 1 && node.held("archive") == slugs(0..6) && lag("archive") == 0)
            .await;
        assert_eq!(delivery.sinks()[0].last_error, None);
        assert!(delivery.stop(DEADLINE).await);
        assert_eq!(running(), 0);
    }

    #[tokio::test]
    async fn lags_are_known_after_a_start_on_a_disk_that_takes_no_cursor() {
        let node = Node::new(&[("archive", None), ("new", None)]);
        node.break_sink("archive");
        let first = node.boot();
        let mut settings = node.settings.clone();
        settings.sinks.truncate(1);
        let delivery = Delivery::start(&first, &settings, &Tasks::new()).unwrap();
        node.wait(|| first.metrics().running.get() == 1).await;
        append(&first, EventType::Click, 0..3).await;
        assert!(delivery.stop(DEADLINE).await);
        let second = node.boot();
        let in_the_way = second.folder().join("cursor-archive.new");
        std::fs::create_dir(&in_the_way).unwrap();
        let delivery = Delivery::start(&second, &node.settings, &Tasks::new()).unwrap();
        let lag = |sink: &str| second.metrics().lag.with_label_values(&[sink]).get();
        let seconds = |sink: &str| second.metrics().lag_seconds.with_label_values(&[sink]).get();
        let start = node.clock.now();
        node.wait(|| node.clock.now().saturating_since(start) > Duration::from_secs(30))
            .await;
        assert_eq!(lag("archive"), 0, "the first process still runs, and tells its own lag");
        drop(first);
        node.wait(|| lag("archive") == 3 && seconds("archive") > 30).await;
        assert_eq!(lag("new"), 0, "it has no part in what was before it");
        assert_eq!(second.metrics().running.get(), 0);
        node.heal_sink("archive");
        std::fs::remove_dir(&in_the_way).unwrap();
        node.wait(|| node.held("archive") == slugs(0..3) && lag("archive") == 0 && seconds("archive") == 0)
            .await;
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_folder_that_went_while_its_batch_was_under_way_ends_nothing() {
        let node = Node::new(&[("archive", None)]);
        node.break_sink("archive");
        let first = node.boot();
        append(&first, EventType::Click, 0..3).await;
        // The cursor that says that the sink has a part in this folder.
        let delivery = Delivery::start(&first, &node.settings, &Tasks::new()).unwrap();
        node.wait(|| first.metrics().running.get() == 1).await;
        assert!(delivery.stop(DEADLINE).await);
        let folder = first.folder().to_owned();
        drop(first);
        let second = node.boot();
        let delivery = Delivery::start(&second, &node.settings, &Tasks::new()).unwrap();
        append(&second, EventType::Click, 3..6).await;
        let retries = || {
            second
                .metrics()
                .deliveries
                .with_label_values(&["archive", "retry"])
                .get()
        };
        node.wait(|| retries() >= 2).await;
        // As retention does at the size cap, or a person.
        std::fs::remove_dir_all(&folder).unwrap();
        node.heal_sink("archive");
        node.wait(|| node.held("archive") == slugs(0..6)).await;
        let lag = || second.metrics().lag.with_label_values(&["archive"]).get();
        node.wait(|| lag() == 0).await;
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn what_sinks_lack_of_removed_earlier_folders_is_counted_once() {
        let node = Node::new(&[("archive", None), ("other", None)]);
        node.break_sink("archive");
        node.break_sink("other");
        let mut folders = Vec::new();
        for n in 0..3 {
            let earlier = node.boot();
            let delivery = Delivery::start(&earlier, &node.settings, &Tasks::new()).unwrap();
            node.wait(|| earlier.metrics().running.get() == 1).await;
            append(&earlier, EventType::Click, n * 3..n * 3 + 3).await;
            assert!(delivery.stop(DEADLINE).await);
            folders.push(earlier.folder().to_owned());
        }
        let journal = node.boot();
        let delivery = Delivery::start(&journal, &node.settings, &Tasks::new()).unwrap();
        append(&journal, EventType::Click, 9..12).await;
        let retries = |sink: &str| journal.metrics().deliveries.with_label_values(&[sink, "retry"]).get();
        let lag = |sink: &str| journal.metrics().lag.with_label_values(&[sink]).get();
        // All folders are known by then.
        node.wait(|| retries("archive") > 0 && retries("other") > 0 && lag("archive") == 12)
            .await;
        // They are in the first folder; the second one goes.
        std::fs::remove_dir_all(&folders[1]).unwrap();
        let rest = [slugs(0..3), slugs(6..12)].concat();
        for sink in ["archive", "other"] {
            node.heal_sink(sink);
            node.wait(|| node.held(sink) == rest).await;
            assert_eq!(journal.metrics().lost.get(), 3);
        }
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn retention_leaves_a_folder_that_a_feed_is_in() {
        let node = Node::new(&[("archive", None)]);
        node.break_sink("archive");
        let first = node.boot();
        append(&first, EventType::Click, 0..3).await;
        let delivery = Delivery::start(&first, &node.settings, &Tasks::new()).unwrap();
        node.wait(|| first.metrics().running.get() == 1).await;
        assert!(delivery.stop(DEADLINE).await);
        let folder = first.folder().to_owned();
        drop(first);
        let second = node.boot();
        let delivery = Delivery::start(&second, &node.settings, &Tasks::new()).unwrap();
        append(&second, EventType::Click, 3..6).await;
        let retries = || {
            second
                .metrics()
                .deliveries
                .with_label_values(&["archive", "retry"])
                .get()
        };
        node.wait(|| retries() >= 1).await;
        // As the size cap does, while the feed has a batch of it at hand.
        std::fs::remove_file(&segment::segments(&folder).unwrap().remove(0).path).unwrap();
        let start = node.clock.now();
        node.wait(|| node.clock.now().saturating_since(start) > RETENTION_EVERY * 3)
            .await;
        assert!(folder.join("cursor-archive").exists());
        node.heal_sink("archive");
        node.wait(|| node.held("archive") == slugs(0..6)).await;
        node.wait(|| !folder.exists()).await;
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_under_one_cursor_holds_up_nothing_else() {
        let node = Node::new(&[("good", None), ("stuck", None)]);
        let journal = node.boot();
        // Opening a pipe that no one reads hangs, as a dead disk does. This runtime has one thread.
        let pipe = node.dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let delivery = Delivery::start(&journal, &node.settings, &Tasks::new()).unwrap();
        node.wait(|| journal.metrics().running.get() == 1).await;
        let new = journal.folder().join("cursor-stuck.new");
        std::fs::hard_link(&pipe, &new).unwrap();
        append(&journal, EventType::Click, 0..3).await;
        // It has a first batch, of whatever had come by then.
        node.wait(|| node.held("good") == slugs(0..3) && !node.held("stuck").is_empty())
            .await;
        let first = node.held("stuck");
        append(&journal, EventType::Click, 3..6).await;
        node.wait(|| node.held("good") == slugs(0..6)).await;
        assert_eq!(node.held("stuck"), first, "it waits for its cursor");
        node.wait(|| journal.metrics().running.get() == 0).await;
        // The disk comes back.
        std::fs::remove_file(&new).unwrap();
        let reader = std::thread::spawn(move || std::fs::read(&pipe));
        node.wait(|| node.held("stuck") == slugs(0..6) && journal.metrics().running.get() == 1)
            .await;
        reader.join().unwrap().unwrap();
        assert!(delivery.stop(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_sink_with_types_that_has_nothing_writes_no_cursor_for_each_batch() {
        use std::os::unix::fs::MetadataExt;
        let node = Node::new(&[("all", None), ("clicks", Some(EventType::Click))]);
        let journal = node.boot();
        let delivery = Delivery::start(&journal, &node.settings, &Tasks::new()).unwrap();
        node.wait(|| journal.metrics().running.get() == 1).await;
        let cursor = journal.folder().join("cursor-clicks");
        let inode = || std::fs::metadata(&cursor).unwrap().ino();
        let text = || std::fs::read_to_string(&cursor).unwrap();
        let before = (inode(), text());
        let lag = || journal.metrics().lag.with_label_values(&["clicks"]).get();
        for n in 0..4 {
            append(&journal, EventType::Open, n * 5..n * 5 + 5).await;
            let until = n * 5 + 5;
            // Without time passing.
            let done = async {
                while node.held("all").len() as u32 != until || lag() != 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), done).await.unwrap();
        }
        assert_eq!((inode(), text()), before);
        // After a while it is, and when it ends.
        node.clock.advance(Duration::from_secs(61));
        append(&journal, EventType::Open, 20..21).await;
        node.wait(|| text() != before.1).await;
        append(&journal, EventType::Open, 21..24).await;
        assert!(delivery.stop(DEADLINE).await);
        assert_eq!(text(), "24\n");
    }

    #[tokio::test]
    async fn a_segment_that_cannot_be_read_does_not_hold_up_what_is_behind_it() {
        let node = Node::new(&[("archive", None)]);
        node.break_sink("archive");
        let first = node.boot();
        let delivery = Delivery::start(&first, &node.settings, &Tasks::new()).unwrap();
        node.wait(|| first.metrics().running.get() == 1).await;
        append(&first, EventType::Click, 0..3).await;
        assert!(delivery.stop(DEADLINE).await);
        let folder = first.folder().to_owned();
        drop(first);
        // A bad sector: opening works, reading does not.
        let found = segment::segments(&folder).unwrap().remove(0);
        std::fs::remove_file(&found.path).unwrap();
        std::fs::create_dir(&found.path).unwrap();
        node.heal_sink("archive");
        let second = node.boot();
        let delivery = Delivery::start(&second, &node.settings, &Tasks::new()).unwrap();
        append(&second, EventType::Click, 3..6).await;
        node.wait(|| node.held("archive") == slugs(3..6)).await;
        assert!(folder.exists(), "retention takes none of it for delivered");
        assert!(delivery.stop(DEADLINE).await);
    }
}
