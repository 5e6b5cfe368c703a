//! What the journal promises, on disks that fail, fill up and hang.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use prometheus::Registry;
use uuid::Uuid;

use super::cursor::Cursor;
use super::home::size;
use super::reader::{FolderReader, Until};
use super::segment::{self, Disk, RealDisk, SegmentFile};
use super::{
    Client, Durability, Event, EventSettings, EventType, IpPrivacy, Journal, Lost, Metrics, Record, Request, verdict,
};

/// Longer than any disk of these tests takes.
const PATIENT: Duration = Duration::from_secs(30);

/// A disk whose writes and syncs fail, tear or block as told.
#[derive(Clone, Default)]
struct TestDisk {
    /// How many of the next writes fail after half of their data.
    torn_writes: Arc<AtomicU32>,
    /// How many of the next syncs fail.
    failing_syncs: Arc<AtomicU32>,
    full: Arc<AtomicBool>,
    /// How much the journal's directory may hold, if that is not 0.
    room: Arc<AtomicU64>,
    read_only: Arc<AtomicBool>,
    blocked: Arc<(Mutex<bool>, Condvar)>,
    writes: Arc<AtomicU32>,
}

struct TestFile {
    file: Box<dyn SegmentFile>,
    disk: TestDisk,
    dir: std::path::PathBuf,
}

impl TestDisk {
    fn block(&self) {
        *self.blocked.0.lock().unwrap() = true;
    }

    fn unblock(&self) {
        *self.blocked.0.lock().unwrap() = false;
        self.blocked.1.notify_all();
    }

    fn pass(&self) {
        let (blocked, changed) = &*self.blocked;
        drop(changed.wait_while(blocked.lock().unwrap(), |b| *b).unwrap());
    }
}

impl Disk for TestDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        self.pass();
        Ok(Box::new(TestFile {
            file: RealDisk.create(path)?,
            disk: self.clone(),
            dir: path.parent().unwrap().parent().unwrap().to_owned(),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.pass();
        if self.read_only.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        RealDisk.create_dir(path)
    }
}

impl SegmentFile for TestFile {
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.disk.pass();
        self.disk.writes.fetch_add(1, Ordering::Relaxed);
        let room = self.disk.room.load(Ordering::Relaxed);
        let overflows = room > 0 && size(&self.dir).unwrap() + data.len() as u64 > room;
        if overflows || self.disk.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if take_one(&self.disk.torn_writes) {
            self.file.write_all(&data[..data.len() / 2])?;
            return Err(io::Error::other("injected"));
        }
        self.file.write_all(data)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.pass();
        if take_one(&self.disk.failing_syncs) {
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
    let url = |r: &Record| {
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
        assert!(journal.close(PATIENT));
        let ids: HashSet<_> = acknowledged.iter().map(|(r, _)| r.id).collect();
        assert_eq!(ids.len(), 64 * 20);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        let written = written(&journal);
        assert!(written.iter().map(|(seq, _)| *seq).eq(1..=64 * 20), "{durability:?}");
        let urls: HashSet<_> = written.iter().map(|(_, url)| url).collect();
        assert_eq!(
            urls,
            acknowledged.iter().map(|(_, url)| url).collect(),
            "{durability:?}"
        );
        for task in 0..64 {
            // Each task waited for its events one by one.
            let own = format!("https://x.example/{task}/");
            let order = written.iter().filter_map(|(_, url)| url.strip_prefix(&own));
            assert!(order.eq((0..20).map(|i| i.to_string())), "{durability:?}");
        }
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
        assert_eq!(receipt.id, id);
        assert_eq!(disk.failing_syncs.load(Ordering::Relaxed), 0, "it was synced");
        // Handed in again, it has its id still.
        assert_eq!(journal.begin_synced(&kept).written().await.unwrap().id, id);
        journal.close(PATIENT);
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
        journal.close(PATIENT);
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
        journal.close(PATIENT);
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
        journal.close(PATIENT);
        let urls: Vec<_> = written(&journal).into_iter().map(|(_, url)| url).collect();
        assert_eq!(urls, ["https://x.example/before", "https://x.example/after"]);
    }
}

#[tokio::test]
async fn a_stuck_disk_keeps_nobody_waiting_for_long_and_its_queue_is_bounded() {
    for durability in ALL {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), durability));
        disk.block();
        // This thread drives everything there is: it is free all the time.
        let waits = durability != Durability::Queued;
        let (first, second) = (event("https://x.example/1"), event("https://x.example/2"));
        let start = Instant::now();
        let longest = async {
            let mut longest = Duration::ZERO;
            while start.elapsed() < Duration::from_millis(500) {
                let turn = Instant::now();
                tokio::time::sleep(Duration::from_millis(5)).await;
                longest = longest.max(turn.elapsed());
            }
            longest
        };
        let (a, b, longest) = tokio::join!(journal.append(&first), journal.append(&second), longest);
        assert_eq!((a.is_err(), b.is_err()), (waits, waits), "{durability:?}");
        assert!(longest < Duration::from_millis(400), "{longest:?}");
        let waited = start.elapsed();
        assert!(waited < Duration::from_millis(3500), "{waited:?} for {durability:?}");
        assert_eq!(journal.metrics().lost.get(), if waits { 2 } else { 0 });
        if waits {
            // By now it is known that the disk does not answer.
            let start = Instant::now();
            assert_eq!(journal.append(&first).await, Err(Lost));
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        }

        // No one reads these answers: the futures are dropped after they handed the event in.
        let before = journal.metrics().lost.get();
        let url = format!("https://x.example/{}", "x".repeat(1_000_000));
        let mut taken = 0;
        while journal.begin(&event(&url)).id().is_some() {
            taken += 1;
            assert!(taken < 100, "the queue is not bounded in bytes");
        }
        assert_eq!(journal.metrics().lost.get(), before + 1);
        disk.unblock();
        assert!(journal.close(PATIENT));
        assert_eq!(
            written(&journal).len(),
            taken + if waits { 3 } else { 2 },
            "{durability:?}"
        );
    }
}

