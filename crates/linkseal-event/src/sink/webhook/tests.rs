//! Webhooks against real local servers: what they get, and what becomes of what they answer.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderName;
use http_body_util::BodyExt;
use linkseal_base::shutdown::Tasks;
use linkseal_net::tls_client::{self, Trust};
use prometheus::Registry;

use super::*;
use crate::{
    Delivery, Durability, Event, EventSettings, EventType, FileSettings, IpPrivacy, Journal, Metrics, SinkKind,
    SinkSettings,
};

const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
];

/// An endpoint that answers as scripted, and keeps what it got.
#[derive(Clone)]
struct Endpoint {
    address: SocketAddr,
    script: Arc<Script>,
    _tasks: Arc<StopAtEnd>,
}

#[derive(Default)]
struct Script {
    got: Mutex<Vec<Got>>,
    answers: Mutex<VecDeque<Answer>>,
    /// What is answered when there are no more answers.
    then: Mutex<StatusCode>,
}

type Answer = (StatusCode, Vec<(HeaderName, String)>);

struct StopAtEnd(Tasks);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[derive(Clone)]
struct Got {
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }

    fn events(&self) -> Vec<serde_json::Value> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        body["data"].as_array().unwrap().clone()
    }
}

impl Endpoint {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tasks = Tasks::new();
        let endpoint = Self {
            address: listener.local_addr().unwrap(),
            script: Arc::default(),
            _tasks: Arc::new(StopAtEnd(tasks.clone())),
        };
        let app = Router::new().fallback(Self::handle).with_state(endpoint.script.clone());
        tasks.spawn_until_stop(async move { axum::serve(listener, app).await.unwrap() });
        endpoint
    }

    async fn handle(State(script): State<Arc<Script>>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        script.got.lock().unwrap().push(Got {
            headers: head.headers,
            body,
        });
        let next = script.answers.lock().unwrap().pop_front();
        let (status, headers) = next.unwrap_or((*script.then.lock().unwrap(), Vec::new()));
        let mut response = (status, "said \u{1b}[31mred").into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }

    fn answer(&self, status: u16, headers: &[(HeaderName, &str)]) {
        let headers = headers.iter().map(|(n, v)| (n.clone(), (*v).to_owned())).collect();
        let status = StatusCode::from_u16(status).unwrap();
        self.script.answers.lock().unwrap().push_back((status, headers));
    }

    fn then(&self, status: u16) {
        *self.script.then.lock().unwrap() = StatusCode::from_u16(status).unwrap();
    }

    fn got(&self) -> Vec<Got> {
        self.script.got.lock().unwrap().clone()
    }

    fn settings(&self) -> WebhookSettings {
        settings(format!("http://{}/hook", self.address))
    }
}

fn settings(url: String) -> WebhookSettings {
    WebhookSettings {
        url: url.parse().unwrap(),
        secrets: SECRETS.iter().map(|s| WebhookSecret::parse(s).unwrap()).collect(),
        batch: 500,
        trust: Vec::new(),
        allow_private: true,
    }
}

fn sink(settings: &WebhookSettings, clock: &Clock) -> WebhookSink {
    let tls = tls_client::config(Trust::PublicAnd(&settings.trust), &[]).unwrap();
    WebhookSink::new("platform", settings, tls, clock)
}

fn record(seq: u64) -> Record {
    let json = format!(
        r#"{{"id":"{}","seq":{seq},"boot":"{}","type":"open","time":"2026-11-22T09:30:00Z","node":"n"}}"#,
        Uuid::from_u128(seq.into()),
        Uuid::max()
    );
    Record {
        boot: Uuid::max(),
        seq,
        json: json.into(),
    }
}

/// HMAC by its definition (RFC 2104), not by the library that signs.
fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let keyed = |pad: u8, data: &[u8]| {
        let mut all: Vec<u8> = block.iter().map(|b| b ^ pad).collect();
        all.extend_from_slice(data);
        digest(&SHA256, &all)
    };
    keyed(0x5c, keyed(0x36, data).as_ref()).as_ref().to_vec()
}

