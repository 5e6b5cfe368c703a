//! The journal: where every event is written down before its request is answered.
//!
//! [`Journal::append`] returns when the event has survived what the configured
//! [`super::Durability`] says, or says quickly that it is lost; the caller serves the request either way. How groups
//! are written is in `writer`, which also has the measurements behind it.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use uuid::Uuid;

use super::segment::{self, Disk, RealDisk};
use super::writer::{Submitted, Writer, WriterSettings};
use super::{Event, EventSettings, Metrics, Privacy};
use crate::clock::Clock;
use crate::random;

/// How long an append waits for a disk that neither takes the event nor refuses it. Recipients
/// wait on the other side; past this the event may still be written, but nobody waits for it.
const WAIT: Duration = Duration::from_secs(2);
/// Largest segment, in bytes: small enough to go one at a time at the size cap, large enough that
/// making files is rare (about 100,000 events).
const SEGMENT_MAX: u64 = 64 << 20;
/// Smallest, in bytes, for journals with a tiny size cap.
const SEGMENT_MIN: u64 = 64 << 10;
/// At the size cap the oldest segment goes: at most this share of the journal at once.
const SEGMENTS_AT_CAP: u64 = 16;

/// The journal of this boot. Clones are cheap and share it; it closes with the last of them, or
/// by [`Journal::close`].
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    writer: Arc<Writer>,
    thread: Mutex<Option<JoinHandle<()>>>,
    folder: PathBuf,
    dir: PathBuf,
    node: Box<str>,
    /// What of clients is kept; a reload changes it.
    privacy: ArcSwap<Privacy>,
    clock: Clock,
    metrics: Metrics,
    /// Whether sinks have been started on this folder; see [`Journal::start_of_delivery`].
    delivered: AtomicBool,
    /// Tells other processes that this folder is being written.
    _lock: File,
}

/// An event that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub id: Uuid,
    /// Its place in this boot's journal.
    pub seq: u64,
}

