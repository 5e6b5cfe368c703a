use std::net::Ipv4Addr;
use std::path::Path;

use linkseal_base::clock::Clock;

use super::*;
use crate::event::{Client, Event};
use crate::testing;

fn seen(hour: i64, kind: EventType, class: Class, id: u128) -> Seen {
    Seen {
        time: Timestamp::from_millis(hour * HOUR_MS + 5),
        kind,
        class: Some(class),
        id: Uuid::from_u128(id),
        requests: 1,
    }
}

fn counts(recent: &Recent) -> Vec<(i64, u32, u32, u32)> {
    let all = recent.hours.iter();
    all.map(|h| (h.hour, h.opens, h.clicks, h.machines)).collect()
}

#[test]
fn people_and_machines_are_counted_separately_by_hour() {
    let mut recent = Recent::default();
    for event in [
        seen(100, EventType::Open, Class::Human, 1),
        seen(100, EventType::Open, Class::Proxy, 2),
        seen(100, EventType::Click, Class::Scanner, 3),
        seen(101, EventType::Redirect, Class::Unknown, 4),
        // Slightly late: it belongs to the hour before.
        seen(100, EventType::Click, Class::Human, 5),
        seen(101, EventType::Unsubscribe, Class::Human, 6),
    ] {
        recent.add(event);
    }
    assert_eq!(counts(&recent), [(100, 2, 1, 1), (101, 0, 1, 0)]);
    assert_eq!(recent.last.front().unwrap().kind, EventType::Unsubscribe);
    let now = Timestamp::from_millis(102 * HOUR_MS);
    let shown: Vec<_> = recent.last_hours(now).iter().map(|h| h.opens).collect();
    assert_eq!((shown.len(), &shown[HOURS - 4..]), (HOURS, &[0, 2, 0, 0][..]));
}

#[test]
fn what_is_old_goes() {
    let mut recent = Recent::default();
    for hour in 0..200 {
        recent.add(seen(hour, EventType::Open, Class::Human, hour as u128));
    }
    assert_eq!(recent.hours.len(), HOURS);
    assert_eq!(recent.hours.front().unwrap().hour, 152);
    assert_eq!(recent.last.len(), LAST);
    // Too old to be kept: it is not counted anywhere.
    recent.add(seen(3, EventType::Open, Class::Human, 1));
    assert_eq!(recent.hours.len(), HOURS);
    assert_eq!(counts(&recent).iter().map(|c| c.1).sum::<u32>(), HOURS as u32);
}

#[test]
fn tenants_are_summed_and_earlier_times_left_out() {
    let (mut one, mut other) = (Recent::default(), Recent::default());
    one.add(seen(100, EventType::Open, Class::Human, 1));
    one.add(seen(102, EventType::Open, Class::Human, 2));
    other.add(seen(101, EventType::Click, Class::Human, 3));
    other.add(seen(102, EventType::Open, Class::Human, 4));
    let mut all = Recent::default();
    all.join(&one);
    all.join(&other);
    assert_eq!(counts(&all), [(100, 1, 0, 0), (101, 0, 1, 0), (102, 2, 0, 0)]);
    let ids: Vec<_> = all.last.iter().map(|s| s.id.as_u128()).collect();
    assert_eq!((ids.len(), ids[2], ids[3]), (4, 3, 1));
    one.begin(Timestamp::from_millis(102 * HOUR_MS));
    assert_eq!((counts(&one), one.last.len()), (vec![(102, 1, 0, 0)], 1));
}

#[test]
fn a_correction_moves_the_count() {
    let mut recent = Recent::default();
    recent.add(seen(100, EventType::Click, Class::Human, 1));
    let at = |hour: i64| Timestamp::from_millis(hour * HOUR_MS);
    recent.correct(Uuid::from_u128(1), Some(Class::Scanner), at(101), true);
    assert_eq!(counts(&recent), [(100, 0, 0, 1)]);
    assert_eq!(recent.last.front().unwrap().class, Some(Class::Scanner));
    // The same correction again changes nothing; an event that is no longer known counts as a person's.
    recent.correct(Uuid::from_u128(1), Some(Class::Scanner), at(100), true);
    recent.add(seen(100, EventType::Open, Class::Human, 2));
    recent.correct(Uuid::from_u128(99), Some(Class::Prefetch), at(100), false);
    recent.correct(Uuid::from_u128(99), Some(Class::Prefetch), at(100), false);
    assert_eq!(counts(&recent), [(100, 0, 0, 2)]);
}

fn journal(dir: &Path) -> Journal {
    testing::open(&testing::settings(dir), &Clock::system())
}

#[tokio::test]
async fn an_event_that_stands_for_many_requests_counts_as_many() {
    const CLICKS: u32 = 1_000;
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let mut click = Event::new(EventType::Click, journal.clock().now(), "a.example", "a");
    click.message_id = Some(Uuid::from_u128(1));
    click.link = Some(1);
    click.client = Some(Client {
        ip: Some(Ipv4Addr::new(203, 0, 113, 9).into()),
        user_agent: None,
        referer: None,
        proxy: None,
        network: None,
        opted_out: false,
    });
    for _ in 0..CLICKS {
        if !journal.is_repeated(&click) {
            journal.append(&click).await.unwrap();
        }
    }
    // Closing writes the pending counts.
    assert!(journal.close(Duration::from_secs(60)));
    let tasks = Tasks::new();
    let activity = Activity::start(&journal, &tasks);
    while !activity.of("a.example").last.iter().any(|seen| seen.requests > 1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let counted: u32 = activity.of("a.example").hours.iter().map(|h| h.clicks).sum();
    assert_eq!(counted, CLICKS);
    tasks.stop();
}

#[tokio::test]
async fn activity_follows_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let append = async |domain: &str| {
        let event = Event::new(EventType::Open, journal.clock().now(), domain, "a");
        journal.append(&event).await.unwrap();
    };
    // Before it begins to read, and afterwards.
    append("a.example").await;
    let tasks = Tasks::new();
    let activity = Activity::start(&journal, &tasks);
    for _ in 0..3 {
        append("b.example").await;
    }
    while activity.of("b.example").hours.iter().map(|h| h.opens).sum::<u32>() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(activity.of("a.example").last.len(), 1);
    // An event from before it began to read.
    let since = Timestamp::from_secs(0);
    assert_eq!(activity.of_tenant("a.example", "a", since), activity.of("a.example"));
    assert_eq!(activity.of_tenant("a.example", "b", since), Recent::default());
    assert_eq!(activity.of("c.example"), Recent::default());
    tasks.stop();
}
