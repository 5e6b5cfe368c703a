//! Whole requests over an in-memory connection, for each row of the table in docs/specification.md §4, over
//! HTTP/1.1 and HTTP/2.

mod abuse;
mod challenges;
mod connection;
mod hosts;
mod inspecting;
mod links;
mod plain;
mod redirects;
mod resting;
mod upstream;
mod verdicts;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    ACCEPT_LANGUAGE, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, REFERER, USER_AGENT,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_domain::admission::{Admission, Admitted, ClientNetwork};
use linkseal_domain::links::{KillSwitches, Lookup, RedirectCache};
use linkseal_domain::record::{AppLinks, Origin};
use linkseal_domain::registry::{Entry, Registry};
use linkseal_domain::ssl::{CertificateInfo, Reason};
use linkseal_domain::{DomainName, DomainRecord, EdgeNames};
use linkseal_event::verdict::Classifier;
use linkseal_event::{Durability, EventRecorder, EventSettings, IpPrivacy, Journal};
use linkseal_link::{Destination, LinkKey, LinkKeys, Message, Minter};
use linkseal_net::shares::Turns;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::server::serve;
use super::*;
use crate::fair::FairRoom;
use crate::{Connection, Listener, TlsInfo};

const EDGE: &str = "track.platform.example";
const CUSTOMER: &str = "links.customer.example";
const PENDING: &str = "new.customer.example";

/// Admits one name and counts the calls.
struct OnlyPending {
    entry: Arc<Entry>,
    asked: AtomicU32,
}

#[async_trait]
impl Admission for OnlyPending {
    async fn admit(&self, name: &DomainName, _: ClientNetwork) -> Admitted {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if *name == self.entry.name {
            Admitted::Yes(Arc::clone(&self.entry))
        } else {
            Admitted::No
        }
    }
}

struct Edge {
    context: Arc<Context>,
    admission: Arc<OnlyPending>,
    dir: tempfile::TempDir,
    drain: CancellationToken,
    tasks: Tasks,
    /// The control plane's answer.
    lookups: std::sync::Mutex<Option<tokio::sync::mpsc::Receiver<Lookup>>>,
}

