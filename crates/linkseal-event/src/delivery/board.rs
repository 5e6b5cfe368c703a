//! The state of all sinks: what each holds, its lag, and what operators ask of it.
//!
//! The board outlives the runs of the delivery, which end with every reload and erasure. Lags are
//! measured and shown also while nothing is delivered; before the first run since the start they come
//! from the folders and cursors on disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::shutdown::Tasks;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::dead_letters::DeadLetters;
use super::report::{SinkCondition, SinkReport};
use super::sink_state::SinkState;
use crate::event::time_of;
use crate::journal::progress::folder_progress;
use crate::journal::reader::{FolderReader, Until};
use crate::journal::{Journal, segment};
use crate::settings::{SinkKind, SinkSettings};

/// How often lags are measured while sinks make no progress.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// The state of all sinks. Clones share it.
#[derive(Clone)]
pub(super) struct Board {
    inner: Arc<Inner>,
}

struct Inner {
    journal: Journal,
    sinks: Mutex<Vec<Arc<SinkState>>>,
    /// Whether a run of the delivery is active.
    is_running: AtomicBool,
    /// The last sequence numbers of earlier boots' folders.
    ends: Mutex<BTreeMap<Uuid, u64>>,
    letters: Arc<DeadLetters>,
}

impl Board {
    pub(super) fn new(journal: &Journal) -> Self {
        let letters = DeadLetters::new(journal.dir(), journal.metrics());
        Self {
            inner: Arc::new(Inner {
                journal: journal.clone(),
                sinks: Mutex::default(),
                is_running: AtomicBool::new(false),
                ends: Mutex::default(),
                letters: Arc::new(letters),
            }),
        }
    }

    /// Sets which sinks there are; those that stay keep their state.
    pub(super) fn set_sinks(&self, settings: &[SinkSettings]) {
        let metrics = self.inner.journal.metrics();
        let mut sinks = self.inner.sinks.lock();
        for gone in sinks.iter().filter(|s| settings.iter().all(|new| new.name != s.name)) {
            metrics.hide_sink(&gone.name);
        }
        *sinks = settings
            .iter()
            .map(|new| {
                let kind = match new.kind {
                    SinkKind::File(_) => "file",
                    SinkKind::Webhook(_) => "webhook",
                    SinkKind::Nats(_) => "nats",
                };
                if let Some(known) = sinks.iter().find(|s| s.name == new.name) {
                    known.known.lock().kind = kind;
                    return known.clone();
                }
                metrics.show_sink(&new.name);
                Arc::new(SinkState::new(&new.name, kind))
            })
            .collect();
    }

    /// The configured sink of that name.
    pub(super) fn sink(&self, name: &str) -> Option<Arc<SinkState>> {
        self.inner.sinks.lock().iter().find(|s| s.name == name).cloned()
    }

    /// Records whether a run of the delivery is active.
    pub(super) fn set_running(&self, is_running: bool) {
        self.inner.is_running.store(is_running, Ordering::Release);
        self.show_running();
    }

    /// Updates `linkseal_delivery_running`: a run is active, and the disk holds up none of its sinks.
    pub(super) fn show_running(&self) {
        // Locked until the gauge is set, so that the latest state stays.
        let sinks = self.inner.sinks.lock();
        let runs = self.inner.is_running.load(Ordering::Acquire) && !sinks.iter().any(|s| s.is_held_up());
        self.inner.journal.metrics().running.set(runs.into());
    }

    pub(super) fn letters(&self) -> &Arc<DeadLetters> {
        &self.inner.letters
    }

    /// Records where the folder of an earlier boot ends.
    pub(super) fn set_end(&self, boot: Uuid, last: u64) {
        self.inner.ends.lock().insert(boot, last);
    }

    /// Forgets folders that no longer exist.
    pub(super) fn keep_ends(&self, exists: impl Fn(Uuid) -> bool) {
        self.inner.ends.lock().retain(|boot, _| exists(*boot));
        for sink in self.inner.sinks.lock().iter() {
            sink.known.lock().held.retain(|boot, _| exists(*boot));
        }
    }

    /// What all sinks hold of a folder, if known.
    pub(super) fn least_held(&self, boot: Uuid) -> Option<u64> {
        self.inner.sinks.lock().iter().filter_map(|sink| sink.held(boot)).min()
    }

    /// Measures all lags periodically, until shutdown.
    pub(super) async fn run(self, tasks: Tasks) {
        // The part that reads the disk. If the disk hangs, only what it alone knows is delayed.
        let mut reading: Option<JoinHandle<()>> = None;
        loop {
            let sinks = self.inner.sinks.lock().clone();
            let unknown = sinks.into_iter().filter_map(|s| Some((self.show(&s)?, s)));
            let unknown: Vec<_> = unknown.collect();
            // After a pause: by then delivery has read the folders, if it can.
            self.inner.journal.clock().sleep(LAG_EVERY).await;
            if reading.as_ref().is_none_or(JoinHandle::is_finished) {
                let board = self.clone();
                reading = Some(tasks.spawn_blocking(move || board.read_disk(&unknown)));
            }
        }
    }

