//! Timelines, the audit log, and the secrets that the fleet shares.

use std::time::Duration;

use linkseal_domain::ssl::Reason;

use super::{Fresh, NOW, add, audit, changes, line, name, to};
use crate::{Changed, NewTicketKey, TIMELINE_KEPT, TicketKeyRow, TimelineEntry, Transition};

pub(crate) async fn a_timeline_keeps_the_newest(Fresh { store, .. }: &Fresh) {
    let mut domain = add(store, "a.example", "acme", Reason::Queued).await;
    let other = add(store, "b.example", "acme", Reason::Queued).await;
    let kept = usize::try_from(TIMELINE_KEPT).unwrap();
    for chunk in 0..3 {
        let timeline = (0..kept / 2)
            .map(|n| TimelineEntry {
                id: 9,
                ..line(&format!("{chunk}_{n}"))
            })
            .collect();
        domain = store
            .transition(Transition {
                timeline,
                ..to(&domain, Reason::Queued)
            })
            .await
            .unwrap();
    }
    let all = store.timeline(&domain.name, None, 10 * kept).await.unwrap();
    assert_eq!(all.len(), kept);
    assert!(
        all.windows(2).all(|pair| pair[0].id > pair[1].id),
        "newest first, numbered by the store"
    );
    assert_eq!(all[0].event, format!("2_{}", kept / 2 - 1));
    assert_eq!(all[kept - 1].event, "1_0");
    assert_eq!((all[0].at, all[0].reason, &all[0].detail), (NOW, Reason::Queued, &None));

    let page = store.timeline(&domain.name, Some(all[9].id), 10).await.unwrap();
    assert_eq!(page, all[10..20]);
    assert!(
        store
            .timeline(&domain.name, Some(all[kept - 1].id), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.timeline(&other.name, None, 10).await.unwrap().len(), 1);
    assert!(
        store
            .timeline(&name("nowhere.example"), None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn the_audit_log_pages_backwards(Fresh { store, .. }: &Fresh) {
    for n in 0..5 {
        store
            .append_audit(audit(&format!("action_{n}"), "a.example"))
            .await
            .unwrap();
    }
    let newest = store.audit(None, 2).await.unwrap();
    assert_eq!(
        newest.iter().map(|l| l.action.as_str()).collect::<Vec<_>>(),
        ["action_4", "action_3"]
    );
    let rest = store.audit(Some(newest[1].id), 10).await.unwrap();
    assert_eq!(
        rest.iter().map(|l| l.action.as_str()).collect::<Vec<_>>(),
        ["action_2", "action_1", "action_0"]
    );
    let mut wanted = audit("action_0", "a.example");
    wanted.id = rest[2].id;
    assert_eq!(rest[2], wanted);
}

pub(crate) async fn the_first_secret_stays(Fresh { store, .. }: &Fresh) {
    assert_eq!(store.secret("account").await.unwrap(), None);
    let tries = (0..10u8).map(|n| async move { store.secret_or_insert("account", &[n, 0, 255]).await.unwrap() });
    let stored = futures_util::future::join_all(tries).await;
    assert!(
        stored.windows(2).all(|pair| pair[0] == pair[1]),
        "all get the first one"
    );
    assert_eq!(store.secret("account").await.unwrap(), Some(stored[0].clone()));
    assert_eq!(store.secret_or_insert("other", &[1]).await.unwrap(), [1]);
}

fn key(id: u64, byte: u8) -> NewTicketKey {
    NewTicketKey { id, sealed: vec![byte] }
}

/// How long the tests use a ticket key, and keep it.
const ROTATE: Duration = Duration::from_secs(120);
const KEEP: Duration = Duration::from_secs(300);

pub(crate) async fn one_node_adds_the_next_ticket_key(Fresh { store, clock, .. }: &Fresh) {
    assert!(store.ticket_keys().await.unwrap().is_empty());
    let early = store.add_ticket_key(&key(2, 0), Some(1), ROTATE, KEEP).await.unwrap();
    assert!(!early, "there is no first one");
    let begin = store.feed_end().await.unwrap();
    for (id, after) in [(1, None), (2, Some(1))] {
        let nodes: Vec<_> = (0..10).map(|node| key(id, node)).collect();
        let adds = nodes.iter().map(|k| store.add_ticket_key(k, after, ROTATE, KEEP));
        let added = futures_util::future::join_all(adds).await;
        assert_eq!(added.into_iter().filter(|a| *a.as_ref().unwrap()).count(), 1);
        clock.set(NOW + ROTATE).await;
    }
    assert_eq!(
        changes(store, &begin).await.0,
        [Changed::TicketKeys, Changed::TicketKeys]
    );
    assert_eq!(ids(&store.ticket_keys().await.unwrap()), [2, 1]);
}

pub(crate) async fn ticket_keys_rotate_by_the_clock_of_the_store(Fresh { store, clock, .. }: &Fresh) {
    assert!(store.add_ticket_key(&key(1, 0), None, ROTATE, KEEP).await.unwrap());
    let add = async |id: u64| {
        store
            .add_ticket_key(&key(id, 7), Some(id - 1), ROTATE, KEEP)
            .await
            .unwrap()
    };
    clock.set(NOW + ROTATE / 2).await;
    assert!(!add(2).await, "the first is still young");
    let mut at = NOW;
    for id in 2..=4 {
        at = at + ROTATE;
        clock.set(at).await;
        assert!(add(id).await);
        assert!(!add(id).await, "it has been added");
    }
    let keys = store.ticket_keys().await.unwrap();
    assert_eq!(
        keys[0],
        TicketKeyRow {
            id: 4,
            sealed: vec![7],
            created: at
        }
    );
    assert_eq!(ids(&keys), [4, 3, 2], "the first is older than keys are kept");
}

fn ids(keys: &[TicketKeyRow]) -> Vec<u64> {
    keys.iter().map(|key| key.id).collect()
}

pub(crate) async fn a_probe_succeeds(Fresh { store, .. }: &Fresh) {
    let begin = store.feed_end().await.unwrap();
    for probe in futures_util::future::join_all((0..10).map(|_| store.probe())).await {
        probe.unwrap();
    }
    assert_eq!(store.feed_end().await.unwrap(), begin, "a probe is no change");
    assert_eq!(store.now().await.unwrap(), NOW);
}
