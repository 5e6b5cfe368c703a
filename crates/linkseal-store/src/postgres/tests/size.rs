//! A million domains: what claims, pages, counts and the follower cost, and by which plans. A measurement; its
//! numbers are in docs/capacity.md.

use std::sync::Arc;
use std::time::{Duration, Instant};

use linkseal_domain::ssl::{Reason, State};
use linkseal_peers::postgres::{Options, Server};

use super::{opened_at, value};
use crate::conformance::{MINUTE, add, name, owner};
use crate::{DomainQuery, Owner, SharedStore};

const DOMAINS: u32 = 1_000_000;
const ROUNDS: usize = 40;

#[tokio::test]
#[ignore = "a measurement: just measure a_million_domains_in_postgres"]
async fn a_million_domains_in_postgres() {
    let options = Options {
        durable: true,
        ..Options::default()
    };
    let server = Server::start(options).await;
    let database = server.database().await;
    let store: SharedStore = Arc::new(opened_at(&database, server.address()).await);
    add(&store, "d0.example", "t0", Reason::Ok).await;
    let begun = Instant::now();
    database.sql(&filled()).await;
    // Neither can be in a transaction, as they would be beside another statement.
    database.sql("VACUUM ANALYZE").await;
    server.sql("CHECKPOINT").await;
    println!("filled in {:?}", begun.elapsed());
    for sql in [
        "SELECT pg_size_pretty(pg_table_size('linkseal.work')) || ' + ' || pg_size_pretty(pg_indexes_size('linkseal.work'))",
        "SELECT pg_size_pretty(pg_table_size('linkseal.domains')) || ' + ' || pg_size_pretty(pg_indexes_size('linkseal.domains'))",
    ] {
        println!("{sql}: {}", value(&database, sql).await);
    }
    run(&store, ROUNDS).await;

    // The plans of the same calls, as the server made them. Only sessions that have loaded it know its settings.
    server.config(&[("session_preload_libraries", "auto_explain")]).await;
    server
        .config(&[
            ("auto_explain.log_min_duration", "0"),
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_buffers", "on"),
            ("auto_explain.log_timing", "off"),
        ])
        .await;
    let store: SharedStore = Arc::new(opened_at(&database, server.address()).await);
    let before = server.log().len();
    run(&store, 1).await;
    println!("{}", &server.log()[before..]);
}

/// Every tenth of a promille is due; one in fifty is in trouble; a thousand tenants.
fn filled() -> String {
    format!(
        "INSERT INTO linkseal.domains (name, tenant, reason, next_due, renew_day, version, record)
         SELECT 'd' || n || '.example', 't' || n % 1000,
            CASE WHEN n % 50 > 0 THEN 'ok' WHEN n % 100 > 0 THEN 'queued' ELSE 'ordering' END,
            linkseal.now_ms() + CASE WHEN n % 200 = 0 THEN -1000 - n ELSE n * 5000::bigint END,
            20000 + n % 60, 1, replace(replace(record, 'd0.example', 'd' || n || '.example'), '\"t0\"', '\"t' || n % 1000 || '\"')
         FROM generate_series(1, {DOMAINS}) AS n,
            (SELECT record FROM linkseal.domains WHERE name = 'd0.example') AS of_first;
         INSERT INTO linkseal.work (name, due_at) SELECT name, next_due FROM linkseal.domains WHERE name <> 'd0.example';
         INSERT INTO linkseal.counts SELECT 'reason', reason, count(*) FROM linkseal.domains GROUP BY reason
            ON CONFLICT DO NOTHING;
         INSERT INTO linkseal.counts SELECT 'tenant', tenant || chr(10) || reason, count(*) FROM linkseal.domains
            GROUP BY tenant, reason ON CONFLICT DO NOTHING;
         INSERT INTO linkseal.count_deltas (kind, key, n) SELECT 'reason', 'ok', n % 2 * 2 - 1 FROM generate_series(1, 5000) n;
         INSERT INTO linkseal.changes (shard, seq, tag, what, name)
            SELECT s, n, n, 'domain', 'd' || n || '.example' FROM generate_series(0, 15) s, generate_series(1, 20000) n
            ON CONFLICT DO NOTHING;
         UPDATE linkseal.feed_heads SET seq = 20000"
    )
}

async fn run(store: &SharedStore, rounds: usize) {
    let end = store.feed_end().await.unwrap();
    let page = DomainQuery {
        limit: 50,
        ..DomainQuery::default()
    };
    let after = Some(name("d500000.example"));
    let pages = [
        (
            "page",
            DomainQuery {
                after: after.clone(),
                ..page.clone()
            },
        ),
        (
            "page of a tenant",
            DomainQuery {
                tenant: Some("t7".into()),
                after: after.clone(),
                ..page.clone()
            },
        ),
        (
            "page of a reason",
            DomainQuery {
                reason: Some(Reason::Queued),
                after: after.clone(),
                ..page.clone()
            },
        ),
        (
            "page of a state",
            DomainQuery {
                state: Some(State::Issued),
                after: after.clone(),
                ..page.clone()
            },
        ),
        (
            "page of a tenant and a reason",
            DomainQuery {
                tenant: Some("t50".into()),
                reason: Some(Reason::Queued),
                ..page.clone()
            },
        ),
        (
            "page of a prefix",
            DomainQuery {
                prefix: Some("d77".into()),
                ..page.clone()
            },
        ),
        (
            "page of a reason that there is not",
            DomainQuery {
                reason: Some(Reason::Paused),
                ..page.clone()
            },
        ),
    ];
    measure("claim_due(64)", rounds, async || {
        assert_eq!(store.claim_due(owner(1), MINUTE, 64).await.unwrap().len(), 64);
    })
    .await;
    measure("next_due", rounds, async || {
        assert!(store.next_due().await.unwrap().is_some())
    })
    .await;
    measure("changes_after, idle", rounds, async || {
        drop(store.changes_after(&end, 1_000).await.unwrap())
    })
    .await;
    for (what, query) in pages {
        measure(what, rounds, async || drop(store.list(&query).await.unwrap())).await;
    }
    measure("stored(1000)", rounds, async || {
        drop(store.stored(None, 1_000).await.unwrap())
    })
    .await;
    measure("counts", rounds, async || drop(store.counts(None).await.unwrap())).await;
    measure("counts of a tenant", rounds, async || {
        drop(store.counts(Some("t7")).await.unwrap())
    })
    .await;
    measure("transition", rounds, async || {
        let record = store.domain(&name("d7.example")).await.unwrap().unwrap();
        store
            .transition(crate::conformance::to(&record, Reason::Ok))
            .await
            .unwrap();
    })
    .await;
    measure("release_leases of none", rounds, async || {
        store.release_leases(Owner::unique()).await.unwrap();
    })
    .await;
    measure("round trip", rounds, async || {
        assert!(store.now().await.unwrap() > crate::conformance::NOW.minus(MINUTE * 1_000_000))
    })
    .await;
}

async fn measure(what: &str, rounds: usize, mut call: impl AsyncFnMut()) {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        call().await;
        times.push(begun.elapsed());
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: median {median:?}, most {worst:?}");
}
