//! The journal under SIGKILL, a file size limit and failing fsyncs: every acknowledged event is in it.
//!
//! The child process is this test program running only [`writer`], which prints the id of each event
//! that the journal acknowledges.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_event::{Durability, Event, EventSettings, EventType, Journal, Metrics, Privacy, Replay};
use uuid::Uuid;

/// Environment variables with the child's directory and durability.
const DIR: &str = "LINKSEAL_TEST_JOURNAL";
const DURABILITY: &str = "LINKSEAL_TEST_DURABILITY";
/// Tasks that append concurrently.
const WRITERS: usize = 8;
const KILLS: u32 = 100;
/// Events per task, after which a child that was not killed exits.
const EVENTS: usize = 100_000;
/// Precedes each id, since the test harness prints lines of its own.
const MARK: &str = "acknowledged ";

/// Not a test: the child process.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "run by the other tests, as a child process"]
async fn writer() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let durability = match std::env::var(DURABILITY).unwrap().as_str() {
        "queued" => Durability::Queued,
        "written" => Durability::Written,
        "synced" => Durability::Synced,
        other => panic!("unknown durability {other}"),
    };
    let journal = Journal::open(
        &settings(Path::new(&dir), durability),
        "edge-1",
        Clock::system(),
        Metrics::register(&prometheus::Registry::new()).unwrap(),
    )
    .unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let journal = journal.clone();
        writers.spawn(async move {
            let url = format!("https://shop.example/{}", "x".repeat(500));
            for _ in 0..EVENTS {
                let mut event = Event::new(
                    EventType::Click,
                    Clock::system().now(),
                    "links.customer.test",
                    "customer",
                );
                event.url = Some(&url);
                if let Ok(receipt) = journal.append(&event).await {
                    println!("{MARK}{}", receipt.id);
                }
                tokio::task::yield_now().await;
            }
        });
    }
    writers.join_all().await;
}

fn settings(dir: &Path, durability: Durability) -> EventSettings {
    EventSettings {
        dir: dir.to_owned(),
        durability,
        keep: Duration::from_secs(3600),
        max_bytes: 1 << 30,
        privacy: Privacy::default(),
        sinks: Vec::new(),
    }
}

/// Starts the child through a `wrapper` command, and receives the ids that it prints.
fn start(wrapper: &[&str], dir: &Path, durability: &str) -> (Child, mpsc::Receiver<Uuid>) {
    let program = std::env::current_exe().unwrap();
    let mut words = wrapper.iter().map(std::ffi::OsStr::new).collect::<Vec<_>>();
    words.push(program.as_os_str());
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .args(["journal_kill::writer", "--exact", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(DURABILITY, durability)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, ids) = mpsc::channel();
    std::thread::spawn(move || {
        for line in output.split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line);
            // A line that the kill cut off has no complete id.
            let id = line.split_once(MARK).and_then(|(_, id)| id.get(..36)?.parse().ok());
            if id.is_some_and(|id| sender.send(id).is_err()) {
                return;
            }
        }
    });
    (child, ids)
}

/// The ids in a journal.
fn written(dir: &Path) -> HashSet<Uuid> {
    let id = |json: &[u8]| -> Uuid {
        let event: serde_json::Value = serde_json::from_slice(json).unwrap();
        event["id"].as_str().unwrap().parse().unwrap()
    };
    let replay = Replay::open(dir, Timestamp::from_secs(0)).unwrap();
    replay.map(|record| id(&record.unwrap().json)).collect()
}

/// A random number below `end`.
fn random_below(end: u64) -> u64 {
    u64::from_be_bytes(linkseal_base::random::bytes()) % end
}

/// Kills a child shortly after a random number of acknowledged events, at most `max`; returns all events
/// that it has acknowledged.
fn kill_one(dir: &Path, durability: &str, max: u64) -> Vec<Uuid> {
    let (mut child, ids) = start(&[], dir, durability);
    let mut acknowledged = Vec::new();
    for _ in 0..=random_below(max) {
        acknowledged.push(
            ids.recv_timeout(Duration::from_secs(60))
                .expect("the child acknowledges"),
        );
    }
    std::thread::sleep(Duration::from_micros(random_below(3_000)));
    child.kill().unwrap();
    child.wait().unwrap();
    // Ids that were still in the pipe count as acknowledged, too.
    acknowledged.extend(ids.iter());
    acknowledged
}

