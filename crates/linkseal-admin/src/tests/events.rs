//! The stream of events, and erasing events.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use linkseal_event::verdict::Verdict;

use super::*;

/// A stream, and what was read of it.
pub(super) struct Stream {
    body: Incoming,
    pub(super) text: String,
}

impl Stream {
    async fn open(harness: &Harness, query: &str, last: Option<&str>) -> Self {
        Self::open_by(harness, "no token", query, last).await
    }

    pub(super) async fn open_by(harness: &Harness, token: &str, query: &str, last: Option<&str>) -> Self {
        let mut request = Request::get(format!("http://{}/v1/events{query}", harness.address));
        request = request.header("authorization", format!("Bearer {token}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let mut stream = Self {
            body: answer.into_body(),
            text: String::new(),
        };
        stream.until(|text| text.contains("retry:")).await;
        stream
    }

    pub(super) async fn until(&mut self, done: impl Fn(&str) -> bool) {
        while !done(&self.text) {
            let frame = tokio::time::timeout(PATIENT, self.body.frame()).await.unwrap();
            let data = frame.expect("the stream goes on").unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// Reads until it ends.
    pub(super) async fn until_the_end(mut self) -> String {
        while let Some(frame) = tokio::time::timeout(PATIENT, self.body.frame()).await.unwrap() {
            let data = frame.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
        self.text
    }

    /// Ids and domains of the next `count` events.
    async fn events(&mut self, count: usize) -> Vec<(String, String)> {
        self.until(|text| text.matches("data: ").count() >= count && text.ends_with("\n\n"))
            .await;
        let mut ids = self.text.lines().filter_map(|l| l.strip_prefix("id: "));
        let data = self.text.lines().filter_map(|l| l.strip_prefix("data: "));
        data.map(|d| {
            let event: Value = serde_json::from_str(d).unwrap();
            (
                ids.next().unwrap().to_owned(),
                event["domain"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
    }
}

async fn append(harness: &Harness, kind: EventType, domain: &str) {
    let mut event = Event::new(kind, harness.clock.now(), domain, "tenant");
    event.verdict = Some(Verdict::unremarkable());
    harness.journal.append(&event).await.unwrap();
}

#[tokio::test]
async fn events_are_streamed_as_written_and_resumable() {
    let harness = Harness::start(Vec::new()).await;
    append(&harness, EventType::Open, "before.example").await;
    let mut stream = Stream::open(&harness, "", None).await;
    append(&harness, EventType::Open, "a.example").await;
    append(&harness, EventType::Click, "b.example").await;
    let events = stream.events(2).await;
    let domains: Vec<_> = events.iter().map(|e| e.1.as_str()).collect();
    assert_eq!(domains, ["a.example", "b.example"]);
    assert_eq!(events[0].0, format!("{}:2", harness.journal.boot()));
    drop(stream);
    append(&harness, EventType::Open, "c.example").await;
    let mut stream = Stream::open(&harness, "", Some(&events[0].0)).await;
    let domains: Vec<_> = stream.events(2).await.into_iter().map(|e| e.1).collect();
    assert_eq!(domains, ["b.example", "c.example"]);
    // A node that stops ends its streams.
    harness.tasks.stop();
    while let Some(frame) = tokio::time::timeout(PATIENT, stream.body.frame()).await.unwrap() {
        frame.unwrap();
    }
}

#[tokio::test]
async fn streams_are_filtered() {
    let harness = Harness::start(Vec::new()).await;
    let from = format!("{}:0", harness.journal.boot());
    append(&harness, EventType::Open, "a.example").await;
    append(&harness, EventType::Click, "a.example").await;
    append(&harness, EventType::Click, "b.example").await;
    for (query, expected) in [
        ("?domain=B.example.", vec![3]),
        ("?type=click", vec![2, 3]),
        ("?type=click&domain=a.example", vec![2]),
        ("?class=human", vec![1, 2, 3]),
    ] {
        let mut stream = Stream::open(&harness, query, Some(&from)).await;
        let ids: Vec<_> = stream.events(expected.len()).await.into_iter().map(|e| e.0).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|n| format!("{}:{n}", harness.journal.boot()))
            .collect();
        assert_eq!(ids, expected, "{query}");
    }
}

#[tokio::test]
async fn invalid_filters_are_refused_and_streams_are_bounded() {
    let harness = Harness::start(Vec::new()).await;
    for query in ["?type=opened", "?class=robot", "?what=1"] {
        harness
            .get(&format!("/v1/events{query}"))
            .await
            .is_problem(400, "invalid_request");
    }
    harness.get("/v1/events?domain=-").await.is_problem(400, "invalid_name");
    let call = harness.call("GET", "/v1/events").header("last-event-id", "17");
    call.send().await.is_problem(400, "invalid_request");
    let mut open = Vec::new();
    for _ in 0..crate::api::EVENT_STREAMS.total {
        open.push(Stream::open(&harness, "", None).await);
    }
    harness.get("/v1/events").await.is_problem(429, "rate_limited");
}

#[tokio::test]
async fn events_are_erased_with_an_audit_entry() {
    let harness = Harness::start(Vec::new()).await;
    for tenant in ["acme", "other"] {
        let event = Event::new(EventType::Click, harness.clock.now(), "a.example", tenant);
        harness.journal.append(&event).await.unwrap();
    }
    let reply = harness.post("/v1/events/erase", serde_json::json!({})).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let reply = harness
        .post("/v1/events/erase", serde_json::json!({"tenant": "acme"}))
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    assert_eq!(reply.json()["journal_events"], 1);
    let audit = harness.get("/v1/audit").await;
    assert!(audit.text().contains("tenant acme"), "{}", audit.text());
    let left = linkseal_event::Replay::open(
        &harness.dir.path().join("events"),
        linkseal_base::clock::Timestamp::from_secs(0),
    )
    .unwrap();
    assert_eq!(left.count(), 1);
}

#[tokio::test]
async fn an_erasure_is_audited_after_its_client_disconnects() {
    let harness = Harness::start(Vec::new()).await;
    let audit_has = async |text: &str| {
        while !harness.get("/v1/audit").await.text().contains(text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let erase = |tenant: &str| harness.post("/v1/events/erase", serde_json::json!({"tenant": tenant}));
    tokio::select! {
        // It may complete before the client disconnects.
        _ = erase("gone") => {}
        () = audit_has("erase_events_begun") => {}
    }
    let outcome = audit_has("journal_segments");
    tokio::time::timeout(PATIENT, outcome).await.expect("what came of it");
}