#[tokio::test]
async fn requests_are_signed_with_every_secret() {
    let endpoint = Endpoint::start().await;
    let clock = Clock::system();
    let mut sink = sink(&endpoint.settings(), &clock);
    sink.deliver(&[record(1), record(2)]).await.unwrap();
    let [got] = endpoint.got().try_into().ok().unwrap();
    let time = got.header("webhook-timestamp");
    assert!((clock.now().as_secs() - time.parse::<i64>().unwrap()).abs() < 60);
    let mut signed = format!("{}.{time}.", got.header("webhook-id")).into_bytes();
    signed.extend_from_slice(&got.body);
    let expected = SECRETS.map(|secret| {
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        format!("v1,{}", BASE64.encode(hmac_sha256(&key, &signed)))
    });
    assert_eq!(got.header("webhook-signature"), expected.join(" "));
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.events().len(), 2);
}

#[tokio::test]
async fn only_2xx_is_success_and_a_retry_is_the_same_request() {
    let endpoint = Endpoint::start().await;
    let clock = Clock::system();
    let mut sink = sink(&endpoint.settings(), &clock);
    let location = format!("http://{}/elsewhere", endpoint.address);
    endpoint.answer(500, &[]);
    endpoint.answer(302, &[(http::header::LOCATION, &location)]);
    endpoint.answer(308, &[(http::header::LOCATION, &location)]);
    endpoint.answer(502, &[(RETRY_AFTER, "7")]);
    endpoint.answer(204, &[]);
    for _ in 0..4 {
        let error = sink.deliver(&[record(1)]).await.unwrap_err();
        assert_eq!(error.again, Again::Later, "{}", error.cause);
        assert!(
            !error.cause.contains('\u{1b}') && !error.cause.contains("/hook"),
            "{}",
            error.cause
        );
        clock.advance(Duration::from_secs(60));
    }
    sink.deliver(&[record(1)]).await.unwrap();
    let got = endpoint.got();
    assert_eq!(got.len(), 5, "no redirect was followed");
    let first = got.first().unwrap();
    for again in &got {
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(again.body, first.body);
    }
    assert_ne!(got[4].header("webhook-timestamp"), first.header("webhook-timestamp"));
    assert_ne!(got[4].header("webhook-signature"), first.header("webhook-signature"));
}

#[tokio::test]
async fn an_endpoint_may_ask_for_time_or_for_the_end() {
    let endpoint = Endpoint::start().await;
    let clock = Clock::system();
    let mut sink = sink(&endpoint.settings(), &clock);
    let cases = [
        (429, "120", Again::After(Duration::from_secs(120))),
        (503, "0", Again::After(SHORTEST_PAUSE)),
        (503, "99999999", Again::After(LONGEST_PAUSE)),
        (503, "Sun, 06 Nov 1994 08:49:37 GMT", Again::After(SHORTEST_PAUSE)),
        (503, "soon", Again::Later),
        (500, "120", Again::Later),
        (410, "120", Again::Never),
    ];
    for (status, value, expected) in cases {
        endpoint.answer(status, &[(RETRY_AFTER, value)]);
        let error = sink.deliver(&[record(1)]).await.unwrap_err();
        assert_eq!(error.again, expected, "{status} {value}");
    }
}

#[tokio::test]
async fn what_a_refusal_says_of_another_attempt() {
    let endpoint = Endpoint::start().await;
    let mut sink = sink(&endpoint.settings(), &Clock::system());
    let cases = [
        (Again::Refused, [400, 411, 413, 414, 415, 422, 431, 451].as_slice()),
        (Again::RefusedAll, &[401, 402, 403, 404, 405, 407, 421, 426]),
        (Again::Later, &[301, 302, 408, 409, 425, 429, 500, 501, 502, 503, 504]),
        (Again::Never, &[410]),
    ];
    for (expected, statuses) in cases {
        for status in statuses {
            endpoint.answer(*status, &[]);
            let error = sink.deliver(&[record(1)]).await.unwrap_err();
            assert_eq!(error.again, expected, "{status}");
        }
    }
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_by_name_and_by_number() {
    let endpoint = Endpoint::start().await;
    let port = endpoint.address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.1.2.3",
        "169.254.169.254",
    ] {
        for scheme in ["http", "https"] {
            let mut settings = settings(format!("{scheme}://{host}:{port}/"));
            settings.allow_private = false;
            let error = sink(&settings, &Clock::system())
                .deliver(&[record(1)])
                .await
                .unwrap_err();
            assert!(error.cause.contains("allow_private"), "{host}: {}", error.cause);
        }
    }
    assert!(endpoint.got().is_empty());
}

