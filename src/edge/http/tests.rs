//! Whole requests over an in-memory connection, for each row of the contract's table, over
//! HTTP/1.1 and HTTP/2.

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
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::clock::Clock;
use crate::domain::admission::{Admission, Admitted};
use crate::domain::record::{AppLinks, Origin};
use crate::domain::registry::{Entry, Registry};
use crate::domain::ssl::{CertificateInfo, Reason};
use crate::domain::{DomainName, DomainRecord};
use crate::edge::{Connection, Listener, TlsInfo};
use crate::event::verdict::Rules;
use crate::event::{Durability, EventSettings, IpPrivacy, Journal};
use crate::link::{Destination, LinkKey, LinkKeys, Message, Minter};
use crate::shutdown::Tasks;

const EDGE: &str = "track.platform.example";
const CUSTOMER: &str = "links.customer.example";
const PENDING: &str = "new.customer.example";

/// Admits one name, and counts how often it is asked.
struct OnlyPending {
    entry: Arc<Entry>,
    asked: AtomicU32,
}

#[async_trait]
impl Admission for OnlyPending {
    async fn admit(&self, name: &DomainName) -> Admitted {
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
        let events = EventSettings {
            dir: dir.path().to_owned(),
            durability: Durability::Written,
            keep: Duration::from_secs(3600),
            max_bytes: 1 << 30,
            ip: IpPrivacy::Full,
            sinks: Vec::new(),
        };
        let metrics = prometheus::Registry::new();
        let event_metrics = crate::event::Metrics::register(&metrics).unwrap();
        let mut all = Settings {
            edge_name: DomainName::parse(EDGE).unwrap(),
            aliases: vec![DomainName::parse("old.platform.example").unwrap()],
            public_https_port: 443,
            prefix: String::new(),
            fallback_url: None,
            keys: Arc::new(LinkKeys::new([key()]).unwrap()),
        };
        settings(&mut all);
        let admission = Arc::new(OnlyPending {
            entry: pending,
            asked: AtomicU32::new(0),
        });
        let mut made = Context {
            settings: ArcSwap::from_pointee(all),
            registry,
            admission: Arc::clone(&admission) as Arc<dyn Admission>,
            thumbprint: Arc::new(ArcSwapOption::from_pointee("thumb".to_owned())),
            challenge_upstream: None,
            journal: Journal::open(&events, "edge-1", clock.clone(), event_metrics).unwrap(),
            rules: Rules::builtin().unwrap(),
            clock,
            metrics: Metrics::register(&metrics).unwrap(),
            draining: Arc::new(AtomicBool::new(false)),
            limits: Limits::default(),
            tasks: Tasks::new(),
        };
        context(&mut made);
        Self {
            context: Arc::new(made),
            admission,
            dir,
            drain: CancellationToken::new(),
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
        }
    }

    /// A raw connection that is being served.
    fn connect(&self, via: Via) -> DuplexStream {
        self.accept(self.connection(via))
    }

    fn accept(&self, connection: Connection) -> DuplexStream {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let (context, drain) = (Arc::clone(&self.context), self.drain.clone());
        self.context
            .tasks
            .spawn(async move { serve(server, connection, &context, drain).await });
        client
    }