/// How a request comes in.
#[derive(Clone, Copy, Debug)]
enum Via {
    /// Port 80.
    Http,
    /// Port 443 with this SNI, over HTTP/1.1.
    H1(Option<&'static str>),
    /// Port 443 with this SNI, over HTTP/2.
    H2(Option<&'static str>),
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

fn record(name: &str, tenant: Option<&str>, reason: Reason) -> DomainRecord {
    let now = Clock::system().now();
    let mut record = DomainRecord::new(
        DomainName::parse(name).unwrap(),
        tenant.map(str::to_owned),
        Origin::Registered,
        now,
    );
    record.ssl.reason = reason;
    record.ssl.certificate = (reason == Reason::Ok).then(|| CertificateInfo {
        not_before: now,
        not_after: now + Duration::from_secs(86_400),
        obtained: None,
        issuer: String::new(),
        serial: String::new(),
        sans: vec![name.to_owned()],
        ca: String::new(),
        ari_id: None,
        renew_at: now,
        ari_check_at: None,
    });
    record
}

impl Edge {
    fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    fn with(settings: impl FnOnce(&mut Settings), context: impl FnOnce(&mut Context)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let registry = Registry::new();
        registry.put(&record(EDGE, None, Reason::Ok));
        let mut customer = record(CUSTOMER, Some("acme"), Reason::Ok);
        customer.former_tenants = vec!["old-acme".into()];
        customer.app_links = AppLinks {
            apple: Some(serde_json::json!({"applinks": {}})),
            android: None,
        };
        registry.put(&customer);
        let pending = Arc::new(Entry::of(&record(PENDING, Some("acme"), Reason::Queued)));
        registry.put(&record(PENDING, Some("acme"), Reason::Queued));
        registry.set_loaded();
        let metrics = prometheus::Registry::new();
        let mut all = Settings {
            names: EdgeNames {
                name: DomainName::parse(EDGE).unwrap(),
                aliases: vec![DomainName::parse("old.platform.example").unwrap()],
            },
            public_https_port: 443,
            prefix: String::new(),
            fallback_url: None,
            max_age: None,
            keys: Arc::new(LinkKeys::new([key()]).unwrap()),
            upstreams: super::upstream::Upstreams::default(),
        };
        settings(&mut all);
        let admission = Arc::new(OnlyPending {
            entry: pending,
            asked: AtomicU32::new(0),
        });
        let (redirects, lookups) = RedirectCache::new(1 << 20, 64);
        let mut made = Context {
            settings: ArcSwap::from_pointee(all),
            registry,
            admission: Arc::clone(&admission) as Arc<dyn Admission>,
            thumbprint: Arc::new(ArcSwapOption::from_pointee("thumb".to_owned())),
            challenge_upstream: ArcSwapOption::empty(),
            recorder: recorder(dir.path(), Durability::Written),
            redirects,
            lookups: Turns::new(16),
            bodies: FairRoom::new(256, 64),
            connections: crate::limits::Limits::new(10_000),
            memory_used: Arc::default(),
            kills: KillSwitches::new(),
            clock,
            metrics: Metrics::register(&metrics).unwrap(),
            draining: Arc::new(AtomicBool::new(false)),
            timeouts: Arc::default(),
            brief: BRIEF,
        };
        context(&mut made);
        Self {
            context: Arc::new(made),
            admission,
            dir,
            drain: CancellationToken::new(),
            tasks: Tasks::new(),
            lookups: std::sync::Mutex::new(Some(lookups)),
        }
    }

    fn connection(&self, via: Via) -> Connection {
        let tls = |sni: Option<&'static str>, h2| TlsInfo {
            name: sni.map(|n| DomainName::parse(n).unwrap()),
            entry: self.context.registry.get(sni.unwrap_or(EDGE)).unwrap(),
            version: "1.3",
            h2,
            challenges_only: false,
        };
        let (listener, tls) = match via {
            Via::Http => (Listener::Http, None),
            Via::H1(sni) => (Listener::Https, Some(tls(sni, false))),
            Via::H2(sni) => (Listener::Https, Some(tls(sni, true))),
        };
        Connection {
            listener,
            client: "203.0.113.9:4711".parse().unwrap(),
            local: "192.0.2.1:443".parse().unwrap(),
            tls,
            presence: Arc::default(),
        }
    }

    /// A raw connection that is being served.
    fn connect(&self, via: Via) -> DuplexStream {
        self.accept(self.connection(via))
    }

    fn accept(&self, connection: Connection) -> DuplexStream {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let (context, drain) = (Arc::clone(&self.context), self.drain.clone());
        self.tasks.spawn_local(serve(server, connection, &context, drain));
        client
    }

    async fn send(&self, via: Via, host: &str, request: http::request::Builder, body: &'static str) -> Got {
        let mut request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
        let io = TokioIo::new(self.connect(via));
        let response = if let Via::H2(_) = via {
            let path = request.uri().clone();
            *request.uri_mut() = format!("https://{host}{path}").parse().unwrap();
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            self.tasks.spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            request.headers_mut().insert(HOST, host.parse().unwrap());
            let (mut sender, connection) = http1::handshake(io).await.unwrap();
            self.tasks.spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        let (head, body) = response.into_parts();
        Got {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    async fn get(&self, via: Via, host: &str, path: &str) -> Got {
        self.send(via, host, Request::get(path), "").await
    }

    async fn method(&self, via: Via, host: &str, method: Method, path: &str) -> Got {
        self.send(via, host, Request::builder().method(method).uri(path), "")
            .await
    }

    /// The events in the journal, as JSON.
    fn events(&self) -> Vec<serde_json::Value> {
        events_in(self.dir.path())
    }
}

fn events_in(dir: &Path) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()) {
            if file.is_dir() {
                folders.push(file);
                continue;
            }
            let bytes = std::fs::read(file).unwrap();
            for at in 0..bytes.len() {
                if bytes[at..].starts_with(b"{\"id\":\"") {
                    let mut values = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter();
                    found.push(values.next().unwrap().unwrap());
                }
            }
        }
    }
    found
}

fn recorder(dir: &Path, durability: Durability) -> EventRecorder {
    let settings = EventSettings {
        dir: dir.to_owned(),
        durability,
        keep: Duration::from_secs(3600),
        max_bytes: 1 << 30,
        privacy: IpPrivacy::Full.into(),
        sinks: Vec::new(),
    };
    let metrics = linkseal_event::Metrics::register(&prometheus::Registry::new()).unwrap();
    let journal = Journal::open(&settings, "edge-1", Clock::system(), metrics).unwrap();
    EventRecorder::new(Classifier::builtin().unwrap(), journal)
}

fn key() -> LinkKey {
    LinkKey::from_hex(1, &"07".repeat(32)).unwrap()
}

fn message() -> Message {
    let issued = Clock::system().now().minus(Duration::from_secs(600)).as_secs();
    Message {
        id: Uuid::from_u128(7),
        issued_at: u32::try_from(issued).unwrap(),
    }
}

fn minter(tenant: &str) -> Minter {
    Minter::new(&key(), tenant)
}

fn click(tenant: &str, url: &str) -> String {
    format!(
        "/c/{}",
        minter(tenant).click(&message(), 3, &Destination::new(url).unwrap())
    )
}

const BOTH: [Via; 2] = [Via::H1(Some(CUSTOMER)), Via::H2(Some(CUSTOMER))];

/// What mail programs, gateways and people append to links, encoded as clients send it. Raw bytes, which no
/// client library sends, are in `target`.
const APPENDED: &[&str] = &[
    ".",
    ",",
    ")",
    "]",
    ";",
    "!",
    "'",
    "%22",
    "%3E",
    "%29",
    "%20",
    "%0D%0A",
    "=",
    "%3D",
    "==",
    "=3D",
    "%E2%80%8B",
    "%C2%A0",
    "%E2%80%A6",
    "%2E",
    "%5C",
    "\\",
    ";utm=1",
    "&fbclid=x",
    "%3Ffbclid=x",
    "&amp;x=1",
    "%3Cbr%3E",
    "/",
    "//",
    "/%22",
    "%2F",
    ").",
    ".)",
    "...",
    "*",
    "%EF%BB%BF",
    "%253D",
    "%",
    "%zz",
    "}",
    "|",
    "…",
    "@",
    ":",
    "+",
    "$",
    "~%22",
    ".html",
    ".gif%22",
    "?",
    "?x=1",
    ".?utm_source=x",
    "=%0D%0Arest",
];
