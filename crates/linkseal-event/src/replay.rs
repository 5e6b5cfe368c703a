//! The journal for reading along: what was written since some moment, and what is being written
//! now. Takes no locks and moves no cursors.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use linkseal_base::clock::Timestamp;
use prometheus::IntCounter;
use uuid::Uuid;

use super::event::head;
use super::reader::{FolderReader, Record, Stop, Until};
use super::{Journal, segment};

/// Records read at once.
pub(super) const BATCH: usize = 500;

/// All events in a journal's directory from a moment on, in order of boot and sequence, as far as
/// they are kept. Works beside a running edge, and without one.
pub struct Replay {
    dir: PathBuf,
    boots: IntoIter<Uuid>,
    from: Timestamp,
    reader: Option<FolderReader>,
    records: IntoIter<Record>,
    damaged: IntCounter,
}

impl Replay {
    /// Opens a journal's directory (`events.dir`).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(dir: &Path, from: Timestamp) -> io::Result<Self> {
        // Damage is logged; no one collects metrics here.
        let damaged = IntCounter::new("damaged", "not registered").map_err(io::Error::other)?;
        // Said here, because a directory that is missing looks like an empty one below.
        std::fs::read_dir(dir)?;
        let boots = segment::boots(dir)?.into_iter();
        Ok(Self {
            dir: dir.to_owned(),
            boots,
            from,
            reader: None,
            records: Vec::new().into_iter(),
            damaged,
        })
    }

    fn fill(&mut self) -> io::Result<bool> {
        loop {
            let Some(reader) = &mut self.reader else {
                let Some(boot) = self.boots.next() else {
                    return Ok(false);
                };
                let folder = self.dir.join(boot.to_string());
                self.reader = Some(FolderReader::new(&folder, boot, 0, self.damaged.clone()));
                continue;
            };
            let mut records = Vec::new();
            let stop = reader.read(Until::End, BATCH, &mut records)?;
            if stop == Stop::End {
                self.reader = None;
            }
            if !records.is_empty() {
                self.records = records.into_iter();
                return Ok(true);
            }
        }
    }

    fn wanted(&self, record: &Record) -> bool {
        let time = head(&record.json).and_then(|h| Timestamp::parse_rfc3339(&h.time));
        time.is_none_or(|t| t >= self.from)
    }
}

impl Iterator for Replay {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.next() {
                Some(record) if self.wanted(&record) => return Some(Ok(record)),
                Some(_) => {}
                None => match self.fill() {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(e) => return Some(Err(e)),
                },
            }
        }
    }
}

/// Follows this boot's events as they are written; made by [`Journal::follow`]. However slow its
/// reader is, it holds up no one and buffers nothing: it reads from the journal.
pub struct Follower {
    journal: Journal,
    /// What earlier boots left, oldest first.
    earlier: VecDeque<FolderReader>,
    /// `None`: a read was broken off.
    reader: Option<FolderReader>,
}

impl Journal {
    /// Follows this boot's events after a sequence number. `None`: from now on. A stream's
    /// `Last-Event-ID` of this boot gives the number; of another boot, begin with `Some(0)`.
    pub fn follow(&self, after: Option<u64>) -> Follower {
        let after = after.unwrap_or_else(|| self.published());
        let reader = FolderReader::new(self.folder(), self.boot(), after, self.metrics().damaged.clone());
        Follower {
            journal: self.clone(),
            earlier: VecDeque::new(),
            reader: Some(reader),
        }
    }

    /// Goes on after an event of this or an earlier boot, as far back as the journal is kept, and
    /// follows this boot's events then. Blocks for a moment.
    ///
    /// # Errors
    /// When the journal's directory cannot be read.
    pub fn resume(&self, boot: Uuid, seq: u64) -> io::Result<Follower> {
        if boot >= self.boot() {
            // A later boot's is not of this journal: anyone who has it lacks all of this one.
            return Ok(self.follow(Some(if boot == self.boot() { seq } else { 0 })));
        }
        let mut follower = self.follow(Some(0));
        let damaged = &self.metrics().damaged;
        for earlier in segment::boots(self.dir())? {
            if earlier >= boot && earlier < self.boot() {
                let after = if earlier == boot { seq } else { 0 };
                let folder = self.dir().join(earlier.to_string());
                let reader = FolderReader::new(&folder, earlier, after, damaged.clone());
                follower.earlier.push_back(reader);
            }
        }
        Ok(follower)
    }
}

