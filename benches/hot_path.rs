//! What a request costs apart from TLS and hyper, part by part: `cargo bench --bench hot_path`.

#![allow(clippy::unwrap_used, reason = "a bench may panic when its set-up fails")]

use std::time::Duration;

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderValue, Method};
use linkseal_base::clock::Clock;
use linkseal_edge::http::router::route;
use linkseal_event::verdict::Classifier;
use linkseal_event::{
    Client, Durability, Event, EventRecorder, EventSettings, EventType, IpPrivacy, Journal, Metrics, Request,
};
use linkseal_link::{Destination, LinkKey, LinkKeys, Message, Minter, Token};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TENANT: &str = "links.customer.example";
const DESTINATION: &str = "https://example.com/welcome?utm_source=newsletter&utm_campaign=2026-11";
const AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

fn main() {
    divan::main();
}

fn key() -> LinkKey {
    LinkKey::from_hex(1, &"07".repeat(32)).unwrap()
}

fn message() -> Message {
    Message {
        id: Uuid::from_u128(7),
        issued_at: 1_795_305_600,
    }
}

#[divan::bench(args = ["open", "click"])]
fn token(bencher: Bencher<'_, '_>, kind: &str) {
    let (minter, keys) = (Minter::new(&key(), TENANT), LinkKeys::new([key()]).unwrap());
    let token = match kind {
        "open" => minter.open(&message()),
        _ => minter.click(&message(), 1, &Destination::new(DESTINATION).unwrap()),
    };
    bencher.bench(|| {
        Token::decode(black_box(&token))
            .unwrap()
            .verify(&keys, [TENANT])
            .is_ok()
    });
}

#[divan::bench]
fn router() -> bool {
    let path = black_box("/c/EgFrAjCAAZLzpLXGfY6foLHC0-T1BgAAaHR0cHM6Ly9leGFtcGxlLmNvbS9IMADXS-cBEtpqIf7NGXTy");
    route(path, "").names_tenant()
}

#[divan::bench]
fn verdict(bencher: Bencher<'_, '_>) {
    let classifier = Classifier::builtin().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static(AGENT));
    bencher.bench(|| {
        classifier.judge(
            EventType::Click,
            &Method::GET,
            black_box(&headers),
            Some(Duration::from_secs(60)),
        )
    });
}

/// Recording one click, with the memory for bursts and a `written` journal: of a message without other
/// clicks, and of one whose eight links are followed at once, including corrections. Only the recording
/// thread's share is measured.
#[divan::bench(args = ["alone", "burst"])]
fn click_of(bencher: Bencher<'_, '_>, kind: &str) {
    let (journal, clock, _dir) = open_journal("written");
    let recorder = EventRecorder::new(Classifier::builtin().unwrap(), journal.clone());
    let mut count = 0u128;
    bencher.bench_local(|| {
        count += 1;
        let (message, link) = if kind == "burst" {
            (count / 8, count % 8)
        } else {
            (count, 1)
        };
        let mut event = click(&clock);
        event.message_id = Some(Uuid::from_u128(message));
        event.link = u16::try_from(link).ok();
        // The receipt is not awaited: the event is with the journal's thread by now.
        drop(recorder.record(event));
    });
    journal.close(Duration::from_secs(5));
}

/// Serializing one click and waiting for the journal's thread to acknowledge it.
#[divan::bench(args = ["queued", "written", "synced"])]
fn journal(bencher: Bencher<'_, '_>, durability: &str) {
    let (journal, clock, _dir) = open_journal(durability);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    bencher.bench_local(|| {
        let event = click(&clock);
        runtime.block_on(journal.append(&event)).unwrap()
    });
    journal.close(Duration::from_secs(5));
}

/// A journal below `target/`, so that it is on a real disk and not on a tmpfs.
fn open_journal(durability: &str) -> (Journal, Clock, tempfile::TempDir) {
    let dir = tempfile::tempdir_in(std::env::current_dir().unwrap().join("target")).unwrap();
    let settings = EventSettings {
        dir: dir.path().join("events"),
        durability: match durability {
            "queued" => Durability::Queued,
            "written" => Durability::Written,
            _ => Durability::Synced,
        },
        keep: Duration::from_secs(3600),
        max_bytes: 1 << 30,
        privacy: IpPrivacy::Truncated.into(),
        sinks: Vec::new(),
    };
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let clock = Clock::system();
    let journal = Journal::open(&settings, "edge-1", clock.clone(), metrics).unwrap();
    (journal, clock, dir)
}

/// A click with all fields that the edge sets.
fn click(clock: &Clock) -> Event<'static> {
    let mut event = Event::new(EventType::Click, clock.now(), TENANT, TENANT);
    event.message_id = Some(Uuid::from_u128(7));
    event.link = Some(1);
    event.url = Some(DESTINATION);
    event.issued_at = Some(clock.now());
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
    event
}