/// Takes over ten seconds for a hundred child processes.
#[test]
fn every_acknowledged_event_survives_a_hundred_kills() {
    let mut all = 0;
    for kill in 0..KILLS {
        let dir = tempfile::tempdir().unwrap();
        // Some journals are killed twice. Synced ones are slow, so they are rare.
        let (durability, times) = if kill % 10 == 0 {
            ("synced", 1)
        } else {
            ("written", 1 + kill % 2)
        };
        let max = if durability == "synced" { 50 } else { 2_000 };
        let mut acknowledged = Vec::new();
        for _ in 0..times {
            acknowledged.extend(kill_one(dir.path(), durability, max));
        }
        let written = written(dir.path());
        let lost: Vec<_> = acknowledged.iter().filter(|id| !written.contains(id)).collect();
        assert!(
            lost.is_empty(),
            "kill {kill}, {durability}: {} of {} lost",
            lost.len(),
            acknowledged.len()
        );
        all += acknowledged.len();
    }
    assert!(all > KILLS as usize, "{all}");
}

/// Reads `count` acknowledgements and kills the child; returns all that it has acknowledged.
fn take(mut child: Child, ids: &mpsc::Receiver<Uuid>, count: usize) -> Vec<Uuid> {
    let mut acknowledged = Vec::new();
    while acknowledged.len() < count {
        acknowledged.push(ids.recv_timeout(Duration::from_secs(60)).expect("the child continues"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.extend(ids.iter());
    acknowledged
}

/// A write fails halfway with EFBIG: the rest of the group goes into the next segment.
#[test]
fn a_full_file_is_replaced_by_a_new_segment_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    // SIGXFSZ is ignored, or it would end the process.
    let wrapper = ["sh", "-c", "trap '' XFSZ; exec prlimit --fsize=300007 -- \"$@\"", "sh"];
    let (child, ids) = start(&wrapper, dir.path(), "written");
    let acknowledged = take(child, &ids, 3_000);
    let segments = segments(dir.path());
    assert!(segments.len() > 3, "{segments:?}");
    assert!(segments.iter().all(|length| *length <= 300_007), "{segments:?}");
    let written = written(dir.path());
    assert!(acknowledged.iter().all(|id| written.contains(id)));
}

fn segments(dir: &Path) -> Vec<u64> {
    let boots = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let files = boots.flat_map(|boot| std::fs::read_dir(boot).unwrap().map(|e| e.unwrap()));
    let segments = files.filter(|f| f.path().extension().is_some_and(|e| e == "log"));
    segments.map(|f| f.metadata().unwrap().len()).collect()
}

/// Every seventh fdatasync fails with EIO: unsynced events are written again to a new segment. Skipped
/// where strace is missing or not allowed to trace.
#[test]
fn a_failed_fsync_loses_no_acknowledged_event() {
    let inject = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:error=EIO:when=7+7",
    ];
    let probe = Command::new("strace")
        .args(&inject[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|s| s.success()) {
        eprintln!("skipped: strace cannot be used here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (child, ids) = start(&inject, dir.path(), "synced");
    let tracer = child.id();
    let acknowledged = take_traced(child, tracer, &ids, 200);
    assert!(segments(dir.path()).len() > 2);
    let written = written(dir.path());
    assert!(acknowledged.iter().all(|id| written.contains(id)));
}

/// As [`take`], for a child that runs under a tracer.
fn take_traced(mut child: Child, tracer: u32, ids: &mpsc::Receiver<Uuid>, count: usize) -> Vec<Uuid> {
    let mut acknowledged = Vec::new();
    while acknowledged.len() < count {
        acknowledged.push(ids.recv_timeout(Duration::from_secs(60)).expect("the child continues"));
    }
    // Killing the tracer would only detach it; the tracee is its only child.
    let tracee = std::fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).unwrap_or_default();
    for pid in tracee.split_ascii_whitespace() {
        Command::new("kill").args(["-9", pid]).status().unwrap();
    }
    child.wait().unwrap();
    acknowledged.extend(ids.iter());
    acknowledged
}
