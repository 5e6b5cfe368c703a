//! Journals that are removed by hand while they are delivered.

use super::*;

#[tokio::test]
async fn delivery_continues_after_the_journal_is_removed() {
    for whole in [true, false] {
        let node = Node::with_files(&[("good", None), ("dead", None)]);
        node.break_sink("dead");
        let journal = node.boot();
        let tasks = Tasks::new();
        let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
        append(&journal, EventType::Click, 0..5).await;
        let lag = |sink: &str| journal.metrics().lag.with_label_values(&[sink]).get();
        let retries = || journal.metrics().deliveries.with_label_values(&["dead", "retry"]).get();
        node.wait(SECOND, || {
            node.held("good") == slugs(0..5) && lag("good") == 0 && retries() > 0
        })
        .await;
        remove(&journal, whole);
        append(&journal, EventType::Click, 5..8).await;
        node.wait(SECOND, || node.held("good") == slugs(0..8) && lag("good") == 0)
            .await;
        assert_eq!(lag("dead"), 8);
        // The worker has read a batch and has the segment open.
        node.heal_sink("dead");
        node.wait(SECOND, || node.held("dead") == slugs(0..8) && lag("dead") == 0)
            .await;
        node.wait(SECOND, || journal.metrics().running.get() == 1).await;
        assert_eq!(journal.metrics().lost.get(), 0);
        // All sinks have cursors in the new folder, so delivery continues after a restart.
        assert!(delivery.stop(DEADLINE).await);
        append(&journal, EventType::Click, 8..10).await;
        drop(journal);
        let second = node.boot();
        let delivery = node.deliver(&second);
        node.wait(SECOND, || {
            node.held("good") == slugs(0..10) && node.held("dead") == slugs(0..10)
        })
        .await;
        assert!(delivery.stop(DEADLINE).await);
    }
}

#[tokio::test]
async fn undelivered_events_of_a_removed_journal_are_counted_once() {
    for (whole, reload) in [(true, true), (false, true), (false, false)] {
        let node = Node::with_files(&[("dead", None), ("late", None)]);
        node.break_sink("dead");
        node.break_sink("late");
        let journal = node.boot();
        let tasks = Tasks::new();
        let mut delivery = Some(Delivery::start(&journal, &node.settings, &tasks).unwrap());
        append(&journal, EventType::Click, 0..5).await;
        let lag = |sink: &str| journal.metrics().lag.with_label_values(&[sink]).get();
        let retries = |sink: &str| journal.metrics().deliveries.with_label_values(&[sink, "retry"]).get();
        node.wait(SECOND, || retries("dead") > 0 && retries("late") > 0).await;
        if !reload {
            // Close the open segment first.
            assert!(delivery.take().unwrap().stop(DEADLINE).await);
        }
        remove(&journal, whole);
        append(&journal, EventType::Click, 5..8).await;
        let delivery = match delivery {
            Some(delivery) => {
                delivery.renew().await;
                delivery
            }
            None => Delivery::start(&journal, &node.settings, &tasks).unwrap(),
        };
        node.heal_sink("dead");
        node.wait(SECOND, || node.held("dead") == slugs(5..8) && lag("dead") == 0)
            .await;
        node.heal_sink("late");
        node.wait(SECOND, || node.held("late") == slugs(5..8) && lag("late") == 0)
            .await;
        assert_eq!(journal.metrics().lost.get(), 5, "whole: {whole}, reload: {reload}");
        assert!(delivery.stop(DEADLINE).await);
    }
}

#[tokio::test]
async fn a_journal_that_is_removed_before_its_first_event_is_delivered_after_a_restart() {
    let node = Node::with_files(&[("archive", None)]);
    node.break_sink("archive");
    let first = node.boot();
    let delivery = node.deliver(&first);
    node.wait(SECOND, || first.metrics().running.get() == 1).await;
    remove(&first, true);
    append(&first, EventType::Click, 0..3).await;
    assert!(delivery.stop(DEADLINE).await);
    drop(first);
    node.heal_sink("archive");
    let second = node.boot();
    let delivery = node.deliver(&second);
    node.wait(SECOND, || node.held("archive") == slugs(0..3)).await;
    assert!(delivery.stop(DEADLINE).await);
}

/// Removes the whole directory of a journal, or only its open segment.
fn remove(journal: &Journal, whole: bool) {
    if whole {
        return remove_all(journal.dir());
    }
    let open = segment::segments(journal.folder()).unwrap().pop().unwrap();
    std::fs::remove_file(open.path).unwrap();
}

#[tokio::test]
async fn a_folder_removed_during_delivery_of_its_batch_stops_nothing() {
    let node = Node::with_files(&[("archive", None)]);
    node.break_sink("archive");
    let first = node.boot();
    append(&first, EventType::Click, 0..3).await;
    // The sink has a cursor, and so a part in this folder.
    let delivery = node.deliver(&first);
    node.wait(SECOND, || first.metrics().running.get() == 1).await;
    assert!(delivery.stop(DEADLINE).await);
    let folder = first.folder().to_owned();
    drop(first);
    let second = node.boot();
    let delivery = node.deliver(&second);
    append(&second, EventType::Click, 3..6).await;
    let retries = || {
        second
            .metrics()
            .deliveries
            .with_label_values(&["archive", "retry"])
            .get()
    };
    node.wait(SECOND, || retries() >= 2).await;
    // As retention does at the size cap, or an operator.
    std::fs::remove_dir_all(&folder).unwrap();
    node.heal_sink("archive");
    node.wait(SECOND, || node.held("archive") == slugs(0..6)).await;
    let lag = || second.metrics().lag.with_label_values(&["archive"]).get();
    node.wait(SECOND, || lag() == 0).await;
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn undelivered_events_of_removed_earlier_folders_are_counted_once() {
    let node = Node::with_files(&[("archive", None), ("other", None)]);
    node.break_sink("archive");
    node.break_sink("other");
    let mut folders = Vec::new();
    for n in 0..3 {
        let earlier = node.boot();
        let delivery = node.deliver(&earlier);
        node.wait(SECOND, || earlier.metrics().running.get() == 1).await;
        append(&earlier, EventType::Click, n * 3..n * 3 + 3).await;
        assert!(delivery.stop(DEADLINE).await);
        folders.push(earlier.folder().to_owned());
    }
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    append(&journal, EventType::Click, 9..12).await;
    let retries = |sink: &str| journal.metrics().deliveries.with_label_values(&[sink, "retry"]).get();
    let lag = |sink: &str| journal.metrics().lag.with_label_values(&[sink]).get();
    // Now all folders are known.
    node.wait(SECOND, || {
        retries("archive") > 0 && retries("other") > 0 && lag("archive") == 12
    })
    .await;
    // The workers are in the first folder; remove the second.
    std::fs::remove_dir_all(&folders[1]).unwrap();
    let rest = [slugs(0..3), slugs(6..12)].concat();
    for sink in ["archive", "other"] {
        node.heal_sink(sink);
        node.wait(SECOND, || node.held(sink) == rest).await;
        assert_eq!(journal.metrics().lost.get(), 3);
    }
    assert!(delivery.stop(DEADLINE).await);
}
