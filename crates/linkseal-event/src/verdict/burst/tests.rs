use super::*;
use crate::verdict::{Class, Verdict};

const OFFICE: &str = "203.0.113.9";
const HOME: &str = "198.51.100.4";
const T0: i64 = 1_800_000_000_000;

fn click(message: u128, link: u16, ip: &str, agent: &'static str, now: i64) -> Observation<'static> {
    Observation {
        tenant: "acme",
        message: Uuid::from_u128(message),
        target: Target::Link(link),
        ip: ip.parse().unwrap(),
        agent: agent.as_bytes(),
        now,
        signals: Signals::default(),
    }
}

/// The written verdict and the corrections by id, for an event whose id is its time.
fn see(memory: &BurstDetector, seen: &Observation<'_>) -> (Verdict, Vec<(i64, Verdict)>) {
    let (signals, handle) = memory.observe(seen);
    (Verdict::from_signals(signals), note(memory, &handle, seen.now))
}

fn note(memory: &BurstDetector, handle: &Handle, id: i64) -> Vec<(i64, Verdict)> {
    let corrections = memory.written(handle, Uuid::from_u128(id as u128));
    corrections
        .into_iter()
        .flatten()
        .map(|c| (c.id.as_u128() as i64, Verdict::from_signals(c.signals)))
        .collect()
}

fn reasons(verdict: &Verdict) -> Vec<&'static str> {
    verdict.reasons().collect()
}

#[test]
fn the_third_link_within_a_second_makes_a_burst_of_the_first() {
    let memory = BurstDetector::new();
    let (first, none) = see(&memory, &click(1, 0, OFFICE, "a", T0));
    assert_eq!((first.class, none.len()), (Class::Human, 0));
    let (second, corrected) = see(&memory, &click(1, 1, OFFICE, "a", T0 + 100));
    assert_eq!(reasons(&second), ["two_links_at_once"]);
    assert_eq!(second.class, Class::Unknown);
    assert_eq!(corrected, [(T0, second)]);
    let (third, corrected) = see(&memory, &click(1, 2, OFFICE, "a", T0 + 900));
    assert_eq!((third.class, reasons(&third)), (Class::Scanner, vec!["burst_of_links"]));
    let ids: Vec<_> = corrected.iter().map(|(id, v)| (*id, v.class)).collect();
    assert_eq!(ids, [(T0, Class::Scanner), (T0 + 100, Class::Scanner)]);
    assert_eq!(reasons(&corrected[0].1), ["two_links_at_once", "burst_of_links"]);
    // The rest of the burst; nothing is corrected twice.
    for more in 3..20 {
        let (verdict, corrected) = see(
            &memory,
            &click(1, more, OFFICE, "a", T0 + 900 + i64::from(more - 2) * 700),
        );
        assert_eq!((verdict.class, corrected.len()), (Class::Scanner, 0), "{more}");
    }
}

#[test]
fn people_do_not_make_a_burst() {
    let memory = BurstDetector::new();
    // A quick person.
    for link in 0..10 {
        let (verdict, corrected) = see(&memory, &click(1, link, OFFICE, "a", T0 + i64::from(link) * 1_001));
        assert_eq!((verdict.class, corrected.len()), (Class::Human, 0));
    }
    // The same link over and over.
    for again in 0..10 {
        assert_eq!(
            see(&memory, &click(2, 7, OFFICE, "a", T0 + again)).0.class,
            Class::Human
        );
    }
    // People of one company behind one address, each with their own message.
    for message in 10..40 {
        assert_eq!(see(&memory, &click(message, 3, OFFICE, "a", T0)).0.class, Class::Human);
    }
    // A mailer that uses one message id for all recipients.
    for (link, ip, agent) in [(0, OFFICE, "a"), (1, HOME, "b"), (2, "192.0.2.1", "c")] {
        assert_eq!(see(&memory, &click(3, link, ip, agent, T0)).0.class, Class::Human);
    }
    // A message of another tenant with the same id.
    for (link, tenant) in [(0, "a"), (1, "b"), (2, "c")] {
        let seen = Observation {
            tenant,
            ..click(4, link, OFFICE, "a", T0)
        };
        assert_eq!(see(&memory, &seen).0.class, Class::Human);
    }
}

#[test]
fn a_burst_from_many_addresses_is_recognised_by_its_agent_and_includes_the_pixel() {
    let memory = BurstDetector::new();
    let pixel = Observation {
        target: Target::Other,
        ..click(1, 0, "192.0.2.7", "farm", T0)
    };
    assert_eq!(see(&memory, &pixel).0.class, Class::Human);
    see(&memory, &click(1, 0, "198.18.0.1", "farm", T0 + 1));
    see(&memory, &click(1, 1, "203.0.113.1", "farm", T0 + 2));
    // A click of a person meanwhile is not part of it.
    assert_eq!(see(&memory, &click(1, 1, HOME, "own", T0 + 3)).0.class, Class::Unknown);
    let (third, corrected) = see(&memory, &click(1, 2, "192.0.2.1", "farm", T0 + 4));
    assert_eq!(third.class, Class::Scanner);
    let ids: Vec<_> = corrected
        .iter()
        .filter(|(_, v)| v.class == Class::Scanner)
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(ids, [T0, T0 + 1, T0 + 2]);
}

