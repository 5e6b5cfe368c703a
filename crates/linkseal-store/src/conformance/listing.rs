//! Pages of domains, and how many there are.

use linkseal_domain::ssl::{Reason, State};

use super::{Fresh, add, audit, name, to};
use crate::{Count, DomainQuery, Pages, SharedStore, Transition};

pub(crate) async fn pages_follow_the_names(Fresh { store, .. }: &Fresh) {
    for n in (0..25).rev() {
        add(store, &format!("d{n:02}.example"), "acme", Reason::Queued).await;
    }
    let mut seen = Vec::new();
    let mut query = DomainQuery {
        limit: 10,
        ..DomainQuery::default()
    };
    for full in [10, 10, 5, 0] {
        let page = store.list(&query).await.unwrap();
        assert_eq!(page.len(), full);
        query.after = page.last().map(|record| record.name.clone()).or(query.after);
        seen.extend(page.into_iter().map(|record| record.name.to_string()));
    }
    let wanted: Vec<String> = (0..25).map(|n| format!("d{n:02}.example")).collect();
    assert_eq!(seen, wanted);
    assert!(
        store.list(&DomainQuery::default()).await.unwrap().is_empty(),
        "a limit of 0 is no page"
    );
}

pub(crate) async fn all_domains_are_read_as_they_are_stored(Fresh { store, .. }: &Fresh) {
    for n in (0..25).rev() {
        add(store, &format!("d{n:02}.example"), "acme", Reason::Queued).await;
    }
    let mut seen = Vec::new();
    let mut pages = Pages::stored(store, 10);
    while let Some(page) = pages.next().await.unwrap() {
        assert!((1..=10).contains(&page.len()));
        // One that is read already is purged, and one is added: neither hides nor repeats another.
        if seen.is_empty() {
            let first = &page[0].name;
            store.purge(first, None, audit("purge", first.as_str())).await.unwrap();
            add(store, "late.example", "acme", Reason::Queued).await;
        }
        for record in page {
            let stored = store.domain(&record.name).await.unwrap();
            assert!(stored.is_none_or(|stored| stored == record));
            seen.push(record.name.to_string());
        }
    }
    seen.sort();
    let all = (0..25).map(|n| format!("d{n:02}.example"));
    let wanted: Vec<String> = all.chain(["late.example".to_owned()]).collect();
    assert_eq!(seen, wanted);
}

pub(crate) async fn filters_combine(Fresh { store, .. }: &Fresh) {
    for (text, tenant, reason) in [
        ("a.example", "acme", Reason::Ok),
        ("b.example", "acme", Reason::Queued),
        ("c.example", "beta", Reason::Queued),
        ("d.example", "acme", Reason::Validating),
        ("e.example", "beta", Reason::Ok),
        ("f.example", "acme", Reason::Queued),
        ("g.test", "acme", Reason::Ordering),
    ] {
        add(store, text, tenant, reason).await;
    }
    let all = DomainQuery {
        limit: 100,
        ..DomainQuery::default()
    };
    let acme = DomainQuery {
        tenant: Some("acme".into()),
        ..all.clone()
    };
    let pending = DomainQuery {
        state: Some(State::Pending),
        ..all.clone()
    };
    let queued = DomainQuery {
        reason: Some(Reason::Queued),
        ..all.clone()
    };
    let listed = async |query: DomainQuery| -> String {
        let page = store.list(&query).await.unwrap();
        page.iter().map(|record| &record.name.as_str()[..1]).collect()
    };
    assert_eq!(listed(all.clone()).await, "abcdefg");
    assert_eq!(listed(acme.clone()).await, "abdfg");
    assert_eq!(listed(pending.clone()).await, "bcdfg");
    assert_eq!(listed(queued.clone()).await, "bcf");
    assert_eq!(
        listed(DomainQuery {
            tenant: Some("acme".into()),
            ..queued.clone()
        })
        .await,
        "bf"
    );
    assert_eq!(
        listed(DomainQuery {
            tenant: Some("acme".into()),
            ..pending.clone()
        })
        .await,
        "bdfg"
    );
    // A page of one state is cut after merging, not within each reason.
    assert_eq!(
        listed(DomainQuery {
            limit: 3,
            ..pending.clone()
        })
        .await,
        "bcd"
    );
    let after = Some(name("c.example"));
    assert_eq!(
        listed(DomainQuery {
            after: after.clone(),
            limit: 2,
            ..pending.clone()
        })
        .await,
        "df"
    );
    assert_eq!(
        listed(DomainQuery {
            after,
            ..queued.clone()
        })
        .await,
        "f"
    );
    assert_eq!(
        listed(DomainQuery {
            state: Some(State::Pending),
            ..queued.clone()
        })
        .await,
        "bcf"
    );
    assert_eq!(
        listed(DomainQuery {
            state: Some(State::Issued),
            ..queued
        })
        .await,
        ""
    );
    assert_eq!(
        listed(DomainQuery {
            tenant: Some("absent".into()),
            ..all
        })
        .await,
        ""
    );

    // A change moves a domain from one page to the other.
    let b = store.domain(&name("b.example")).await.unwrap().unwrap();
    let mut moved = to(&b, Reason::Ok);
    moved.record.tenant = "beta".into();
    store.transition(moved).await.unwrap();
    assert_eq!(listed(acme).await, "adfg");
    assert_eq!(listed(pending).await, "cdfg");
}

