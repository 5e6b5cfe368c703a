//! The NATS sink against a real nats-server: a missing stream, a broker killed in mid-batch, a wrong
//! token, a message that is too large.

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

/// The value of `linkseal_sink_deliveries_total` for a result.
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

/// Waits until the stream has `count` messages, advancing the clock past the pauses of retries.
async fn until_stored(nats: &Nats, clock: &Clock, count: usize) -> Vec<(String, String)> {
    until("the stream has all events", async || {
        clock.advance(Duration::from_secs(30));
        let messages = nats.messages("EVENTS").await;
        (messages.len() >= count).then_some(messages)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_stored_once_although_the_broker_is_killed_in_mid_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut nats = Nats::start(TOKEN).await;
    let clock = Clock::system();
    let settings = settings(dir.path(), &nats, TOKEN);
    let (journal, registry) = open(&settings, &clock);
    let delivery = Delivery::start(&journal, &settings, &Tasks::new()).unwrap();

    // No stream exists for the subject yet.
    let mut ids = append(&journal, &clock, 10).await;
    until("a delivery has failed", async || {
        (deliveries(&registry, "retry") > 0).then_some(())
    })
    .await;
    nats.add_stream("EVENTS", SUBJECT).await;
    until_stored(&nats, &clock, ids.len()).await;

    // Kill the broker while a large batch is being sent.
    let appended = append(&journal, &clock, 3000);
    let (more, ()) = tokio::join!(appended, async {
        until("part of the batch is stored", async || {
            (nats.messages("EVENTS").await.len() > 10).then_some(())
        })
        .await;
    });
    ids.extend(more);
    nats.kill();
    ids.extend(append(&journal, &clock, 100).await);
    let failed = deliveries(&registry, "retry");
    until("a delivery has failed", async || {
        clock.advance(Duration::from_secs(5));
        (deliveries(&registry, "retry") > failed).then_some(())
    })
    .await;
    nats.run().await;
    let messages = until_stored(&nats, &clock, ids.len()).await;
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
async fn events_survive_a_wrong_token_until_a_reload_fixes_it() {
    let dir = tempfile::tempdir().unwrap();
    let nats = Nats::start(TOKEN).await;
    nats.add_stream("EVENTS", SUBJECT).await;
    let clock = Clock::system();
    let wrong = settings(dir.path(), &nats, "another-token");
    let (journal, registry) = open(&wrong, &clock);
    let tasks = Tasks::new();
    let delivery = Delivery::start(&journal, &wrong, &tasks).unwrap();
    let ids = append(&journal, &clock, 5).await;
    until("a delivery has failed", async || {
        (deliveries(&registry, "retry") > 0).then_some(())
    })
    .await;
    let right = settings(dir.path(), &nats, TOKEN);
    delivery.set_settings(right);
    delivery.renew().await;
    let got: Vec<_> = until_stored(&nats, &clock, 5)
        .await
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(got, ids);
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_too_large_for_the_stream_becomes_a_dead_letter_and_the_others_are_delivered() {
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
    let got: Vec<_> = until_stored(&nats, &clock, 10)
        .await
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(got, ids);
    let letters = until("the event is a dead letter", async || {
        let letters = delivery.dead_letters("stream", None, 10).await.unwrap();
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    let dead: Vec<_> = letters
        .iter()
        .map(|l| l.event["id"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(dead, [receipt.id.to_string()]);
    assert!(delivery.stop(DEADLINE).await);
}