#[tokio::test]
async fn what_was_taken_of_a_batch_is_not_sent_again() {
    let endpoint = Endpoint::start().await;
    let mut settings = endpoint.settings();
    settings.batch = 2;
    let mut sink = sink(&settings, &Clock::system());
    endpoint.answer(200, &[]);
    endpoint.answer(500, &[]);
    let batch = [record(1), record(2), record(3)];
    sink.deliver(&batch).await.unwrap_err();
    sink.deliver(&batch).await.unwrap();
    let sizes: Vec<_> = endpoint.got().iter().map(|g| g.events().len()).collect();
    assert_eq!(sizes, [2, 1, 1]);
}

#[tokio::test]
async fn certificates_are_verified() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.key_pair.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = StopAtEnd(Tasks::new());
    tasks.0.spawn_until_stop(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::new())))
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(io, service)
                .await
                .ok();
        }
    });
    let mut settings = settings(format!("https://localhost:{port}/"));
    let error = sink(&settings, &Clock::system())
        .deliver(&[record(1)])
        .await
        .unwrap_err();
    assert!(error.cause.contains("UnknownIssuer"), "{}", error.cause);
    settings.trust = vec![own.cert.der().clone()];
    sink(&settings, &Clock::system()).deliver(&[record(1)]).await.unwrap();
    // Trusted, but of another name.
    settings.url = format!("https://127.0.0.1:{port}/").parse().unwrap();
    sink(&settings, &Clock::system())
        .deliver(&[record(1)])
        .await
        .unwrap_err();
}

/// A node with a webhook and a file sink, over several boots.
struct Node {
    dir: tempfile::TempDir,
    clock: Clock,
    settings: EventSettings,
}