pub(crate) async fn a_prefix_matches_its_names_only(Fresh { store, .. }: &Fresh) {
    for text in [
        "a.example",
        "ab.example",
        "ab-c.example",
        "ab0.example",
        "abz.example",
        "ac.example",
        "b.example",
    ] {
        add(store, text, "acme", Reason::Ok).await;
    }
    let starting = async |prefix: &str, after: Option<&str>| -> Vec<String> {
        let query = DomainQuery {
            prefix: Some(prefix.to_owned()),
            after: after.map(name),
            limit: 100,
            ..DomainQuery::default()
        };
        store
            .list(&query)
            .await
            .unwrap()
            .iter()
            .map(|record| record.name.to_string())
            .collect()
    };
    assert_eq!(starting("", None).await.len(), 7);
    assert_eq!(
        starting("ab", None).await,
        ["ab-c.example", "ab.example", "ab0.example", "abz.example"]
    );
    assert_eq!(starting("AB.", None).await, ["ab.example"]);
    assert_eq!(starting("ab", Some("ab.example")).await, ["ab0.example", "abz.example"]);
    assert_eq!(starting("ab", Some("a.example")).await.len(), 4);
    assert!(starting("ab", Some("b.example")).await.is_empty());
    assert_eq!(starting("abz.example", None).await, ["abz.example"]);
    for none in ["abz.example.", "zz", "a%", "a_", "_", "*", "ä", "a'", "{", "~"] {
        assert!(starting(none, None).await.is_empty(), "{none}");
    }
}

pub(crate) async fn counts_follow_every_change(Fresh { store, .. }: &Fresh) {
    assert!(store.counts(None).await.unwrap().is_empty());
    let a = add(store, "a.example", "acme", Reason::Queued).await;
    add(store, "b.example", "acme", Reason::Queued).await;
    let c = add(store, "c.example", "beta", Reason::Ok).await;
    assert_eq!(counted(store, None).await, [(Reason::Ok, 1), (Reason::Queued, 2)]);
    assert_eq!(counted(store, Some("acme")).await, [(Reason::Queued, 2)]);

    let a = store.transition(to(&a, Reason::Ok)).await.unwrap();
    store.transition(to(&a, Reason::Ok)).await.unwrap();
    assert_eq!(counted(store, None).await, [(Reason::Ok, 2), (Reason::Queued, 1)]);
    let mut moved = c.clone();
    moved.tenant = "acme".into();
    store.transition(Transition::of(moved)).await.unwrap();
    assert_eq!(
        counted(store, Some("acme")).await,
        [(Reason::Ok, 2), (Reason::Queued, 1)]
    );
    assert!(counted(store, Some("beta")).await.is_empty());

    store
        .purge(&name("b.example"), None, audit("purge", "b.example"))
        .await
        .unwrap();
    assert_eq!(counted(store, None).await, [(Reason::Ok, 2)]);
    assert_eq!(counted(store, Some("acme")).await, [(Reason::Ok, 2)]);
    assert!(counted(store, Some("absent")).await.is_empty());
}

async fn counted(store: &SharedStore, tenant: Option<&str>) -> Vec<(Reason, u64)> {
    let mut counts = store.counts(tenant).await.unwrap();
    counts.sort_by_key(|count| count.reason);
    counts
        .into_iter()
        .map(|Count { reason, domains }| (reason, domains))
        .collect()
}
