//! Brings what is in the journal to the sinks: each at its own pace, in order of boot and
//! sequence, at least once.
//!
//! Folders of earlier boots come first. A folder is delivered by the process that holds its lock,
//! so that an old and a new process that overlap never deliver one together: the new one waits
//! until the old one is gone. Within a folder each sink has its own durable cursor, which passes
//! only what the sink holds. A sink that fails is tried again, and stands in nobody's way.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, watch};
use uuid::Uuid;

use super::cursor::Cursor;
use super::feed::Feed;
use super::reader::{FolderReader, Stop, Until};
use super::retention::Retention;
use super::sink::{self, SinkSetupError};
use super::stopped::Stopped;
use super::{EventSettings, Journal, segment};
use crate::shutdown::Tasks;

/// How long a delivery that ends may take before that is said.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a folder that another process holds is looked at.
const LOCK_EVERY: Duration = Duration::from_secs(1);
/// How often lags are measured while sinks do nothing.
const LAG_EVERY: Duration = Duration::from_secs(5);
/// How often old segments are looked for.
const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// The running delivery of a journal to its sinks. Clones share it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `None`: it was stopped.
    running: Arc<AsyncMutex<Option<Tasks>>>,
}

/// Why delivery cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// A sink's settings.
    #[error(transparent)]
    Sink(#[from] SinkSetupError),
    /// The journal's directory.
    #[error("events.dir {path}: {source}")]
    Journal {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// One boot's folder, while this process holds its lock.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) boot: Uuid,
    pub(super) path: PathBuf,
    /// Its last sequence number. `None`: it is this boot's, and grows.
    pub(super) last: Option<u64>,
    /// `None`: the journal itself holds this boot's.
    _lock: Option<File>,
}

/// How far a sink has come.
pub(super) type Progress = Arc<Mutex<(Uuid, u64)>>;

impl Delivery {
    /// Starts delivering. From here on, sinks that are new get what happens from now on; those
    /// there at the journal's first start get all of this boot. Blocks for a moment (cursors are
    /// made durable).
    ///
    /// # Errors
    /// When a sink's settings are wrong or the journal's directory cannot be used.
    pub fn start(journal: &Journal, settings: &EventSettings, tasks: &Tasks) -> Result<Self, DeliveryError> {
        let running = Self::run(journal, settings, tasks)?;
        Ok(Self {
            running: Arc::new(AsyncMutex::new(Some(running))),
        })
    }

    /// Goes on with other settings, once what is on its way has ended: two deliveries never share
    /// a cursor. Sinks that their endpoints had stopped run again.
    ///
    /// # Errors
    /// As for [`Delivery::start`]; nothing is delivered then until it is restarted again.
    pub async fn restart(
        &self,
        journal: &Journal,
        settings: &EventSettings,
        tasks: &Tasks,
    ) -> Result<(), DeliveryError> {
        sink::check(&settings.sinks)?;
        // Stopped meanwhile: the program ends.
        self.at_rest(journal, || settings.clone(), tasks, |_| ())
            .await
            .map(drop)
    }

    /// Does something that blocks while nothing is delivered, and goes on with the settings as they
    /// are then. `None`: it was stopped meanwhile, and nothing was done.
    ///
    /// # Errors
    /// As for [`Delivery::restart`].
    pub(super) async fn at_rest<T: Send + 'static>(
        &self,
        journal: &Journal,
        settings: impl FnOnce() -> EventSettings,
        tasks: &Tasks,
        work: impl FnOnce(&EventSettings) -> T + Send + 'static,
    ) -> Result<Option<T>, DeliveryError> {
        let mut running = self.running.lock().await;
        let Some(old) = running.as_ref() else { return Ok(None) };
        old.stop();
        while !old.wait(PATIENCE).await {
            tracing::warn!("the delivery of events takes its time to end; what is to come after it waits");
        }
        let settings = settings();
        let worked = tasks.spawn_blocking({
            let settings = settings.clone();
            move || work(&settings)
        });
        let worked = worked.await;
        *running = Some(Self::run(journal, &settings, tasks)?);
        // A panic in it, or the end of the program.
        Ok(worked.ok())
    }

    fn run(journal: &Journal, settings: &EventSettings, tasks: &Tasks) -> Result<Tasks, DeliveryError> {
        sink::check(&settings.sinks)?;
        let unusable = |source| DeliveryError::Journal {
            path: journal.folder().to_owned(),
            source,
        };
        let (start, first) = journal.start_of_delivery();
        for sink in &settings.sinks {
            let cursor = Cursor::new(journal.folder(), &sink.name);
            let made = cursor
                .load()
                .and_then(|c| if c.is_none() { cursor.save(start) } else { Ok(()) });
            made.map_err(unusable)?;
        }
        let tasks = tasks.child();
        let (sender, folders) = watch::channel(Vec::new());
        let mut lags = Vec::new();
        let now = journal.clock().now();
        for sink_settings in &settings.sinks {
            let stopped = Stopped::new(journal.dir(), sink_settings);
            if !first {
                // Whoever reloads has looked at it.
                stopped.clear().map_err(unusable)?;
            }
            let progress: Progress = Arc::new(Mutex::new((Uuid::nil(), 0)));
            lags.push((sink_settings.name.clone(), progress.clone()));
            let feed = Feed {
                name: sink_settings.name.clone(),
                types: sink_settings.types.clone(),
                sink: sink::build(sink_settings, journal.clock())?,
                journal: journal.clone(),
                folders: folders.clone(),
                tasks: tasks.clone(),
                progress,
                stopped,
                tended: now,
            };
            tasks.spawn(feed.run());
        }
        let keeper = Keeper {
            journal: journal.clone(),
            folders: sender,
            tasks: tasks.clone(),
            lags,
        };
        let retention = Retention::new(journal, settings);
        tasks.spawn(keeper.run(retention));
        Ok(tasks)
    }

    /// Delivers what is left to the sinks that take it at once, and stops; tells whether that was
    /// done within `deadline`. What is not delivered stays in the journal for the next start.
    pub async fn stop(self, deadline: Duration) -> bool {
        let stop = async {
            let Some(running) = self.running.lock().await.take() else {
                return true;
            };
            running.stop();
            running.wait(deadline).await
        };
        tokio::time::timeout(deadline, stop).await.unwrap_or(false)
    }
}