    async fn send(&self, via: Via, host: &str, request: http::request::Builder, body: &'static str) -> Got {
        let mut request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
        let io = TokioIo::new(self.connect(via));
        let response = if let Via::H2(_) = via {
            let path = request.uri().clone();
            *request.uri_mut() = format!("https://{host}{path}").parse().unwrap();
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            self.context.tasks.spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            request.headers_mut().insert(HOST, host.parse().unwrap());
            let (mut sender, connection) = http1::handshake(io).await.unwrap();
            self.context.tasks.spawn(connection);
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
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().to_owned()];
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

#[tokio::test]
async fn an_open_is_the_pixel_and_one_event() {
    for (via, version) in BOTH.into_iter().zip(["HTTP/1.1", "HTTP/2"]) {
        let edge = Edge::new();
        let token = minter("acme").open(&message());
        let request = Request::get(format!("/o/{token}.gif"))
            .header(USER_AGENT, "Mozilla/5.0 (X11) Firefox/130.0")
            .header(REFERER, "https://mail.example/");
        let got = edge.send(via, CUSTOMER, request, "").await;
        assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &open::PIXEL[..]));
        assert_eq!(
            (got.header(CONTENT_TYPE), got.header(CACHE_CONTROL)),
            ("image/gif", "no-store")
        );
        let events = edge.events();
        assert_eq!(events.len(), 1, "{events:?}");
        let event = &events[0];
        assert_eq!(
            (
                event["type"].as_str(),
                event["domain"].as_str(),
                event["tenant"].as_str(),
                event["node"].as_str()
            ),
            (Some("open"), Some(CUSTOMER), Some("acme"), Some("edge-1"))
        );
        assert_eq!(event["message_id"], Uuid::from_u128(7).to_string());
        assert_eq!(
            event["request"],
            serde_json::json!({"method": "GET", "version": version, "tls": "1.3"})
        );
        assert_eq!(event["client"]["ip"], "203.0.113.9");
        assert_eq!(event["client"]["referer"], "https://mail.example/");
        assert_eq!(event["verdict"]["class"], "human");
        assert!(event["since_issue_ms"].as_u64().unwrap() >= 600_000);
    }
}

#[tokio::test]
async fn a_bad_open_is_the_same_pixel_and_no_event() {
    for via in BOTH {
        let edge = Edge::new();
        let good = edge
            .get(via, CUSTOMER, &format!("/o/{}", minter("acme").open(&message())))
            .await;
        for path in [
            "/o/",
            "/o/x",
            &format!("/o/{}", minter("stranger").open(&message())),
            &click("acme", "https://example.com/").replace("/c/", "/o/"),
        ] {
            let bad = edge.get(via, CUSTOMER, path).await;
            assert_eq!((bad.status, &bad.body), (good.status, &good.body), "{path}");
            let names = |got: &Got| got.headers.keys().map(|k| k.to_string()).collect::<Vec<_>>();
            assert_eq!(names(&bad), names(&good));
        }
        assert_eq!(edge.events().len(), 1);
    }
}

#[tokio::test]
async fn a_click_goes_to_its_destination() {
    for via in BOTH {
        let edge = Edge::new();
        let got = edge
            .get(via, CUSTOMER, &click("acme", "https://example.com/ä?x=%2F#f"))
            .await;
        assert_eq!(
            (got.status, got.header(LOCATION)),
            (StatusCode::FOUND, "https://example.com/%C3%A4?x=%2F#f")
        );
        assert_eq!(
            (got.header(CACHE_CONTROL), got.header("x-robots-tag")),
            ("no-store", "noindex, nofollow")
        );
        assert!(got.body.is_empty());
        assert!(
            edge.get(via, CUSTOMER, &click("old-acme", "https://example.com/"))
                .await
                .status
                == StatusCode::FOUND
        );
        let events = edge.events();
        assert_eq!(
            (events[0]["type"].as_str(), events[0]["link"].as_u64()),
            (Some("click"), Some(3))
        );
        assert_eq!(events[0]["url"], "https://example.com/ä?x=%2F#f");
        assert_eq!(events[1]["tenant"], "old-acme");
    }
}