#[tokio::test]
async fn the_queue_is_bounded_in_events() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Queued));
    disk.block();
    let mut event = event("");
    event.url = None;
    (event.domain, event.tenant) = ("a", "a");
    let mut taken = 0;
    while journal.begin(&event).id().is_some() {
        taken += 1;
        assert!(taken < 1 << 17, "the queue is not bounded in events");
    }
    disk.unblock();
}

#[tokio::test]
async fn a_stuck_disk_does_not_keep_the_journal_from_closing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Queued));
    disk.block();
    drop(journal.begin(&event("https://x.example/")));
    let start = Instant::now();
    let closing = journal.clone();
    let patience = Duration::from_millis(100);
    assert!(
        !tokio::task::spawn_blocking(move || closing.close(patience))
            .await
            .unwrap()
    );
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(journal.metrics().lost.get(), 1, "it is counted");
    disk.unblock();
}

#[tokio::test]
async fn what_its_maker_keeps_waits_for_a_slow_disk_and_is_not_lost() {
    for durability in ALL {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), durability));
        disk.block();
        let kept = event("https://x.example/");
        let mut waiting = std::pin::pin!(journal.begin_synced(&kept).written());
        let longer = Duration::from_millis(2500);
        assert!(tokio::time::timeout(longer, waiting.as_mut()).await.is_err());
        disk.unblock();
        waiting.await.unwrap();
        journal.close(PATIENT);
        assert_eq!(written(&journal).len(), 1, "{durability:?}: once, and not again");
        assert_eq!(journal.metrics().lost.get(), 0);
    }
}

#[tokio::test]
async fn what_is_ready_together_is_written_by_one_write() {
    for durability in [Durability::Written, Durability::Synced] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let journal = open(&disk, &settings(dir.path(), durability));
        let before = disk.writes.load(Ordering::Relaxed);
        let event = event("https://x.example/");
        let all = futures_util::future::join_all((0..200).map(|_| journal.append(&event))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(disk.writes.load(Ordering::Relaxed) - before, 1);
        journal.close(PATIENT);
        assert_eq!(written(&journal).len(), 200);
    }
}

