//! Stored redirects and kill switches.

use linkseal_domain::DomainName;
use linkseal_domain::links::Kill;
use linkseal_domain::ssl::Reason;
use linkseal_link::{KillKind, Slug};

use super::{MINUTE, NOW, add, audit, name};
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

async fn put(store: &SharedStore, redirect: &StoredRedirect) -> Result<(), StoreError> {
    store
        .put_redirect(redirect, audit("redirect", redirect.slug.as_str()))
        .await
}

pub(crate) async fn a_redirect_is_of_one_domain_or_of_all(store: SharedStore) {
    let domain = add(&store, "a.example", "acme", Reason::Ok).await.name;
    let common = redirect(None, "sale", "https://all.example/");
    let own = StoredRedirect {
        expires: Some(NOW + MINUTE),
        ..redirect(Some("a.example"), "sale", "https://own.example/ä?x=%2F")
    };
    assert_eq!(store.redirect(None, &common.slug).await.unwrap(), None);
    put(&store, &common).await.unwrap();
    assert_eq!(store.redirect(Some(&domain), &own.slug).await.unwrap(), None);
    let head = store.change_head().await.unwrap();
    put(&store, &own).await.unwrap();
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
    put(&store, &newer).await.unwrap();
    assert_eq!(store.redirect(Some(&domain), &own.slug).await.unwrap(), Some(newer));
    let gone = |domain: Option<DomainName>| {
        let (store, slug) = (store.clone(), common.slug.clone());
        async move {
            store
                .delete_redirect(domain.as_ref(), &slug, audit("delete", "sale"))
                .await
        }
    };
    gone(None).await.unwrap();
    assert!(matches!(gone(None).await, Err(StoreError::NotFound)));
    assert_eq!(store.redirect(None, &common.slug).await.unwrap(), None);
    assert!(store.redirect(Some(&domain), &own.slug).await.unwrap().is_some());
    let changes = store.changes_since(head, 10).await.unwrap();
    let what: Vec<_> = changes.into_iter().map(|c| c.what).collect();
    let changed = |domain: Option<&DomainName>| Changed::Redirect {
        domain: domain.cloned(),
        slug: slug("sale"),
    };
    assert_eq!(what, [changed(Some(&domain)), changed(Some(&domain)), changed(None)]);
    assert_eq!(
        store.audit(None, 10).await.unwrap().len(),
        4,
        "a refused change leaves no line"
    );
}

pub(crate) async fn redirects_page_by_domain_and_slug(store: SharedStore) {
    for domain in ["a.example", "b.example"] {
        add(&store, domain, "acme", Reason::Ok).await;
    }
    let mut all = Vec::new();
    for domain in [None, Some("a.example"), Some("b.example")] {
        for slug in ["A", "a", "b-1"] {
            all.push(redirect(domain, slug, "https://x.example/"));
        }
    }
    for redirect in all.iter().rev() {
        put(&store, redirect).await.unwrap();
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

pub(crate) async fn redirects_are_purged_with_their_domain(store: SharedStore) {
    let own = redirect(Some("a.example"), "sale", "https://own.example/");
    assert!(matches!(put(&store, &own).await, Err(StoreError::NotFound)));
    assert!(store.audit(None, 1).await.unwrap().is_empty());
    let domain = add(&store, "a.example", "acme", Reason::Ok).await.name;
    let common = redirect(None, "sale", "https://all.example/");
    put(&store, &own).await.unwrap();
    put(&store, &common).await.unwrap();
    store.purge(&domain, None, audit("purge", "a.example")).await.unwrap();
    add(&store, "a.example", "other", Reason::Ok).await;
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

pub(crate) async fn kills_are_kept_until_deleted(store: SharedStore) {
    assert!(store.kills().await.unwrap().is_empty());
    let mut all = [
        kill(KillKind::Host, "evil.example"),
        kill(KillKind::Message, "0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506"),
        kill(KillKind::Tenant, "kö x"),
    ];
    for kill in all.iter().rev() {
        store.put_kill(kill, audit("kill", "x")).await.unwrap();
    }
    assert_eq!(store.kills().await.unwrap(), all);
    all[0].note = Some("phishing".into());
    all[0].by = "other".into();
    let head = store.change_head().await.unwrap();
    store.put_kill(&all[0], audit("kill", "x")).await.unwrap();
    assert_eq!(store.kills().await.unwrap(), all);
    store.delete_kill(&all[0].kill, audit("restore", "x")).await.unwrap();
    assert_eq!(store.kills().await.unwrap(), all[1..]);
    assert!(matches!(
        store.delete_kill(&all[0].kill, audit("restore", "x")).await,
        Err(StoreError::NotFound)
    ));
    let changes = store.changes_since(head, 10).await.unwrap();
    assert!(changes.iter().all(|c| c.what == Changed::Kills) && changes.len() == 2);
    assert_eq!(store.audit(None, 10).await.unwrap().len(), 5);
}

pub(crate) async fn kills_are_bounded(store: SharedStore) {
    for begin in (0..KILLS_KEPT).step_by(500) {
        // Many at once, since a store can sync in groups.
        let puts = (begin..begin + 500).map(|n| {
            let store = store.clone();
            async move {
                let kill = kill(KillKind::Tenant, &format!("tenant-{n}"));
                store.put_kill(&kill, audit("kill", "x")).await
            }
        });
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
    }
    let more = kill(KillKind::Host, "evil.example");
    assert!(matches!(
        store.put_kill(&more, audit("kill", "x")).await,
        Err(StoreError::TooMany(KILLS_KEPT))
    ));
    let again = kill(KillKind::Tenant, "tenant-7");
    store.put_kill(&again, audit("kill", "x")).await.unwrap();
    assert_eq!(store.kills().await.unwrap().len(), KILLS_KEPT);
}