    /// Finds out what only the disk knows: where the folders of earlier boots end that delivery has
    /// not taken yet, and the time of the oldest event after each of these places. Blocks.
    fn read_disk(&self, unknown: &[((Uuid, u64), Arc<SinkState>)]) {
        self.read_earlier();
        let sinks = self.inner.sinks.lock().clone();
        for sink in sinks {
            self.letters().check_removed(&sink.name);
        }
        let journal = &self.inner.journal;
        for ((boot, after), sink) in unknown {
            let until = match *boot == journal.boot() {
                true => Until::Published(journal.published()),
                false => Until::End,
            };
            let folder = journal.dir().join(boot.to_string());
            let reader = FolderReader::new(&folder, *boot, *after, journal.metrics().damaged.clone());
            let time = first_time(reader, until);
            // The sink may have made progress meanwhile.
            if self.lag(sink).1 == Some((*boot, *after)) {
                sink.set_oldest(Some(time.unwrap_or_else(|| journal.clock().now())));
            }
            self.show(sink);
        }
    }

    /// Reads earlier boots' folders that delivery has not taken, as when the disk takes no cursor.
    /// Folders locked by another process are left to that process.
    fn read_earlier(&self) {
        let journal = &self.inner.journal;
        let boots = segment::boots(journal.dir()).unwrap_or_default();
        let sinks = self.inner.sinks.lock().clone();
        let names: Vec<_> = sinks.iter().map(|s| s.name.clone()).collect();
        for boot in boots.into_iter().filter(|boot| *boot < journal.boot()) {
            let folder = journal.dir().join(boot.to_string());
            if self.inner.ends.lock().contains_key(&boot) || !segment::is_free(&folder) {
                continue;
            }
            let Ok(found) = folder_progress(&folder, boot, &names) else {
                continue;
            };
            // A run that has taken it meanwhile knows better.
            for (sink, held) in sinks.iter().zip(found.held) {
                sink.known.lock().held.entry(boot).or_insert(held);
            }
            self.inner.ends.lock().entry(boot).or_insert(found.last);
        }
    }

    /// Updates the lag metrics of a sink. Returns the place after which its oldest undelivered event
    /// must be looked up on disk: when it has made no progress since the last call and the time of
    /// that event is not known.
    fn show(&self, sink: &SinkState) -> Option<(Uuid, u64)> {
        let (lag, first) = self.lag(sink);
        let now = self.inner.journal.clock().now();
        let metrics = self.inner.journal.metrics();
        let mut known = sink.known.lock();
        if lag == 0 {
            known.oldest = None;
        }
        let seconds = known.oldest.map_or(0, |t| now.saturating_since(t).as_secs());
        let labels = [sink.name.as_str()];
        metrics.lag.with_label_values(&labels).set(signed(lag));
        metrics.lag_seconds.with_label_values(&labels).set(signed(seconds));
        let before = std::mem::replace(&mut known.measured_at, first);
        first.filter(|place| known.oldest.is_none() && before == Some(*place))
    }

    /// How many events a sink does not hold yet, including lost ones between them, and the place after
    /// which the first of them is.
    fn lag(&self, sink: &SinkState) -> (u64, Option<(Uuid, u64)>) {
        let own = (self.inner.journal.boot(), self.inner.journal.published());
        let ends = self.inner.ends.lock().clone();
        let known = sink.known.lock();
        let (mut sum, mut first) = (0_u64, None);
        for (boot, end) in ends.into_iter().chain([own]) {
            let held = known.held.get(&boot).copied().unwrap_or(0);
            if end > held {
                sum = sum.saturating_add(end - held);
                first.get_or_insert((boot, held));
            }
        }
        (sum, first)
    }

    /// Records how far a sink has come in a folder.
    pub(super) fn set_held(&self, sink: &SinkState, boot: Uuid, seq: u64) {
        let held = sink.known.lock().held.insert(boot, seq);
        if held != Some(seq) {
            self.show(sink);
        }
    }

    /// The state of all sinks, in the order of the configuration.
    pub(super) fn reports(&self) -> Vec<SinkReport> {
        let sinks = self.inner.sinks.lock().clone();
        sinks.iter().map(|s| self.report(s)).collect()
    }

    pub(super) fn report(&self, sink: &SinkState) -> SinkReport {
        let metrics = self.inner.journal.metrics();
        let (lag_events, _) = self.lag(sink);
        let now = self.inner.journal.clock().now();
        let letters = metrics.dead_letters_waiting.with_label_values(&[&sink.name]).get();
        let known = sink.known.lock();
        let state = match known.stopped {
            Some(_) => SinkCondition::Stopped,
            None if known.disk.failures() > 0 => SinkCondition::Waiting,
            None if !self.inner.is_running.load(Ordering::Acquire) => SinkCondition::Waiting,
            None if known.failures > 0 => SinkCondition::Retrying,
            None => SinkCondition::Running,
        };
        SinkReport {
            name: sink.name.clone(),
            kind: known.kind,
            state,
            lag_events,
            lag_seconds: known.oldest.map_or(0, |t| now.saturating_since(t).as_secs()),
            last_success: known.last_success,
            failures: known.failures,
            last_error: known.last_error.clone(),
            next_attempt: known.next_attempt,
            stopped_since: known.stopped,
            dead_letters: u64::try_from(letters).unwrap_or(0),
        }
    }
}

/// The time of the first event that a reader finds.
fn first_time(mut reader: FolderReader, until: Until) -> Option<Timestamp> {
    let mut time = None;
    reader.read(until, 1, |_, json| time = time_of(json)).ok()?;
    time
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
