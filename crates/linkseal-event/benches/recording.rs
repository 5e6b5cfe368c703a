//! What recording an event costs, on the thread of its request and on the journal's:
//! `cargo bench -p linkseal-event --bench recording`.
//!
//! One current-thread runtime, as the edge has one for each core; clicks of different messages and
//! clients; verdict, memory for bursts and repetitions included; durability `written`, on a real disk.
//! `taskset -c 0 …/recording` has both threads on one core, as a pinned edge does.

#![allow(clippy::unwrap_used, reason = "a bench may panic when its set-up fails")]
#![allow(
    clippy::disallowed_methods,
    reason = "a core's tasks are local, and the bench waits for its own"
)]

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method};
use linkseal_base::clock::Clock;
use linkseal_event::verdict::Classifier;
use linkseal_event::{
    Client, Durability, Event, EventRecorder, EventSettings, EventType, IpPrivacy, Journal, Metrics, Request,
};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TENANT: &str = "links.customer.example";
const DESTINATION: &str = "https://example.com/welcome?utm_source=newsletter&utm_campaign=2026-11";
const AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
/// Events of a measurement.
const EVENTS: u32 = 640_000;
/// Events of a measurement of one event at a time.
const LONE_EVENTS: u32 = 200_000;
/// Events of the measurement of latency.
const LATENCIES: u32 = 5_000;

fn main() {
    // `cargo bench` passes `--bench`; an argument chooses one measurement, for a profiler.
    let chosen = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let is_chosen = |name: &str| chosen.as_deref().is_none_or(|c| c == name);
    if is_chosen("judge") {
        judging();
    }
    for at_once in [64, 8, 1] {
        if is_chosen(&at_once.to_string()) {
            turns(at_once);
        }
    }
    if is_chosen("lone") {
        lone();
    }
}

/// The verdict by itself, which the edge asks for before it records.
fn judging() {
    let classifier = Classifier::builtin().unwrap();
    let headers = headers();
    let before = on_cpu("self");
    for _ in 0..EVENTS {
        std::hint::black_box(judge(&classifier, &headers));
    }
    let each = (on_cpu("self") - before) / u64::from(EVENTS);
    println!("judge:             {each:>6} ns");
}

/// `at_once` tasks record one event each in every turn of the runtime, and wait until it is written.
fn turns(at_once: u32) {
    let edge = Edge::new();
    let rounds = if at_once == 1 { LONE_EVENTS } else { EVENTS / at_once };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let (before, writer_before, began) = (on_cpu("self"), edge.writer_on_cpu(), Instant::now());
    local.block_on(&runtime, async {
        let tasks: Vec<_> = (0..at_once)
            .map(|task| {
                let edge = edge.clone();
                tokio::task::spawn_local(async move {
                    for round in 0..rounds {
                        edge.click(round * at_once + task).written().await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let events = u64::from(rounds * at_once);
    let (own, writer) = (on_cpu("self") - before, edge.writer_on_cpu() - writer_before);
    println!(
        "{at_once:>2} events a turn: {:>6} ns of the recording thread, {:>6} ns of the journal's, {:>6} ns elapsed, each",
        own / events,
        writer / events,
        began.elapsed().as_nanos() as u64 / events,
    );
    edge.journal.close(Duration::from_secs(5));
}

/// How long one event takes from its record to its acknowledgement.
fn lone() {
    let edge = Edge::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut took: Vec<Duration> = runtime.block_on(async {
        let mut took = Vec::new();
        for n in 0..LATENCIES {
            // Long enough for both threads to sleep.
            tokio::time::sleep(Duration::from_micros(200)).await;
            let start = Instant::now();
            edge.click(n).written().await.unwrap();
            took.push(start.elapsed());
        }
        took
    });
    took.sort();
    let at = |share: usize| took.get(took.len() * share / 1000).copied().unwrap_or_default();
    println!(
        "a lone event:      p50 {:?}, p99 {:?}, p99.9 {:?}",
        at(500),
        at(990),
        at(999)
    );
    edge.journal.close(Duration::from_secs(5));
}

#[derive(Clone)]
struct Edge {
    recorder: EventRecorder,
    journal: Journal,
    clock: Clock,
    headers: HeaderMap,
    _dir: std::sync::Arc<tempfile::TempDir>,
}

impl Edge {
    fn new() -> Self {
        // Below `target/`, so that it is on a real disk and not on a tmpfs.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let settings = EventSettings {
            dir: dir.path().join("events"),
            durability: Durability::Written,
            keep: Duration::from_secs(3600),
            max_bytes: 4 << 30,
            privacy: IpPrivacy::Truncated.into(),
            sinks: Vec::new(),
        };
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let clock = Clock::system();
        let journal = Journal::open(&settings, "edge-1", clock.clone(), metrics).unwrap();
        Self {
            recorder: EventRecorder::new(Classifier::builtin().unwrap(), journal.clone()),
            journal,
            clock,
            headers: headers(),
            _dir: dir.into(),
        }
    }

    fn click(&self, number: u32) -> linkseal_event::Appending {
        let judged = judge(self.recorder.classifier(), &self.headers);
        let mut event = Event::new(EventType::Click, self.clock.now(), TENANT, TENANT);
        event.message_id = Some(Uuid::from_u128(u128::from(number) << 40 | 7));
        event.link = Some(1);
        event.url = Some(DESTINATION);
        event.issued_at = Some(event.time.minus(Duration::from_secs(60)));
        event.client = Some(Client {
            ip: Some(Ipv4Addr::from(0x0A00_0000 + (number % 60_000) * 256 + 9).into()),
            user_agent: Some(AGENT.as_bytes()),
            referer: None,
            proxy: judged.proxy,
            network: None,
            opted_out: false,
        });
        event.request = Some(Request {
            method: "GET",
            version: "HTTP/1.1",
            tls: Some("1.3"),
        });
        event.verdict = Some(judged.verdict);
        self.recorder.record(event)
    }

    fn writer_on_cpu(&self) -> u64 {
        let is_writer =
            |dir: &fs::DirEntry| fs::read_to_string(dir.path().join("comm")).is_ok_and(|name| name.trim() == "journal");
        let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
        let ids = threads
            .filter(is_writer)
            .map(|dir| dir.file_name().into_string().unwrap());
        ids.map(|id| on_cpu(&id)).sum()
    }
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(http::header::HOST, HeaderValue::from_static(TENANT));
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("*/*"));
    headers
}

fn judge(classifier: &Classifier, headers: &HeaderMap) -> linkseal_event::verdict::Judged {
    classifier.judge(
        EventType::Click,
        &Method::GET,
        std::hint::black_box(headers),
        Some(Duration::from_secs(60)),
    )
}

/// How long a thread of this process has been on a CPU, in nanoseconds.
fn on_cpu(thread: &str) -> u64 {
    let path = match thread {
        "self" => "/proc/thread-self/schedstat".to_owned(),
        id => format!("/proc/self/task/{id}/schedstat"),
    };
    let text = fs::read_to_string(path).unwrap();
    text.split_ascii_whitespace().next().unwrap().parse().unwrap()
}
