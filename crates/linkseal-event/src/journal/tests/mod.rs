//! The guarantees of the journal, on disks that fail, fill up and hang.

mod batching;
mod disk;
mod durability;
mod removal;

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use parking_lot::{Condvar, Mutex};
use prometheus::Registry;
use uuid::Uuid;

use crate::event::{Client, Event, Request};
use crate::event_type::EventType;
use crate::journal::boot_folder::size;
use crate::journal::cursor::Cursor;
use crate::journal::reader::{FolderReader, Until};
use crate::journal::segment;
use crate::journal::segment::{Disk, RealDisk, SegmentFile};
use crate::journal::{Journal, Lost, Record};
use crate::metrics::Metrics;
use crate::recorder::EventRecorder;
use crate::settings::{Durability, EventSettings, FileSettings, SinkKind};
use crate::testing;
use crate::verdict::{Classifier, Verdict};

/// Longer than any operation of these tests takes.
const PATIENT: Duration = Duration::from_secs(30);

/// A disk whose writes and syncs fail, tear or block on demand.
#[derive(Clone, Default)]
struct TestDisk {
    /// How many of the next writes fail after half of their data.
    torn_writes: Arc<AtomicU32>,
    /// How many of the next syncs fail.
    failing_syncs: Arc<AtomicU32>,
    full: Arc<AtomicBool>,
    /// The capacity of the journal's directory in bytes; 0 for no limit.
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
        *self.blocked.0.lock() = true;
    }

    fn unblock(&self) {
        *self.blocked.0.lock() = false;
        self.blocked.1.notify_all();
    }

    fn pass(&self) {
        let (blocked, changed) = &*self.blocked;
        changed.wait_while(&mut blocked.lock(), |b| *b);
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
        durability,
        ..testing::settings(dir)
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
    reader.read_records(Until::End, usize::MAX / 2, &mut records).unwrap();
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

/// Appends until the journal accepts an event.
async fn heals(journal: &Journal) {
    let healed = async {
        while journal.append(&event("https://x.example/after")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), healed).await.unwrap();
}

/// Ways to remove or rename the files of a running journal, with their names.
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

/// Removes a folder atomically, so that the journal creates nothing in it meanwhile.
pub(crate) fn remove_all(path: &Path) {
    let aside = path.with_extension("aside");
    std::fs::rename(path, &aside).unwrap();
    std::fs::remove_dir_all(aside).unwrap();
}

/// A typical click of a browser.
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
    event.verdict = Some(Verdict::unremarkable());
    event
}

fn last_segment(journal: &Journal) -> std::path::PathBuf {
    segment::segments(journal.folder()).unwrap().pop().unwrap().path
}
