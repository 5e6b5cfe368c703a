//! Timelines, the audit log, changes, and what the fleet shares.

use linkseal_domain::ssl::Reason;

use super::{MINUTE, NOW, add, audit, line, name, to};
use crate::{CaAccount, Changed, SharedStore, TIMELINE_KEPT, TicketKeyRow, TimelineEntry, Transition};

pub(crate) async fn a_timeline_keeps_the_newest(store: SharedStore) {
    let mut domain = add(&store, "a.example", "acme", Reason::Queued).await;
    let other = add(&store, "b.example", "acme", Reason::Queued).await;
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

pub(crate) async fn the_audit_log_pages_backwards(store: SharedStore) {
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

pub(crate) async fn changes_come_in_sequence(store: SharedStore) {
    assert_eq!(store.change_head().await.unwrap(), 0);
    assert!(store.changes_since(0, 10).await.unwrap().is_empty());
    let domains = ["a.example", "b.example", "c.example"];
    let adds = domains.iter().map(|text| add(&store, text, "acme", Reason::Queued));
    let added = futures_util::future::join_all(adds).await;
    store.transition(to(&added[0], Reason::Ok)).await.unwrap();
    let all = store.changes_since(0, 10).await.unwrap();
    assert_eq!(all.len(), 4);
    assert!(all.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(
        all[3].what,
        Changed::Domain {
            name: name("a.example"),
            certificate: false
        }
    );
    assert_eq!(store.change_head().await.unwrap(), all[3].seq);
    assert_eq!(store.changes_since(all[0].seq, 2).await.unwrap(), all[1..3]);
    assert!(store.changes_since(all[3].seq, 10).await.unwrap().is_empty());
}

pub(crate) async fn the_first_secret_stays(store: SharedStore) {
    assert_eq!(store.secret("account").await.unwrap(), None);
    let tries = (0..10u8).map(|n| {
        let store = store.clone();
        async move { store.secret_or_insert("account", &[n, 0, 255]).await.unwrap() }
    });
    let stored = futures_util::future::join_all(tries).await;
    assert!(
        stored.windows(2).all(|pair| pair[0] == pair[1]),
        "all get the first one"
    );
    assert_eq!(store.secret("account").await.unwrap(), Some(stored[0].clone()));
    assert_eq!(store.secret_or_insert("other", &[1]).await.unwrap(), [1]);
}

pub(crate) async fn accounts_are_kept_per_directory(store: SharedStore) {
    let account = |ca: &str, kid: &str| CaAccount {
        directory: format!("https://{ca}/dir"),
        kid: format!("https://{ca}/{kid}"),
        created: NOW,
    };
    store.put_ca_account(&account("one.example", "1")).await.unwrap();
    store.put_ca_account(&account("two.example", "1")).await.unwrap();
    store.put_ca_account(&account("one.example", "2")).await.unwrap();
    let read = store.ca_account("https://one.example/dir").await.unwrap();
    assert_eq!(read, Some(account("one.example", "2")));
    assert_eq!(
        store.ca_account("https://two.example/dir").await.unwrap(),
        Some(account("two.example", "1"))
    );
    assert_eq!(store.ca_account("https://three.example/dir").await.unwrap(), None);
}

pub(crate) async fn one_node_adds_the_next_ticket_key(store: SharedStore) {
    let key = |id: u64, byte: u8| TicketKeyRow {
        id,
        sealed: vec![byte],
        created: NOW + MINUTE * u32::try_from(id).unwrap(),
    };
    assert!(store.ticket_keys().await.unwrap().is_empty());
    assert!(
        !store.add_ticket_key(&key(2, 0), Some(1), NOW).await.unwrap(),
        "there is no first one"
    );
    let nodes: Vec<TicketKeyRow> = (0..10).map(|node| key(1, node)).collect();
    let added = futures_util::future::join_all(nodes.iter().map(|k| store.add_ticket_key(k, None, NOW))).await;
    assert_eq!(added.into_iter().filter(|a| *a.as_ref().unwrap()).count(), 1);
    assert_eq!(store.change_head().await.unwrap(), 1);
    assert_eq!(store.changes_since(0, 10).await.unwrap()[0].what, Changed::TicketKeys);

    assert!(store.add_ticket_key(&key(2, 0), Some(1), NOW).await.unwrap());
    assert!(!store.add_ticket_key(&key(2, 1), Some(1), NOW).await.unwrap());
    let ids = |keys: Vec<TicketKeyRow>| keys.into_iter().map(|k| k.id).collect::<Vec<_>>();
    assert_eq!(ids(store.ticket_keys().await.unwrap()), [2, 1]);
    assert!(
        store
            .add_ticket_key(&key(3, 0), Some(2), NOW + MINUTE * 2)
            .await
            .unwrap()
    );
    let keys = store.ticket_keys().await.unwrap();
    assert_eq!(keys[0], key(3, 0));
    assert_eq!(ids(keys), [3, 2], "the one made before the time given is gone");
}

pub(crate) async fn a_probe_succeeds(store: SharedStore) {
    for probe in futures_util::future::join_all((0..10).map(|_| store.probe())).await {
        probe.unwrap();
    }
    assert_eq!(store.change_head().await.unwrap(), 0, "a probe is no change");
}
