//! The state of sinks, "retry now" and dead letters.

use linkseal_event::{Event, EventType, SinkKind, SinkSettings, WebhookSettings};
use parking_lot::Mutex;

use super::*;

/// Delivers events to a webhook that answers with a status, which a test may change.
async fn deliver_to(harness: &Harness, status: u16) -> Arc<Mutex<u16>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let status = Arc::new(Mutex::new(status));
    let answer = Arc::clone(&status);
    let app = axum::Router::new().fallback(async move || {
        let status = StatusCode::from_u16(*answer.lock()).unwrap();
        (status, [("retry-after", "3600")], "no such list")
    });
    harness
        .tasks
        .spawn_until_stop(async move { axum::serve(listener, app).await.unwrap() });
    let mut events = harness.events.clone();
    events.sinks.push(SinkSettings {
        name: "platform".into(),
        types: None,
        kind: SinkKind::Webhook(WebhookSettings {
            url: url.parse().unwrap(),
            secrets: Vec::new(),
            batch: 500,
            trust: Vec::new(),
            allow_private: true,
        }),
    });
    harness.delivery.set_settings(events);
    harness.delivery.renew().await;
    status
}

async fn append(harness: &Harness, domain: &str) {
    let event = Event::new(EventType::Open, harness.clock.now(), domain, "tenant");
    harness.journal.append(&event).await.unwrap();
}

/// The sink, once it is in the wanted state.
async fn sink(harness: &Harness, wanted: impl Fn(&Value) -> bool) -> Value {
    let looked = async {
        loop {
            let sink = harness.get("/v1/events/sinks").await.json()["sinks"][0].clone();
            if wanted(&sink) {
                return sink;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENT, looked)
        .await
        .expect("the sink gets there")
}

#[tokio::test]
async fn dead_letters_are_listed_replayed_and_deleted() {
    let harness = Harness::start(Vec::new()).await;
    let status = deliver_to(&harness, 422).await;
    for n in 0..3 {
        append(&harness, &format!("d{n}.example")).await;
    }
    let seen = sink(&harness, |s| s["dead_letters"] == 3 && s["lag_events"] == 0).await;
    assert_eq!((&seen["name"], &seen["kind"]), (&"platform".into(), &"webhook".into()));
    const LETTERS: &str = "/v1/events/sinks/platform/dead-letters";
    let page = harness.get(&format!("{LETTERS}?limit=2")).await.json();
    let next = page["next"].as_str().unwrap().to_owned();
    let letters = page["dead_letters"].as_array().unwrap().clone();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["event"]["domain"], "d0.example");
    assert!(letters[0]["answer"].as_str().unwrap().contains("422"));
    let rest = harness.get(&format!("{LETTERS}?limit=2&cursor={next}")).await.json();
    assert_eq!(rest["dead_letters"][0]["event"]["domain"], "d2.example");
    assert_eq!(rest["next"], Value::Null);

    let reply = harness.call("DELETE", LETTERS).send().await;
    assert_eq!(
        (reply.status, &reply.json()["dead_letters"]),
        (StatusCode::OK, &3.into())
    );
    append(&harness, "late.example").await;
    sink(&harness, |s| s["dead_letters"] == 1).await;
    *status.lock() = 200;
    let reply = harness.call("POST", &format!("{LETTERS}/replay")).send().await;
    assert_eq!(
        (reply.status, &reply.json()["dead_letters"]),
        (StatusCode::ACCEPTED, &1.into())
    );
    let seen = sink(&harness, |s| s["dead_letters"] == 0).await;
    assert!(seen["last_success"].is_string());

    let audit = harness.get("/v1/audit").await;
    for what in ["drop_dead_letters", "replay_dead_letters"] {
        assert!(audit.text().contains(what), "{}", audit.text());
    }
    for (method, path) in [
        ("GET", "dead-letters"),
        ("DELETE", "dead-letters"),
        ("POST", "dead-letters/replay"),
        ("POST", "retry"),
    ] {
        let reply = harness
            .call(method, &format!("/v1/events/sinks/nosuch/{path}"))
            .send()
            .await;
        reply.is_problem(404, "not_found");
    }
}

#[tokio::test]
async fn an_operator_ends_the_pause_of_a_sink() {
    let harness = Harness::start(Vec::new()).await;
    let status = deliver_to(&harness, 503).await;
    append(&harness, "a.example").await;
    let seen = sink(&harness, |s| s["state"] == "retrying").await;
    assert_eq!((&seen["lag_events"], &seen["failures"]), (&1.into(), &1.into()));
    assert!(seen["last_error"].as_str().unwrap().contains("503"));
    assert!(seen["next_attempt"].is_string());
    *status.lock() = 200;
    // Retried on request, without waiting.
    let reply = harness.call("POST", "/v1/events/sinks/platform/retry").send().await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    let seen = sink(&harness, |s| s["lag_events"] == 0 && s["state"] == "running").await;
    assert_eq!(
        (&seen["last_error"], &seen["next_attempt"]),
        (&Value::Null, &Value::Null)
    );
    assert!(harness.get("/v1/audit").await.text().contains("retry_sink"));
}
