//! Delivery from the journal to file sinks, over several boots of one node.

mod delivering;
mod disk;
mod removal;
mod retention;

use std::path::{Path, PathBuf};

use linkseal_base::clock::Clock;
use prometheus::Registry;
use uuid::Uuid;

use super::*;
use crate::delivery::keeper::{LOCK_EVERY, RETENTION_EVERY};
use crate::event::Event;
use crate::event_type::EventType;
use crate::journal::segment;
use crate::journal::tests::remove_all;
use crate::metrics::Metrics;
use crate::privacy::IpPrivacy;
use crate::settings::{Durability, FileSettings, SinkKind, SinkSettings};

/// One node's directory over several boots.
struct Node {
    dir: tempfile::TempDir,
    clock: Clock,
    settings: EventSettings,
}

impl Node {
    fn new(sinks: &[(&str, Option<EventType>)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sink = |(name, only): &(&str, Option<EventType>)| SinkSettings {
            name: (*name).to_owned(),
            types: only.map(|t| vec![t]),
            kind: file(dir.path().join(name).join("e.ndjson")),
        };
        let settings = EventSettings {
            dir: dir.path().join("journal"),
            durability: Durability::Written,
            keep: Duration::from_secs(72 * 3600),
            max_bytes: 1 << 30,
            privacy: IpPrivacy::Full.into(),
            sinks: sinks.iter().map(sink).collect(),
        };
        Self {
            dir,
            clock: Clock::system(),
            settings,
        }
    }

    fn boot(&self) -> Journal {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        Journal::open(&self.settings, "edge-1", self.clock.clone(), metrics).unwrap()
    }

    /// Makes a sink fail until [`Node::heal_sink`].
    fn break_sink(&self, name: &str) {
        std::fs::write(self.dir.path().join(name), "in the way").unwrap();
    }

    fn heal_sink(&self, name: &str) {
        std::fs::remove_file(self.dir.path().join(name)).unwrap();
    }

    /// The slugs that a sink holds, in order.
    fn held(&self, sink: &str) -> Vec<String> {
        let path = self.dir.path().join(sink).join("e.ndjson");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let slug = |l: &str| {
            serde_json::from_str::<serde_json::Value>(l).ok()?["slug"]
                .as_str()
                .map(str::to_owned)
        };
        text.lines().filter_map(slug).collect()
    }

    /// Waits for a condition while the clock advances quickly.
    async fn wait(&self, mut condition: impl FnMut() -> bool) {
        let done = async {
            while !condition() {
                self.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), done)
            .await
            .expect("the condition comes true");
    }
}

fn file(path: PathBuf) -> SinkKind {
    SinkKind::File(FileSettings {
        path: path.display().to_string(),
        ..FileSettings::default()
    })
}

async fn append(journal: &Journal, kind: EventType, slugs: std::ops::Range<u32>) {
    for slug in slugs {
        let slug = slug.to_string();
        let mut event = Event::new(kind, journal.clock().now(), "a.example", "a");
        event.slug = Some(&slug);
        journal.append(&event).await.unwrap();
    }
}

fn slugs(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn segments(journal_dir: &Path, boot: Uuid) -> usize {
    segment::segments(&journal_dir.join(boot.to_string())).unwrap().len()
}

const DEADLINE: Duration = Duration::from_secs(20);
