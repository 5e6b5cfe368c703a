//! The change feed.

use linkseal_domain::DomainName;
use linkseal_domain::links::Kill;
use linkseal_domain::ssl::Reason;
use linkseal_link::{KillKind, Slug};

use super::{Fresh, MINUTE, NOW, add, audit, changed, changes, name, to};
use crate::{
    Changed, Feed, FeedPosition, Freeze, NewTicketKey, SharedStore, StoredCertificate, StoredKill, StoredRedirect,
    Transition,
};

pub(crate) async fn changes_of_every_kind_are_in_the_feed(Fresh { store, .. }: &Fresh) {
    let begin = store.feed_end().await.unwrap();
    assert_eq!(changes(store, &begin).await, (vec![], begin.clone()));
    let record = add(store, "a.example", "acme", Reason::Queued).await;
    let with_certificate = Changed::Domain {
        name: record.name.clone(),
        certificate: true,
    };
    let certificate = StoredCertificate {
        chain_pem: "chain".into(),
        sealed_key: vec![1],
    };
    let issued = Transition {
        certificate: Some(certificate),
        ..to(&record, Reason::Ok)
    };
    let mut at = seen(store, &begin, &[changed(&record.name)]).await;
    store.transition(issued).await.unwrap();
    at = seen(store, &at, std::slice::from_ref(&with_certificate)).await;

    let slug = Slug::parse("sale").unwrap();
    let of = |domain: Option<&DomainName>| Changed::Redirect {
        domain: domain.cloned(),
        slug: slug.clone(),
    };
    for domain in [None, Some(&record.name)] {
        let redirect = StoredRedirect {
            domain: domain.cloned(),
            slug: slug.clone(),
            url: "https://x.example/".into(),
            expires: None,
            changed: NOW,
        };
        store
            .put_redirect(&redirect, None, audit("redirect", "sale"))
            .await
            .unwrap();
        at = seen(store, &at, &[of(domain)]).await;
        store.delete_redirect(&redirect, audit("delete", "sale")).await.unwrap();
        at = seen(store, &at, &[of(domain)]).await;
    }
    let kill = StoredKill {
        kill: Kill::new(KillKind::Tenant, "acme").unwrap(),
        note: None,
        by: "ops".into(),
        since: NOW,
    };
    store.put_kill(&kill, None, audit("kill", "acme")).await.unwrap();
    at = seen(store, &at, &[Changed::Kills]).await;
    store.delete_kill(&kill, audit("restore", "acme")).await.unwrap();
    at = seen(store, &at, &[Changed::Kills]).await;
    let key = NewTicketKey { id: 1, sealed: vec![7] };
    assert!(store.add_ticket_key(&key, None, MINUTE, MINUTE).await.unwrap());
    at = seen(store, &at, &[Changed::TicketKeys]).await;
    let freeze = Freeze {
        note: None,
        by: "ops".into(),
        since: NOW,
    };
    store.put_freeze(&freeze, audit("freeze", "orders")).await.unwrap();
    at = seen(store, &at, &[Changed::Freeze]).await;
    store.end_freeze(audit("thaw", "orders")).await.unwrap();
    at = seen(store, &at, &[Changed::Freeze]).await;
    store
        .purge(&record.name, None, audit("purge", "a.example"))
        .await
        .unwrap();
    at = seen(store, &at, &[with_certificate]).await;

    assert_eq!(store.feed_end().await.unwrap(), at);
    // From the beginning, all of them are still there.
    assert_eq!(changes(store, &begin).await.0.len(), 12);
}

/// Asserts what was changed since a position; returns where it ends.
async fn seen(store: &SharedStore, after: &FeedPosition, wanted: &[Changed]) -> FeedPosition {
    // As a node that was restarted has it.
    let after: FeedPosition = after.to_string().parse().unwrap();
    let (found, at) = changes(store, &after).await;
    assert_eq!(found, wanted);
    at
}