impl Follower {
    /// The next events, at least one; waits for them. When it is dropped while it reads, the
    /// follower is at its end.
    ///
    /// # Errors
    /// When the journal cannot be read, or a read was broken off.
    pub async fn next(&mut self) -> io::Result<Vec<Record>> {
        while let Some(mut reader) = self.earlier.pop_front() {
            let read = tokio::task::spawn_blocking(move || {
                let mut records = Vec::new();
                let result = reader.read(Until::End, BATCH, &mut records);
                (reader, records, result)
            });
            let (reader, records, stop) = read.await.map_err(io::Error::other)?;
            if stop? == Stop::Enough {
                self.earlier.push_front(reader);
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
        loop {
            let mut reader = self
                .reader
                .take()
                .ok_or_else(|| io::Error::other("a read was broken off"))?;
            let changed = self.journal.changed().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let published = self.journal.published();
            if reader.last() >= published {
                self.reader = Some(reader);
                changed.await;
                continue;
            }
            let read = tokio::task::spawn_blocking(move || {
                let mut records = Vec::new();
                let result = reader.read(Until::Published(published), BATCH, &mut records);
                (reader, records, result)
            });
            let (reader, records, result) = read.await.map_err(io::Error::other)?;
            self.reader = Some(reader);
            result?;
            if !records.is_empty() {
                return Ok(records);
            }
            // What is missing was removed or damaged; more will come after it.
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use linkseal_base::clock::Clock;
    use prometheus::Registry;

    use super::super::{Durability, Event, EventSettings, EventType, IpPrivacy, Metrics};
    use super::*;

    fn settings(dir: &Path) -> EventSettings {
        EventSettings {
            dir: dir.to_owned(),
            durability: Durability::Written,
            keep: Duration::from_secs(3600),
            max_bytes: 1 << 30,
            privacy: IpPrivacy::Full.into(),
            sinks: Vec::new(),
        }
    }

    fn open(dir: &Path, clock: &Clock) -> Journal {
        Journal::open(
            &settings(dir),
            "edge-1",
            clock.clone(),
            Metrics::register(&Registry::new()).unwrap(),
        )
        .unwrap()
    }

    async fn append(journal: &Journal, count: usize) {
        for _ in 0..count {
            let event = Event::new(EventType::Open, journal.clock().now(), "a.example", "a");
            journal.append(&event).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_replay_goes_through_all_boots_from_a_moment_on() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let first = open(dir.path(), &clock);
        append(&first, 3).await;
        clock.advance(Duration::from_secs(60));
        let from = clock.now();
        append(&first, 600).await;
        let second = open(dir.path(), &clock);
        append(&second, 2).await;
        let seen: Vec<_> = Replay::open(dir.path(), from)
            .unwrap()
            .map(|r| r.unwrap())
            .map(|r| (r.boot, r.seq))
            .collect();
        let expected = (4..=603)
            .map(|seq| (first.boot(), seq))
            .chain([(second.boot(), 1), (second.boot(), 2)]);
        assert_eq!(seen, expected.collect::<Vec<_>>());
        assert!(Replay::open(&dir.path().join("missing"), from).is_err());
    }

    #[tokio::test]
    async fn a_follower_sees_events_as_they_come_and_resumes() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), &Clock::system());
        append(&journal, 3).await;
        let seqs = |records: Vec<Record>| records.iter().map(|r| r.seq).collect::<Vec<_>>();
        let mut resumed = journal.follow(Some(1));
        assert_eq!(seqs(resumed.next().await.unwrap()), [2, 3]);
        let mut new = journal.follow(None);
        let (seen, ()) = tokio::join!(new.next(), append(&journal, 1));
        assert_eq!(seqs(seen.unwrap()), [4]);
        assert_eq!(seqs(resumed.next().await.unwrap()), [4]);
    }

    #[tokio::test]
    async fn a_follower_goes_on_in_an_earlier_boot() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let boots: Vec<_> = (0..3).map(|_| open(dir.path(), &clock)).collect();
        for journal in &boots {
            append(journal, 600).await;
        }
        let [first, second, third] = boots.as_slice() else {
            unreachable!()
        };
        let mut follower = third.resume(first.boot(), 599).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 1201 {
            seen.extend(follower.next().await.unwrap().iter().map(|r| (r.boot, r.seq)));
        }
        let all = |j: &Journal, from: u64| (from..=600).map(|seq| (j.boot(), seq)).collect::<Vec<_>>();
        assert_eq!(seen, [all(first, 600), all(second, 1), all(third, 1)].concat());
        let mut own = third.resume(third.boot(), 600).unwrap();
        let (records, ()) = tokio::join!(own.next(), append(third, 1));
        assert_eq!(records.unwrap().first().unwrap().seq, 601);
    }

    #[test]
    fn a_replay_beside_a_running_edge_leaves_nothing_out() {
        /// Events a round, and rounds.
        const EVENTS: u64 = 400;
        const ROUNDS: usize = 12;
        let url = format!("https://x.example/{}", "x".repeat(700));
        let mut replays = 0;
        for _ in 0..ROUNDS {
            let dir = tempfile::tempdir().unwrap();
            let settings = EventSettings {
                // Small segments: their ends are read too while they are written.
                max_bytes: 1,
                ..settings(dir.path())
            };
            let metrics = Metrics::register(&Registry::new()).unwrap();
            let journal = Journal::open(&settings, "edge-1", Clock::system(), metrics).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut event = Event::new(EventType::Click, journal.clock().now(), "a.example", "a");
                    event.url = Some(&url);
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    for _ in 0..EVENTS {
                        runtime.block_on(journal.append(&event)).unwrap();
                    }
                });
                let mut end = 0;
                while end < EVENTS {
                    let written = journal.published();
                    let seqs: Vec<_> = Replay::open(dir.path(), Timestamp::from_secs(0))
                        .unwrap()
                        .map(|r| r.unwrap().seq)
                        .collect();
                    end = seqs.len() as u64;
                    assert!(seqs.into_iter().eq(1..=end), "a gap below {end}");
                    assert!(end >= written, "{end} of {written}");
                    replays += 1;
                }
            });
        }
        assert!(replays > ROUNDS, "{replays}: some were beside the writer");
    }
}
