use linkseal_base::clock::Timestamp;
use linkseal_base::shutdown::Tasks;

use super::rewrite::each_line;
use super::*;
use crate::event::Event;
use crate::event_type::EventType;
use crate::journal::Replay;
use crate::journal::frame;
use crate::journal::segment::MAGIC;
use crate::testing::{Node, STILL, file, sink};

const PATIENT: Duration = Duration::from_secs(30);

impl Node {
    fn with_archive() -> Self {
        Self::new(|dir| vec![sink("archive", file(dir.join("archive/%Y.ndjson")))])
    }

    /// The slugs of a replay.
    fn replayed(&self) -> Vec<String> {
        let replay = Replay::open(&self.settings.dir, Timestamp::from_secs(0)).unwrap();
        replay.map(|r| slug(&r.unwrap().json)).collect()
    }

    /// The slugs in all files of the archive.
    fn archived(&self) -> Vec<String> {
        let files = sink::files(&self.settings.sinks[0]).unwrap().unwrap();
        let mut slugs = Vec::new();
        for file in files {
            each_line(&file, |line| {
                slugs.push(slug(line));
                Ok(())
            })
            .unwrap();
        }
        slugs
    }

    /// Whether any file below the node's directory contains a text.
    fn holds(&self, text: &str) -> bool {
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if fs::read(path)
                    .unwrap()
                    .windows(text.len())
                    .any(|w| w == text.as_bytes())
                {
                    return true;
                }
            }
        }
        false
    }
}

fn slug(json: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap();
    value["slug"].as_str().unwrap().to_owned()
}

async fn append(journal: &Journal, tenant: &str, message: u128, slug: &str) {
    let mut event = Event::new(EventType::Click, Clock::system().now(), "a.example", tenant);
    event.message_id = Some(Uuid::from_u128(message));
    event.slug = Some(slug);
    journal.append(&event).await.unwrap();
}

fn tenant(name: &str) -> Selector {
    Selector::Tenant(name.into())
}

#[tokio::test]
async fn a_running_node_erases_and_continues_to_deliver() {
    let node = Node::with_archive();
    // Events of an earlier boot, not delivered yet.
    let earlier = node.boot();
    append(&earlier, "acme", 1, "old-acme").await;
    append(&earlier, "other", 2, "old-other").await;
    earlier.close(PATIENT);
    drop(earlier);
    let tasks = Tasks::new();
    let journal = node.boot();
    let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
    append(&journal, "acme", 1, "acme-1").await;
    append(&journal, "other", 3, "other-1").await;
    node.wait(STILL, || node.archived().len() == 2).await;

    let eraser = Eraser::new(delivery.clone(), journal.clone(), tasks.clone());
    append(&journal, "acme", 4, "acme-2").await;
    append(&journal, "other", 4, "other-2").await;
    let erased = eraser.erase(tenant("acme")).await.unwrap();
    // Whether the second is delivered before it is erased depends on timing.
    assert_eq!(erased.journal_events, 3);
    assert!((1..=2).contains(&erased.file_events), "{erased:?}");
    assert_eq!((erased.journal_segments, erased.files), (2, 1));
    assert!(!node.holds("acme"));
    append(&journal, "other", 4, "other-3").await;
    node.wait(STILL, || node.archived().len() >= 3).await;
    assert_eq!(node.archived(), ["other-1", "other-2", "other-3"]);
    assert_eq!(node.replayed(), ["old-other", "other-1", "other-2", "other-3"]);
    assert_eq!(journal.metrics().damaged.get(), 0, "what was erased is no damage");

    let again = eraser.erase(tenant("acme")).await.unwrap();
    assert_eq!(again, Erased::default());
    // One message of another tenant.
    let one = Selector::Message(Uuid::from_u128(3));
    let erased = eraser.erase(one.clone()).await.unwrap();
    assert_eq!((erased.journal_events, erased.file_events), (1, 1));
    assert!(delivery.stop(PATIENT).await);
    assert!(matches!(eraser.erase(one).await, Err(EraseError::Stopping)));
    assert_eq!(node.replayed(), ["old-other", "other-2", "other-3"]);
    assert_eq!(node.archived(), ["other-2", "other-3"]);
}

