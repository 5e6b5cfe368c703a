//! Texts and numbers that PostgreSQL does not take, or not everywhere.

use std::sync::Arc;
use std::time::Duration;

use linkseal_domain::links::Kill;
use linkseal_domain::ssl::Reason;
use linkseal_link::{KillKind, Slug};
use linkseal_peers::postgres::Server;

use super::opened;
use crate::conformance::{MINUTE, NOW, add, audit, line, owner, to};
use crate::{BudgetTake, CaTrouble, LeaseKey, SharedStore, StoredKill, StoredRedirect, Transition};

/// PostgreSQL's text has no NUL. Texts of people, browsers and CAs are stored without it.
#[tokio::test]
async fn a_nul_in_a_text_refuses_no_change() {
    let database = Server::shared().await.database().await;
    let store: SharedStore = Arc::new(opened(&database).await);
    let record = add(&store, "a.example", "acme", Reason::Queued).await;
    let mut entry = audit("a\0b", "a\0b");
    entry.who = "a\0b".into();
    entry.after = serde_json::json!({ "note": "a\0b" });
    let mut at = line("changed");
    at.detail = Some("a\0b".into());
    let mut change = Transition {
        timeline: vec![at],
        audit: Some(entry),
        ..to(&record, Reason::Ok)
    };
    change.record.fallback_url = Some("a\0b".into());
    let changed = store.transition(change).await.unwrap();
    assert_eq!(store.domain(&record.name).await.unwrap(), Some(changed));
    let lines = store.timeline(&record.name, None, 1).await.unwrap();
    assert_eq!(lines[0].detail.as_deref(), Some("a\u{fffd}b"));
    let entry = store.audit(None, 1).await.unwrap().remove(0);
    assert_eq!(entry.who, "a\u{fffd}b");
    assert_eq!(entry.after, serde_json::json!({ "note": "a\0b" }));

    let trouble = CaTrouble {
        directory: "https://ca.example/".into(),
        failures: 1,
        outages: 0,
        out_until: None,
        since: NOW,
        why: "a\0b".into(),
    };
    // Its writer compares with what it has written, not with what it has read.
    let directory = &trouble.directory;
    store.change_ca_trouble(directory, None, Some(&trouble)).await.unwrap();
    store.change_ca_trouble(directory, Some(&trouble), None).await.unwrap();
    let kill = StoredKill {
        kill: Kill::new(KillKind::Tenant, "acme").unwrap(),
        note: Some("a\0b".into()),
        by: "ops".into(),
        since: NOW,
    };
    store.put_kill(&kill, None, audit("kill", "acme")).await.unwrap();
    store.delete_kill(&kill, audit("restore", "acme")).await.unwrap();
}

/// A row of an index has 2,704 bytes at most.
#[tokio::test]
async fn the_longest_keys_fit_their_indexes() {
    let database = Server::shared().await.database().await;
    let store: SharedStore = Arc::new(opened(&database).await);
    // Texts that do not compress.
    let noise = |length: usize| -> String {
        let mut text = String::new();
        while text.len() < length {
            text.push_str(&uuid::Uuid::new_v4().simple().to_string());
        }
        text.truncate(length);
        text
    };
    let label = || noise(63);
    let long = format!("{}.{}.{}.{}", label(), label(), label(), noise(61));
    let tenant = noise(linkseal_domain::record::MAX_TENANT);
    let record = add(&store, &long, &tenant, Reason::Queued).await;
    let record = store.transition(to(&record, Reason::Ok)).await.unwrap();
    assert_eq!(store.counts(Some(&tenant)).await.unwrap()[0].domains, 1);
    let redirect = StoredRedirect {
        domain: Some(record.name.clone()),
        slug: Slug::parse(&noise(linkseal_link::MAX_SLUG)).unwrap(),
        url: format!("https://x.example/{}", noise(4_000)),
        expires: None,
        changed: NOW,
    };
    store
        .put_redirect(&redirect, None, audit("redirect", "x"))
        .await
        .unwrap();
    let key = format!("failed/https://ca.example/{}/{long}", noise(1_024));
    let take = BudgetTake {
        key,
        size: 5,
        per: MINUTE,
        amount: 1,
        small_tenant: false,
    };
    store.take_budgets(&[take]).await.unwrap();
}

#[tokio::test]
async fn the_longest_times_do_not_overflow() {
    let database = Server::shared().await.database().await;
    let store: SharedStore = Arc::new(opened(&database).await);
    let record = add(&store, "a.example", "acme", Reason::Queued).await;
    let key = LeaseKey::Domain(record.name.clone());
    let fence = store.acquire_lease(&key, owner(1), Duration::MAX).await.unwrap();
    assert!(fence.is_some());
    assert_eq!(store.acquire_lease(&key, owner(2), MINUTE).await.unwrap(), None);
    let lease = crate::Lease {
        key,
        fence: fence.unwrap(),
    };
    let held = store.renew_leases(std::slice::from_ref(&lease), Duration::MAX).await;
    assert_eq!(held.unwrap(), [lease]);
    let key = crate::NewTicketKey { id: 1, sealed: vec![1] };
    let added = store.add_ticket_key(&key, None, Duration::ZERO, Duration::MAX).await;
    assert!(added.unwrap());
}
