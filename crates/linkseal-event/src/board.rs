//! How each sink is: what it holds, what it lacks and since when, and what an operator asks of it.
//!
//! It outlives any one delivery, which a reload or an erasure ends and begins again: lags are
//! measured and shown also while nothing is delivered, from what the folders and cursors on disk
//! say where no delivery has begun since the start.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::shutdown::Tasks;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::dead_letters::DeadLetters;
use super::event::head;
use super::reader::{FolderReader, Until};
use super::trouble::Trouble;
use super::{Journal, SinkKind, SinkSettings, keeper, segment};

/// How often lags are measured while sinks do nothing.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// What is known of all sinks. Clones share it.
#[derive(Clone)]
pub(super) struct Board {
    inner: Arc<Inner>,
}

struct Inner {
    journal: Journal,
    sinks: Mutex<Vec<Arc<SinkState>>>,
    /// Whether a delivery runs.
    is_running: AtomicBool,
    /// The last sequence numbers of earlier boots' folders.
    ends: Mutex<BTreeMap<Uuid, u64>>,
    letters: Arc<DeadLetters>,
}

/// What is known of one sink.
#[derive(Debug)]
pub(super) struct SinkState {
    pub(super) name: String,
    kind: Mutex<&'static str>,
    /// Told when an operator wants something of it.
    pub(super) wake: Notify,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// How far it has come in each folder.
    held: BTreeMap<Uuid, u64>,
    /// When the oldest event happened that it lacks. `None`: it lacks none, or that is not known.
    oldest: Option<Timestamp>,
    /// Where it stood when its lag was measured last.
    stood: Option<(Uuid, u64)>,
    last_success: Option<Timestamp>,
    stopped: Option<Timestamp>,
    failures: u32,
    last_error: Option<String>,
    next_attempt: Option<Timestamp>,
    /// How our own disk holds it up.
    disk: Trouble,
    /// What an operator asks for.
    retry: bool,
    replay: bool,
}

/// How a sink is, for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Sink")]
pub struct SinkReport {
    /// Its name.
    pub name: String,
    /// What it is: file, webhook or nats.
    pub kind: &'static str,
    /// How it goes.
    pub state: SinkCondition,
    /// How many events it does not hold yet.
    pub lag_events: u64,
    /// How old the oldest of them is.
    pub lag_seconds: u64,
    /// When it took a batch last, since the start. `None`: it has not.
    pub last_success: Option<Timestamp>,
    /// How many attempts have failed in a row.
    pub failures: u32,
    /// Why the last one failed. `None`: it did not.
    pub last_error: Option<String>,
    /// When the next attempt is due. `None`: nothing is waited for.
    pub next_attempt: Option<Timestamp>,
    /// Since when it is stopped. `None`: it is not.
    pub stopped_since: Option<Timestamp>,
    /// Events set aside that neither a replay delivered nor anybody dropped.
    pub dead_letters: u64,
}

