//! Failures of the journal's disk.

use super::*;

#[tokio::test]
async fn a_reload_during_a_disk_failure_recovers_and_is_reported_meanwhile() {
    let node = Node::with_files(&[("old", None)]);
    let journal = node.boot();
    let tasks = Tasks::new();
    let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
    let running = || journal.metrics().running.get();
    append(&journal, EventType::Click, 0..3).await;
    node.wait(SECOND, || node.held("old") == slugs(0..3) && running() == 1)
        .await;
    // The new sink's cursor cannot be saved.
    let in_the_way = journal.folder().join("cursor-new.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let mut settings = node.settings.clone();
    settings
        .sinks
        .push(sink("new", file(node.dir.path().join("new/e.ndjson"))));
    delivery.set_settings(settings);
    delivery.renew().await;
    append(&journal, EventType::Click, 3..6).await;
    let lag = |sink: &str| journal.metrics().lag.with_label_values(&[sink]).get();
    node.wait(SECOND, || lag("old") == 3).await;
    assert_eq!(running(), 0);
    let seconds = || journal.metrics().lag_seconds.with_label_values(&["old"]).get();
    node.wait(SECOND, || seconds() > 30).await;
    assert!(delivery.sinks().iter().all(|s| s.state == SinkCondition::Waiting));
    std::fs::remove_dir(&in_the_way).unwrap();
    node.wait(SECOND, || {
        node.held("old") == slugs(0..6) && node.held("new") == slugs(3..6)
    })
    .await;
    node.wait(SECOND, || {
        lag("old") == 0 && lag("new") == 0 && seconds() == 0 && running() == 1
    })
    .await;
    assert!(delivery.stop(DEADLINE).await);
    assert_eq!(running(), 0);
}

#[tokio::test]
async fn a_node_starts_while_its_cursors_cannot_be_saved() {
    let node = Node::with_files(&[("archive", None)]);
    let journal = node.boot();
    let in_the_way = journal.folder().join("cursor-archive.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let delivery = node.deliver(&journal);
    append(&journal, EventType::Click, 0..3).await;
    std::fs::remove_dir(&in_the_way).unwrap();
    node.wait(SECOND, || node.held("archive") == slugs(0..3)).await;
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_reload_while_cursors_cannot_be_saved_skips_no_event() {
    let node = Node::with_files(&[("archive", None)]);
    let journal = node.boot();
    let in_the_way = journal.folder().join("cursor-archive.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let tasks = Tasks::new();
    let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
    append(&journal, EventType::Click, 0..3).await;
    delivery.renew().await;
    append(&journal, EventType::Click, 3..6).await;
    std::fs::remove_dir(&in_the_way).unwrap();
    node.wait(SECOND, || node.held("archive") == slugs(0..6)).await;
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_folder_that_cannot_be_locked_delays_nothing() {
    let node = Node::with_files(&[("archive", None)]);
    let first = node.boot();
    append(&first, EventType::Click, 0..3).await;
    let lock = segment::lock_path(first.folder());
    drop(first);
    // A directory where the lock should be cannot be opened, not even by root.
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let second = node.boot();
    let delivery = node.deliver(&second);
    append(&second, EventType::Click, 3..6).await;
    node.wait(SECOND, || node.held("archive") == slugs(3..6)).await;
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_cursor_that_cannot_be_saved_is_reported_and_recovers() {
    let node = Node::with_files(&[("archive", None), ("other", None)]);
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    let running = || journal.metrics().running.get();
    node.wait(SECOND, || running() == 1).await;
    let in_the_way = journal.folder().join("cursor-archive.new");
    std::fs::create_dir(&in_the_way).unwrap();
    append(&journal, EventType::Click, 0..3).await;
    // The first batch is delivered, and nothing more.
    node.wait(SECOND, || running() == 0 && !node.held("archive").is_empty())
        .await;
    let reports = delivery.sinks();
    assert_eq!(reports[0].state, SinkCondition::Waiting);
    let why = reports[0].last_error.clone().unwrap();
    assert!(why.starts_with("events.dir: "), "{why}");
    assert_eq!(reports[1].state, SinkCondition::Running);
    append(&journal, EventType::Click, 3..6).await;
    let lag = |sink: &str| journal.metrics().lag.with_label_values(&[sink]).get();
    node.wait(SECOND, || node.held("other") == slugs(0..6) && lag("archive") == 6)
        .await;
    assert_eq!(running(), 0);
    std::fs::remove_dir(&in_the_way).unwrap();
    node.wait(SECOND, || {
        running() == 1 && node.held("archive") == slugs(0..6) && lag("archive") == 0
    })
    .await;
    assert_eq!(delivery.sinks()[0].last_error, None);
    assert!(delivery.stop(DEADLINE).await);
    assert_eq!(running(), 0);
}

#[tokio::test]
async fn lags_are_known_after_a_start_while_cursors_cannot_be_saved() {
    let node = Node::with_files(&[("archive", None), ("new", None)]);
    node.break_sink("archive");
    let first = node.boot();
    let mut settings = node.settings.clone();
    settings.sinks.truncate(1);
    let delivery = Delivery::start(&first, &settings, &Tasks::new()).unwrap();
    node.wait(SECOND, || first.metrics().running.get() == 1).await;
    append(&first, EventType::Click, 0..3).await;
    assert!(delivery.stop(DEADLINE).await);
    let second = node.boot();
    let in_the_way = second.folder().join("cursor-archive.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let delivery = node.deliver(&second);
    let lag = |sink: &str| second.metrics().lag.with_label_values(&[sink]).get();
    let seconds = |sink: &str| second.metrics().lag_seconds.with_label_values(&[sink]).get();
    let start = node.clock.now();
    node.wait(SECOND, || {
        node.clock.now().saturating_since(start) > Duration::from_secs(30)
    })
    .await;
    assert_eq!(lag("archive"), 0, "the first process still runs, and tells its own lag");
    drop(first);
    node.wait(SECOND, || lag("archive") == 3 && seconds("archive") > 30)
        .await;
    assert_eq!(lag("new"), 0, "it has no part in what was before it");
    assert_eq!(second.metrics().running.get(), 0);
    node.heal_sink("archive");
    std::fs::remove_dir(&in_the_way).unwrap();
    node.wait(SECOND, || {
        node.held("archive") == slugs(0..3) && lag("archive") == 0 && seconds("archive") == 0
    })
    .await;
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_disk_that_hangs_under_one_cursor_delays_nothing_else() {
    let node = Node::with_files(&[("good", None), ("stuck", None)]);
    let journal = node.boot();
    // Opening a pipe without a reader hangs, like a dead disk. This runtime has one thread.
    let pipe = node.dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let delivery = node.deliver(&journal);
    node.wait(SECOND, || journal.metrics().running.get() == 1).await;
    let new = journal.folder().join("cursor-stuck.new");
    std::fs::hard_link(&pipe, &new).unwrap();
    append(&journal, EventType::Click, 0..3).await;
    // The first batch is delivered, with the events there were by then.
    node.wait(SECOND, || {
        node.held("good") == slugs(0..3) && !node.held("stuck").is_empty()
    })
    .await;
    let first = node.held("stuck");
    append(&journal, EventType::Click, 3..6).await;
    node.wait(SECOND, || node.held("good") == slugs(0..6)).await;
    assert_eq!(node.held("stuck"), first, "it waits for its cursor");
    node.wait(SECOND, || journal.metrics().running.get() == 0).await;
    // The disk recovers.
    std::fs::remove_file(&new).unwrap();
    let reader = std::thread::spawn(move || std::fs::read(&pipe));
    node.wait(SECOND, || {
        node.held("stuck") == slugs(0..6) && journal.metrics().running.get() == 1
    })
    .await;
    reader.join().unwrap().unwrap();
    assert!(delivery.stop(DEADLINE).await);
}