/// The journal did not take an event; it is counted and logged. The request must still be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event was not written to the journal")]
pub struct Lost;

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be used.
    #[error("events.dir {path}: cannot be written: {source}; it must be a directory this user may write to")]
    Unusable {
        /// The path tried.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The writer's thread cannot be started.
    #[error("the journal's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// An event that was handed to the journal.
#[must_use = "the answer waits for what was configured"]
pub struct Appending {
    submitted: Submitted,
    /// Who is told when the wait is too long. `None`: there is nothing to wait for.
    handle: Option<Arc<Handle>>,
}

impl Appending {
    /// Which event it will be. `None`: it was not taken.
    pub(super) fn receipt(&self) -> Option<Receipt> {
        match &self.submitted {
            Submitted::Done(receipt) | Submitted::Waiting(receipt, _) => Some(*receipt),
            Submitted::Lost => None,
        }
    }

    /// Whether there is nothing to wait for: as a rule it was written on the spot.
    pub fn is_settled(&self) -> bool {
        self.handle.is_none()
    }

    /// Returns when the event has survived what was configured.
    ///
    /// # Errors
    /// [`Lost`] when it has not: the disk is full or broken, or the queue is full.
    pub async fn written(self) -> Result<Receipt, Lost> {
        match self.submitted {
            Submitted::Done(receipt) => Ok(receipt),
            Submitted::Lost => Err(Lost),
            Submitted::Waiting(receipt, done) => match tokio::time::timeout(WAIT, done).await {
                Ok(Ok(true)) => Ok(receipt),
                Ok(_) => Err(Lost),
                Err(_) => {
                    if let Some(handle) = self.handle {
                        handle.writer.overdue();
                    }
                    Err(Lost)
                }
            },
        }
    }
}

impl Journal {
    /// Opens a new folder for this boot in the journal's directory. `node` is this edge's name.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub fn open(settings: &EventSettings, node: &str, clock: Clock, metrics: Metrics) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(RealDisk), settings, node, clock, metrics)
    }

    /// As [`Journal::open`], on another disk.
    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        settings: &EventSettings,
        node: &str,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let dir = settings.dir.clone();
        let unusable = |source| OpenError::Unusable {
            path: dir.clone(),
            source,
        };
        segment::create_dir(&dir).map_err(unusable)?;
        let boot = new_boot(&dir, &clock).map_err(unusable)?;
        let folder = dir.join(boot.to_string());
        segment::create_dir(&folder).map_err(unusable)?;
        let lock = segment::lock(&folder)
            .and_then(|l| l.ok_or_else(|| io::ErrorKind::ResourceBusy.into()))
            .map_err(unusable)?;
        metrics
            .bytes
            .set(i64::try_from(size(&dir).map_err(unusable)?).unwrap_or(i64::MAX));
        let writer = Writer::create(
            disk,
            folder.clone(),
            WriterSettings {
                boot,
                durability: settings.durability,
                segment_max: (settings.max_bytes / SEGMENTS_AT_CAP).clamp(SEGMENT_MIN, SEGMENT_MAX),
            },
            metrics.clone(),
        )
        .map_err(unusable)?;
        let writer = Arc::new(writer);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn({
                let writer = writer.clone();
                move || writer.run()
            })
            .map_err(OpenError::Thread)?;
        let handle = Handle {
            writer,
            thread: Mutex::new(Some(thread)),
            folder,
            dir,
            node: node.into(),
            privacy: ArcSwap::from_pointee(settings.privacy),
            clock,
            metrics,
            delivered: AtomicBool::new(false),
            _lock: lock,
        };
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// Writes an event down; returns when it has survived what was configured.
    ///
    /// # Errors
    /// [`Lost`] when it has not: the disk is full or broken, or the queue is full.
    pub async fn append(&self, event: &Event<'_>) -> Result<Receipt, Lost> {
        self.begin(event).written().await
    }

    /// [`Journal::append`] in two steps: the event is taken now, so that what it borrows need not
    /// outlive this call; [`Appending::written`] tells when it has survived.
    pub fn begin(&self, event: &Event<'_>) -> Appending {
        self.begin_as(event, false)
    }

    /// [`Journal::begin`] of an event that its maker keeps until it is done: it has survived the
    /// machine then, whatever is configured. One that is lost is handed in again, with its id.
    pub fn begin_synced(&self, event: &Event<'_>) -> Appending {
        self.begin_as(event, true)
    }

    fn begin_as(&self, event: &Event<'_>, sync: bool) -> Appending {
        let submitted = self.submit(event, sync);
        let waits = matches!(submitted, Submitted::Waiting(..));
        Appending {
            submitted,
            handle: waits.then(|| Arc::clone(&self.handle)),
        }
    }

    fn submit(&self, event: &Event<'_>, sync: bool) -> Submitted {
        thread_local! {
            /// Where events are serialised, outside of the journal's lock.
            static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            event.encode_rest(scratch, &self.handle.node, **self.handle.privacy.load());
            self.handle.writer.submit(event, scratch, sync)
        })
    }

    /// Changes what an event has survived when it is done, from now on.
    pub fn set_durability(&self, durability: super::Durability) {
        self.handle.writer.set_durability(durability);
    }

    /// Changes what of clients is kept, from now on.
    pub fn set_privacy(&self, privacy: Privacy) {
        self.handle.privacy.store(Arc::new(privacy));
    }

    /// Writes what is queued, makes it durable and stops taking events. Blocks for as long as
    /// that takes; call it where blocking is allowed, when nothing appends any more.
    pub fn close(&self) {
        self.handle.close();
    }

    /// The id of this boot: the name of its folder.
    pub fn boot(&self) -> Uuid {
        self.handle.writer.boot()
    }

    /// The last sequence number that can be read from the folder.
    pub(super) fn published(&self) -> u64 {
        self.handle.writer.published()
    }

    /// Told when more can be read. Enable it, look at [`Journal::published`], then wait.
    pub(super) fn changed(&self) -> &tokio::sync::Notify {
        self.handle.writer.changed()
    }

    /// Asks for a new segment, so that the present one can be removed in time.
    pub(super) fn rotate(&self) {
        self.handle.writer.rotate();
    }

    /// Where a sink starts in this folder that has no cursor in it: at the beginning, when sinks
    /// are started for the first time; later, for sinks added by a reload, at the present.
    ///
    /// Also tells whether this is the first time.
    pub(super) fn start_of_delivery(&self) -> (u64, bool) {
        if self.handle.delivered.swap(true, Ordering::Relaxed) {
            (self.published(), false)
        } else {
            (0, true)
        }
    }

    /// The directory of all boots.
    pub(super) fn dir(&self) -> &Path {
        &self.handle.dir
    }

    /// The folder of this boot.
    pub(super) fn folder(&self) -> &Path {
        &self.handle.folder
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.handle.clock
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.handle.metrics
    }
}