impl Node {
    fn new(webhook: WebhookSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = FileSettings {
            path: dir.path().join("archive.ndjson").display().to_string(),
            ..FileSettings::default()
        };
        let sink = |name: &str, kind| SinkSettings {
            name: name.to_owned(),
            types: None,
            kind,
        };
        let settings = EventSettings {
            dir: dir.path().join("journal"),
            durability: Durability::Written,
            keep: Duration::from_secs(72 * 3600),
            max_bytes: 1 << 30,
            privacy: IpPrivacy::Full.into(),
            sinks: vec![
                sink("archive", SinkKind::File(file)),
                sink("platform", SinkKind::Webhook(webhook)),
            ],
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

    fn deliver(&self, journal: &Journal) -> Delivery {
        Delivery::start(journal, &self.settings, &Tasks::new()).unwrap()
    }

    /// Waits for a condition, with time passing at `pace` a look.
    async fn wait(&self, pace: Duration, mut condition: impl FnMut() -> bool) {
        let done = async {
            while !condition() {
                self.clock.advance(pace);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), done)
            .await
            .expect("the condition comes true");
    }
}

const FAST: Duration = Duration::from_secs(3600);
const STILL: Duration = Duration::ZERO;
const DEADLINE: Duration = Duration::from_secs(20);

async fn append(journal: &Journal, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let event = Event::new(EventType::Click, journal.clock().now(), "a.example", "a");
        ids.push(journal.append(&event).await.unwrap().id.to_string());
    }
    ids
}

fn archived(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let id = |l: &str| {
        serde_json::from_str::<serde_json::Value>(l).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    text.lines().map(id).collect()
}

/// The events of successful requests, each request once by its id, as a consumer would have it.
fn consumed(endpoint: &Endpoint, from: usize) -> Vec<String> {
    let mut order = Vec::new();
    let mut by_id = BTreeMap::new();
    for got in endpoint.got().iter().skip(from) {
        let id = got.header("webhook-id").to_owned();
        if by_id.insert(id.clone(), got.clone()).is_none() {
            order.push(id);
        }
    }
    let events = order.iter().flat_map(|id| by_id[id].events());
    events.map(|e| e["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_dead_endpoint_holds_up_nobody_and_both_sinks_end_with_every_event_once() {
    let endpoint = Endpoint::start().await;
    endpoint.then(500);
    let node = Node::new(endpoint.settings());
    let archive = node.dir.path().join("archive.ndjson");
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    let mut ids = append(&journal, 30).await;
    node.wait(STILL, || archived(&archive) == ids).await;
    node.wait(FAST, || endpoint.got().len() >= 12).await;
    let lag = journal.metrics().lag.with_label_values(&["platform"]).get();
    assert!(lag >= 30, "{lag}");
    ids.extend(append(&journal, 30).await);
    node.wait(STILL, || archived(&archive) == ids).await;
    let dead = endpoint.got().len();
    endpoint.then(200);
    node.wait(FAST, || consumed(&endpoint, dead) == ids).await;
    assert_eq!(archived(&archive), ids);
    assert!(delivery.stop(DEADLINE).await);
    assert!(
        journal
            .metrics()
            .deliveries
            .with_label_values(&["platform", "retry"])
            .get()
            >= 12
    );
}

#[tokio::test]
async fn a_batch_keeps_its_id_and_body_over_a_restart_whatever_comes_after_it() {
    let endpoint = Endpoint::start().await;
    endpoint.then(500);
    let node = Node::new(endpoint.settings());
    let first = node.boot();
    let mut ids = append(&first, 5).await;
    let delivery = node.deliver(&first);
    node.wait(STILL, || !endpoint.got().is_empty()).await;
    ids.extend(append(&first, 5).await);
    assert!(delivery.stop(DEADLINE).await);
    drop(first);
    endpoint.then(200);
    let second = node.boot();
    ids.extend(append(&second, 5).await);
    let delivery = node.deliver(&second);
    node.wait(STILL, || consumed(&endpoint, 0) == ids).await;
    let got = endpoint.got();
    let (before, after) = (got.first().unwrap(), got.get(1).unwrap());
    assert_eq!(before.header("webhook-id"), after.header("webhook-id"));
    assert_eq!(before.body, after.body);
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn gone_stops_the_sink_over_restarts_until_a_reload_or_other_settings() {
    let endpoint = Endpoint::start().await;
    endpoint.answer(410, &[]);
    let mut node = Node::new(endpoint.settings());
    let archive = node.dir.path().join("archive.ndjson");
    let first = node.boot();
    let delivery = node.deliver(&first);
    let mut ids = append(&first, 3).await;
    let stopped = |j: &Journal| j.metrics().stopped.with_label_values(&["platform"]).get() == 1;
    node.wait(STILL, || stopped(&first)).await;
    ids.extend(append(&first, 3).await);
    node.wait(FAST, || archived(&archive) == ids).await;
    assert!(delivery.stop(DEADLINE).await);
    drop(first);

    let second = node.boot();
    let delivery = node.deliver(&second);
    ids.extend(append(&second, 3).await);
    node.wait(FAST, || archived(&archive) == ids && stopped(&second)).await;
    assert_eq!(endpoint.got().len(), 1, "nothing more was sent");
    // A reload.
    delivery.restart(&second, &node.settings, &Tasks::new()).await.unwrap();
    node.wait(STILL, || consumed(&endpoint, 1) == ids).await;
    assert!(!stopped(&second));
    // Again, and then a restart with another URL.
    endpoint.answer(410, &[]);
    let before = endpoint.got().len();
    let later = append(&second, 2).await;
    node.wait(STILL, || stopped(&second)).await;
    assert!(delivery.stop(DEADLINE).await);
    drop(second);
    let mut other = endpoint.settings();
    other.url = format!("http://{}/new", endpoint.address).parse().unwrap();
    node.settings.sinks[1].kind = SinkKind::Webhook(other);
    let third = node.boot();
    let delivery = node.deliver(&third);
    node.wait(STILL, || consumed(&endpoint, before + 1) == later).await;
    assert!(delivery.stop(DEADLINE).await);
}

/// What an endpoint does with requests that hold a certain event.
struct Poison {
    address: SocketAddr,
    state: Arc<PoisonState>,
    _tasks: StopAtEnd,
}

#[derive(Default)]
struct PoisonState {
    /// What is refused, in the text of an event.
    text: Mutex<String>,
    status: Mutex<StatusCode>,
    taken: Mutex<Vec<String>>,
    requests: Mutex<Vec<usize>>,
}

impl Poison {
    async fn start(text: &str, status: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tasks = StopAtEnd(Tasks::new());
        let state = Arc::new(PoisonState::default());
        *state.text.lock().unwrap() = text.into();
        *state.status.lock().unwrap() = StatusCode::from_u16(status).unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(Self::handle).with_state(state.clone());
        tasks
            .0
            .spawn_until_stop(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    async fn handle(State(state): State<Arc<PoisonState>>, request: Request) -> Response {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let events = body["data"].as_array().unwrap();
        state.requests.lock().unwrap().push(events.len());
        let text = state.text.lock().unwrap().clone();
        if events.iter().any(|e| e["slug"].as_str().unwrap().contains(&text)) {
            return (*state.status.lock().unwrap(), "I cannot take that").into_response();
        }
        let slug = |e: &serde_json::Value| e["slug"].as_str().unwrap().to_owned();
        state.taken.lock().unwrap().extend(events.iter().map(slug));
        StatusCode::OK.into_response()
    }

    fn node(&self) -> Node {
        let mut node = Node::new(settings(format!("http://{}/hook", self.address)));
        node.settings.sinks.remove(0);
        node
    }

    /// What was taken, each once, in the order in which it came first.
    fn taken(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        let taken = self.state.taken.lock().unwrap().clone();
        taken.into_iter().filter(|s| seen.insert(s.clone())).collect()
    }

    fn requests(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }
}

async fn append_slugs(journal: &Journal, slugs: &[&str]) {
    for slug in slugs {
        let mut event = Event::new(EventType::Redirect, journal.clock().now(), "a.example", "a");
        event.slug = Some(slug);
        journal.append(&event).await.unwrap();
    }
}

fn dead(journal: &Journal) -> u64 {
    journal.metrics().dead_letters.with_label_values(&["platform"]).get()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_event_that_is_refused_is_set_aside_and_the_others_go_on() {
    for status in [400, 422, 413, 403, 404] {
        let endpoint = Poison::start("poison", status).await;
        let node = endpoint.node();
        let journal = node.boot();
        let slugs: Vec<_> = (0..50).map(|n| format!("s{n}")).collect();
        let slugs: Vec<_> = slugs.iter().map(String::as_str).collect();
        append_slugs(&journal, &slugs[..20]).await;
        append_slugs(&journal, &["poison"]).await;
        append_slugs(&journal, &slugs[20..]).await;
        let delivery = node.deliver(&journal);
        // No time passes: nothing is waited for.
        node.wait(STILL, || endpoint.taken() == slugs).await;
        node.wait(STILL, || dead(&journal) == 1).await;
        assert!(endpoint.requests() < 30, "{} requests", endpoint.requests());
        let letters = delivery.dead_letters("platform", None, 10).await.unwrap();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].event["slug"], "poison");
        assert_eq!(letters[0].seq, 21);
        assert!(letters[0].answer.contains(&status.to_string()), "{}", letters[0].answer);
        assert!(letters[0].answer.contains("I cannot take that"));
        node.wait(SECOND, || {
            journal.metrics().lag.with_label_values(&["platform"]).get() == 0
        })
        .await;
        assert!(delivery.stop(DEADLINE).await);
        // It is not tried again after a restart.
        drop(journal);
        let journal = node.boot();
        let delivery = node.deliver(&journal);
        append_slugs(&journal, &["later"]).await;
        node.wait(STILL, || endpoint.taken().last().is_some_and(|s| s == "later"))
            .await;
        assert_eq!(
            journal
                .metrics()
                .dead_letters_waiting
                .with_label_values(&["platform"])
                .get(),
            1
        );
        assert_eq!(dead(&journal), 0);
        assert!(delivery.stop(DEADLINE).await);
    }
}

#[tokio::test]
async fn an_event_on_which_a_receiver_breaks_holds_nothing_up_for_ever() {
    for status in [500, 429] {
        let endpoint = Poison::start("poison", status).await;
        let node = endpoint.node();
        let journal = node.boot();
        append_slugs(&journal, &["a", "b", "poison", "c", "d"]).await;
        let delivery = node.deliver(&journal);
        node.wait(SECOND * 5, || endpoint.taken() == ["a", "b", "c", "d"]).await;
        node.wait(SECOND, || dead(&journal) == 1).await;
        // Alone at the end of the queue it blocks nothing, and is not given up.
        append_slugs(&journal, &["poison"]).await;
        let before = endpoint.requests();
        node.wait(SECOND * 20, || endpoint.requests() >= before + 20).await;
        assert_eq!(dead(&journal), 1);
        // With another one behind it, it is.
        append_slugs(&journal, &["e"]).await;
        node.wait(SECOND * 20, || dead(&journal) == 2).await;
        node.wait(SECOND, || endpoint.taken() == ["a", "b", "c", "d", "e"])
            .await;
        assert!(delivery.stop(DEADLINE).await);
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_everything_gets_its_queue_when_it_is_well() {
    for status in [401, 404] {
        let endpoint = Poison::start("", status).await;
        let node = endpoint.node();
        let journal = node.boot();
        let slugs: Vec<_> = (0..40).map(|n| format!("s{n}")).collect();
        let slugs: Vec<_> = slugs.iter().map(String::as_str).collect();
        append_slugs(&journal, &slugs).await;
        let delivery = node.deliver(&journal);
        let retries = || {
            journal
                .metrics()
                .deliveries
                .with_label_values(&["platform", "retry"])
                .get()
        };
        node.wait(SECOND, || retries() >= 3).await;
        assert_eq!(dead(&journal), 0, "{status} says nothing of one event");
        *endpoint.state.text.lock().unwrap() = "poison".into();
        node.wait(SECOND, || endpoint.taken() == slugs).await;
        assert_eq!(dead(&journal), 0);
        assert!(delivery.stop(DEADLINE).await);
    }
    // One that calls every event bad loses some to the dead letters, not all of a queue.
    let endpoint = Poison::start("", 400).await;
    let node = endpoint.node();
    let journal = node.boot();
    let slugs: Vec<_> = (0..40).map(|n| format!("s{n}")).collect();
    let slugs: Vec<_> = slugs.iter().map(String::as_str).collect();
    append_slugs(&journal, &slugs).await;
    let delivery = node.deliver(&journal);
    let retries = || {
        journal
            .metrics()
            .deliveries
            .with_label_values(&["platform", "retry"])
            .get()
    };
    node.wait(SECOND, || retries() >= 3).await;
    let aside = dead(&journal);
    assert!((1..20).contains(&aside), "{aside}");
    *endpoint.state.text.lock().unwrap() = "poison".into();
    node.wait(SECOND, || endpoint.taken().len() as u64 + dead(&journal) == 40)
        .await;
    // What was set aside comes by a replay.
    let waiting = delivery.replay_dead_letters("platform").await.unwrap();
    assert_eq!(waiting, dead(&journal));
    node.wait(SECOND, || endpoint.taken().len() == 40).await;
    let left = || {
        journal
            .metrics()
            .dead_letters_waiting
            .with_label_values(&["platform"])
            .get()
    };
    node.wait(SECOND, || left() == 0).await;
    assert!(delivery.dead_letters("platform", None, 10).await.unwrap().is_empty());
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn dead_letters_are_replayed_dropped_and_erased() {
    let endpoint = Poison::start("poison", 400).await;
    let node = endpoint.node();
    let journal = node.boot();
    let tasks = Tasks::new();
    let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
    append_slugs(&journal, &["poison1", "a", "poison2"]).await;
    node.wait(STILL, || dead(&journal) == 2).await;
    // It refuses one of them still.
    *endpoint.state.text.lock().unwrap() = "poison2".into();
    assert_eq!(delivery.replay_dead_letters("platform").await.unwrap(), 2);
    node.wait(STILL, || endpoint.taken() == ["a", "poison1"]).await;
    let left = || {
        journal
            .metrics()
            .dead_letters_waiting
            .with_label_values(&["platform"])
            .get()
    };
    node.wait(STILL, || left() == 1).await;
    let letters = delivery.dead_letters("platform", None, 10).await.unwrap();
    assert_eq!(letters[0].event["slug"], "poison2");
    // Of another tenant: it stays.
    let eraser = crate::Eraser::new(delivery.clone(), journal.clone(), tasks.clone());
    let other = crate::Selector::Tenant("b".into());
    assert_eq!(eraser.erase(other).await.unwrap().dead_letters, 0);
    let own = crate::Selector::Tenant("a".into());
    assert_eq!(eraser.erase(own).await.unwrap().dead_letters, 1);
    node.wait(STILL, || left() == 0).await;
    append_slugs(&journal, &["poison2", "b"]).await;
    node.wait(STILL, || left() == 1).await;
    assert_eq!(delivery.drop_dead_letters("platform").await.unwrap(), 1);
    assert_eq!(left(), 0);
    assert!(delivery.dead_letters("nosuch", None, 1).await.is_err());
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn an_outage_is_over_within_a_minute_or_at_once_when_an_operator_retries() {
    let endpoint = Endpoint::start().await;
    endpoint.then(503);
    let node = Node::new(endpoint.settings());
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    let ids = append(&journal, 1).await;
    // An hour of it.
    let start = node.clock.now();
    node.wait(SECOND * 10, || node.clock.now().saturating_since(start) > SECOND * 3600)
        .await;
    let seconds = || journal.metrics().lag_seconds.with_label_values(&["platform"]).get();
    node.wait(SECOND, || seconds() >= 3600).await;
    endpoint.then(200);
    let (before, well) = (endpoint.got().len(), node.clock.now());
    node.wait(SECOND, || consumed(&endpoint, before) == ids).await;
    let late = node.clock.now().saturating_since(well);
    assert!(late <= SECOND * 65, "{late:?}");
    node.wait(SECOND, || seconds() == 0).await;
    let success = journal.metrics().last_success.with_label_values(&["platform"]).get();
    assert!(success >= well.as_secs());

    // However long a receiver wants to be left alone.
    endpoint.answer(503, &[(RETRY_AFTER, "86400")]);
    let retries = || {
        journal
            .metrics()
            .deliveries
            .with_label_values(&["platform", "retry"])
            .get()
    };
    let (failed, before) = (retries(), endpoint.got().len() + 1);
    let ids = append(&journal, 1).await;
    node.wait(STILL, || retries() > failed).await;
    let report = delivery.sinks().into_iter().find(|s| s.name == "platform").unwrap();
    assert_eq!(report.state, crate::SinkCondition::Retrying);
    assert!(report.last_error.unwrap().contains("503"));
    let due = report.next_attempt.unwrap().saturating_since(node.clock.now());
    assert!(due > SECOND * 60 && due <= LONGEST_PAUSE, "{due:?}");
    delivery.retry("platform").unwrap();
    node.wait(STILL, || consumed(&endpoint, before) == ids).await;
    assert!(delivery.retry("nosuch").is_err());
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_stopped_sink_shows_its_lag_and_goes_on_when_it_is_retried() {
    let endpoint = Endpoint::start().await;
    let node = Node::new(endpoint.settings());
    let first = node.boot();
    let delivery = node.deliver(&first);
    let held = append(&first, 5).await;
    node.wait(STILL, || consumed(&endpoint, 0) == held).await;
    endpoint.answer(410, &[]);
    let mut ids = append(&first, 2).await;
    let stopped = |j: &Journal| j.metrics().stopped.with_label_values(&["platform"]).get() == 1;
    node.wait(STILL, || stopped(&first)).await;
    assert!(delivery.stop(DEADLINE).await);
    drop(first);
    let second = node.boot();
    let delivery = node.deliver(&second);
    ids.extend(append(&second, 3).await);
    let lag = || second.metrics().lag.with_label_values(&["platform"]).get();
    node.wait(SECOND, || stopped(&second) && lag() == 5).await;
    let seconds = || second.metrics().lag_seconds.with_label_values(&["platform"]).get();
    node.wait(SECOND, || seconds() > 30).await;
    let report = delivery.sinks().into_iter().find(|s| s.name == "platform").unwrap();
    assert_eq!(report.state, crate::SinkCondition::Stopped);
    let before = endpoint.got().len();
    delivery.retry("platform").unwrap();
    node.wait(STILL, || consumed(&endpoint, before) == ids).await;
    assert!(!stopped(&second));
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn many_dead_letters_are_replayed_while_nothing_happens() {
    let endpoint = Poison::start("poison", 400).await;
    let node = endpoint.node();
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    let slugs: Vec<_> = (0..50).flat_map(|n| [format!("poison{n}"), format!("a{n}")]).collect();
    let slugs: Vec<_> = slugs.iter().map(String::as_str).collect();
    append_slugs(&journal, &slugs).await;
    node.wait(STILL, || dead(&journal) == 50 && endpoint.taken().len() == 50)
        .await;
    *endpoint.state.text.lock().unwrap() = "none".into();
    assert_eq!(delivery.replay_dead_letters("platform").await.unwrap(), 50);
    // No time passes, and no event comes.
    node.wait(STILL, || endpoint.taken().len() == 100).await;
    let left = || {
        let gauge = &journal.metrics().dead_letters_waiting;
        gauge.with_label_values(&["platform"]).get()
    };
    node.wait(STILL, || left() == 0).await;
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_receiver_that_takes_every_other_event_is_seen_to_take_some() {
    let endpoint = Poison::start("poison", 403).await;
    let node = endpoint.node();
    let journal = node.boot();
    let slugs: Vec<_> = (0..30).flat_map(|n| [format!("poison{n}"), format!("a{n}")]).collect();
    let slugs: Vec<_> = slugs.iter().map(String::as_str).collect();
    append_slugs(&journal, &slugs).await;
    let delivery = node.deliver(&journal);
    node.wait(SECOND, || dead(&journal) == 30 && endpoint.taken().len() == 30)
        .await;
    let report = delivery.sinks().into_iter().find(|s| s.name == "platform").unwrap();
    assert_eq!(report.state, crate::SinkCondition::Running);
    assert_eq!((report.failures, report.next_attempt), (0, None));
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_sink_that_is_stopped_stays_so_until_it_is_retried_or_reloaded() {
    let endpoint = Endpoint::start().await;
    let node = Node::new(endpoint.settings());
    let journal = node.boot();
    let tasks = Tasks::new();
    let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
    // Asked for while all is well: that is no word for what comes later.
    let held = append(&journal, 1).await;
    node.wait(STILL, || consumed(&endpoint, 0) == held).await;
    delivery.retry("platform").unwrap();
    endpoint.answer(410, &[]);
    let mut ids = append(&journal, 1).await;
    let stopped = || journal.metrics().stopped.with_label_values(&["platform"]).get() == 1;
    node.wait(STILL, stopped).await;
    let before = endpoint.got().len();
    // A replay or an erasure changes nothing about it.
    let eraser = crate::Eraser::new(delivery.clone(), journal.clone(), tasks.clone());
    let other = crate::Selector::Tenant("nosuch".into());
    eraser.erase(other).await.unwrap();
    ids.extend(append(&journal, 1).await);
    let running = || journal.metrics().running.get() == 1;
    node.wait(STILL, || running() && stopped()).await;
    let end = node.clock.uptime() + SECOND * 300;
    node.wait(SECOND * 5, || node.clock.uptime() > end).await;
    assert!(stopped());
    assert_eq!(endpoint.got().len(), before);
    delivery.renew(&tasks).await;
    node.wait(STILL, || consumed(&endpoint, before) == ids).await;
    assert!(!stopped());
    assert!(delivery.stop(DEADLINE).await);
}