#[test]
fn weak_signals_add_up() {
    let memory = BurstDetector::new();
    let mut signals = Signals::default();
    signals.add(Signal::RightAfterIssue);
    see(&memory, &click(1, 0, OFFICE, "a", T0));
    let (verdict, _) = see(
        &memory,
        &Observation {
            signals,
            ..click(1, 1, OFFICE, "a", T0 + 1)
        },
    );
    assert_eq!(verdict.class, Class::Scanner);
    assert_eq!(reasons(&verdict), ["right_after_issue", "two_links_at_once"]);
}

#[test]
fn one_link_from_two_networks_within_seconds_is_unknown_for_both() {
    let memory = BurstDetector::new();
    see(&memory, &click(1, 4, OFFICE, "a", T0));
    let (second, corrected) = see(&memory, &click(1, 4, HOME, "b", T0 + 4_000));
    assert_eq!((second.class, reasons(&second)), (Class::Unknown, vec!["two_networks"]));
    assert_eq!(corrected, [(T0, second)]);
    let later = click(1, 4, "192.0.2.1", "c", T0 + 9_001);
    assert_eq!(see(&memory, &later).0.class, Class::Human);
    let neighbour = click(2, 4, "203.0.113.200", "b", T0);
    see(&memory, &click(2, 4, OFFICE, "a", T0));
    assert_eq!(see(&memory, &neighbour).0.class, Class::Human, "the same /24");
}

#[test]
fn a_modified_token_just_before_is_a_signal_of_a_gateway() {
    let memory = BurstDetector::new();
    memory.probed(Uuid::from_u128(1), OFFICE.parse().unwrap(), T0);
    let (verdict, _) = see(&memory, &click(1, 0, OFFICE, "a", T0 + 3_000));
    assert_eq!(
        (verdict.class, reasons(&verdict)),
        (Class::Scanner, vec!["changed_token_before"])
    );
    for innocent in [
        click(2, 0, OFFICE, "a", T0),
        click(1, 1, HOME, "a", T0 + 1_500),
        click(1, 2, OFFICE, "b", T0 + 9_000),
    ] {
        let (verdict, _) = see(&memory, &innocent);
        assert!(!reasons(&verdict).contains(&"changed_token_before"), "{innocent:?}");
    }
}

#[test]
fn the_last_of_concurrent_events_returns_the_corrections() {
    // Three requests are observed before the first is written; in every order of writing,
    // each event ends with the verdict scanner.
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let memory = BurstDetector::new();
        let seen: Vec<_> = (0..3).map(|link| click(1, link, OFFICE, "a", T0)).collect();
        let observed: Vec<_> = seen.iter().map(|s| memory.observe(s)).collect();
        let mut last: Vec<_> = observed
            .iter()
            .map(|(signals, _)| Verdict::from_signals(*signals).class)
            .collect();
        assert_eq!(last, [Class::Human, Class::Unknown, Class::Scanner]);
        let mut count = 0;
        for i in order {
            for (id, verdict) in note(&memory, &observed[i].1, i as i64 + 1) {
                last[id as usize - 1] = verdict.class;
                count += 1;
            }
        }
        assert_eq!(last, [Class::Scanner; 3], "{order:?}");
        assert_eq!(count, 2, "each wrong verdict is corrected once");
    }
}

#[test]
fn the_detector_does_not_grow() {
    let memory = BurstDetector::new();
    for message in 0..100_000 {
        see(&memory, &click(message, 0, OFFICE, "a", T0 + message as i64));
        memory.probed(Uuid::from_u128(message), OFFICE.parse().unwrap(), T0);
    }
    let sets: usize = memory.shards.iter().map(|s| s.lock().sets.capacity()).sum();
    assert_eq!(sets, SHARDS * SETS);
    assert!(size_of::<Set>() * sets < 9 << 20, "{} bytes each", size_of::<Set>());
    // After a flood, bursts are found as before.
    let now = T0 + 200_000;
    for link in 0..2 {
        see(&memory, &click(1 << 64, link, OFFICE, "a", now));
    }
    assert_eq!(
        see(&memory, &click(1 << 64, 2, OFFICE, "a", now)).0.class,
        Class::Scanner
    );
}

/// Measures the cost per event with threads that contend all the time.
#[test]
#[ignore = "a measurement: cargo test --release --lib event::memory -- --ignored --nocapture"]
fn detector_cost() {
    const EVENTS: u128 = 500_000;
    const AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
    for threads in [1, 2, 4] {
        let memory = BurstDetector::new();
        let start = std::time::Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let memory = &memory;
                scope.spawn(move || {
                    for i in 0..EVENTS {
                        let message = i << 8 | thread;
                        see(memory, &click(message, 0, OFFICE, AGENT, T0 + (i / 10) as i64));
                    }
                });
            }
        });
        let each = start.elapsed() / (EVENTS * threads) as u32;
        println!("{threads} threads: {each:?} an event, by the wall");
    }
}
