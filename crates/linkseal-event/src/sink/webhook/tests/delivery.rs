//! Delivery to endpoints that fail, recover, or are gone.

use super::*;

#[tokio::test]
async fn a_dead_endpoint_delays_no_other_sink_and_both_end_with_every_event_once() {
    let endpoint = Endpoint::start().await;
    endpoint.then(500);
    let node = Node::with_webhook(endpoint.settings());
    let archive = node.dir.path().join("archive.ndjson");
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    let mut ids = append(&journal, 30).await;
    node.wait(STILL, || archived(&archive) == ids).await;
    let retries = journal.metrics().deliveries.with_label_values(&["platform", "retry"]);
    node.wait(FAST, || retries.get() >= 12).await;
    let lag = journal.metrics().lag.with_label_values(&["platform"]).get();
    assert!(lag >= 30, "{lag}");
    ids.extend(append(&journal, 30).await);
    node.wait(STILL, || archived(&archive) == ids).await;
    let dead = endpoint.got().len();
    endpoint.then(200);
    node.wait(FAST, || consumed(&endpoint, dead) == ids).await;
    assert_eq!(archived(&archive), ids);
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_batch_keeps_its_id_and_body_across_a_restart() {
    let endpoint = Endpoint::start().await;
    endpoint.then(500);
    let node = Node::with_webhook(endpoint.settings());
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
async fn gone_stops_the_sink_across_restarts_until_a_reload_or_new_settings() {
    let endpoint = Endpoint::start().await;
    endpoint.answer(410, &[]);
    let mut node = Node::with_webhook(endpoint.settings());
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
    delivery.renew().await;
    node.wait(STILL, || consumed(&endpoint, 1) == ids).await;
    assert!(!stopped(&second));
    // A retry, and then a restart with another URL.
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

#[tokio::test]
async fn an_outage_is_over_within_a_minute_or_at_once_when_an_operator_retries() {
    let endpoint = Endpoint::start().await;
    endpoint.then(503);
    let node = Node::with_webhook(endpoint.settings());
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    let ids = append(&journal, 1).await;
    // An outage of an hour.
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

    // However long the pause that a receiver asks for.
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
async fn a_stopped_sink_shows_its_lag_and_resumes_when_retried() {
    let endpoint = Endpoint::start().await;
    let node = Node::with_webhook(endpoint.settings());
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
async fn a_stopped_sink_stays_stopped_until_a_retry_or_reload() {
    let endpoint = Endpoint::start().await;
    let node = Node::with_webhook(endpoint.settings());
    let journal = node.boot();
    let tasks = Tasks::new();
    let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
    // A retry requested while all is well must not count later.
    let held = append(&journal, 1).await;
    node.wait(STILL, || consumed(&endpoint, 0) == held).await;
    delivery.retry("platform").unwrap();
    endpoint.answer(410, &[]);
    let mut ids = append(&journal, 1).await;
    let stopped = || journal.metrics().stopped.with_label_values(&["platform"]).get() == 1;
    node.wait(STILL, stopped).await;
    let before = endpoint.got().len();
    // Neither a replay nor an erasure resumes it.
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
    delivery.renew().await;
    node.wait(STILL, || consumed(&endpoint, before) == ids).await;
    assert!(!stopped());
    assert!(delivery.stop(DEADLINE).await);
}