#[tokio::test]
async fn a_bad_click_leads_to_the_fallback_or_a_page() {
    for via in BOTH {
        let edge = Edge::new();
        let bad = [
            "/c/".to_owned(),
            "/c/abc".into(),
            "/r/unknown".into(),
            click("stranger", "https://example.com/"),
            click("acme", &format!("https://{CUSTOMER}./x")),
        ];
        for path in &bad {
            let got = edge
                .send(
                    via,
                    CUSTOMER,
                    Request::get(path).header(ACCEPT_LANGUAGE, "de-DE,de;q=0.9"),
                    "",
                )
                .await;
            assert_eq!(
                (got.status, got.header("content-language")),
                (StatusCode::NOT_FOUND, "de"),
                "{path}"
            );
            assert!(got.header("content-security-policy").starts_with("default-src 'none'"));
            assert!(str::from_utf8(&got.body).unwrap().contains("führt ins Leere"));
        }
        let edge = Edge::with(
            |s| s.fallback_url = Some("https://platform.example/broken".into()),
            |_| {},
        );
        for path in &bad {
            let got = edge.get(via, CUSTOMER, path).await;
            assert_eq!(
                (got.status, got.header(LOCATION)),
                (StatusCode::FOUND, "https://platform.example/broken"),
                "{path}"
            );
        }
        let mut own = record(CUSTOMER, Some("acme"), Reason::Ok);
        own.fallback_url = Some("https://customer.example/".into());
        edge.context.registry.put(&own);
        assert_eq!(
            edge.get(via, CUSTOMER, "/c/abc").await.header(LOCATION),
            "https://customer.example/"
        );
        own.fallback_url = Some(format!("https://{CUSTOMER}/c/xyz"));
        edge.context.registry.put(&own);
        assert_eq!(edge.get(via, CUSTOMER, "/c/abc").await.status, StatusCode::NOT_FOUND);
        assert!(edge.events().is_empty());
    }
}

