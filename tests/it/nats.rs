//! The NATS sink against a real nats-server: a stream that is missing, a broker that is killed in
//! the middle, a log-in that is wrong.

use std::path::Path;
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_event::{
    Delivery, Durability, Event, EventSettings, EventType, IpPrivacy, Journal, Metrics, NatsLogin, NatsSettings,
    SinkKind, SinkSettings,
};
use prometheus::Registry;
use secrecy::SecretString;

use super::support::nats::Nats;
use super::support::until;

const TOKEN: &str = "a-token-of-the-broker";
const SUBJECT: &str = "linkseal.events";
const DEADLINE: Duration = Duration::from_secs(20);

fn settings(dir: &Path, nats: &Nats, token: &str) -> EventSettings {
    EventSettings {
        dir: dir.join("journal"),
        durability: Durability::Written,
        keep: Duration::from_secs(3600),
        max_bytes: 1 << 30,
        privacy: IpPrivacy::Full.into(),
        sinks: vec![SinkSettings {
            name: "stream".to_owned(),
            types: None,
            kind: SinkKind::Nats(NatsSettings {
                url: nats.url(),
                subject: SUBJECT.to_owned(),
                login: NatsLogin::Token(SecretString::from(token)),
                trust: Vec::new(),
            }),
        }],
    }
}

fn open(settings: &EventSettings, clock: &Clock) -> (Journal, Registry) {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    (
        Journal::open(settings, "edge-1", clock.clone(), metrics).unwrap(),
        registry,
    )
}

/// What `linkseal_sink_deliveries_total` says of a result.
fn deliveries(registry: &Registry, result: &str) -> u64 {
    let families = registry.gather();
    let family = families.iter().find(|f| f.name() == "linkseal_sink_deliveries_total");
    let metrics = family.map(|f| f.get_metric()).unwrap_or_default();
    let of_result = metrics
        .iter()
        .filter(|m| m.get_label().iter().any(|l| l.value() == result));
    of_result.map(|m| m.get_counter().get_value() as u64).sum()
}

async fn append(journal: &Journal, clock: &Clock, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let event = Event::new(EventType::Click, clock.now(), "a.example", "a");
        ids.push(journal.append(&event).await.unwrap().id.to_string());
    }
    ids
}

/// Waits until the stream holds as many messages as there are events, pauses passing quickly.
async fn held(nats: &Nats, clock: &Clock, count: usize) -> Vec<(String, String)> {
    until("the stream holds all events", async || {
        clock.advance(Duration::from_secs(30));
        let messages = nats.messages("EVENTS").await;
        (messages.len() >= count).then_some(messages)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_in_the_stream_once_though_the_broker_is_killed_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let mut nats = Nats::start(TOKEN).await;
    let clock = Clock::system();
    let settings = settings(dir.path(), &nats, TOKEN);
    let (journal, registry) = open(&settings, &clock);
    let delivery = Delivery::start(&journal, &settings, &Tasks::new()).unwrap();

    // No stream takes the subject yet.
    let mut ids = append(&journal, &clock, 10).await;
    until("a delivery that failed", async || {
        (deliveries(&registry, "retry") > 0).then_some(())
    })
    .await;
    nats.add_stream("EVENTS", SUBJECT).await;
    held(&nats, &clock, ids.len()).await;

    // Killed while a large batch is on its way.
    let appended = append(&journal, &clock, 3000);
    let (more, ()) = tokio::join!(appended, async {
        until("a part of the batch", async || {
            (nats.messages("EVENTS").await.len() > 10).then_some(())
        })
        .await;
    });
    ids.extend(more);
    nats.kill();
    ids.extend(append(&journal, &clock, 100).await);
    let failed = deliveries(&registry, "retry");
    until("a delivery that failed", async || {
        clock.advance(Duration::from_secs(5));
        (deliveries(&registry, "retry") > failed).then_some(())
    })
    .await;
    nats.run().await;
    let messages = held(&nats, &clock, ids.len()).await;
    let expected: Vec<_> = ids.iter().map(String::as_str).collect();
    let got: Vec<_> = messages.iter().map(|(id, _)| id.as_str()).collect();
    assert!(got == expected, "{} messages of {} events", got.len(), expected.len());
    for (id, payload) in &messages {
        let event: serde_json::Value = serde_json::from_str(payload).unwrap();
        assert_eq!(event["id"], **id);
    }
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_loses_nothing_and_a_reload_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let nats = Nats::start(TOKEN).await;
    nats.add_stream("EVENTS", SUBJECT).await;
    let clock = Clock::system();
    let wrong = settings(dir.path(), &nats, "another-token");
    let (journal, registry) = open(&wrong, &clock);
    let tasks = Tasks::new();
    let delivery = Delivery::start(&journal, &wrong, &tasks).unwrap();
    let ids = append(&journal, &clock, 5).await;
    until("a delivery that failed", async || {
        (deliveries(&registry, "retry") > 0).then_some(())
    })
    .await;
    let right = settings(dir.path(), &nats, TOKEN);
    delivery.set_settings(right);
    delivery.renew(&tasks).await;
    let got: Vec<_> = held(&nats, &clock, 5).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(got, ids);
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_stream_finds_too_large_is_set_aside_and_the_others_go_on() {
    let nats = Nats::start(TOKEN).await;
    nats.add_stream_up_to("EVENTS", SUBJECT, 2_000).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &nats, TOKEN);
    let clock = Clock::system();
    let (journal, _registry) = open(&settings, &clock);
    let mut ids = append(&journal, &clock, 5).await;
    let mut large = Event::new(EventType::Click, clock.now(), "a.example", "a");
    let url = format!("https://shop.example/{}", "x".repeat(3_000));
    large.url = Some(&url);
    let receipt = journal.append(&large).await.unwrap();
    ids.extend(append(&journal, &clock, 5).await);
    let delivery = Delivery::start(&journal, &settings, &Tasks::new()).unwrap();
    let got: Vec<_> = held(&nats, &clock, 10).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(got, ids);
    let letters = until("it is set aside", async || {
        let letters = delivery.dead_letters("stream", None, 10).await.unwrap();
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    let set_aside: Vec<_> = letters
        .iter()
        .map(|l| l.event["id"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(set_aside, [receipt.id.to_string()]);
    assert!(delivery.stop(DEADLINE).await);
}
