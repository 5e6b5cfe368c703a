//! Erasing what the journal and file sinks hold of a tenant or a message.
//!
//! The journal: segments are rewritten beside the old ones, with the matching events blanked
//! out, and take their place by a rename. A blanked frame is as long as before and keeps its
//! sequence number, so that readers in the middle of a segment and all cursors stay right; readers
//! pass it. File sinks: files are rewritten without the matching lines; so are the
//! dead letters of sinks. After a crash the old
//! file or the new one is there, whole; erasing again does the rest.
//!
//! It needs the delivery to be at rest: on a running node [`Eraser`] sees to that, while the journal
//! goes on taking events; on a stopped node the folders' locks keep a node that starts meanwhile
//! from delivering.
//!
//! Out of reach: what webhooks and NATS have been given, copies and backups of files, what a
//! reader of the event stream has seen, blocks of the disk that are not overwritten yet; and events
//! that come after the call. Stop the tenant's or message's links first if they shall not come.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use serde::Deserialize;
use uuid::Uuid;

use super::frame::{self, Parsed};
use super::segment::{self, Found, MAGIC};
use super::{Delivery, EventSettings, Journal, dead_letters, sink, whole};

/// What a blanked frame begins with; spaces fill it up.
pub(super) const BLANK: &[u8] = br#"{"erased":true}"#;
/// How long the journal may take to begin a new segment.
const ROTATION: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Erases on a running node. Clones share it.
#[derive(Clone)]
pub struct Eraser {
    delivery: Delivery,
    journal: Journal,
    tasks: Tasks,
}

impl Eraser {
    /// For a journal and its delivery, which runs in `tasks`.
    pub fn new(delivery: Delivery, journal: Journal, tasks: Tasks) -> Self {
        Self {
            delivery,
            journal,
            tasks,
        }
    }

    /// Stops the delivery, erases, and starts it again; the journal takes events all the while.
    /// It goes on to its end when no one waits for it any more.
    ///
    /// # Errors
    /// When something could not be reached.
    pub async fn erase(&self, selector: Selector) -> Result<Erased, EraseError> {
        let this = self.clone();
        let all = self.tasks.spawn(async move {
            let journal = this.journal.clone();
            let work = move |settings: &EventSettings| erase(settings, Some(&journal), &selector);
            this.delivery.at_rest(&this.tasks, work).await
        });
        all.await.ok().flatten().unwrap_or(Err(EraseError::Stopping))
    }
}

/// Whose events are erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All of a tenant, by the name that was its own when they happened.
    Tenant(String),
    /// All of a message.
    Message(Uuid),
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Erased {
    /// Events blanked in the journal.
    pub journal_events: u64,
    /// Segments of the journal rewritten.
    pub journal_segments: u64,
    /// Lines removed from files of sinks.
    pub file_events: u64,
    /// Files of sinks rewritten.
    pub files: u64,
    /// Dead letters removed: events that were set aside because a receiver refused them.
    pub dead_letters: u64,
}

/// Why not everything was erased. What was erased stays erased; erase again when the cause is gone.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// A node writes to the journal or delivers from it.
    #[error("{path} is in use by a running node; let that node erase (POST /v1/events/erase), or stop it first")]
    InUse {
        /// The folder that is locked.
        path: PathBuf,
    },
    /// The journal cannot begin a new segment.
    #[error("the journal could not begin a new segment in time; nothing was erased. Look for its errors in the log")]
    Stuck,
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The program ends.
    #[error("the node is stopping; erase again when it is up, or on the stopped node")]
    Stopping,
    /// A sink's settings.
    #[error(transparent)]
    Sink(#[from] sink::SinkSetupError),
}

/// Erases, and says so in the log. Blocks for as long as reading all of it takes. `journal` is
/// the running node's; `None`: no node runs. See the module on what must be at rest.
///
/// # Errors
/// When something could not be reached.
pub fn erase(settings: &EventSettings, journal: Option<&Journal>, selector: &Selector) -> Result<Erased, EraseError> {
    let dir = &settings.dir;
    let own = journal.map(Journal::boot);
    let mut locks = Vec::new();
    let boots = segment::boots(dir).map_err(at(dir))?;
    for boot in boots.iter().filter(|b| Some(**b) != own) {
        let path = dir.join(boot.to_string());
        match segment::lock(&path) {
            Ok(Some(lock)) => locks.push(lock),
            Ok(None) => return Err(EraseError::InUse { path }),
            Err(source) => return Err(EraseError::File { path, source }),
        }
    }
    // With no folder at all there would be no lock to hold.
    let mut placeholder = None;
    if journal.is_none() && boots.is_empty() {
        let path = dir.join(Uuid::now_v7().to_string());
        segment::create_dir(&path).map_err(at(&path))?;
        locks.extend(segment::lock(&path).map_err(at(&path))?);
        placeholder = Some(path);
    }
    let mut segments = Vec::new();
    for boot in boots {
        let folder = dir.join(boot.to_string());
        let end = match journal.filter(|_| Some(boot) == own) {
            Some(journal) => begin_segment(journal)?,
            None => u64::MAX,
        };
        let found = segment::segments(&folder).map_err(at(&folder))?;
        segments.extend(found.into_iter().filter(|s| s.first < end));
    }
    let mut erased = Erased::default();
    for Found { path, .. } in segments {
        let count = erase_segment(&path, selector).map_err(at(&path))?;
        erased.journal_events += count;
        erased.journal_segments += u64::from(count > 0);
    }
    for sink in &settings.sinks {
        for path in sink::files(sink)?.map_err(at(dir))? {
            whole::remove_unfinished(&sink::compressed(&path)).map_err(at(&path))?;
            let count = erase_lines(&path, |line| selector.takes(line)).map_err(at(&path))?;
            erased.file_events += count;
            erased.files += u64::from(count > 0);
        }
    }
    for path in dead_letters::files(dir).map_err(at(dir))? {
        erased.dead_letters += erase_lines(&path, |line| {
            dead_letters::event_of(line).is_some_and(|event| selector.takes(event))
        })
        .map_err(at(&path))?;
    }
    if let Some(path) = placeholder {
        fs::remove_dir_all(&path).map_err(at(&path))?;
    }
    drop(locks);
    tracing::info!(
        ?selector,
        journal_events = erased.journal_events,
        file_events = erased.file_events,
        dead_letters = erased.dead_letters,
        "events were erased from the journal and from file sinks; what webhooks and NATS were given is out of reach"
    );
    Ok(erased)
}