/// Takes the locks of folders in order, measures lags, removes what is old.
struct Keeper {
    journal: Journal,
    folders: watch::Sender<Vec<Arc<Folder>>>,
    tasks: Tasks,
    lags: Vec<(String, Progress)>,
}

impl Keeper {
    async fn run(self, mut retention: Retention) {
        tokio::select! {
            () = self.tasks.stopping() => return,
            () = self.take_folders() => {}
        }
        let clock = self.journal.clock().clone();
        let mut retention_due = clock.now();
        loop {
            self.measure();
            if clock.now() >= retention_due {
                retention_due = clock.now() + RETENTION_EVERY;
                let folders = self.folders.borrow().clone();
                let pass = self.tasks.spawn_blocking(move || {
                    retention.pass(&folders);
                    retention
                });
                match pass.await {
                    Ok(back) => retention = back,
                    Err(e) => return tracing::error!(error = %e, "old segments of the journal are no longer removed"),
                }
            }
            tokio::select! {
                () = self.tasks.stopping() => return,
                () = clock.sleep(LAG_EVERY) => {}
            }
        }
    }

    /// Publishes the folders of earlier boots, as their locks come free, and then this boot's.
    async fn take_folders(&self) {
        let own = self.journal.boot();
        let boots = segment::boots(self.journal.dir()).unwrap_or_else(|error| {
            tracing::error!(%error, dir = %self.journal.dir().display(), "events of earlier boots cannot be delivered");
            Vec::new()
        });
        for boot in boots.into_iter().filter(|b| *b < own) {
            let path = self.journal.dir().join(boot.to_string());
            let mut said = false;
            let lock = loop {
                match segment::lock(&path) {
                    Ok(Some(lock)) => break Some(lock),
                    // The other process has delivered and removed it.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => break None,
                    Ok(None) if !std::mem::replace(&mut said, true) => {
                        tracing::info!(%boot, "an earlier process still writes its events; ours are delivered after them");
                    }
                    Err(error) if !std::mem::replace(&mut said, true) => {
                        tracing::error!(%error, path = %path.display(), "a folder of the journal cannot be locked; trying again");
                    }
                    _ => {}
                }
                self.journal.clock().sleep(LOCK_EVERY).await;
            };
            let Some(lock) = lock else { continue };
            let at = path.clone();
            let last = self.tasks.spawn_blocking(move || last_seq(&at, boot)).await;
            let last = last
                .unwrap_or_else(|e| Err(io::Error::other(e)))
                .unwrap_or_else(|error| {
                    tracing::error!(%error, path = %path.display(), "the end of a journal's folder cannot be read");
                    0
                });
            self.publish(Folder {
                boot,
                path,
                last: Some(last),
                _lock: Some(lock),
            });
        }
        self.publish(Folder {
            boot: own,
            path: self.journal.folder().to_owned(),
            last: None,
            _lock: None,
        });
    }

