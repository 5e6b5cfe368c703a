use std::net::Ipv4Addr;

use uuid::Uuid;

use super::*;
use crate::privacy::Privacy;

fn click(message: u128, ip: [u8; 4]) -> Event<'static> {
    let mut event = Event::new(EventType::Click, Timestamp::from_secs(1), "a.example", "tenant");
    event.message_id = Some(Uuid::from_u128(message));
    event.link = Some(1);
    event.url = Some("https://shop.example/");
    event.client = Some(Client {
        ip: Some(Ipv4Addr::from(ip).into()),
        user_agent: Some(b"agent"),
        referer: None,
        proxy: None,
        network: None,
        opted_out: false,
    });
    event
}

fn table() -> Repeats {
    Repeats::new(IntCounter::new("r", "r").unwrap())
}

fn see(repeats: &Repeats, event: &Event<'_>, now: Instant) -> Fate {
    repeats.see(event, now, |event, out| {
        // As the head, which the journal's thread writes before it.
        event.encode_rest(out, "edge-1", Privacy::default());
    })
}

/// The counts as JSON.
fn counts(events: &EncodedEvents) -> Vec<serde_json::Value> {
    let mut bodies = events.bodies.as_slice();
    let mut values = Vec::new();
    for meta in &events.metas {
        let (body, rest) = bodies.split_at(meta.length);
        bodies = rest;
        let json = [b"{\"id\":0", body].concat();
        values.push(serde_json::from_slice(&json).unwrap());
    }
    values
}

#[test]
fn the_first_events_are_written_and_then_one_count_per_period() {
    let (repeats, start) = (table(), Instant::now());
    let replayed = click(1, [203, 0, 113, 9]);
    let mut fates = (0..20_000).map(|_| see(&repeats, &replayed, start));
    let written = fates.by_ref().take_while(|f| *f == Fate::Written).count();
    assert_eq!(written, OF_MESSAGE as usize);
    // The event that ended `take_while` was the first to be counted.
    assert!(fates.all(|f| f == Fate::Counted { first: false }));
    // Other messages, networks and types are not affected.
    let mut open = replayed.clone();
    (open.kind, open.link, open.url) = (EventType::Open, None, None);
    for other in [click(2, [203, 0, 113, 9]), click(1, [203, 0, 114, 9]), open] {
        assert_eq!(see(&repeats, &other, start), Fate::Written);
    }
    assert_eq!(
        counts(&repeats.due(start, false).events),
        Vec::<serde_json::Value>::new()
    );
    let later = start + PERIOD;
    let Counts { events, more, requests } = repeats.due(later, false);
    assert_eq!(requests, 20_000 - u64::from(OF_MESSAGE));
    let found = counts(&events);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["repeated"], 20_000 - u64::from(OF_MESSAGE));
    assert_eq!(
        (&found[0]["type"], &found[0]["tenant"]),
        (&"click".into(), &"tenant".into())
    );
    assert!(found[0]["client"]["user_agent"].is_null() && found[0]["client"]["ip"].is_string());
    assert!(!more);
    // While it continues, only counts are written; after a quiet period it starts over.
    assert_eq!(see(&repeats, &replayed, later), Fate::Counted { first: true });
    assert_eq!(counts(&repeats.due(later + PERIOD, false).events)[0]["repeated"], 1);
    assert_eq!(see(&repeats, &replayed, later + 2 * PERIOD), Fate::Written);
    assert_eq!(repeats.total.get(), 20_001 - u64::from(OF_MESSAGE));
}

#[test]
fn public_urls_are_bounded_per_network_over_all_domains() {
    let (repeats, start) = (table(), Instant::now());
    let on = |domain: &'static str, ip: [u8; 4]| {
        let mut event = click(1, ip);
        (event.message_id, event.link, event.url) = (None, None, Some("/track/"));
        (event.kind, event.domain) = (EventType::Upstream, domain);
        event
    };
    let domains: Vec<&'static str> = (0..30_000).map(|n| &*format!("d{n}.example").leak()).collect();
    let mut fates = [0; 3];
    for domain in domains.iter().chain(&domains) {
        fates[match see(&repeats, &on(domain, [192, 0, 2, 1]), start) {
            Fate::Written => 0,
            Fate::Counted { first: true } => 1,
            Fate::Counted { first: false } => 2,
        }] += 1;
    }
    assert_eq!(fates[..2], [OF_NETWORK, OF_NETWORK]);
    assert_eq!(repeats.total.get(), 60_000 - u64::from(OF_NETWORK));
    let written = counts(&repeats.due(start + PERIOD, true).events).len();
    assert!(written <= OF_NETWORK as usize, "{written}");
    // Other networks, and links of messages, are not affected.
    assert_eq!(
        see(&repeats, &on("d1.example", [198, 51, 100, 1]), start),
        Fate::Written
    );
    assert_eq!(see(&repeats, &click(2, [192, 0, 2, 1]), start), Fate::Written);
    // In its next period it starts over.
    assert_eq!(
        see(&repeats, &on("new.example", [192, 0, 2, 1]), start + PERIOD),
        Fate::Written
    );
}

#[test]
fn a_full_table_evicts_links_without_losing_counts() {
    let (repeats, start) = (table(), Instant::now());
    let most = (SHARDS * SETS * WAYS) as u128;
    let (mut written, mut counted) = (0, 0);
    for message in 0..most / 8 {
        for _ in 0..OF_MESSAGE + 2 {
            match see(&repeats, &click(message, [192, 0, 2, 1]), start) {
                Fate::Written => written += 1,
                Fate::Counted { .. } => counted += 1,
            }
        }
    }
    for message in most..4 * most {
        let now = start + Duration::from_secs(1);
        assert_eq!(see(&repeats, &click(message, [192, 0, 2, 1]), now), Fate::Written);
    }
    assert_eq!((written, counted), (most / 8 * u128::from(OF_MESSAGE), most / 8 * 2));
    let found: u64 = counts(&repeats.due(start, true).events)
        .iter()
        .map(|c| c["repeated"].as_u64().unwrap())
        .sum();
    assert_eq!(u128::from(found), counted);
    let slots: usize = repeats.shards.iter().map(|s| s.lock().slots.capacity()).sum();
    assert_eq!(slots, SHARDS * SETS * WAYS);
    assert!(size_of::<Slot>() * slots < 3 << 20, "{} bytes each", size_of::<Slot>());
}