/// Which file, for what the system says of it.
fn at(path: &Path) -> impl FnOnce(io::Error) -> EraseError {
    let path = path.to_owned();
    |source| EraseError::File { path, source }
}

/// Has the journal leave its present segment; the first sequence number of the one it is at then.
fn begin_segment(journal: &Journal) -> Result<u64, EraseError> {
    let written = journal.published();
    let clock = Clock::system();
    let deadline = clock.uptime() + ROTATION;
    journal.rotate();
    loop {
        let all = segment::segments(journal.folder()).map_err(at(journal.folder()))?;
        if let Some(last) = all.last().filter(|s| s.first > written) {
            return Ok(last.first);
        }
        if clock.uptime() >= deadline {
            return Err(EraseError::Stuck);
        }
        #[allow(clippy::disallowed_methods, reason = "this is called where blocking is allowed")]
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Selector {
    /// Whether an event is to go.
    fn takes(&self, json: &[u8]) -> bool {
        /// What is looked at.
        #[derive(Deserialize)]
        struct Subject {
            tenant: Option<String>,
            message_id: Option<Uuid>,
        }
        let subject: Option<Subject> = serde_json::from_slice(json).ok();
        subject.is_some_and(|s| match self {
            Self::Tenant(tenant) => s.tenant.as_ref() == Some(tenant),
            Self::Message(message) => s.message_id == Some(*message),
        })
    }
}

/// Blanks the matching events of a segment that is no longer written; how many there were.
fn erase_segment(path: &Path, selector: &Selector) -> io::Result<u64> {
    whole::remove_unfinished(path)?;
    let mut data = match fs::read(path) {
        Ok(data) => data,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let mut count = 0;
    let mut place = MAGIC.len();
    while place < data.len() {
        match frame::parse(&data, place) {
            Parsed::Frame { seq, payload } => {
                let json = data.get_mut(payload.clone()).unwrap_or_default();
                if selector.takes(json) {
                    blank(json);
                    count += 1;
                    let mut new = Vec::with_capacity(payload.end - place);
                    frame::write(&mut new, seq, |out| out.extend_from_slice(json));
                    if let Some(old) = data.get_mut(place..payload.end) {
                        old.copy_from_slice(&new);
                    }
                }
                place = payload.end;
            }
            // Past damage as readers go past it.
            _ => match frame::resync(&data, place + 1, 1..u64::MAX) {
                Some(next) => place = next,
                None => break,
            },
        }
    }
    if count > 0 {
        rewrite(path, |out| out.write_all(&data))?;
    }
    Ok(count)
}

/// Every event is longer than this: it has an id.
fn blank(json: &mut [u8]) {
    for (i, byte) in json.iter_mut().enumerate() {
        *byte = BLANK.get(i).copied().unwrap_or(b' ');
    }
}

/// Whether a frame's payload was blanked.
pub(super) fn is_blank(json: &[u8]) -> bool {
    json.starts_with(BLANK)
}

/// Removes the matching lines of a file; how many there were.
fn erase_lines(path: &Path, takes: impl Fn(&[u8]) -> bool) -> io::Result<u64> {
    whole::remove_unfinished(path)?;
    let mut count = 0;
    each_line(path, |line| {
        count += u64::from(takes(line));
        Ok(())
    })?;
    if count > 0 {
        let packed = is_packed(path);
        rewrite(path, |out| {
            let write =
                |out: &mut dyn Write| each_line(path, |line| if takes(line) { Ok(()) } else { out.write_all(line) });
            if packed {
                let mut encoder = sink::encoder(out)?;
                write(&mut encoder)?;
                encoder.finish()?;
                Ok(())
            } else {
                write(out)
            }
        })?;
    }
    Ok(count)
}

/// Calls `f` with each line of a file, its end included.
fn each_line(path: &Path, mut f: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut lines: Box<dyn BufRead> = if is_packed(path) {
        Box::new(BufReader::new(zstd::Decoder::new(file)?))
    } else {
        Box::new(BufReader::new(file))
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        // The longest line of ours; others are left as they are, in pieces.
        let read = (&mut lines)
            .take(frame::MAX_PAYLOAD as u64 + 1)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        f(&line)?;
    }
}

fn is_packed(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .ends_with(sink::COMPRESSED.as_bytes())
}

/// Writes a file again, with its age: what is kept by age stays no longer for this.
fn rewrite(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let modified = fs::metadata(path)?.modified()?;
    whole::put(path, path, Some(modified), write)
}

#[cfg(test)]
mod tests {
    use linkseal_base::clock::Timestamp;
    use linkseal_base::shutdown::Tasks;
    use prometheus::Registry;

    use super::super::{
        Delivery, Durability, Event, EventType, FileSettings, IpPrivacy, Metrics, Replay, SinkKind, SinkSettings,
    };
    use super::*;

    const PATIENT: Duration = Duration::from_secs(30);

    struct Node {
        dir: tempfile::TempDir,
        settings: EventSettings,
    }

    impl Node {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("archive/%Y.ndjson").display().to_string();
            let settings = EventSettings {
                dir: dir.path().join("events"),
                durability: Durability::Written,
                keep: Duration::from_secs(3600),
                max_bytes: 1 << 30,
                privacy: IpPrivacy::Full.into(),
                sinks: vec![SinkSettings {
                    name: "archive".into(),
                    types: None,
                    kind: SinkKind::File(FileSettings {
                        path,
                        ..FileSettings::default()
                    }),
                }],
            };
            Self { dir, settings }
        }

        fn boot(&self) -> Journal {
            let metrics = Metrics::register(&Registry::new()).unwrap();
            Journal::open(&self.settings, "edge-1", Clock::system(), metrics).unwrap()
        }

        /// The slugs that a replay shows.
        fn replayed(&self) -> Vec<String> {
            let replay = Replay::open(&self.settings.dir, Timestamp::from_secs(0)).unwrap();
            replay.map(|r| slug(&r.unwrap().json)).collect()
        }

        /// The slugs in all of the archive's files.
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

        /// Whether some text is in any file below the node's directory.
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

    async fn until(mut condition: impl FnMut() -> bool) {
        let done = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENT, done).await.unwrap();
    }

    fn tenant(name: &str) -> Selector {
        Selector::Tenant(name.into())
    }

    #[tokio::test]
    async fn a_running_node_erases_and_delivers_on() {
        let node = Node::new();
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
        until(|| node.archived().len() == 2).await;

        let eraser = Eraser::new(delivery.clone(), journal.clone(), tasks.clone());
        append(&journal, "acme", 4, "acme-2").await;
        append(&journal, "other", 4, "other-2").await;
        let erased = eraser.erase(tenant("acme")).await.unwrap();
        // Whether the second was delivered before it was erased is left to chance.
        assert_eq!(erased.journal_events, 3);
        assert!((1..=2).contains(&erased.file_events), "{erased:?}");
        assert_eq!((erased.journal_segments, erased.files), (2, 1));
        assert!(!node.holds("acme"));
        append(&journal, "other", 4, "other-3").await;
        until(|| node.archived().len() >= 3).await;
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
        let node = Node::new();
        let tasks = Tasks::new();
        let journal = node.boot();
        append(&journal, "acme", 1, "acme").await;
        append(&journal, "a\"b", 1, "quoted").await;
        let error = erase(&node.settings, None, &tenant("acme")).unwrap_err();
        assert!(matches!(error, EraseError::InUse { .. }), "{error}");
        let delivery = Delivery::start(&journal, &node.settings, &tasks).unwrap();
        until(|| node.archived().len() == 2).await;
        assert!(delivery.stop(PATIENT).await);
        journal.close(PATIENT);
        drop(journal);

        // A file of last year, compressed.
        let old = node.dir.path().join("archive/2020.ndjson.zst");
        let text = "{\"tenant\":\"acme\",\"slug\":\"a\"}\n{\"tenant\":\"b\",\"slug\":\"b\"}\n{\"torn";
        fs::write(&old, zstd::encode_all(text.as_bytes(), 0).unwrap()).unwrap();
        let before = fs::metadata(&old).unwrap().modified().unwrap();
        // What a crash left of an earlier attempt.
        fs::write(whole::with_suffix(&old, ".new"), "acme").unwrap();

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
    async fn nothing_is_lost_or_blocked_when_it_is_erased_under_load() {
        let node = Node::new();
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
        assert_eq!(erase_segment(&path, &tenant("acme")).unwrap(), 2);
        let after = fs::read(&path).unwrap();
        assert_eq!(after.len(), data.len());
        assert!(!after.windows(4).any(|w| w == b"acme"));
        assert!(after.windows(5).any(|w| w == b"other"));
    }
}