impl Handle {
    fn close(&self) {
        self.writer.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|t| t.join().is_err()) {
            tracing::error!("the journal's thread ended by a panic");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// An id for this boot that sorts after all others in the directory, whatever the clock says now.
fn new_boot(dir: &Path, clock: &Clock) -> io::Result<Uuid> {
    let now = u64::try_from(clock.now().as_millis()).unwrap_or(0);
    let newest = segment::boots(dir)?.last().map_or(0, unix_ms);
    let ms = now.max(newest + 1);
    Ok(uuid::Builder::from_unix_timestamp_millis(ms, &random::bytes()).into_uuid())
}

/// The time in a UUIDv7 (RFC 9562 §5.7), in milliseconds since the Unix epoch.
fn unix_ms(id: &Uuid) -> u64 {
    (id.as_u128() >> 80) as u64
}

/// The size of all segments.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for boot in segment::boots(dir)? {
        for found in segment::segments(&dir.join(boot.to_string()))? {
            // One that another process has just removed has no size.
            sum += found.path.metadata().map_or(0, |m| m.len());
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Condvar;
    use std::sync::atomic::AtomicU32;

    use prometheus::Registry;

    use super::super::reader::{FolderReader, Until};
    use super::super::segment::SegmentFile;
    use super::super::{Durability, EventType, IpPrivacy};
    use super::*;
    use crate::shutdown::Tasks;

    /// A disk whose writes and syncs fail, tear or block as told.
    #[derive(Default)]
    struct TestDisk {
        /// How many of the next writes fail after half of their data.
        torn_writes: Arc<AtomicU32>,
        /// How many of the next syncs fail.
        failing_syncs: Arc<AtomicU32>,
        full: Arc<AtomicBool>,
        blocked: Arc<(Mutex<bool>, Condvar)>,
    }

    struct TestFile {
        file: Box<dyn SegmentFile>,
        torn_writes: Arc<AtomicU32>,
        failing_syncs: Arc<AtomicU32>,
        full: Arc<AtomicBool>,
        blocked: Arc<(Mutex<bool>, Condvar)>,
    }

    impl Disk for TestDisk {
        fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
            Ok(Box::new(TestFile {
                file: RealDisk.create(path)?,
                torn_writes: self.torn_writes.clone(),
                failing_syncs: self.failing_syncs.clone(),
                full: self.full.clone(),
                blocked: self.blocked.clone(),
            }))
        }
    }

    impl SegmentFile for TestFile {
        fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
            let (blocked, changed) = &*self.blocked;
            drop(changed.wait_while(blocked.lock().unwrap(), |b| *b).unwrap());
            if self.full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if take_one(&self.torn_writes) {
                self.file.write_all(&data[..data.len() / 2])?;
                return Err(io::Error::other("injected"));
            }
            self.file.write_all(data)
        }

        fn sync(&mut self) -> io::Result<()> {
            if take_one(&self.failing_syncs) {
                Err(io::Error::other("injected"))
            } else {
                self.file.sync()
            }
        }

        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.file.truncate(length)
        }
    }

    fn take_one(left: &AtomicU32) -> bool {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_ok()
    }

    fn settings(dir: &Path, durability: Durability) -> EventSettings {
        EventSettings {
            dir: dir.join("events"),
            durability,
            keep: Duration::from_secs(3600),
            max_bytes: 1 << 30,
            privacy: IpPrivacy::Full.into(),
            sinks: Vec::new(),
        }
    }

    fn open(disk: &Arc<TestDisk>, settings: &EventSettings) -> Journal {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        Journal::open_on(disk.clone(), settings, "edge-1", Clock::system(), metrics).unwrap()
    }

    fn event<'a>(url: &'a str) -> Event<'a> {
        let mut event = Event::new(
            EventType::Click,
            Clock::system().now(),
            "links.customer.example",
            "customer",
        );
        event.url = Some(url);
        event
    }

    /// The sequence numbers and URLs in a journal's folder; nothing in it may be damaged.
    fn written(journal: &Journal) -> Vec<(u64, String)> {
        let damaged = prometheus::IntCounter::new("d", "d").unwrap();
        let mut reader = FolderReader::new(journal.folder(), journal.boot(), 0, damaged.clone());
        let mut records = Vec::new();
        reader.read(Until::End, usize::MAX / 2, &mut records).unwrap();
        assert_eq!(damaged.get(), 0);
        let url = |r: &super::super::Record| {
            let value: serde_json::Value = serde_json::from_slice(&r.json).unwrap();
            assert_eq!(value["seq"], r.seq);
            assert_eq!(value["boot"], journal.boot().to_string());
            value["url"].as_str().unwrap().to_owned()
        };
        records.iter().map(|r| (r.seq, url(r))).collect()
    }

    const ALL: [Durability; 3] = [Durability::Queued, Durability::Written, Durability::Synced];

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_is_acknowledged_is_in_the_journal_in_order() {
        for durability in ALL {
            let dir = tempfile::tempdir().unwrap();
            let journal = open(&Arc::default(), &settings(dir.path(), durability));
            let tasks = Tasks::new();
            let handles: Vec<_> = (0..64)
                .map(|task| {
                    let journal = journal.clone();
                    tasks.spawn(async move {
                        let mut receipts = Vec::new();
                        for i in 0..20 {
                            let url = format!("https://x.example/{task}/{i}");
                            receipts.push((journal.append(&event(&url)).await.unwrap(), url));
                        }
                        receipts
                    })
                })
                .collect();
            let mut acknowledged = Vec::new();
            for handle in handles {
                acknowledged.extend(handle.await.unwrap());
            }
            journal.close();
            let ids: HashSet<_> = acknowledged.iter().map(|(r, _)| r.id).collect();
            assert_eq!(ids.len(), 64 * 20);
            assert!(ids.iter().all(|id| id.get_version_num() == 7));
            let mut expected: Vec<_> = acknowledged.into_iter().map(|(r, url)| (r.seq, url)).collect();
            expected.sort();
            assert_eq!(written(&journal), expected, "{durability:?}");
            assert_eq!(journal.published(), 64 * 20);
            let bytes = size(journal.dir()).unwrap();
            assert_eq!(journal.metrics().bytes.get() as u64, bytes);
            assert!(
                journal.append(&event("https://x.example/")).await.is_err(),
                "it is closed"
            );
        }
    }

    #[tokio::test]
    async fn what_must_survive_the_machine_is_synced_whatever_is_configured() {
        for durability in [Durability::Queued, Durability::Written] {
            let dir = tempfile::tempdir().unwrap();
            let disk = Arc::new(TestDisk::default());
            let journal = open(&disk, &settings(dir.path(), durability));
            disk.failing_syncs.store(1, Ordering::Relaxed);
            journal.append(&event("https://x.example/1")).await.unwrap();
            let id = Uuid::now_v7();
            let kept = Event {
                id: Some(id),
                ..event("https://x.example/2")
            };
            // The first sync fails: it is written again, to a new segment.
            let receipt = journal.begin_synced(&kept).written().await.unwrap();
            assert_eq!((receipt.id, receipt.seq), (id, 2));
            assert_eq!(disk.failing_syncs.load(Ordering::Relaxed), 0, "it was synced");
            // Handed in again, it has its id still.
            assert_eq!(journal.begin_synced(&kept).written().await.unwrap().id, id);
            journal.close();
            assert_eq!(written(&journal).len(), 3);
            assert!(journal.begin_synced(&kept).written().await.is_err(), "it is closed");
            assert_eq!(journal.metrics().lost.get(), 0, "its maker has it still");
        }
    }

    #[tokio::test]
    async fn full_segments_are_followed_by_new_ones() {
        for durability in [Durability::Written, Durability::Synced] {
            let dir = tempfile::tempdir().unwrap();
            let journal = open(
                &Arc::default(),
                &EventSettings {
                    max_bytes: 1,
                    ..settings(dir.path(), durability)
                },
            );
            let url = format!("https://x.example/{}", "x".repeat(1000));
            for _ in 0..200 {
                journal.append(&event(&url)).await.unwrap();
            }
            journal.close();
            assert_eq!(written(&journal).len(), 200);
            let count = segment::segments(journal.folder()).unwrap().len();
            assert!((2..=5).contains(&count), "{count} segments for {durability:?}");
        }
    }

    #[tokio::test]
    async fn a_torn_write_or_failed_sync_moves_to_a_new_segment_and_loses_nothing() {
        for durability in [Durability::Written, Durability::Synced] {
            let dir = tempfile::tempdir().unwrap();
            let disk = Arc::new(TestDisk::default());
            let journal = open(&disk, &settings(dir.path(), durability));
            for i in 0..9 {
                match i {
                    3 => disk.torn_writes.store(1, Ordering::Relaxed),
                    6 if durability == Durability::Synced => disk.failing_syncs.store(1, Ordering::Relaxed),
                    _ => {}
                }
                journal.append(&event(&format!("https://x.example/{i}"))).await.unwrap();
            }
            journal.close();
            let expected: Vec<_> = (0..9).map(|i| (i + 1, format!("https://x.example/{i}"))).collect();
            assert_eq!(written(&journal), expected, "{durability:?}");
            assert_eq!(journal.metrics().lost.get(), 0);
            let count = segment::segments(journal.folder()).unwrap().len();
            assert_eq!(count, if durability == Durability::Synced { 3 } else { 2 });
        }
    }

    #[tokio::test]
    async fn a_full_disk_refuses_at_once_counts_and_recovers() {
        for durability in [Durability::Written, Durability::Synced] {
            let dir = tempfile::tempdir().unwrap();
            let disk = Arc::new(TestDisk::default());
            let journal = open(&disk, &settings(dir.path(), durability));
            journal.append(&event("https://x.example/before")).await.unwrap();
            disk.full.store(true, Ordering::Relaxed);
            for _ in 0..10 {
                assert_eq!(journal.append(&event("https://x.example/lost")).await, Err(Lost));
            }
            assert_eq!(journal.metrics().lost.get(), 10);
            disk.full.store(false, Ordering::Relaxed);
            let after = async {
                while journal.append(&event("https://x.example/after")).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), after).await.unwrap();
            journal.close();
            let urls: Vec<_> = written(&journal).into_iter().map(|(_, url)| url).collect();
            assert_eq!(urls, ["https://x.example/before", "https://x.example/after"]);
        }
    }

    #[tokio::test]
    async fn a_stuck_disk_keeps_nobody_waiting_for_long_and_its_queue_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), Durability::Synced));
        *disk.blocked.0.lock().unwrap() = true;
        assert_eq!(journal.append(&event("https://x.example/")).await, Err(Lost));
        assert_eq!(journal.metrics().lost.get(), 1);

        // Nobody reads these answers: the futures are dropped after they handed the event in.
        let url = format!("https://x.example/{}", "x".repeat(1_000_000));
        let mut taken = 1;
        while let Submitted::Waiting(..) = journal.submit(&event(&url), false) {
            taken += 1;
            assert!(taken < 100, "the queue is not bounded");
        }
        assert_eq!(journal.metrics().lost.get(), 2);
        *disk.blocked.0.lock().unwrap() = false;
        disk.blocked.1.notify_all();
        journal.close();
        assert_eq!(written(&journal).len(), taken);
    }

    /// What an append costs; the numbers stand in `writer`'s documentation.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement: cargo test --release --lib event::journal -- --ignored --nocapture"]
    async fn append_cost() {
        const EVENTS: u32 = 100_000;
        for durability in ALL {
            let dir = tempfile::tempdir_in("target").unwrap();
            let journal = open(&Arc::default(), &settings(dir.path(), durability));
            let tasks = Tasks::new();
            let events = if durability == Durability::Synced {
                EVENTS / 50
            } else {
                EVENTS
            };
            for concurrent in [1, 64] {
                let start = std::time::Instant::now();
                let handles: Vec<_> = (0..concurrent)
                    .map(|_| {
                        let journal = journal.clone();
                        tasks.spawn(async move {
                            let mut lost = 0;
                            for _ in 0..events / concurrent {
                                lost += u32::from(journal.append(&typical()).await.is_err());
                                tokio::task::yield_now().await;
                            }
                            lost
                        })
                    })
                    .collect();
                let mut lost = 0;
                for handle in handles {
                    lost += handle.await.unwrap();
                }
                let each = start.elapsed() / events;
                println!("{durability:?}, {concurrent} at once: {each:?} an event, {lost} lost");
            }
        }
    }

    /// A click as browsers make it.
    fn typical() -> Event<'static> {
        let mut event = event("https://shop.customer.example/spring/shoes?utm_source=newsletter&utm_campaign=spring");
        event.message_id = Some(Uuid::nil());
        event.link = Some(3);
        event.issued_at = Some(event.time.minus(Duration::from_secs(43)));
        event.client = Some(super::super::Client {
            ip: Some("203.0.113.9".parse().unwrap()),
            user_agent: Some(b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"),
            referer: Some(b"https://mail.provider.example/"),
            proxy: None,
            network: None,
            opted_out: false,
        });
        event.request = Some(super::super::Request {
            method: "GET",
            version: "HTTP/2",
            tls: Some("1.3"),
        });
        event.verdict = Some(super::super::verdict::Verdict::unremarkable());
        event
    }

    #[tokio::test]
    async fn a_later_boot_sorts_later_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), Durability::Written);
        let ahead = Clock::system();
        ahead.advance(Duration::from_secs(1_000_000));
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let first = Journal::open(&settings, "edge-1", ahead, metrics).unwrap();
        first.append(&event("https://x.example/")).await.unwrap();
        let second = open(&Arc::default(), &settings);
        assert!(second.boot() > first.boot());
        assert_eq!(segment::boots(second.dir()).unwrap(), [first.boot(), second.boot()]);
        assert!(
            segment::lock(first.folder()).unwrap().is_none(),
            "the folder is held while it is written"
        );
        drop(first);
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_said_at_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("events"), "a file").unwrap();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let settings = settings(dir.path(), Durability::Written);
        let error = Journal::open(&settings, "edge-1", Clock::system(), metrics)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("events.dir") && error.contains("cannot be written"),
            "{error}"
        );
    }
}
