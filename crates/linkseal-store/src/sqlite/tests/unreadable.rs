//! Records that a newer version wrote, or that were edited in the file: each affects its own domain only.

use linkseal_domain::links::Kill;
use linkseal_domain::ssl::Reason;
use linkseal_link::KillKind;
use rusqlite::Connection;

use super::{open, place};
use crate::conformance::{MINUTE, NOW, add, audit, name, owner, to};
use crate::{DomainQuery, Pages, RedirectQuery, StoreError};

#[tokio::test]
async fn an_unreadable_record_affects_its_own_domain_only() {
    let (_dir, path) = place();
    let store = open(&path);
    for text in ["a.example", "b.example", "c.example", "d.example", "e.example"] {
        let mut record = add(&store, text, "acme", Reason::Queued).await;
        record.ssl.next_attempt = Some(NOW);
        store.transition(to(&record, Reason::Queued)).await.unwrap();
    }
    drop(store);
    let db = Connection::open(&path).unwrap();
    db.execute(
        "UPDATE domains SET record = '{}' WHERE name IN ('a.example', 'b.example')",
        [],
    )
    .unwrap();
    db.execute("UPDATE domains SET name = 'bad name' WHERE name = 'c.example'", [])
        .unwrap();
    drop(db);

    let store = open(&path);
    let query = |limit| DomainQuery {
        limit,
        ..DomainQuery::default()
    };
    let listed = store.list(&query(2)).await.unwrap();
    let names: Vec<_> = listed.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(
        names,
        ["d.example", "e.example"],
        "a page is full although some are skipped"
    );
    let mut pages = Pages::stored(&store, 2);
    let mut names = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        names.extend(page.into_iter().map(|record| record.name));
    }
    assert_eq!(
        names,
        [name("d.example"), name("e.example")],
        "a page without any is no end"
    );
    let unreadable = store.unreadable();
    assert_eq!(unreadable.len(), 3);
    assert_eq!(unreadable[0].0, "a.example");
    // They do not block all others.
    let claims = store.claim_due(owner(1), MINUTE, 2).await.unwrap();
    let due: Vec<_> = claims.into_iter().map(|claim| claim.name).collect();
    assert_eq!(due, [name("d.example"), name("e.example")]);
    assert!(matches!(
        store.domain(&name("a.example")).await,
        Err(StoreError::Unreadable { .. })
    ));
    store
        .purge(&name("a.example"), None, audit("purge", "a.example"))
        .await
        .unwrap();
    assert_eq!(store.domain(&name("a.example")).await.unwrap(), None);
    assert_eq!(store.unreadable().len(), 2);
}

#[tokio::test]
async fn a_record_with_additions_of_a_newer_version_is_read() {
    let (_dir, path) = place();
    let store = open(&path);
    let mut record = add(&store, "a.example", "acme", Reason::Ok).await;
    record.hsts = Some(linkseal_domain::record::Hsts {
        max_age: 60,
        include_subdomains: false,
    });
    store.transition(to(&record, Reason::Ok)).await.unwrap();
    drop(store);
    let db = Connection::open(&path).unwrap();
    db.execute(
        "UPDATE domains SET reason = 'quarantined', record = json_set(record, '$.hsts.preload', 1,
         '$.ssl.reason', 'quarantined', '$.origin', 'imported', '$.ssl.facts.cause', 'weather', '$.new', json('{}'),
         '$.app_links.other', 1, '$.probe', json('{\"result\":\"odd\"}'))",
        [],
    )
    .unwrap();
    db.execute("UPDATE totals SET reason = 'quarantined'", []).unwrap();
    drop(db);
    let store = open(&path);
    let read = store.domain(&record.name).await.unwrap().unwrap();
    assert_eq!(read.hsts, record.hsts);
    assert_eq!(read.probe, None);
    // It claims nothing that is not known: there is no certificate.
    assert_eq!(read.ssl.reason, Reason::NeverRequested);
    assert!(read.next_due().is_some(), "the next check finds the reason");
    assert!(store.unreadable().is_empty());
    assert!(store.counts(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unreadable_redirect_or_kill_hides_no_other() {
    let (_dir, path) = place();
    drop(open(&path));
    let db = Connection::open(&path).unwrap();
    for slug in ["a", "not a slug", "o", "p", "q"] {
        let sql = "INSERT INTO redirects (domain, slug, url, expires, changed) VALUES ('', ?1, 'https://x.example/', NULL, 0)";
        db.execute(sql, [slug]).unwrap();
    }
    for (kind, value) in [("host", ""), ("host", "shop.example"), ("planet", "shop.example")] {
        let sql = "INSERT INTO kills (kind, value, note, by, since) VALUES (?1, ?2, NULL, 'ops', 0)";
        db.execute(sql, [kind, value]).unwrap();
    }
    drop(db);
    let store = open(&path);
    let query = RedirectQuery {
        domain: None,
        after: None,
        limit: 3,
    };
    let found = store.redirects(&query).await.unwrap();
    let slugs: Vec<_> = found.iter().map(|r| r.slug.as_str()).collect();
    assert_eq!(slugs, ["a", "o", "p"], "a page is full, so that the next one is read");
    let kill = Kill::new(KillKind::Host, "shop.example").unwrap();
    let all = store.kills().await.unwrap();
    assert_eq!(
        all.len(),
        2,
        "all but the one of a kind that only a newer version knows"
    );
    for stored in &all {
        store.delete_kill(stored, audit("unkill", "x")).await.unwrap();
    }
    assert!(all.iter().any(|stored| stored.kill == kill));
    assert!(store.kills().await.unwrap().is_empty());
}