#[tokio::test]
async fn a_stopped_node_is_erased_under_its_locks_and_a_running_one_is_not() {
    let node = Node::with_archive();
    let tasks = Tasks::new();
    let journal = node.boot();
    append(&journal, "acme", 1, "acme").await;
    append(&journal, "a\"b", 1, "quoted").await;
    let error = erase(&node.settings, None, &tenant("acme")).unwrap_err();
    assert!(matches!(error, EraseError::InUse { .. }), "{error}");
    let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
    node.wait(STILL, || node.archived().len() == 2).await;
    assert!(delivery.stop(PATIENT).await);
    journal.close(PATIENT);
    drop(journal);

    // A file of last year, compressed.
    let old = node.dir.path().join("archive/2020.ndjson.zst");
    let text = "{\"tenant\":\"acme\",\"slug\":\"a\"}\n{\"tenant\":\"b\",\"slug\":\"b\"}\n{\"torn";
    fs::write(&old, zstd::encode_all(text.as_bytes(), 0).unwrap()).unwrap();
    let before = fs::metadata(&old).unwrap().modified().unwrap();
    // The leftover of an attempt that crashed.
    fs::write(files::with_suffix(&old, ".new"), "acme").unwrap();

    let erased = erase(&node.settings, None, &tenant("acme")).unwrap();
    assert_eq!((erased.journal_events, erased.file_events, erased.files), (1, 2, 2));
    let left = zstd::decode_all(&fs::read(&old).unwrap()[..]).unwrap();
    assert_eq!(left, b"{\"tenant\":\"b\",\"slug\":\"b\"}\n{\"torn");
    assert_eq!(fs::metadata(&old).unwrap().modified().unwrap(), before);
    fs::remove_file(&old).unwrap();
    assert!(!node.holds("acme"));
    assert_eq!(
        (node.replayed(), node.archived()),
        (vec!["quoted".to_owned()], vec!["quoted".to_owned()])
    );
    let erased = erase(&node.settings, None, &tenant("a\"b")).unwrap();
    assert_eq!((erased.journal_events, erased.file_events), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_under_load_neither_loses_nor_blocks_events() {
    let node = Node::with_archive();
    let journal = node.boot();
    let tasks = Tasks::new();
    let load: Vec<_> = (0..4)
        .map(|task| {
            let journal = journal.clone();
            tasks.spawn(async move {
                for i in 0..500 {
                    let tenant = if i % 2 == 0 { "acme" } else { "other" };
                    append(&journal, tenant, 1, &format!("{task}-{i}")).await;
                }
            })
        })
        .collect();
    let (settings, erasing) = (node.settings.clone(), journal.clone());
    let erased = tasks.spawn_blocking(move || {
        let each = (0..5).map(|_| {
            erase(&settings, Some(&erasing), &tenant("acme"))
                .unwrap()
                .journal_events
        });
        each.sum::<u64>()
    });
    let first = erased.await.unwrap();
    for task in load {
        task.await.unwrap();
    }
    let rest = erase(&node.settings, Some(&journal), &tenant("acme"))
        .unwrap()
        .journal_events;
    assert_eq!(first + rest, 4 * 250);
    assert_eq!(node.replayed().len(), 4 * 250);
    assert_eq!(journal.metrics().lost.get(), 0);
}

#[test]
fn damage_around_an_event_does_not_protect_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(segment::segment_name(1));
    let mut data = MAGIC.to_vec();
    data.extend(b"damage");
    for (seq, tenant) in [(1, "acme"), (2, "other"), (3, "acme")] {
        frame::write(&mut data, seq, |out| {
            out.extend_from_slice(format!(r#"{{"seq":{seq},"tenant":"{tenant}"}}"#).as_bytes());
        });
        data.extend(b"more damage");
    }
    fs::write(&path, &data).unwrap();
    assert_eq!(erase_segment(&path, |json| tenant("acme").matches(json)).unwrap(), 2);
    let after = fs::read(&path).unwrap();
    assert_eq!(after.len(), data.len());
    assert!(!after.windows(4).any(|w| w == b"acme"));
    assert!(after.windows(5).any(|w| w == b"other"));
}
