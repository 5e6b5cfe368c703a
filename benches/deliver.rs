//! What delivery costs for each event, from the journal's segments to a sink: `cargo bench --bench deliver`.
//!
//! CPU time of this process (all threads) and the time that passed, per event; medians of five runs over
//! 200,000 clicks, after one that is not counted (of the activity: one run). The CPU time of the sink includes what the kernel needs for its writes and fsyncs; the last
//! rows have that alone, for the same bytes in files of their own.

#![allow(clippy::unwrap_used, reason = "a bench may panic when its set-up fails")]

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::shutdown::Tasks;
use linkseal_event::{
    Activity, Client, Delivery, Durability, Event, EventSettings, EventType, FileSettings, IpPrivacy, Journal, Metrics,
    Replay, Request, SinkKind, SinkSettings,
};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: u64 = 200_000;
const RUNS: usize = 5;
const SINK: &str = "archive";
/// Events in a batch of the file sink.
const BATCH: usize = 4096;
const DOMAIN: &str = "links.customer.example";
const DESTINATION: &str = "https://example.com/welcome?utm_source=newsletter&utm_campaign=2026-11";
const AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

fn main() {
    let bench = Bench::new();
    println!(
        "{:<44} {:>9} {:>9} {:>9}",
        "ns per event", "CPU", "of it user", "elapsed"
    );
    bench.row("read the journal (replay)", RUNS, || bench.replay(), || {});
    let mut text = Vec::new();
    bench.row(
        "deliver: journal to file sink",
        RUNS,
        || bench.deliver(None),
        || {
            text = bench.take_text();
            assert_eq!(text.iter().filter(|b| **b == b'\n').count() as u64, EVENTS);
        },
    );
    bench.row(
        "deliver: journal to file sink of opens, none",
        RUNS,
        || bench.deliver(Some(EventType::Open)),
        || assert!(bench.take_text().is_empty()),
    );
    // Its rate is limited: 200,000 events take ten seconds.
    bench.row("activity on domains", 1, || bench.activity(), || {});
    bench.row("only write the lines", RUNS, || bench.write(&text, false), || {});
    bench.row("only write and sync them", RUNS, || bench.write(&text, true), || {});
}

struct Bench {
    journal: Journal,
    settings: EventSettings,
    runtime: tokio::runtime::Runtime,
    /// Below `target/`, so that it is on a real disk and not on a tmpfs.
    dir: tempfile::TempDir,
}

impl Bench {
    /// A journal that has the events.
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let settings = EventSettings {
            dir: dir.path().join("events"),
            durability: Durability::Queued,
            keep: Duration::from_secs(3600),
            max_bytes: 1 << 30,
            privacy: IpPrivacy::Truncated.into(),
            sinks: Vec::new(),
        };
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let journal = Journal::open(&settings, "edge-1", Clock::system(), metrics).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            for n in 0..EVENTS {
                // A full queue refuses events until the disk has caught up.
                while journal.append(&click(n)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        journal.close(Duration::from_secs(30));
        Self {
            journal,
            settings,
            runtime,
            dir,
        }
    }

    /// Runs `work`, and prints the medians of its costs per event. `check` is not measured.
    fn row(&self, what: &str, runs: usize, work: impl Fn(), mut check: impl FnMut()) {
        let (mut cpu, mut user, mut elapsed) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..=runs {
            let (used, used_by_user, began) = (cpu_time(), user_time(), Instant::now());
            work();
            // The first run's memory may be new to this machine, which costs more than all the rest.
            if run > 0 {
                elapsed.push(began.elapsed());
                cpu.push(cpu_time() - used);
                user.push(user_time() - used_by_user);
            }
            check();
        }
        let median = |mut all: Vec<Duration>| {
            all.sort();
            all.get(runs / 2).unwrap().as_nanos() / u128::from(EVENTS)
        };
        println!(
            "{what:<44} {:>9} {:>9} {:>9}",
            median(cpu),
            median(user),
            median(elapsed)
        );
    }

    fn replay(&self) {
        let all = Replay::open(&self.settings.dir, Timestamp::from_secs(0)).unwrap();
        assert_eq!(all.filter(Result::is_ok).count() as u64, EVENTS);
    }

    /// Delivers all events to a new sink.
    fn deliver(&self, only: Option<EventType>) {
        // Without a cursor, a sink that is new to a running journal begins at its end.
        let folder = self.settings.dir.join(self.journal.boot().to_string());
        std::fs::write(folder.join(format!("cursor-{SINK}")), "0\n").unwrap();
        let mut settings = self.settings.clone();
        settings.sinks.push(SinkSettings {
            name: SINK.to_owned(),
            types: only.map(|kind| vec![kind]),
            kind: SinkKind::File(FileSettings {
                path: format!("{}/%Y-%m-%d.ndjson", self.files().display()),
                ..FileSettings::default()
            }),
        });
        self.runtime.block_on(async {
            let delivery = Delivery::start(&self.journal, &settings, &Tasks::new()).unwrap();
            while delivery.sinks().iter().any(|sink| sink.lag_events > 0) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(delivery.stop(Duration::from_secs(10)).await);
        });
    }

    /// Counts the events as the pages show them.
    fn activity(&self) {
        self.runtime.block_on(async {
            let tasks = Tasks::new();
            let activity = Activity::start(&self.journal, &tasks);
            let clicks = || {
                activity
                    .of(DOMAIN)
                    .hours
                    .iter()
                    .map(|hour| u64::from(hour.clicks))
                    .sum::<u64>()
            };
            while clicks() < EVENTS {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tasks.stop();
            assert!(tasks.wait(Duration::from_secs(10)).await);
        });
    }

    fn files(&self) -> PathBuf {
        self.dir.path().join(SINK)
    }

    /// What the sink has written; removes it.
    fn take_text(&self) -> Vec<u8> {
        let Ok(files) = std::fs::read_dir(self.files()) else {
            return Vec::new();
        };
        let text = files.flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        let text = text.collect();
        std::fs::remove_dir_all(self.files()).unwrap();
        text
    }

    /// Writes a text to a file, as much at once as a batch of the file sink has.
    fn write(&self, text: &[u8], sync: bool) {
        let mut file = tempfile::tempfile_in(self.dir.path()).unwrap();
        for batch in text.chunks(text.len() * BATCH / EVENTS as usize) {
            file.write_all(batch).unwrap();
            if sync {
                file.sync_data().unwrap();
            }
        }
    }
}

/// The user part of [`cpu_time`]; known to a hundredth of a second.
fn user_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_whitespace().nth(11).unwrap().parse().unwrap();
    Duration::from_millis(ticks * 10)
}

fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

/// A click with all members that the edge sets.
fn click(n: u64) -> Event<'static> {
    let mut event = Event::new(
        EventType::Click,
        Timestamp::from_millis(1_795_305_600_000 + (n / 20) as i64),
        DOMAIN,
        "customer",
    );
    event.message_id = Some(Uuid::from_u128(u128::from(n) << 64 | 7));
    event.link = Some((n % 8) as u16);
    event.url = Some(DESTINATION);
    event.issued_at = Some(Timestamp::from_secs(1_795_300_000));
    event.client = Some(Client {
        ip: Some([203, 0, 113, 9].into()),
        user_agent: Some(AGENT.as_bytes()),
        referer: None,
        proxy: None,
        network: None,
        opted_out: false,
    });
    event.request = Some(Request {
        method: "GET",
        version: "HTTP/1.1",
        tls: Some("1.3"),
    });
    event.verdict = Some(linkseal_event::verdict::Verdict::unremarkable());
    event
}
