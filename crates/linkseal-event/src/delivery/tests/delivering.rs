//! Which events each sink gets, and in what order.

use linkseal_base::clock::Timestamp;

use super::*;
use crate::erase::{Selector, erase};
use crate::journal::Replay;
use crate::journal::frame::{self, Parsed};

#[tokio::test]
async fn each_sink_gets_its_types_in_order_and_stopping_delivers_the_rest() {
    let node = Node::with_files(&[("all", None), ("clicks", Some(EventType::Click))]);
    let journal = node.boot();
    append(&journal, EventType::Open, 0..5).await;
    let delivery = node.deliver(&journal);
    append(&journal, EventType::Click, 5..10).await;
    node.wait(SECOND, || node.held("all") == slugs(0..10)).await;
    append(&journal, EventType::Open, 10..12).await;
    append(&journal, EventType::Click, 12..15).await;
    assert!(delivery.stop(DEADLINE).await);
    assert_eq!(node.held("all"), slugs(0..15));
    assert_eq!(node.held("clicks"), [slugs(5..10), slugs(12..15)].concat());
    assert_eq!(journal.metrics().lag.with_label_values(&["clicks"]).get(), 0);
}

#[tokio::test]
async fn a_failing_sink_delays_no_other_and_gets_everything_once_it_recovers() {
    let node = Node::with_files(&[("good", None), ("dead", None)]);
    node.break_sink("dead");
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    append(&journal, EventType::Click, 0..20).await;
    node.wait(SECOND, || node.held("good") == slugs(0..20)).await;
    node.wait(SECOND, || {
        journal.metrics().deliveries.with_label_values(&["dead", "retry"]).get() >= 3
    })
    .await;
    node.wait(SECOND, || {
        journal.metrics().lag.with_label_values(&["dead"]).get() == 20
    })
    .await;
    node.heal_sink("dead");
    append(&journal, EventType::Click, 20..30).await;
    node.wait(SECOND, || node.held("dead") == slugs(0..30)).await;
    node.wait(SECOND, || node.held("good") == slugs(0..30)).await;
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn earlier_boots_are_delivered_first_once_their_processes_have_ended() {
    let node = Node::with_files(&[("archive", None)]);
    node.break_sink("archive");
    let first = node.boot();
    let delivery = node.deliver(&first);
    append(&first, EventType::Click, 0..3).await;
    assert!(
        delivery.stop(DEADLINE).await,
        "a sink that fails does not keep the program from stopping"
    );
    node.heal_sink("archive");

    let second = node.boot();
    let delivery = node.deliver(&second);
    append(&second, EventType::Click, 5..8).await;
    // The first process still runs.
    append(&first, EventType::Click, 3..5).await;
    for _ in 0..20 {
        node.clock.advance(LOCK_EVERY);
        tokio::task::yield_now().await;
    }
    assert_eq!(node.held("archive"), slugs(0..0));
    drop(first);
    node.wait(SECOND, || node.held("archive") == slugs(0..8)).await;
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn a_new_sink_gets_what_happens_from_then_on() {
    let node = Node::with_files(&[("old", None)]);
    let journal = node.boot();
    let tasks = Tasks::new();
    let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
    append(&journal, EventType::Click, 0..3).await;
    node.wait(SECOND, || node.held("old") == slugs(0..3)).await;
    assert!(delivery.stop(DEADLINE).await);
    // A reload adds a sink.
    let mut settings = node.settings.clone();
    settings
        .sinks
        .push(sink("new", file(node.dir.path().join("new/e.ndjson"))));
    let delivery = Delivery::start(&journal, &settings, &tasks).unwrap();
    append(&journal, EventType::Click, 3..6).await;
    node.wait(SECOND, || {
        node.held("new") == slugs(3..6) && node.held("old") == slugs(0..6)
    })
    .await;
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn skipped_events_do_not_cost_a_cursor_write_per_batch() {
    use std::os::unix::fs::MetadataExt;
    let node = Node::with_files(&[("all", None), ("clicks", Some(EventType::Click))]);
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    node.wait(SECOND, || journal.metrics().running.get() == 1).await;
    let cursor = journal.folder().join("cursor-clicks");
    let inode = || std::fs::metadata(&cursor).unwrap().ino();
    let text = || std::fs::read_to_string(&cursor).unwrap();
    let before = (inode(), text());
    let lag = || journal.metrics().lag.with_label_values(&["clicks"]).get();
    for n in 0..4 {
        append(&journal, EventType::Open, n * 5..n * 5 + 5).await;
        let until = n * 5 + 5;
        // No time passes.
        let done = async {
            while node.held("all").len() as u32 != until || lag() != 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), done).await.unwrap();
    }
    assert_eq!((inode(), text()), before);
    // The cursor is saved after a while, and at the end.
    node.clock.advance(Duration::from_secs(61));
    append(&journal, EventType::Open, 20..21).await;
    node.wait(SECOND, || text() != before.1).await;
    append(&journal, EventType::Open, 21..24).await;
    assert!(delivery.stop(DEADLINE).await);
    assert_eq!(text(), "24\n");
}

#[tokio::test]
async fn an_unreadable_segment_does_not_block_later_ones() {
    let node = Node::with_files(&[("archive", None)]);
    node.break_sink("archive");
    let first = node.boot();
    let delivery = node.deliver(&first);
    node.wait(SECOND, || first.metrics().running.get() == 1).await;
    append(&first, EventType::Click, 0..3).await;
    assert!(delivery.stop(DEADLINE).await);
    let folder = first.folder().to_owned();
    drop(first);
    // A bad sector: opening works, reading does not.
    let found = segment::segments(&folder).unwrap().remove(0);
    std::fs::remove_file(&found.path).unwrap();
    std::fs::create_dir(&found.path).unwrap();
    node.heal_sink("archive");
    let second = node.boot();
    let delivery = node.deliver(&second);
    append(&second, EventType::Click, 3..6).await;
    node.wait(SECOND, || node.held("archive") == slugs(3..6)).await;
    assert!(folder.exists(), "retention takes none of it for delivered");
    assert!(delivery.stop(DEADLINE).await);
}

#[tokio::test]
async fn segments_of_another_version_are_kept_and_do_not_block_later_ones() {
    // A later version may have another magic, or another file ending.
    for (version, ending) in [(b'2', "log"), (b'1', "log2")] {
        let node = Node::with_files(&[("archive", None)]);
        node.break_sink("archive");
        let first = node.boot();
        let delivery = node.deliver(&first);
        node.wait(SECOND, || first.metrics().running.get() == 1).await;
        append(&first, EventType::Click, 0..3).await;
        assert!(delivery.stop(DEADLINE).await);
        let folder = first.folder().to_owned();
        drop(first);
        let ours = segment::segments(&folder).unwrap().remove(0).path;
        let other = ours.with_extension(ending);
        let mut data = std::fs::read(&ours).unwrap();
        data[6] = version;
        std::fs::write(&ours, &data).unwrap();
        std::fs::rename(&ours, &other).unwrap();
        node.heal_sink("archive");

        let second = node.boot();
        let delivery = node.deliver(&second);
        append(&second, EventType::Click, 3..6).await;
        node.wait(SECOND, || node.held("archive") == slugs(3..6)).await;
        let end = node.clock.uptime() + 3 * RETENTION_EVERY;
        node.wait(SECOND, || node.clock.uptime() > end).await;
        assert!(delivery.stop(DEADLINE).await);
        assert!(std::fs::read(&other).unwrap() == data, "{ending}: it is kept");
        assert_eq!(second.metrics().damaged.get(), 0, "{ending}");
        drop(second);
        let replayed = Replay::open(&node.settings.dir, Timestamp::from_secs(0))
            .unwrap()
            .next();
        let error = replayed.unwrap().unwrap_err().to_string();
        assert!(error.contains("run the version that wrote it"), "{error}");
        assert!(error.contains("*.log files that begin with lsjrnl1"), "{error}");
        let all = Selector::Tenant("a".into());
        let error = erase(&node.settings, None, &all).unwrap_err().to_string();
        assert!(error.contains("run the version that wrote it"), "{error}");

        // That version delivers them.
        data[6] = b'1';
        std::fs::remove_file(&other).unwrap();
        std::fs::write(&ours, &data).unwrap();
        let third = node.boot();
        let delivery = node.deliver(&third);
        node.wait(SECOND, || node.held("archive") == [slugs(3..6), slugs(0..3)].concat())
            .await;
        assert!(delivery.stop(DEADLINE).await);
    }
}

/// The payloads of a folder's first segment.
fn payloads(folder: &Path) -> Vec<Vec<u8>> {
    let first = segment::segments(folder).unwrap().remove(0);
    let data = std::fs::read(first.path).unwrap();
    let (mut all, mut at) = (Vec::new(), segment::MAGIC.len());
    while let Parsed::Frame { payload, .. } = frame::parse(&data, at) {
        at = payload.end;
        all.push(data[payload].to_vec());
    }
    all
}

#[tokio::test]
async fn lines_are_the_payloads_of_the_frames_byte_for_byte() {
    let node = Node::with_files(&[("all", None), ("clicks", Some(EventType::Click))]);
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    let url = "https://x.example/?q=\"\u{fc}\u{1f980}\\\u{7f}\u{1}\"";
    for (number, kind) in [EventType::Open, EventType::Click, EventType::Click]
        .into_iter()
        .enumerate()
    {
        let mut event = Event::new(kind, Timestamp::from_secs(number as i64), "a.example", "a\"b");
        event.url = Some(url);
        journal.append(&event).await.unwrap();
    }
    node.wait(SECOND, || journal.metrics().running.get() == 1).await;
    assert!(delivery.stop(DEADLINE).await);
    let payloads = payloads(journal.folder());
    let lines = |of: &[Vec<u8>]| of.iter().flat_map(|p| [p, &b"\n"[..]].concat()).collect::<Vec<_>>();
    let file = |sink: &str| std::fs::read(node.dir.path().join(sink).join("e.ndjson")).unwrap();
    assert_eq!(file("all"), lines(&payloads));
    assert_eq!(file("clicks"), lines(&payloads[1..]));
}

#[tokio::test]
async fn what_other_versions_wrote_is_delivered_as_it_is_and_damage_is_skipped() {
    let node = Node::with_files(&[("all", None), ("clicks", Some(EventType::Click))]);
    let boot = Uuid::from_u128(7);
    let folder = node.settings.dir.join(boot.to_string());
    std::fs::create_dir_all(&folder).unwrap();
    // Not in the order and spacing of this version, and of a type that it does not know.
    let events = [
        r#"{ "type":"click", "time":"2026-11-22T09:30:00Z", "boot":"00000000-0000-0000-0000-000000000007", "seq":1 }"#,
        "a frame that gets damaged",
        r#"{"type":"of.a.later.version","time":"2027-01-01T00:00:00Z","boot":"00000000-0000-0000-0000-000000000007","seq":3}"#,
    ];
    let mut data = segment::MAGIC.to_vec();
    for (event, seq) in events.iter().zip(1..) {
        frame::write(&mut data, seq, |out| out.extend_from_slice(event.as_bytes()));
    }
    let damaged = data.windows(7).position(|w| w == b"damaged").unwrap();
    data[damaged] ^= 1;
    std::fs::write(folder.join(segment::segment_name(1)), data).unwrap();
    for sink in ["all", "clicks"] {
        std::fs::write(folder.join(format!("cursor-{sink}")), "0\n").unwrap();
    }
    let journal = node.boot();
    let delivery = node.deliver(&journal);
    let text = |sink: &str| std::fs::read_to_string(node.dir.path().join(sink).join("e.ndjson")).unwrap_or_default();
    let clicks = format!("{}\n", events[0]);
    let all = format!("{clicks}{}\n", events[2]);
    node.wait(SECOND, || text("all") == all && text("clicks") == clicks)
        .await;
    assert!(journal.metrics().damaged.get() > 0);
    assert!(delivery.stop(DEADLINE).await);
}

#[test]
fn every_run_stays_on_the_runtime_of_its_tasks() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let (own, caller) = (runtime(), runtime());
    let node = Node::with_files(&[("all", None)]);
    let journal = node.boot();
    caller.block_on(async {
        let tasks = Tasks::new().on(own.handle().clone());
        let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
        append(&journal, EventType::Click, 0..3).await;
        // A reload.
        delivery.renew().await;
        append(&journal, EventType::Click, 3..6).await;
        node.wait(SECOND, || node.held("all") == slugs(0..6)).await;
        assert_eq!(caller.metrics().num_alive_tasks(), 0);
        assert!(own.metrics().num_alive_tasks() > 0);
        assert!(delivery.stop(DEADLINE).await);
    });
}