#[tokio::test]
async fn unsubscribing_takes_a_post() {
    for via in BOTH {
        let edge = Edge::new();
        let path = format!("/u/{}", minter("acme").unsubscribe(&message(), 9));
        let page = edge.get(via, CUSTOMER, &path).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(str::from_utf8(&page.body).unwrap().contains("<form method=\"post\">"));
        assert!(edge.events().is_empty());
        let form = Request::post(&path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let got = edge.send(via, CUSTOMER, form, "List-Unsubscribe=One-Click").await;
        assert_eq!((got.status, got.header(LOCATION)), (StatusCode::OK, ""));
        assert!(got.headers.get("set-cookie").is_none());
        assert_eq!(
            edge.send(via, CUSTOMER, Request::post(&path), "hello").await.status,
            StatusCode::BAD_REQUEST
        );
        assert_eq!(
            edge.send(via, CUSTOMER, Request::post("/u/abc"), "List-Unsubscribe=One-Click")
                .await
                .status,
            StatusCode::NOT_FOUND
        );
        let long: &'static str = Box::leak("x".repeat(5000).into_boxed_str());
        assert_eq!(
            edge.send(via, CUSTOMER, Request::post(&path), long).await.status,
            StatusCode::PAYLOAD_TOO_LARGE
        );
        let events = edge.events();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(
            (events[0]["type"].as_str(), events[0]["list"].as_u64()),
            (Some("unsubscribe"), Some(9))
        );
        assert_eq!(events[0]["request"]["method"], "POST");
    }
}

#[tokio::test]
async fn tenants_without_a_domain_use_edge_name() {
    for via in [Via::H1(Some(EDGE)), Via::H2(Some(EDGE)), Via::H2(None)] {
        let edge = Edge::new();
        let path = format!("/t/k%C3%B6%20x{}", click("kö x", "https://example.com/"));
        assert_eq!(
            edge.get(via, EDGE, &path).await.header(LOCATION),
            "https://example.com/"
        );
        assert_eq!(
            edge.get(via, EDGE, &format!("/t/other{}", click("kö x", "https://example.com/")))
                .await
                .status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(edge.events()[0]["tenant"], "kö x");
        let elsewhere = edge.get(Via::H1(Some(CUSTOMER)), CUSTOMER, &path).await;
        assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
        assert_eq!(edge.events().len(), 1);
    }
}

#[tokio::test]
async fn files_with_fixed_places() {
    for via in BOTH {
        let edge = Edge::new();
        let apple = edge.get(via, CUSTOMER, "/.well-known/apple-app-site-association").await;
        assert_eq!(
            (apple.status, apple.header(CONTENT_TYPE), &apple.body[..]),
            (StatusCode::OK, "application/json", &b"{\"applinks\":{}}"[..])
        );
        assert_eq!(
            edge.get(via, CUSTOMER, "/.well-known/assetlinks.json").await.status,
            StatusCode::NOT_FOUND
        );
        let robots = edge.get(via, CUSTOMER, "/robots.txt").await;
        assert_eq!(&robots.body[..], b"User-agent: *\nDisallow: /\n");
        let advice = edge.get(via, CUSTOMER, "/.well-known/traffic-advice").await;
        assert_eq!(advice.header(CONTENT_TYPE), "application/trafficadvice+json");
        let advice: serde_json::Value = serde_json::from_slice(&advice.body).unwrap();
        assert_eq!(advice[0]["disallow"], true);
        assert_eq!(edge.get(via, CUSTOMER, "/").await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn healthz_answers_for_the_edge_only() {
    let edge = Edge::new();
    for (via, host) in [
        (Via::Http, "192.0.2.1"),
        (Via::Http, "[2001:db8::1]:80"),
        (Via::Http, EDGE),
        (Via::H1(None), "192.0.2.1:443"),
        (Via::H2(Some(EDGE)), EDGE),
        (Via::H1(Some(EDGE)), "192.0.2.1"),
        (Via::H1(None), "old.platform.example"),
    ] {
        assert_eq!(
            edge.get(via, host, "/healthz").await.status,
            StatusCode::OK,
            "{via:?} {host}"
        );
    }
    assert_eq!(
        edge.get(Via::H2(Some(CUSTOMER)), CUSTOMER, "/healthz").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        edge.get(Via::Http, "192.0.2.1", "/").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        edge.method(Via::Http, EDGE, Method::POST, "/healthz")
            .await
            .header(ALLOW),
        "GET, HEAD"
    );
    edge.context.draining.store(true, Ordering::Relaxed);
    assert_eq!(
        edge.get(Via::H2(Some(EDGE)), EDGE, "/healthz").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_other_methods_are_named() {
    for via in BOTH {
        let edge = Edge::new();
        let paths = [
            format!("/o/{}", minter("acme").open(&message())),
            click("acme", "https://example.com/"),
            format!("/u/{}", minter("acme").unsubscribe(&message(), 9)),
            "/robots.txt".into(),
            "/.well-known/acme-challenge/abc".into(),
            "/nothing".into(),
        ];
        for path in &paths {
            let get = edge.get(via, CUSTOMER, path).await;
            let head = edge.method(via, CUSTOMER, Method::HEAD, path).await;
            assert_eq!(head.status, get.status, "{path}");
            assert!(head.body.is_empty());
            let of = |got: &Got| {
                let mut headers = got.headers.clone();
                headers.remove("date");
                // An empty body's length may be left out of the reply to HEAD.
                if headers.get(CONTENT_LENGTH).is_some_and(|l| l == "0") {
                    headers.remove(CONTENT_LENGTH);
                }
                let mut all: Vec<_> = headers.iter().map(|(k, v)| format!("{k}: {v:?}")).collect();
                all.sort();
                all
            };
            assert_eq!(of(&head), of(&get), "{path}");
        }
        let methods: Vec<_> = edge
            .events()
            .iter()
            .map(|e| e["request"]["method"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(methods, ["GET", "HEAD", "GET", "HEAD"]);
        for (path, allow) in [
            (&paths[0], "GET, HEAD"),
            (&paths[1], "GET, HEAD"),
            (&paths[2], "GET, HEAD, POST"),
            (&paths[4], "GET, HEAD"),
        ] {
            let got = edge.method(via, CUSTOMER, Method::DELETE, path).await;
            assert_eq!(
                (got.status, got.header(ALLOW)),
                (StatusCode::METHOD_NOT_ALLOWED, allow),
                "{path}"
            );
        }
        assert_eq!(edge.events().len(), 4);
    }
}

#[tokio::test]
async fn another_host_than_the_certificates_is_misdirected() {
    let edge = Edge::new();
    for via in BOTH {
        for host in [
            "LINKS.Customer.Example",
            "links.customer.example.",
            "links.customer.example:443",
        ] {
            assert_eq!(
                edge.get(via, host, "/robots.txt").await.status,
                StatusCode::OK,
                "{host}"
            );
        }
        for host in [EDGE, PENDING, "192.0.2.1", "evil.example"] {
            assert_eq!(
                edge.get(via, host, "/robots.txt").await.status,
                StatusCode::MISDIRECTED_REQUEST,
                "{host}"
            );
        }
    }
    for via in [Via::H1(None), Via::H2(None)] {
        for (host, status) in [
            (EDGE, StatusCode::OK),
            ("192.0.2.1", StatusCode::OK),
            (CUSTOMER, StatusCode::MISDIRECTED_REQUEST),
        ] {
            assert_eq!(edge.get(via, host, "/robots.txt").await.status, status, "{host}");
        }
    }
}

#[tokio::test]
async fn challenges_are_answered_for_any_host() {
    let edge = Edge::new();
    let path = "/.well-known/acme-challenge/abc-DEF_123";
    for (via, host) in [
        (Via::Http, "never.heard.example"),
        (Via::Http, CUSTOMER),
        (Via::Http, "192.0.2.1"),
        (Via::H1(Some(CUSTOMER)), CUSTOMER),
        (Via::H2(Some(CUSTOMER)), CUSTOMER),
    ] {
        let got = edge.get(via, host, path).await;
        assert_eq!(
            (got.status, &got.body[..]),
            (StatusCode::OK, &b"abc-DEF_123.thumb"[..]),
            "{host}"
        );
        assert!(got.header(CONTENT_TYPE).starts_with("text/plain"));
    }
    for token in ["", "a.b", "%61", &"a".repeat(129)] {
        let got = edge
            .get(Via::Http, CUSTOMER, &format!("/.well-known/acme-challenge/{token}"))
            .await;
        assert_eq!(
            (got.status, got.body.is_empty()),
            (StatusCode::NOT_FOUND, true),
            "{token}"
        );
    }
    edge.context.thumbprint.store(None);
    assert_eq!(
        edge.get(Via::Http, CUSTOMER, path).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn a_stand_in_certificate_serves_challenges_only() {
    let edge = Edge::new();
    let mut connection = edge.connection(Via::H1(Some(PENDING)));
    connection.tls.as_mut().unwrap().challenges_only = true;
    for (path, status) in [("/robots.txt", "404"), ("/.well-known/acme-challenge/abc", "200")] {
        let mut io = edge.accept(connection.clone());
        io.write_all(format!("GET {path} HTTP/1.1\r\nHost: {PENDING}\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
    }
}

#[tokio::test]
async fn challenges_without_an_order_of_ours_go_to_the_upstream() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/old", listener.local_addr().unwrap());
    let edge = Edge::with(
        |_| {},
        |c| c.challenge_upstream = Some(ChallengeUpstream::new(&base).unwrap()),
    );
    let (heard, mut seen) = tokio::sync::mpsc::channel(8);
    edge.context.tasks.spawn(async move {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nolder",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
        ] {
            let (mut io, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let n = io.read(&mut buffer).await.unwrap();
            heard
                .send(String::from_utf8(buffer[..n].to_vec()).unwrap())
                .await
                .unwrap();
            io.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let path = "/.well-known/acme-challenge/abc";
    assert_eq!(&edge.get(Via::Http, "moving.example", path).await.body[..], b"older");
    let request = seen.recv().await.unwrap();
    assert!(
        request.starts_with("GET /old/.well-known/acme-challenge/abc HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.to_ascii_lowercase().contains("host: moving.example\r\n"),
        "{request}"
    );
    // An answer that is none, and one that is too long: ours is given then.
    for _ in 0..2 {
        assert_eq!(
            &edge.get(Via::Http, "moving.example", path).await.body[..],
            b"abc.thumb"
        );
        seen.recv().await.unwrap();
    }
    // An order of ours runs: nobody else is asked.
    edge.context.registry.put(&record(PENDING, None, Reason::Validating));
    assert_eq!(&edge.get(Via::Http, PENDING, path).await.body[..], b"abc.thumb");
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn plain_http_leads_to_https_where_that_works() {
    let edge = Edge::new();
    let got = edge
        .method(Via::Http, "Links.Customer.Example:80", Method::POST, "/u/a%2Fb?x=1&y")
        .await;
    assert_eq!(
        (got.status, got.header(LOCATION)),
        (
            StatusCode::PERMANENT_REDIRECT,
            "https://links.customer.example/u/a%2Fb?x=1&y"
        )
    );
    assert_eq!(got.header(CACHE_CONTROL), "no-store");
    let edge = Edge::with(|s| s.public_https_port = 8443, |_| {});
    assert_eq!(
        edge.get(Via::Http, CUSTOMER, "/").await.header(LOCATION),
        "https://links.customer.example:8443/"
    );
    // The certificate runs out: the links live on over HTTP.
    edge.context.clock.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(
        edge.get(Via::Http, CUSTOMER, &click("acme", "https://example.com/"))
            .await
            .header(LOCATION),
        "https://example.com/"
    );
}

#[tokio::test]
async fn plain_http_serves_links_while_a_certificate_is_pending() {
    let edge = Edge::new();
    let path = click("acme", "https://example.com/");
    assert_eq!(
        edge.get(Via::Http, PENDING, &path).await.header(LOCATION),
        "https://example.com/"
    );
    assert_eq!(
        edge.events()[0]["request"],
        serde_json::json!({"method": "GET", "version": "HTTP/1.1"})
    );
    let mut off = record(PENDING, Some("acme"), Reason::Queued);
    off.http_while_pending = false;
    edge.context.registry.put(&off);
    assert_eq!(edge.get(Via::Http, PENDING, &path).await.status, StatusCode::NOT_FOUND);
    edge.context
        .registry
        .put(&record(PENDING, Some("acme"), Reason::Denied));
    assert_eq!(edge.get(Via::Http, PENDING, &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        edge.get(Via::Http, "unknown.example", &path).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(edge.admission.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn while_the_registry_loads_admission_is_asked() {
    let edge = Edge::with(|_| {}, |c| c.registry = Registry::new());
    let path = click("acme", "https://example.com/");
    assert_eq!(
        edge.get(Via::Http, PENDING, &path).await.header(LOCATION),
        "https://example.com/"
    );
    assert_eq!(
        edge.get(Via::Http, "unknown.example", &path).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(edge.admission.asked.load(Ordering::Relaxed), 2);
    assert!(edge.context.registry.is_empty());
}

#[tokio::test]
async fn requests_without_one_clear_host_are_bad() {
    let edge = Edge::new();
    for (head, status) in [
        ("GET /robots.txt HTTP/1.1\r\nConnection: close\r\n", "400"),
        (
            "GET /robots.txt HTTP/1.1\r\nHost: links.customer.example\r\nHost: evil.example\r\nConnection: close\r\n",
            "400",
        ),
        ("GET /robots.txt HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n", "400"),
        ("GET /robots.txt HTTP/1.0\r\n", "200"),
        (
            "GET http://evil.example/robots.txt HTTP/1.1\r\nHost: links.customer.example\r\nConnection: close\r\n",
            "421",
        ),
    ] {
        let mut io = edge.connect(Via::H1(Some(CUSTOMER)));
        io.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert_eq!(text.split(' ').nth(1), Some(status), "{head}");
    }
}

#[tokio::test]
async fn a_prefix_is_honoured() {
    let edge = Edge::with(|s| s.prefix = "/track".into(), |_| {});
    let path = click("acme", "https://example.com/");
    assert_eq!(
        edge.get(BOTH[0], CUSTOMER, &format!("/track{path}")).await.status,
        StatusCode::FOUND
    );
    assert_eq!(edge.get(BOTH[0], CUSTOMER, &path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_revoked_keys_links_lead_to_the_fallback() {
    let edge = Edge::new();
    let path = click("acme", "https://example.com/");
    assert_eq!(edge.get(BOTH[0], CUSTOMER, &path).await.status, StatusCode::FOUND);
    edge.context.settings.load().keys.revoke(1);
    assert_eq!(edge.get(BOTH[0], CUSTOMER, &path).await.status, StatusCode::NOT_FOUND);
}

/// Long before any limit of a connection, and long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_drain_ends_idle_connections_in_order() {
    for first in [
        &b""[..],
        b"GET /robots.txt HTTP/1.1\r\nHost: links.customer.example\r\n\r\n",
    ] {
        let edge = Edge::new();
        let mut io = edge.connect(BOTH[0]);
        io.write_all(first).await.unwrap();
        if !first.is_empty() {
            assert!(io.read(&mut [0; 4096]).await.unwrap() > 0);
        }
        edge.drain.cancel();
        let ended = tokio::time::timeout(SOON, io.read_to_end(&mut Vec::new())).await;
        assert_eq!(ended.expect("it ends soon").unwrap(), 0);
    }

    let edge = Edge::new();
    let io = TokioIo::new(edge.connect(BOTH[1]));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = edge.context.tasks.spawn(connection);
    let request = || {
        Request::get(format!("https://{CUSTOMER}/robots.txt"))
            .body(Full::<Bytes>::default())
            .unwrap()
    };
    assert_eq!(sender.send_request(request()).await.unwrap().status(), StatusCode::OK);
    edge.drain.cancel();
    // A GOAWAY without error (RFC 9113 §6.8): the client's connection ends well.
    tokio::time::timeout(SOON, connection)
        .await
        .expect("it ends soon")
        .unwrap()
        .unwrap();
    assert!(sender.send_request(request()).await.is_err());
}

#[tokio::test]
async fn clients_that_dawdle_are_let_go() {
    let brief = |c: &mut Context| {
        let tick = Duration::from_millis(20);
        c.limits = Limits {
            tick,
            headers: tick * 3,
            idle: tick * 6,
            stall: tick * 9,
            body: tick * 3,
        };
    };
    for (via, said) in [
        (BOTH[0], &b""[..]),
        (BOTH[0], b"GET /robots.txt HTTP/1.1\r\nHo"),
        (
            BOTH[0],
            b"GET /robots.txt HTTP/1.1\r\nHost: links.customer.example\r\n\r\n",
        ),
        (BOTH[1], b""),
        (BOTH[1], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        (
            BOTH[0],
            b"POST /u/x HTTP/1.1\r\nHost: links.customer.example\r\nContent-Length: 9\r\n\r\nList",
        ),
    ] {
        let edge = Edge::with(|_| {}, brief);
        let mut io = edge.connect(via);
        io.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), io.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{said:?} kept the connection open");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_class() {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let edge = Edge::with(|_| {}, |c| c.metrics = metrics);
    edge.get(BOTH[0], CUSTOMER, &click("acme", "https://example.com/"))
        .await;
    edge.get(BOTH[1], CUSTOMER, "/c/bad").await;
    edge.get(Via::Http, CUSTOMER, "/").await;
    edge.get(Via::Http, CUSTOMER, "/.well-known/acme-challenge/a").await;
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for line in [
        "linkseal_http_requests_total{route=\"click\",status=\"3xx\"} 1",
        "linkseal_http_requests_total{route=\"click\",status=\"4xx\"} 1",
        "linkseal_http_requests_total{route=\"to_https\",status=\"3xx\"} 1",
        "linkseal_http_request_seconds_count{route=\"click\"} 2",
        "linkseal_http01_challenges_total{result=\"answered\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains(CUSTOMER));
}