#[tokio::test]
async fn others_get_their_answer_when_the_one_who_hands_over_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Written));
    let event = event("https://x.example/");
    // Before it has handed over.
    let (leader, follower) = (journal.begin(&event), journal.begin(&event));
    drop(leader);
    follower.written().await.unwrap();
    // After that, before the answer.
    disk.block();
    let (leader, follower) = (journal.begin(&event), journal.begin(&event));
    let mut follower = std::pin::pin!(follower.written());
    let soon = Duration::from_millis(20);
    let both = async { tokio::join!(leader.written(), follower.as_mut()) };
    assert!(tokio::time::timeout(soon, both).await.is_err());
    disk.unblock();
    follower.await.unwrap();
    // And a disk that does not answer is noticed all the same.
    disk.block();
    let (leader, follower) = (journal.begin(&event), journal.begin(&event));
    let mut follower = std::pin::pin!(follower.written());
    let both = async { tokio::join!(leader.written(), follower.as_mut()) };
    assert!(tokio::time::timeout(soon, both).await.is_err());
    assert_eq!(follower.await, Err(Lost));
    assert_eq!(journal.metrics().lost.get(), 2);
    disk.unblock();
}

/// Appends until the journal takes an event.
async fn heals(journal: &Journal) {
    let healed = async {
        while journal.append(&event("https://x.example/after")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), healed).await.unwrap();
}

#[tokio::test]
async fn an_edge_starts_on_a_disk_that_takes_nothing_and_goes_on_when_it_does() {
    type Ill = (&'static str, fn(&TestDisk), fn(&TestDisk));
    let ills: [Ill; 3] = [
        (
            "full",
            |d| d.full.store(true, Ordering::Relaxed),
            |d| d.full.store(false, Ordering::Relaxed),
        ),
        (
            "read-only",
            |d| d.read_only.store(true, Ordering::Relaxed),
            |d| d.read_only.store(false, Ordering::Relaxed),
        ),
        ("stuck", TestDisk::block, TestDisk::unblock),
    ];
    for (ill, fall, heal) in ills {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        fall(&disk);
        let start = Instant::now();
        let journal = open(&disk, &settings(dir.path(), Durability::Written));
        assert!(start.elapsed() < Duration::from_secs(4), "{ill}");
        assert_eq!(
            journal.append(&event("https://x.example/lost")).await,
            Err(Lost),
            "{ill}"
        );
        assert_eq!(journal.metrics().lost.get(), 1, "{ill}");
        heal(&disk);
        heals(&journal).await;
        assert!(journal.close(PATIENT));
        let urls: Vec<_> = written(&journal).into_iter().map(|(_, url)| url).collect();
        assert_eq!(urls, ["https://x.example/after"], "{ill}");
        assert_eq!(segment::boots(journal.dir()).unwrap(), [journal.boot()], "{ill}");
    }
}

#[tokio::test]
async fn a_directory_that_vanished_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Written));
    remove_all(journal.dir());
    disk.full.store(true, Ordering::Relaxed);
    assert_eq!(journal.append(&event("https://x.example/lost")).await, Err(Lost));
    disk.full.store(false, Ordering::Relaxed);
    heals(&journal).await;
    journal.close(PATIENT);
    assert_eq!(written(&journal).len(), 1);
    assert!(segment::lock(journal.folder()).unwrap().is_none(), "it is locked again");
}

