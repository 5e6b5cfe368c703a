//! Which segments are removed, and when.

use super::*;

#[tokio::test]
async fn delivered_segments_expire_and_undelivered_ones_stay() {
    let node = Node::with_files(&[("good", None), ("dead", None)]);
    node.break_sink("dead");
    let first = node.boot();
    let boot = first.boot();
    let delivery = node.deliver(&first);
    append(&first, EventType::Click, 0..3).await;
    assert!(delivery.stop(DEADLINE).await);
    drop(first);

    let second = node.boot();
    let delivery = node.deliver(&second);
    node.wait(SECOND, || node.held("good") == slugs(0..3)).await;
    node.clock.advance(node.settings.keep * 2);
    // Several passes later it is still there, because one sink does not hold it.
    node.wait(SECOND, || {
        journal_age(&node.settings.dir, boot, &node.clock) < 2 * RETENTION_EVERY
    })
    .await;
    assert_eq!(segments(&node.settings.dir, boot), 1);
    node.heal_sink("dead");
    // Wait for its cursor too: until that is saved, the segment's age starts over.
    let lag = || second.metrics().lag.with_label_values(&["dead"]).get();
    node.wait(SECOND, || node.held("dead") == slugs(0..3) && lag() == 0)
        .await;
    assert_eq!(segments(&node.settings.dir, boot), 1, "it is kept for replay");
    node.clock.advance(node.settings.keep * 2);
    let gone = || {
        node.clock.advance(Duration::from_secs(60));
        !node.settings.dir.join(boot.to_string()).exists()
    };
    node.wait(SECOND, gone).await;
    assert!(delivery.stop(DEADLINE).await);
    assert_eq!(second.metrics().lost.get(), 0);
}

/// How long ago, by the clock, a folder's only segment was last seen written or undelivered.
fn journal_age(dir: &Path, boot: Uuid, clock: &Clock) -> Duration {
    let found = segment::segments(&dir.join(boot.to_string())).unwrap().remove(0);
    let touched = found.path.metadata().unwrap().modified().unwrap();
    let since = touched.duration_since(std::time::UNIX_EPOCH).unwrap();
    let touched = linkseal_base::clock::Timestamp::from_millis(since.as_millis() as i64);
    clock.now().saturating_since(touched)
}

#[tokio::test]
async fn at_the_size_cap_the_oldest_segments_are_removed_and_counted() {
    let mut node = Node::with_files(&[("dead", None)]);
    node.settings.max_bytes = 200_000;
    node.break_sink("dead");
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    const EVENTS: u32 = 1500;
    append(&journal, EventType::Click, 0..EVENTS).await;
    node.wait(SECOND, || journal.metrics().lost.get() > 0).await;
    node.wait(SECOND, || {
        crate::journal::boot_folder::size(&node.settings.dir).unwrap() <= node.settings.max_bytes
    })
    .await;
    let lost = journal.metrics().lost.get() as u32;
    // A batch read before the cap may still be in flight; every other event is delivered or counted.
    node.heal_sink("dead");
    node.wait(SECOND, || {
        node.held("dead").last().is_some_and(|s| *s == (EVENTS - 1).to_string())
    })
    .await;
    let held = node.held("dead");
    assert!(held.len() as u32 >= EVENTS - lost, "{} held, {lost} lost", held.len());
    assert!(
        held.iter()
            .zip(held.iter().skip(1))
            .all(|(a, b)| a.parse::<u32>().unwrap() < b.parse().unwrap())
    );
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_clock_that_is_ahead_at_the_start_removes_nothing() {
    let node = Node::with_files(&[("archive", None)]);
    let first = node.boot();
    let boot = first.boot();
    let delivery = node.deliver(&first);
    append(&first, EventType::Click, 0..3).await;
    node.wait(SECOND, || node.held("archive") == slugs(0..3)).await;
    assert!(delivery.stop(DEADLINE).await);
    drop(first);
    let ahead = i64::try_from(node.settings.keep.as_millis()).unwrap() * 2;
    node.clock.set(ahead);
    let second = node.boot();
    let delivery = node.deliver(&second);
    let end = node.clock.uptime() + 5 * RETENTION_EVERY;
    node.wait(SECOND, || node.clock.uptime() > end).await;
    node.clock.set(-ahead);
    let end = node.clock.uptime() + 5 * RETENTION_EVERY;
    node.wait(SECOND, || node.clock.uptime() > end).await;
    assert_eq!(segments(&node.settings.dir, boot), 1, "it is kept for replay");
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn retention_keeps_a_folder_that_a_worker_is_in() {
    let node = Node::with_files(&[("archive", None)]);
    node.break_sink("archive");
    let first = node.boot();
    append(&first, EventType::Click, 0..3).await;
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
    node.wait(SECOND, || retries() >= 1).await;
    // As the size cap does, while a worker has a batch of it in flight.
    std::fs::remove_file(&segment::segments(&folder).unwrap().remove(0).path).unwrap();
    let start = node.clock.now();
    node.wait(SECOND, || {
        node.clock.now().saturating_since(start) > RETENTION_EVERY * 3
    })
    .await;
    assert!(folder.join("cursor-archive").exists());
    node.heal_sink("archive");
    node.wait(SECOND, || node.held("archive") == slugs(0..6)).await;
    node.wait(SECOND, || !folder.exists()).await;
    assert!(delivery.stop(DEADLINE).await);
}
