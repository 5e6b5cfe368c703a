//! Bounded growth, and large tables that are read by index.

use crate::prelude::*;
use linkseal_base::clock::Clock;
use linkseal_domain::ssl::{Reason, State};

use super::{opened, place};
use crate::conformance::{MINUTE, NOW, audit, creation, name, owner, record, to};
use crate::feed::Mark;
use crate::sqlite::{SqliteStore, domains, leases, stored};
use crate::{BudgetTake, CHANGES_KEPT, DomainQuery, Feed, FeedPosition};

#[tokio::test]
async fn old_changes_and_full_buckets_are_deleted() {
    let (_dir, path) = place();
    let clock = Clock::standing_at(NOW);
    let store = SqliteStore::open(&path, clock.clone(), None).unwrap();
    let kept = i64::try_from(CHANGES_KEPT).unwrap();
    let seed = format!(
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {kept} + 5000)
         INSERT INTO changes (certificate) SELECT 0 FROM n;
         WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO budgets SELECT 'b' || i, 1, 0, {} FROM n;",
        NOW.as_millis()
    );
    store
        .write("test", move |db| Ok(db.execute_batch(&seed)?))
        .await
        .unwrap();
    let mut domain = store
        .create(creation(record("a.example", "acme", Reason::Queued)))
        .await
        .unwrap();
    // Every 1024th change deletes old ones.
    for _ in 0..1024 {
        domain = store.transition(to(&domain, Reason::Queued)).await.unwrap();
    }
    let rows = store.read("test", |db| {
        Ok(db.query_row("SELECT min(seq), max(seq) FROM changes", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?)
    });
    let (oldest, newest) = rows.await.unwrap();
    assert!(
        (kept..=kept + 1024).contains(&(newest - oldest + 1)),
        "{oldest} to {newest}"
    );
    // A node that has not followed any of it has missed some.
    let begin = FeedPosition::new(vec![Mark::default()]);
    assert_eq!(store.changes_after(&begin, 10).await.unwrap(), Feed::Broken);
    let last = store.feed_end().await.unwrap().marks()[0].seq;
    assert_eq!(i64::try_from(last).unwrap(), newest);

    let take = [BudgetTake {
        key: "new".into(),
        size: 10,
        per: MINUTE,
        amount: 1,
        small_tenant: false,
    }];
    for _ in 0..10 {
        store.take_budgets(&take).await.unwrap();
    }
    let rows = store.read("test", |db| {
        Ok(db.query_row("SELECT count(*) FROM budgets", [], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(rows.await.unwrap(), 1);
    // Ten tokens later it is full, and the next take from any bucket deletes its row.
    let other = [BudgetTake {
        key: "other".into(),
        ..take[0].clone()
    }];
    clock.advance(MINUTE);
    store.take_budgets(&other).await.unwrap();
    let key = store.read("test", |db| {
        Ok(db.query_row("SELECT key FROM budgets", [], |row| row.get::<_, String>(0))?)
    });
    assert_eq!(key.await.unwrap(), "other");
}

#[tokio::test]
async fn a_hundred_thousand_domains_are_listed_by_index() {
    let (_dir, path) = place();
    let store = opened(&path);
    let sample = store
        .create(creation(record("sample.test", "sample.test", Reason::Ok)))
        .await
        .unwrap();
    let text = serde_json::to_string(&sample).unwrap().replace("sample.test", "NAME");
    // Every tenth belongs to one tenant, the others to themselves; 0.1 % are in trouble.
    let seed = "
        WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
        INSERT INTO domains (name, tenant, reason, next_due, version, record)
            SELECT printf('d%06d.example', i), iif(i % 10 = 0, 'big', printf('d%06d.example', i)),
                   iif(i % 1000 = 990, 'validation_failed', 'ok'), i, 1,
                   replace(?1, 'NAME', printf('d%06d.example', i)) FROM n";
    let counts =
        "INSERT INTO counts SELECT tenant, reason, count(*) FROM domains WHERE name <> 'sample.test' GROUP BY 1, 2;
        INSERT OR REPLACE INTO totals SELECT reason, count(*) FROM domains GROUP BY 1;";
    store
        .write("test", move |db| {
            db.execute(seed, [&text])?;
            Ok(db.execute_batch(counts)?)
        })
        .await
        .unwrap();

    let pages = [
        domains::PAGE,
        domains::PAGE_TENANT,
        domains::PAGE_REASON,
        domains::PAGE_TENANT_REASON,
    ];
    for sql in pages {
        let plan = store.read("test", move |db| {
            let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            // Parameters that are not given are NULL, which gives the same plan.
            let rows = statement.raw_query().mapped(|row| row.get::<_, String>(3));
            Ok(rows.collect::<Result<Vec<_>, _>>()?.join("; "))
        });
        let plan = plan.await.unwrap();
        assert!(
            plan.starts_with("SEARCH domains USING COVERING INDEX") && !plan.contains(';'),
            "{sql}: {plan}"
        );
    }

    let plan = store.read("test", |db| {
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {}", leases::DUE))?;
        let rows = statement.raw_query().mapped(|row| row.get::<_, String>(3));
        Ok(rows.collect::<Result<Vec<_>, _>>()?.join("; "))
    });
    let plan = plan.await.unwrap();
    assert!(
        plan.starts_with("SEARCH domains USING COVERING INDEX domains_by_due (next_due<?)")
            && plan.contains("SEARCH leases USING PRIMARY KEY (key=?)")
            && !plan.contains("TEMP B-TREE"),
        "{plan}"
    );

    let sql = stored::STORED;
    let plan = store.read("test", move |db| {
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        let rows = statement.raw_query().mapped(|row| row.get::<_, String>(3));
        Ok(rows.collect::<Result<Vec<_>, _>>()?.join("; "))
    });
    let plan = plan.await.unwrap();
    assert_eq!(
        plan, "SEARCH domains USING INTEGER PRIMARY KEY (rowid>?)",
        "as it lies in the file"
    );

    let page = DomainQuery {
        limit: 100,
        ..DomainQuery::default()
    };
    let mut query = DomainQuery {
        state: Some(State::Pending),
        tenant: Some("big".into()),
        ..page.clone()
    };
    assert_eq!(store.list(&query).await.unwrap().len(), 100);
    query.after = Some(name("d089999.example"));
    assert_eq!(store.list(&query).await.unwrap().len(), 10);
    query = DomainQuery {
        prefix: Some("d0999".into()),
        ..page.clone()
    };
    assert_eq!(store.list(&query).await.unwrap()[99].name, name("d099999.example"));
    query = DomainQuery {
        after: Some(name("d049999.example")),
        ..page
    };
    assert_eq!(store.list(&query).await.unwrap()[0].name, name("d050000.example"));
    let counted: Vec<_> = store
        .counts(None)
        .await
        .unwrap()
        .iter()
        .map(|c| (c.reason, c.domains))
        .collect();
    assert_eq!(counted, [(Reason::Ok, 99_901), (Reason::ValidationFailed, 100)]);
    let counted: Vec<_> = store
        .counts(Some("big"))
        .await
        .unwrap()
        .iter()
        .map(|c| (c.reason, c.domains))
        .collect();
    assert_eq!(counted, [(Reason::Ok, 9_900), (Reason::ValidationFailed, 100)]);
    let due = store.claim_due(owner(1), MINUTE, 10).await.unwrap();
    assert_eq!(due[9].name, name("d000009.example"));
    store
        .purge(&name("d050000.example"), None, audit("purge", "d050000.example"))
        .await
        .unwrap();
    assert_eq!(store.counts(None).await.unwrap()[0].domains, 99_900);
}
