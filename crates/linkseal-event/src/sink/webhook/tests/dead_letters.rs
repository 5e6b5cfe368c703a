//! Events that a receiver rejects.

use super::*;

#[tokio::test]
async fn a_rejected_event_is_set_aside_and_the_others_are_delivered() {
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
        // No time passes, so there is no pause.
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
        // It is not retried after a restart.
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
async fn an_event_that_breaks_a_receiver_does_not_block_later_ones_indefinitely() {
    for status in [500, 429] {
        let endpoint = Poison::start("poison", status).await;
        let node = endpoint.node();
        let journal = node.boot();
        append_slugs(&journal, &["a", "b", "poison", "c", "d"]).await;
        let delivery = node.deliver(&journal);
        node.wait(SECOND * 5, || endpoint.taken() == ["a", "b", "c", "d"]).await;
        node.wait(SECOND, || dead(&journal) == 1).await;
        // Alone at the end of the queue it blocks nothing and is kept.
        append_slugs(&journal, &["poison"]).await;
        let before = endpoint.requests();
        node.wait(SECOND * 20, || endpoint.requests() >= before + 20).await;
        assert_eq!(dead(&journal), 1);
        // With another event behind it, it is set aside.
        append_slugs(&journal, &["e"]).await;
        node.wait(SECOND * 20, || dead(&journal) == 2).await;
        node.wait(SECOND, || endpoint.taken() == ["a", "b", "c", "d", "e"])
            .await;
        assert!(delivery.stop(DEADLINE).await);
    }
}

#[tokio::test]
async fn an_endpoint_that_rejects_everything_gets_its_queue_once_it_recovers() {
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
        *endpoint.state.text.lock() = "poison".into();
        node.wait(SECOND, || endpoint.taken() == slugs).await;
        assert_eq!(dead(&journal), 0);
        assert!(delivery.stop(DEADLINE).await);
    }
    // A receiver that rejects every event loses some to the dead letters, not the whole queue.
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
    *endpoint.state.text.lock() = "poison".into();
    node.wait(SECOND, || endpoint.taken().len() as u64 + dead(&journal) == 40)
        .await;
    // A replay delivers the dead letters.
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
    // It still rejects one of them.
    *endpoint.state.text.lock() = "poison2".into();
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
    // An event of another tenant stays.
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
    *endpoint.state.text.lock() = "none".into();
    assert_eq!(delivery.replay_dead_letters("platform").await.unwrap(), 50);
    // No time passes and no event arrives.
    node.wait(STILL, || endpoint.taken().len() == 100).await;
    let left = || {
        let gauge = &journal.metrics().dead_letters_waiting;
        gauge.with_label_values(&["platform"]).get()
    };
    node.wait(STILL, || left() == 0).await;
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_receiver_that_accepts_every_other_event_is_not_taken_to_reject_all() {
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
