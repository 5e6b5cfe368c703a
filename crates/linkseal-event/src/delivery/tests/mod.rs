//! Delivery from the journal to file sinks, over several boots of one node.

mod delivering;
mod disk;
mod removal;
mod retention;

use std::path::Path;

use linkseal_base::clock::Clock;
use uuid::Uuid;

use super::*;
use crate::delivery::keeper::{LOCK_EVERY, RETENTION_EVERY};
use crate::event::Event;
use crate::event_type::EventType;
use crate::journal::segment;
use crate::journal::tests::remove_all;
use crate::settings::SinkSettings;
use crate::testing::{Node, SECOND, file, sink};

impl Node {
    fn with_files(sinks: &[(&str, Option<EventType>)]) -> Self {
        Self::new(|dir| {
            let sink = |(name, only): &(&str, Option<EventType>)| SinkSettings {
                types: only.map(|t| vec![t]),
                ..sink(name, file(dir.join(name).join("e.ndjson")))
            };
            sinks.iter().map(sink).collect()
        })
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