/// How it goes with a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkCondition {
    /// It takes what comes.
    Running,
    /// Its last attempt failed; another one follows.
    Retrying,
    /// Its endpoint said that it is gone (410).
    Stopped,
    /// Nothing is delivered to it at present: a reload or an erasure runs, or our own disk fails.
    Waiting,
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

    /// Takes over which sinks there are; those that stay keep what is known of them.
    pub(super) fn set_sinks(&self, settings: &[SinkSettings]) {
        let metrics = self.inner.journal.metrics();
        let mut sinks = lock(&self.inner.sinks);
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
                    *lock(&known.kind) = kind;
                    return known.clone();
                }
                metrics.show_sink(&new.name);
                Arc::new(SinkState {
                    name: new.name.clone(),
                    kind: Mutex::new(kind),
                    wake: Notify::new(),
                    known: Mutex::default(),
                })
            })
            .collect();
    }

    /// A sink by its name. `None`: it is not configured.
    pub(super) fn sink(&self, name: &str) -> Option<Arc<SinkState>> {
        lock(&self.inner.sinks).iter().find(|s| s.name == name).cloned()
    }

    /// Takes in whether a delivery runs.
    pub(super) fn set_running(&self, is_running: bool) {
        self.inner.is_running.store(is_running, Ordering::Release);
        self.show_running();
    }

    /// Shows whether events are delivered: a delivery runs, and our disk holds up none of its sinks.
    pub(super) fn show_running(&self) {
        // Held until it is shown, so that the latest state is what stays.
        let sinks = lock(&self.inner.sinks);
        let runs = self.inner.is_running.load(Ordering::Acquire) && !sinks.iter().any(|s| s.is_held_up());
        self.inner.journal.metrics().running.set(runs.into());
    }

    pub(super) fn letters(&self) -> &Arc<DeadLetters> {
        &self.inner.letters
    }

    /// Takes in where a folder of an earlier boot ends.
    pub(super) fn set_end(&self, boot: Uuid, last: u64) {
        lock(&self.inner.ends).insert(boot, last);
    }

    /// Forgets folders that are no longer there.
    pub(super) fn keep_ends(&self, there: impl Fn(Uuid) -> bool) {
        lock(&self.inner.ends).retain(|boot, _| there(*boot));
        for sink in lock(&self.inner.sinks).iter() {
            sink.known().held.retain(|boot, _| there(*boot));
        }
    }

    /// What all sinks hold of a folder. `None`: that is not known.
    pub(super) fn least_held(&self, boot: Uuid) -> Option<u64> {
        lock(&self.inner.sinks).iter().filter_map(|sink| sink.held(boot)).min()
    }

    /// Measures all lags now and then, until the program stops.
    pub(super) async fn run(self, tasks: Tasks) {
        // What looks at the disk. One that hangs holds up no more than what only the disk knows.
        let mut looking: Option<JoinHandle<()>> = None;
        loop {
            let sinks = lock(&self.inner.sinks).clone();
            let unknown = sinks.into_iter().filter_map(|s| Some((self.show(&s)?, s)));
            let unknown: Vec<_> = unknown.collect();
            // After a pause: by then delivery has looked at the folders, if it can.
            self.inner.journal.clock().sleep(LAG_EVERY).await;
            if looking.as_ref().is_none_or(JoinHandle::is_finished) {
                let board = self.clone();
                looking = Some(tasks.spawn_blocking(move || board.look(&unknown)));
            }
        }
    }

    /// Finds out what only the disk knows: where earlier boots end that no delivery has taken yet, and
    /// how old the oldest events are that sinks lack after these places. Blocks.
    fn look(&self, unknown: &[((Uuid, u64), Arc<SinkState>)]) {
        self.look_at_earlier();
        let sinks = lock(&self.inner.sinks).clone();
        for sink in sinks {
            self.letters().look_for_removed(&sink.name);
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
            // It may have moved meanwhile.
            if self.lag(sink).1 == Some((*boot, *after)) {
                sink.set_oldest(Some(time.unwrap_or_else(|| journal.clock().now())));
            }
            self.show(sink);
        }
    }

    /// Looks at earlier boots' folders that no delivery has taken, as none does while the disk takes no
    /// cursor. Those that another process holds are its own.
    fn look_at_earlier(&self) {
        let journal = &self.inner.journal;
        let boots = segment::boots(journal.dir()).unwrap_or_default();
        let sinks = lock(&self.inner.sinks).clone();
        let names: Vec<_> = sinks.iter().map(|s| s.name.clone()).collect();
        for boot in boots.into_iter().filter(|boot| *boot < journal.boot()) {
            let folder = journal.dir().join(boot.to_string());
            if lock(&self.inner.ends).contains_key(&boot) || !segment::is_free(&folder) {
                continue;
            }
            let Ok(found) = keeper::look_at(&folder, boot, &names) else {
                continue;
            };
            // A delivery that has taken it meanwhile knows better.
            for (sink, held) in sinks.iter().zip(found.held) {
                sink.known().held.entry(boot).or_insert(held);
            }
            lock(&self.inner.ends).entry(boot).or_insert(found.last);
        }
    }

    /// Shows a sink's lag. Answers the place after which its oldest undelivered event must be looked
    /// for: the sink has not moved since the last look, and it is not known what it waits with.
    fn show(&self, sink: &SinkState) -> Option<(Uuid, u64)> {
        let (lag, first) = self.lag(sink);
        let now = self.inner.journal.clock().now();
        let metrics = self.inner.journal.metrics();
        let mut known = sink.known();
        if lag == 0 {
            known.oldest = None;
        }
        let seconds = known.oldest.map_or(0, |t| now.saturating_since(t).as_secs());
        let labels = [sink.name.as_str()];
        metrics.lag.with_label_values(&labels).set(signed(lag));
        metrics.lag_seconds.with_label_values(&labels).set(signed(seconds));
        let stood = std::mem::replace(&mut known.stood, first);
        first.filter(|place| known.oldest.is_none() && stood == Some(*place))
    }

    /// How many events a sink does not hold yet, lost ones between them included; and the place
    /// after which the first of them is.
    fn lag(&self, sink: &SinkState) -> (u64, Option<(Uuid, u64)>) {
        let own = (self.inner.journal.boot(), self.inner.journal.published());
        let ends = lock(&self.inner.ends).clone();
        let known = sink.known();
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

    /// Takes in how far a sink has come in a folder.
    pub(super) fn set_held(&self, sink: &SinkState, boot: Uuid, seq: u64) {
        let held = sink.known().held.insert(boot, seq);
        if held != Some(seq) {
            self.show(sink);
        }
    }

    /// How all sinks are, in the order of the configuration.
    pub(super) fn reports(&self) -> Vec<SinkReport> {
        let sinks = lock(&self.inner.sinks).clone();
        sinks.iter().map(|s| self.report(s)).collect()
    }

    pub(super) fn report(&self, sink: &SinkState) -> SinkReport {
        let metrics = self.inner.journal.metrics();
        let (lag_events, _) = self.lag(sink);
        let now = self.inner.journal.clock().now();
        let letters = metrics.dead_letters_waiting.with_label_values(&[&sink.name]).get();
        let known = sink.known();
        let state = match known.stopped {
            Some(_) => SinkCondition::Stopped,
            None if known.disk.failures() > 0 => SinkCondition::Waiting,
            None if !self.inner.is_running.load(Ordering::Acquire) => SinkCondition::Waiting,
            None if known.failures > 0 => SinkCondition::Retrying,
            None => SinkCondition::Running,
        };
        SinkReport {
            name: sink.name.clone(),
            kind: *lock(&sink.kind),
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

impl SinkState {
    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// How far it has come in a folder. `None`: that is not known.
    pub(super) fn held(&self, boot: Uuid) -> Option<u64> {
        self.known().held.get(&boot).copied()
    }

    /// Takes in when the oldest event happened that it lacks.
    pub(super) fn set_oldest(&self, time: Option<Timestamp>) {
        self.known().oldest = time;
    }

    /// It took a batch.
    pub(super) fn succeeded(&self, now: Timestamp) {
        let mut known = self.known();
        known.last_success = Some(now);
        (known.failures, known.last_error, known.next_attempt) = (0, None, None);
    }

    /// An attempt failed; `failures` in a row.
    pub(super) fn failed(&self, cause: &str, failures: u32, next: Timestamp) {
        let mut known = self.known();
        known.failures = failures;
        known.last_error = Some(cause.to_owned());
        known.next_attempt = Some(next);
    }

    /// Our own disk lets it go no further; tells whether that belongs into the log.
    pub(super) fn disk_failed(&self, cause: &str, now: Timestamp) -> bool {
        let mut known = self.known();
        known.last_error = Some(format!("events.dir: {cause}"));
        known.disk.failed(cause, now)
    }

    /// It does: how often it failed and for how long, if that was told.
    pub(super) fn disk_works(&self, now: Timestamp) -> Option<(u32, Duration)> {
        let mut known = self.known();
        if known.disk.failures() > 0 {
            known.last_error = None;
        }
        known.disk.over(now)
    }

    /// Whether our own disk holds it up.
    pub(super) fn is_held_up(&self) -> bool {
        self.known().disk.failures() > 0
    }

    /// Since when it is stopped. `None`: it is not.
    pub(super) fn set_stopped(&self, since: Option<Timestamp>, cause: Option<&str>) {
        let mut known = self.known();
        known.stopped = since;
        known.next_attempt = None;
        if let Some(cause) = cause {
            known.last_error = Some(cause.to_owned());
        }
    }

    /// Asks for another attempt now, also when it is stopped.
    pub(super) fn want_retry(&self) {
        self.known().retry = true;
        self.wake.notify_one();
    }

    /// Whether that was asked for since the last call.
    pub(super) fn take_retry(&self) -> bool {
        std::mem::take(&mut self.known().retry)
    }

    /// Asks for its dead letters to be given to it again.
    pub(super) fn want_replay(&self) {
        self.known().replay = true;
        self.wake.notify_one();
    }

    /// Whether that is asked for.
    pub(super) fn wants_replay(&self) -> bool {
        self.known().replay
    }

    /// Whether that was asked for since the last call.
    pub(super) fn take_replay(&self) -> bool {
        std::mem::take(&mut self.known().replay)
    }
}

/// When the first event happened that a reader finds. `None`: it finds none.
fn first_time(mut reader: FolderReader, until: Until) -> Option<Timestamp> {
    let mut records = Vec::new();
    reader.read(until, 1, &mut records).ok()?;
    time_of(&records.first()?.json)
}

/// When an event happened.
pub(super) fn time_of(json: &[u8]) -> Option<Timestamp> {
    head(json).and_then(|h| Timestamp::parse_rfc3339(&h.time))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
