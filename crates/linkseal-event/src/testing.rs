//! For this crate's tests: a journal's settings, and one node over several boots.

use std::path::{Path, PathBuf};
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use prometheus::Registry;

use crate::delivery::Delivery;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::privacy::IpPrivacy;
use crate::settings::{Durability, EventSettings, FileSettings, SinkKind, SinkSettings};

/// Longer than any operation of these tests takes.
const PATIENT: Duration = Duration::from_secs(60);
/// The clock does not advance beyond real time.
pub(crate) const STILL: Duration = Duration::ZERO;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A journal in a folder of `dir`, without sinks.
pub(crate) fn settings(dir: &Path) -> EventSettings {
    EventSettings {
        dir: dir.join("events"),
        durability: Durability::Written,
        keep: Duration::from_secs(72 * 3600),
        max_bytes: 1 << 30,
        privacy: IpPrivacy::Full.into(),
        sinks: Vec::new(),
    }
}

pub(crate) fn open(settings: &EventSettings, clock: &Clock) -> Journal {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    Journal::open(settings, "edge-1", clock.clone(), metrics).unwrap()
}

/// A sink that gets events of all types.
pub(crate) fn sink(name: &str, kind: SinkKind) -> SinkSettings {
    SinkSettings {
        name: name.to_owned(),
        types: None,
        kind,
    }
}

pub(crate) fn file(path: PathBuf) -> SinkKind {
    SinkKind::File(FileSettings {
        path: path.display().to_string(),
        ..FileSettings::default()
    })
}

/// One node's directory over several boots.
pub(crate) struct Node {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Clock,
    pub(crate) settings: EventSettings,
}

impl Node {
    /// `sinks` gets the node's directory.
    pub(crate) fn new(sinks: impl FnOnce(&Path) -> Vec<SinkSettings>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = EventSettings {
            sinks: sinks(dir.path()),
            ..settings(dir.path())
        };
        Self {
            dir,
            clock: Clock::system(),
            settings,
        }
    }

    pub(crate) fn boot(&self) -> Journal {
        open(&self.settings, &self.clock)
    }

    pub(crate) fn deliver(&self, journal: &Journal) -> Delivery {
        Delivery::start(journal, &self.settings, &Tasks::new()).unwrap()
    }

    /// Waits for a condition; the clock advances by `pace` between checks.
    pub(crate) async fn wait(&self, pace: Duration, mut condition: impl FnMut() -> bool) {
        let done = async {
            while !condition() {
                self.clock.advance(pace);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENT, done)
            .await
            .expect("the condition comes true");
    }
}
