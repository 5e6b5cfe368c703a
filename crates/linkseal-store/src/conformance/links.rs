//! Stored redirects and kill switches.

use linkseal_domain::DomainName;
use linkseal_domain::links::Kill;
use linkseal_domain::ssl::Reason;
use linkseal_link::{KillKind, Slug};

use super::{Fresh, MINUTE, NOW, add, assert_conflict, audit, changes, name};
use crate::{Changed, KILLS_KEPT, RedirectQuery, SharedStore, StoreError, StoredKill, StoredRedirect};

fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

fn redirect(domain: Option<&str>, text: &str, url: &str) -> StoredRedirect {
    StoredRedirect {
        domain: domain.map(name),
        slug: slug(text),
        url: url.into(),
        expires: None,
        changed: NOW,
    }
}

async fn put(
    store: &SharedStore,
    redirect: &StoredRedirect,
    before: Option<&StoredRedirect>,
) -> Result<(), StoreError> {
    store
        .put_redirect(redirect, before, audit("redirect", redirect.slug.as_str()))
        .await
}

pub(crate) async fn a_redirect_is_of_one_domain_or_of_all(Fresh { store, .. }: &Fresh) {
    let domain = add(store, "a.example", "acme", Reason::Ok).await.name;
    let common = redirect(None, "sale", "https://all.example/");
    let own = StoredRedirect {
        expires: Some(NOW + MINUTE),
        ..redirect(Some("a.example"), "sale", "https://own.example/ä?x=%2F")
    };
    assert_eq!(store.redirect(None, &common.slug).await.unwrap(), None);
    put(store, &common, None).await.unwrap();
    assert_eq!(store.redirect(Some(&domain), &own.slug).await.unwrap(), None);
    let head = store.feed_end().await.unwrap();
    put(store, &own, None).await.unwrap();
    assert_eq!(store.redirect(None, &common.slug).await.unwrap(), Some(common.clone()));
    assert_eq!(
        store.redirect(Some(&domain), &own.slug).await.unwrap(),
        Some(own.clone())
    );
    assert_eq!(store.redirect(None, &slug("Sale")).await.unwrap(), None, "case matters");
    assert_eq!(store.audit(None, 1).await.unwrap()[0].subject, "sale");

    let newer = StoredRedirect {
        expires: None,
        ..own.clone()
    };
    put(store, &newer, Some(&own)).await.unwrap();
    assert_eq!(store.redirect(Some(&domain), &own.slug).await.unwrap(), Some(newer));
    let gone = || store.delete_redirect(&common, audit("delete", "sale"));
    gone().await.unwrap();
    assert!(matches!(gone().await, Err(StoreError::NotFound)));
    assert_eq!(store.redirect(None, &common.slug).await.unwrap(), None);
    assert!(store.redirect(Some(&domain), &own.slug).await.unwrap().is_some());
    let (seen, _) = changes(store, &head).await;
    let changed = |domain: Option<&DomainName>| Changed::Redirect {
        domain: domain.cloned(),
        slug: slug("sale"),
    };
    let own: Vec<_> = seen
        .iter()
        .filter(|change| **change == changed(Some(&domain)))
        .collect();
    assert_eq!((own.len(), seen.len()), (2, 3));
    assert!(seen.contains(&changed(None)));
    assert_eq!(
        store.audit(None, 10).await.unwrap().len(),
        4,
        "a refused change leaves no line"
    );
}