    fn publish(&self, folder: Folder) {
        self.folders.send_modify(|all| all.push(Arc::new(folder)));
    }

    fn measure(&self) {
        let folders = self.folders.borrow().clone();
        for (name, progress) in &self.lags {
            let lag = lag(&self.journal, &folders, progress);
            self.journal.metrics().lag.with_label_values(&[name]).set(lag);
        }
    }
}

/// How many events a sink does not hold yet; lost ones between them count too.
pub(super) fn lag(journal: &Journal, folders: &[Arc<Folder>], progress: &Progress) -> i64 {
    let (boot, seq) = *progress.lock().unwrap_or_else(PoisonError::into_inner);
    let ahead = folders.iter().filter(|f| f.boot >= boot).map(|f| {
        let end = f.last.unwrap_or_else(|| journal.published());
        if f.boot == boot { end.saturating_sub(seq) } else { end }
    });
    i64::try_from(ahead.sum::<u64>()).unwrap_or(i64::MAX)
}

/// The last sequence number in a folder that is no longer written.
fn last_seq(path: &std::path::Path, boot: Uuid) -> io::Result<u64> {
    // Only the last segment with frames matters; damage in it is counted when it is delivered.
    let uncounted = prometheus::IntCounter::new("uncounted", "not registered").map_err(io::Error::other)?;
    for found in segment::segments(path)?.into_iter().rev() {
        let mut reader = FolderReader::new(path, boot, found.first.saturating_sub(1), uncounted.clone());
        let mut records = Vec::new();
        while reader.read(Until::End, 1024, &mut records)? == Stop::Enough {
            records.clear();
        }
        if reader.last() >= found.first {
            return Ok(reader.last());
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prometheus::Registry;

    use super::super::{Durability, Event, EventType, FileSettings, IpPrivacy, Metrics, SinkKind, SinkSettings};
    use super::*;
    use crate::clock::Clock;

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
        // Its cursor too: until that is saved, the segment's time starts anew.
        let lag = || second.metrics().lag.with_label_values(&["dead"]).get();
        node.wait(|| node.held("dead") == slugs(0..3) && lag() == 0).await;
        assert_eq!(segments(&node.settings.dir, boot), 1, "it is kept for replay");
        node.clock.advance(node.settings.keep * 2);
        node.wait(|| !node.settings.dir.join(boot.to_string()).exists()).await;
        assert!(delivery.stop(DEADLINE).await);
        assert_eq!(second.metrics().lost.get(), 0);
    }

    /// How long ago, by the clock, a folder's only segment was last seen written or undelivered.
    fn journal_age(dir: &Path, boot: Uuid, clock: &Clock) -> Duration {
        let found = segment::segments(&dir.join(boot.to_string())).unwrap().remove(0);
        let touched = found.path.metadata().unwrap().modified().unwrap();
        let since = touched.duration_since(std::time::UNIX_EPOCH).unwrap();
        let touched = crate::clock::Timestamp::from_millis(since.as_millis() as i64);
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
        node.wait(|| super::super::journal::size(&node.settings.dir).unwrap() <= node.settings.max_bytes)
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
}
