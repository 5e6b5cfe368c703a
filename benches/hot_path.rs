//! What a request costs apart from TLS and hyper, part by part: `cargo bench --bench hot_path`.

#![allow(clippy::unwrap_used, reason = "a bench may panic when its set-up fails")]

use std::time::Duration;

use divan::{Bencher, black_box};
use futures_util::future::try_join_all;
use http::{HeaderMap, HeaderValue, Method};
use linkseal_base::clock::Clock;
use linkseal_domain::record::Origin;
use linkseal_domain::registry::Registry;
use linkseal_domain::{DomainName, DomainRecord};
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

/// Different names that `name_lookup` asks for.
const LOOKED_UP: usize = 1_000;

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

#[divan::bench(args = ["open", "click"])]
fn router(bencher: Bencher<'_, '_>, kind: &str) {
    let path = match kind {
        "open" => "/o/EQFrDJG7mPBF33CsSyKgoHVjbEJC9CIOy5RlHJ65Ug6zLZShdJE.gif",
        _ => "/c/EgFrAjCAAZLzpLXGfY6foLHC0-T1BgAAaHR0cHM6Ly9leGFtcGxlLmNvbS9IMADXS-cBEtpqIf7NGXTy",
    };
    bencher.bench(|| route(black_box(path), "").names_tenant());
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

/// Looking up a domain's name among 1,000 and 1,000,000.
#[divan::bench(args = [1_000, 1_000_000])]
fn name_lookup(bencher: Bencher<'_, '_>, domains: usize) {
    let (registry, now) = (Registry::new(), Clock::system().now());
    let name = |n: usize| format!("links.customer-{n}.example");
    for n in 0..domains {
        let name = DomainName::parse(&name(n)).unwrap();
        registry.put(&DomainRecord::new(name, None, Origin::Registered, now));
    }
    // Spread over all of them, so that what is measured is not in the cache already.
    let names: Vec<String> = (0..LOOKED_UP).map(|n| name(n * (domains / LOOKED_UP))).collect();
    let mut next = names.iter().cycle();
    bencher.bench_local(|| registry.get(black_box(next.next().unwrap())).is_some());
}

/// A click as the JSON that is written: the encoding, and the hand-over to the journal's thread, without a
/// wait for it.
#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let (journal, clock, _dir) = open_journal("queued");
    bencher.bench_local(|| drop(journal.begin(&click(&clock))));
    journal.close(Duration::from_secs(5));
}

/// Recording one click, with the memory for bursts and a `written` journal: of a message without other
/// clicks, and of one whose eight links are followed at once, including corrections. Only the recording
/// thread's share is measured.
#[divan::bench(args = ["alone", "burst"])]
fn click_of(bencher: Bencher<'_, '_>, kind: &str) {
    let (recorder, clock, _dir) = open_recorder("written");
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
    recorder.journal().close(Duration::from_secs(5));
}

/// Recording clicks of different messages and waiting until they are written, as a turn of the edge's loop does:
/// 64 that are ready together, and one alone.
#[divan::bench(args = [1, 64])]
fn submit(bencher: Bencher<'_, '_>, together: u128) {
    let (recorder, clock, _dir) = open_recorder("written");
    let runtime = runtime();
    let mut count = 0u128;
    bencher
        .counter(divan::counter::ItemsCount::new(usize::try_from(together).unwrap()))
        .bench_local(|| {
            let first = count;
            count += together;
            let written = (first..count).map(|message| {
                let mut event = click(&clock);
                event.message_id = Some(Uuid::from_u128(message));
                recorder.record(event).written()
            });
            runtime.block_on(try_join_all(written.collect::<Vec<_>>())).unwrap()
        });
    recorder.journal().close(Duration::from_secs(5));
}

/// Serializing one click and waiting for the journal's thread to acknowledge it.
#[divan::bench(args = ["queued", "written", "synced"])]
fn journal(bencher: Bencher<'_, '_>, durability: &str) {
    let (journal, clock, _dir) = open_journal(durability);
    let runtime = runtime();
    bencher.bench_local(|| {
        let event = click(&clock);
        runtime.block_on(journal.append(&event)).unwrap()
    });
    journal.close(Duration::from_secs(5));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn open_recorder(durability: &str) -> (EventRecorder, Clock, tempfile::TempDir) {
    let (journal, clock, dir) = open_journal(durability);
    (EventRecorder::new(Classifier::builtin().unwrap(), journal), clock, dir)
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