pub(crate) async fn a_redirect_that_was_changed_is_not_overwritten(Fresh { store, .. }: &Fresh) {
    let [one, two, three] = ["1", "2", "3"].map(|n| redirect(None, "sale", &format!("https://x.example/{n}")));
    assert_conflict(put(store, &two, Some(&one)).await);
    put(store, &one, None).await.unwrap();
    assert_conflict(put(store, &two, None).await);
    put(store, &two, Some(&one)).await.unwrap();
    assert_conflict(put(store, &three, Some(&one)).await);
    assert_conflict(store.delete_redirect(&one, audit("delete", "sale")).await);
    assert_eq!(store.redirect(None, &two.slug).await.unwrap().as_ref(), Some(&two));
    assert_eq!(store.audit(None, 10).await.unwrap().len(), 2);
    // At once, where there is no row yet.
    store.delete_redirect(&two, audit("delete", "sale")).await.unwrap();
    let puts = (0..10).map(|_| put(store, &three, None));
    let outcomes = futures_util::future::join_all(puts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

pub(crate) async fn redirects_page_by_domain_and_slug(Fresh { store, .. }: &Fresh) {
    for domain in ["a.example", "b.example"] {
        add(store, domain, "acme", Reason::Ok).await;
    }
    let mut all = Vec::new();
    for domain in [None, Some("a.example"), Some("b.example")] {
        for slug in ["A", "a", "b-1"] {
            all.push(redirect(domain, slug, "https://x.example/"));
        }
    }
    for redirect in all.iter().rev() {
        put(store, redirect, None).await.unwrap();
    }
    let mut query = RedirectQuery {
        limit: 4,
        ..RedirectQuery::default()
    };
    let mut found = Vec::new();
    loop {
        let page = store.redirects(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some((last.domain.clone(), last.slug.clone()));
        found.extend(page);
    }
    assert_eq!(found, all);
    let of_b = RedirectQuery {
        domain: Some(name("b.example")),
        after: None,
        limit: 2,
    };
    assert_eq!(store.redirects(&of_b).await.unwrap(), all[6..8]);
    let after = |domain: Option<&str>, text: &str| RedirectQuery {
        after: Some((domain.map(name), slug(text))),
        limit: 10,
        ..of_b.clone()
    };
    assert_eq!(store.redirects(&after(Some("b.example"), "a")).await.unwrap(), all[8..]);
    assert_eq!(store.redirects(&after(None, "zzz")).await.unwrap(), all[6..]);
    assert!(
        store
            .redirects(&after(Some("c.example"), "a"))
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn redirects_are_purged_with_their_domain(Fresh { store, .. }: &Fresh) {
    let own = redirect(Some("a.example"), "sale", "https://own.example/");
    assert!(matches!(put(store, &own, None).await, Err(StoreError::NotFound)));
    assert!(store.audit(None, 1).await.unwrap().is_empty());
    let domain = add(store, "a.example", "acme", Reason::Ok).await.name;
    let common = redirect(None, "sale", "https://all.example/");
    put(store, &own, None).await.unwrap();
    put(store, &common, None).await.unwrap();
    store.purge(&domain, None, audit("purge", "a.example")).await.unwrap();
    add(store, "a.example", "other", Reason::Ok).await;
    assert_eq!(store.redirect(Some(&domain), &own.slug).await.unwrap(), None);
    assert_eq!(store.redirect(None, &own.slug).await.unwrap(), Some(common));
}

fn kill(kind: KillKind, value: &str) -> StoredKill {
    StoredKill {
        kill: Kill::new(kind, value).unwrap(),
        note: None,
        by: "ops".into(),
        since: NOW,
    }
}

pub(crate) async fn kills_are_kept_until_deleted(Fresh { store, .. }: &Fresh) {
    assert!(store.kills().await.unwrap().is_empty());
    let mut all = [
        kill(KillKind::Host, "evil.example"),
        kill(KillKind::Message, "0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506"),
        kill(KillKind::Tenant, "kö x"),
    ];
    for kill in all.iter().rev() {
        store.put_kill(kill, None, audit("kill", "x")).await.unwrap();
    }
    assert_eq!(store.kills().await.unwrap(), all);
    let before = all[0].clone();
    all[0].note = Some("phishing".into());
    all[0].by = "other".into();
    let head = store.feed_end().await.unwrap();
    store
        .put_kill(&all[0], Some(&before), audit("kill", "x"))
        .await
        .unwrap();
    assert_eq!(store.kills().await.unwrap(), all);
    store.delete_kill(&all[0], audit("restore", "x")).await.unwrap();
    assert_eq!(store.kills().await.unwrap(), all[1..]);
    assert!(matches!(
        store.delete_kill(&all[0], audit("restore", "x")).await,
        Err(StoreError::NotFound)
    ));
    assert_eq!(changes(store, &head).await.0, vec![Changed::Kills; 2]);
    assert_eq!(store.audit(None, 10).await.unwrap().len(), 5);
}

pub(crate) async fn a_kill_that_was_changed_is_not_overwritten(Fresh { store, .. }: &Fresh) {
    let first = kill(KillKind::Host, "evil.example");
    let noted = |note: &str| StoredKill {
        note: Some(note.into()),
        ..first.clone()
    };
    let (second, third) = (noted("2"), noted("3"));
    let put =
        async |kill: &StoredKill, before: Option<&StoredKill>| store.put_kill(kill, before, audit("kill", "x")).await;
    assert_conflict(put(&second, Some(&first)).await);
    put(&first, None).await.unwrap();
    assert_conflict(put(&second, None).await);
    put(&second, Some(&first)).await.unwrap();
    assert_conflict(put(&third, Some(&first)).await);
    assert_conflict(store.delete_kill(&first, audit("restore", "x")).await);
    assert_eq!(store.kills().await.unwrap(), [second]);
    assert_eq!(store.audit(None, 10).await.unwrap().len(), 2);
}

pub(crate) async fn kills_are_bounded(Fresh { store, .. }: &Fresh) {
    for begin in (0..KILLS_KEPT).step_by(500) {
        // Many at once, since a store can sync in groups.
        let puts = (begin..begin + 500).map(|n| async move {
            let kill = kill(KillKind::Tenant, &format!("tenant-{n}"));
            store.put_kill(&kill, None, audit("kill", "x")).await
        });
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
    }
    let more = kill(KillKind::Host, "evil.example");
    assert!(matches!(
        store.put_kill(&more, None, audit("kill", "x")).await,
        Err(StoreError::TooMany(KILLS_KEPT))
    ));
    let again = kill(KillKind::Tenant, "tenant-7");
    store.put_kill(&again, Some(&again), audit("kill", "x")).await.unwrap();
    assert_eq!(store.kills().await.unwrap().len(), KILLS_KEPT);
}
