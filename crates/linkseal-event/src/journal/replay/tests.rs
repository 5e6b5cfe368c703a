use std::time::Duration;

use linkseal_base::clock::Clock;

use super::*;
use crate::event::Event;
use crate::event_type::EventType;
use crate::settings::EventSettings;
use crate::testing;

fn settings(dir: &Path) -> EventSettings {
    EventSettings {
        dir: dir.to_owned(),
        ..testing::settings(dir)
    }
}

fn open(dir: &Path, clock: &Clock) -> Journal {
    testing::open(&settings(dir), clock)
}

async fn append(journal: &Journal, count: usize) {
    for _ in 0..count {
        let event = Event::new(EventType::Open, journal.clock().now(), "a.example", "a");
        journal.append(&event).await.unwrap();
    }
}

#[tokio::test]
async fn a_replay_reads_all_boots_since_a_time() {
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
async fn a_follower_resumes_in_an_earlier_boot() {
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
fn a_replay_beside_a_running_edge_is_complete() {
    /// Events per round, and rounds.
    const EVENTS: u64 = 400;
    const ROUNDS: usize = 12;
    let url = format!("https://x.example/{}", "x".repeat(700));
    let mut replays = 0;
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let settings = EventSettings {
            // Small segments, so that their ends are read while they are written.
            max_bytes: 1,
            ..settings(dir.path())
        };
        let journal = testing::open(&settings, &Clock::system());
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