/// What it is called, and what others do then to the files of a running journal.
type Removal = (&'static str, fn(&Journal));

const REMOVALS: [Removal; 5] = [
    ("directory removed", |j| remove_all(j.dir())),
    ("directory renamed", |j| {
        std::fs::rename(j.dir(), j.dir().with_extension("old")).unwrap();
    }),
    ("folder removed", |j| remove_all(j.folder())),
    ("segment removed", |j| std::fs::remove_file(last_segment(j)).unwrap()),
    ("segment replaced by a copy", |j| {
        let (segment, copy) = (last_segment(j), j.folder().join("copy"));
        std::fs::copy(&segment, &copy).unwrap();
        std::fs::rename(&copy, &segment).unwrap();
    }),
];

/// Removes a folder at once: the journal makes nothing in it meanwhile.
pub(super) fn remove_all(path: &Path) {
    let aside = path.with_extension("aside");
    std::fs::rename(path, &aside).unwrap();
    std::fs::remove_dir_all(aside).unwrap();
}

fn last_segment(journal: &Journal) -> std::path::PathBuf {
    segment::segments(journal.folder()).unwrap().pop().unwrap().path
}

#[tokio::test]
async fn nothing_is_acknowledged_in_a_file_that_was_removed_or_renamed() {
    for durability in [Durability::Written, Durability::Synced] {
        for (what, remove) in REMOVALS {
            let dir = tempfile::tempdir().unwrap();
            let journal = open(&Arc::default(), &settings(dir.path(), durability));
            for url in ["https://x.example/1", "https://x.example/2"] {
                journal.append(&event(url)).await.unwrap();
            }
            remove(&journal);
            journal.append(&event("https://x.example/3")).await.unwrap();
            journal.append(&event("https://x.example/4")).await.unwrap();
            assert!(journal.close(PATIENT));
            let there: Vec<_> = written(&journal).into_iter().map(|(seq, _)| seq).collect();
            assert!(there.ends_with(&[3, 4]), "{what}, {durability:?}: {there:?}");
            assert!(
                segment::lock(journal.folder()).unwrap().is_none(),
                "{what}: it is locked"
            );
            let bytes = journal.metrics().bytes.get() as u64;
            assert_eq!(bytes, size(journal.dir()).unwrap(), "{what}");
            // It has no sinks: none lacks anything.
            assert_eq!(journal.metrics().lost.get(), 0, "{what}");
        }
    }
}

#[tokio::test]
async fn what_is_removed_is_noticed_without_an_event() {
    for durability in ALL {
        for (what, remove) in REMOVALS {
            let dir = tempfile::tempdir().unwrap();
            let journal = open(&Arc::default(), &settings(dir.path(), durability));
            journal.append(&event("https://x.example/1")).await.unwrap();
            while journal.published() < 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            remove(&journal);
            let next = journal.folder().join(segment::segment_name(2));
            let there = async {
                while !next.exists() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let waited = tokio::time::timeout(PATIENT, there).await;
            assert!(waited.is_ok(), "{what}, {durability:?}");
        }
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_again_costs_events_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let journal = open(&disk, &settings(dir.path(), Durability::Written));
    journal.append(&event("https://x.example/1")).await.unwrap();
    disk.read_only.store(true, Ordering::Relaxed);
    remove_all(journal.dir());
    assert_eq!(journal.append(&event("https://x.example/lost")).await, Err(Lost));
    assert_eq!(journal.metrics().lost.get(), 1);
    disk.read_only.store(false, Ordering::Relaxed);
    heals(&journal).await;
    journal.close(PATIENT);
    let urls: Vec<_> = written(&journal).into_iter().map(|(_, url)| url).collect();
    assert_eq!(urls, ["https://x.example/after"]);
}

/// A journal of a boot before, with some segments; the events in it.
async fn earlier_boot(settings: &EventSettings) -> (Uuid, u64) {
    let earlier = open(&Arc::default(), settings);
    let url = format!("https://x.example/{}", "x".repeat(8000));
    for _ in 0..50 {
        earlier.append(&event(&url)).await.unwrap();
    }
    earlier.close(PATIENT);
    (earlier.boot(), 50)
}

#[tokio::test]
async fn on_a_full_disk_what_all_sinks_hold_goes_before_an_event_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = EventSettings {
        max_bytes: 1,
        sinks: vec![super::SinkSettings {
            name: "archive".into(),
            types: None,
            kind: super::SinkKind::File(super::FileSettings::default()),
        }],
        ..settings(dir.path(), Durability::Written)
    };
    let (boot, last) = earlier_boot(&settings).await;
    let folder = settings.dir.join(boot.to_string());
    let all = segment::segments(&folder).unwrap();
    assert!(all.len() > 4, "{all:?}");
    // The sink holds all but the last segments of that boot.
    let held = all[all.len() - 2].first - 1;
    Cursor::new(&folder, "archive").save(held).unwrap();

    // The disk has no room at the start: the journal finds some.
    let disk = Arc::new(TestDisk::default());
    disk.room.store(size(&settings.dir).unwrap(), Ordering::Relaxed);
    let journal = open(&disk, &settings);
    let url = format!("https://x.example/{}", "x".repeat(8000));
    let mut taken = 0;
    while journal.append(&event(&url)).await.is_ok() {
        taken += 1;
        assert!(taken < 1000);
    }
    assert!(taken >= 20, "{taken}");
    assert_eq!(
        journal.metrics().lost.get(),
        1,
        "only when there was nothing more to give up"
    );
    let damaged = prometheus::IntCounter::new("d", "d").unwrap();
    let mut reader = FolderReader::new(&folder, boot, 0, damaged);
    let mut left = Vec::new();
    reader.read(Until::End, usize::MAX / 2, &mut left).unwrap();
    assert!(
        left.iter().map(|r| r.seq).eq(held + 1..=last),
        "what the sink does not hold is all there"
    );
    assert_eq!(
        written(&journal).len(),
        taken,
        "and so is what is new and not delivered"
    );
    // A sink that catches up makes room, also where a new segment has room and no event in it.
    disk.room.store(
        size(&settings.dir).unwrap() + segment::MAGIC.len() as u64,
        Ordering::Relaxed,
    );
    Cursor::new(&folder, "archive").save(last).unwrap();
    heals(&journal).await;
    assert!(segment::segments(&folder).unwrap().len() < 2);
    assert_eq!(journal.metrics().bytes.get() as u64, size(journal.dir()).unwrap());
}

#[tokio::test]
async fn what_follows_another_event_is_written_after_it_whichever_thread_is_first() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&Arc::default(), &settings(dir.path(), Durability::Written));
    let first = journal.begin(&event("https://x.example/first"));
    let other = journal.clone();
    std::thread::spawn(move || {
        drop(other.begin(&event("https://x.example/other")));
        other.add_after(&event("https://x.example/follows"));
    })
    .join()
    .unwrap();
    // The other thread's batch is written while this one's is still open.
    let otherwise = async {
        while journal.published() < 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    otherwise.await;
    first.written().await.unwrap();
    journal.close(PATIENT);
    let urls: Vec<_> = written(&journal).into_iter().map(|(_, url)| url).collect();
    let expected = ["other", "first", "follows"].map(|u| format!("https://x.example/{u}"));
    assert_eq!(urls, expected);
}

#[tokio::test]
async fn a_replayed_link_is_counted_and_takes_no_room_from_others() {
    const REPLAYS: u64 = 5_000;
    const OTHERS: u32 = 300;
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&Arc::default(), &settings(dir.path(), Durability::Written));
    let rules = verdict::Classifier::builtin().unwrap();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    std::thread::scope(|scope| {
        // Two connections of one client.
        for _ in 0..2 {
            scope.spawn(|| {
                let mut link = typical();
                link.tenant = "replayed";
                runtime().block_on(async {
                    for _ in 0..REPLAYS / 2 {
                        let appending = rules.append(&journal, link.clone());
                        if !appending.is_settled() {
                            appending.written().await.unwrap();
                        }
                    }
                });
            });
        }
        scope.spawn(|| {
            runtime().block_on(async {
                for message in 0..OTHERS {
                    let mut link = typical();
                    link.message_id = Some(Uuid::from_u128(u128::from(message) + 1));
                    rules.append(&journal, link).written().await.unwrap();
                }
            });
        });
    });
    assert!(journal.close(PATIENT));
    let damaged = prometheus::IntCounter::new("d", "d").unwrap();
    let mut reader = FolderReader::new(journal.folder(), journal.boot(), 0, damaged);
    let mut records = Vec::new();
    reader.read(Until::End, usize::MAX / 2, &mut records).unwrap();
    let events: Vec<serde_json::Value> = records
        .iter()
        .map(|r| serde_json::from_slice(&r.json).unwrap())
        .collect();
    let clicks = |tenant: &str| -> Vec<&serde_json::Value> {
        events
            .iter()
            .filter(|e| e["type"] == "click" && e["tenant"] == tenant)
            .collect()
    };
    assert_eq!(clicks("customer").len() as u32, OTHERS, "all of the others' are there");
    assert!(clicks("customer").iter().all(|e| e["repeated"].is_null()));
    let replayed = clicks("replayed");
    let counted: u64 = replayed.iter().filter_map(|e| e["repeated"].as_u64()).sum();
    let written = replayed.iter().filter(|e| e["repeated"].is_null()).count() as u64;
    assert_eq!(written + counted, REPLAYS);
    assert!(replayed.len() < 200, "{}", replayed.len());
    assert_eq!(journal.metrics().lost.get(), 0);
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
            let start = Instant::now();
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
    event.client = Some(Client {
        ip: Some("203.0.113.9".parse().unwrap()),
        user_agent: Some(b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"),
        referer: Some(b"https://mail.provider.example/"),
        proxy: None,
        network: None,
        opted_out: false,
    });
    event.request = Some(Request {
        method: "GET",
        version: "HTTP/2",
        tls: Some("1.3"),
    });
    event.verdict = Some(verdict::Verdict::unremarkable());
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
