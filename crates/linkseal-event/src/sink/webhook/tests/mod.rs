//! Webhooks against real local servers: the requests they get, and the effect of their answers.

mod dead_letters;
mod delivery;
mod requests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

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
use parking_lot::Mutex;

use super::*;
use crate::delivery::Delivery;
use crate::event::Event;
use crate::event_type::EventType;
use crate::journal::{Journal, Record};
use crate::settings::SinkKind;
use crate::testing::{self, Node, SECOND, STILL, file};

const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
];

/// An endpoint that answers as scripted and records its requests.
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
    /// The answer when the script has ended.
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
        script.got.lock().push(Got {
            headers: head.headers,
            body,
        });
        let next = script.answers.lock().pop_front();
        let (status, headers) = next.unwrap_or((*script.then.lock(), Vec::new()));
        let mut response = (status, "said \u{1b}[31mred").into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }

    fn answer(&self, status: u16, headers: &[(HeaderName, &str)]) {
        let headers = headers.iter().map(|(n, v)| (n.clone(), (*v).to_owned())).collect();
        let status = StatusCode::from_u16(status).unwrap();
        self.script.answers.lock().push_back((status, headers));
    }

    fn then(&self, status: u16) {
        *self.script.then.lock() = StatusCode::from_u16(status).unwrap();
    }

    fn got(&self) -> Vec<Got> {
        self.script.got.lock().clone()
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

/// HMAC by its definition (RFC 2104), independent of the library that signs.
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

impl Node {
    /// With a file sink, `archive`, and a webhook, `platform`.
    fn with_webhook(webhook: WebhookSettings) -> Self {
        Self::new(|dir| {
            vec![
                testing::sink("archive", file(dir.join("archive.ndjson"))),
                testing::sink("platform", SinkKind::Webhook(webhook)),
            ]
        })
    }
}

const FAST: Duration = Duration::from_secs(3600);
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

/// The events of all requests, each request once by its id, as a consumer would process them.
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

/// An endpoint that rejects requests with a certain event.
struct Poison {
    address: SocketAddr,
    state: Arc<PoisonState>,
    _tasks: StopAtEnd,
}

#[derive(Default)]
struct PoisonState {
    /// Events whose slug contains this are rejected.
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
        *state.text.lock() = text.into();
        *state.status.lock() = StatusCode::from_u16(status).unwrap();
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
        state.requests.lock().push(events.len());
        let text = state.text.lock().clone();
        if events.iter().any(|e| e["slug"].as_str().unwrap().contains(&text)) {
            return (*state.status.lock(), "I cannot take that").into_response();
        }
        let slug = |e: &serde_json::Value| e["slug"].as_str().unwrap().to_owned();
        state.taken.lock().extend(events.iter().map(slug));
        StatusCode::OK.into_response()
    }

    fn node(&self) -> Node {
        let mut node = Node::with_webhook(settings(format!("http://{}/hook", self.address)));
        node.settings.sinks.remove(0);
        node
    }

    /// The accepted events, each once, in the order of their first arrival.
    fn taken(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        let taken = self.state.taken.lock().clone();
        taken.into_iter().filter(|s| seen.insert(s.clone())).collect()
    }

    fn requests(&self) -> usize {
        self.state.requests.lock().len()
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