pub(crate) async fn the_changes_of_a_name_are_in_order(Fresh { store, .. }: &Fresh) {
    let begin = store.feed_end().await.unwrap();
    let mut records = Vec::new();
    for text in ["a.example", "b.example", "c.example"] {
        records.push(add(store, text, "acme", Reason::Queued).await);
    }
    for record in &records {
        let certificate = StoredCertificate {
            chain_pem: "chain".into(),
            sealed_key: vec![1],
        };
        let issued = Transition {
            certificate: Some(certificate),
            ..to(record, Reason::Ok)
        };
        let record = store.transition(issued).await.unwrap();
        store.transition(to(&record, Reason::Moved)).await.unwrap();
    }
    let (all, _) = changes(store, &begin).await;
    for record in &records {
        let certificates: Vec<bool> = all
            .iter()
            .filter_map(|change| match change {
                Changed::Domain { name, certificate } if *name == record.name => Some(*certificate),
                _ => None,
            })
            .collect();
        assert_eq!(certificates, [false, true, false], "{}", record.name);
    }
    assert_eq!(all.len(), 9);
}

pub(crate) async fn pages_of_the_feed_miss_and_repeat_nothing(Fresh { store, .. }: &Fresh) {
    let mut at = store.feed_end().await.unwrap();
    for n in 0..50 {
        add(store, &format!("d{n:02}.example"), "acme", Reason::Queued).await;
    }
    let mut found = Vec::new();
    loop {
        let Feed::Changes {
            changes,
            position,
            more,
        } = store.changes_after(&at, 3).await.unwrap()
        else {
            panic!("the position is in the feed")
        };
        assert!(!changes.is_empty() || !more, "a page that goes nowhere");
        found.extend(changes);
        at = position;
        if !more {
            break;
        }
    }
    assert_eq!(
        names(&found),
        (0..50).map(|n| name(&format!("d{n:02}.example"))).collect::<Vec<_>>()
    );
    assert_eq!(at, store.feed_end().await.unwrap());
}

fn names(changes: &[Changed]) -> Vec<DomainName> {
    let mut names: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Changed::Domain { name, .. } => Some(name.clone()),
            _ => None,
        })
        .collect();
    names.sort();
    names
}

pub(crate) async fn a_position_that_is_not_in_the_feed_is_broken(Fresh { store, .. }: &Fresh) {
    add(store, "a.example", "acme", Reason::Queued).await;
    let end = store.feed_end().await.unwrap();
    let broken = async |marks: &[crate::feed::Mark]| {
        let position = FeedPosition::new(marks.to_vec());
        let feed = store.changes_after(&position, 10).await.unwrap();
        assert_eq!(feed, Feed::Broken, "{position}");
    };
    let at = end.marks().iter().position(|mark| mark.seq > 0).unwrap();
    // Another change has this number, as after a restore.
    let mut marks = end.marks().to_vec();
    marks[at].tag ^= 1;
    broken(&marks).await;
    // The store has lost its last changes.
    let mut marks = end.marks().to_vec();
    marks[at].seq += 1;
    broken(&marks).await;
    // Of another engine, or of a node that has not followed it yet.
    broken(&[end.marks(), &[crate::feed::Mark::default()]].concat()).await;
    broken(&[]).await;
    assert!(matches!(
        store.changes_after(&end, 10).await.unwrap(),
        Feed::Changes { more: false, .. }
    ));
}

pub(crate) async fn changes_made_at_once_are_all_seen(Fresh { store, .. }: &Fresh) {
    const DOMAINS: usize = 200;
    let begin = store.feed_end().await.unwrap();
    let adds = (0..DOMAINS).map(|n| async move {
        let record = add(store, &format!("d{n:03}.example"), "acme", Reason::Queued).await;
        store.transition(to(&record, Reason::Ok)).await.unwrap();
    });
    // A reader that follows meanwhile sees each change once.
    let follow = async {
        let (mut found, mut at) = (Vec::new(), begin);
        while found.len() < 2 * DOMAINS {
            let (more, position) = changes(store, &at).await;
            found.extend(more);
            at = position;
            tokio::task::yield_now().await;
        }
        (found, at)
    };
    let (_, (found, at)) = tokio::join!(futures_util::future::join_all(adds), follow);
    assert_eq!(found.len(), 2 * DOMAINS);
    assert_eq!(at, store.feed_end().await.unwrap());
    let mut names = names(&found);
    names.dedup();
    assert_eq!(names.len(), DOMAINS);
}
