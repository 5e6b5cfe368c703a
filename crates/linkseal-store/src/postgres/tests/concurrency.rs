//! Two stores at once on one database, as two nodes are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use linkseal_domain::links::Kill;
use linkseal_domain::ssl::Reason;
use linkseal_link::KillKind;
use linkseal_peers::postgres::{Database, Server};
use linkseal_peers::until;
use tokio::task::JoinSet;

use super::{opened, value};
use crate::conformance::{MINUTE, NOW, add, audit, creation, line, name, record, to};
use crate::{
    BudgetTake, Changed, Feed, FeedPosition, Fence, Lease, LeaseKey, Owner, SharedStore, StoreError, StoredKill,
    Transition,
};

const TASKS: u64 = 16;
const STEPS: u32 = 60;
/// Few, so that tasks meet.
const NAMES: u64 = 24;

const REASONS: [Reason; 4] = [Reason::Queued, Reason::Ordering, Reason::Ok, Reason::Paused];

/// Numbers that a seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn name(&mut self) -> String {
        format!("d{}.example", self.below(NAMES))
    }
}

/// Refused by a rule, as it may be when others were there first.
#[track_caller]
fn allowed<T>(outcome: Result<T, StoreError>) -> Option<T> {
    match outcome {
        Ok(done) => Some(done),
        Err(StoreError::Conflict | StoreError::Fenced | StoreError::NotFound | StoreError::Exists) => None,
        Err(error) => panic!("{error:?}"),
    }
}

async fn step(store: &SharedStore, dice: &mut Dice, owner: Owner) {
    let text = dice.name();
    match dice.below(10) {
        0 | 1 => {
            let tenant = format!("t{}", dice.below(3));
            allowed(store.create(creation(record(&text, &tenant, Reason::Queued))).await);
        }
        2 => {
            allowed(store.purge(&name(&text), None, audit("purge", &text)).await);
        }
        3..=5 => {
            let reason = REASONS[usize::try_from(dice.below(4)).unwrap()];
            change(store, &text, reason, None).await;
        }
        6 => {
            for claim in store.claim_due(owner, MINUTE, 3).await.unwrap() {
                change(store, claim.name.as_str(), Reason::Ordering, Some(claim.fence)).await;
                let lease = Lease {
                    key: LeaseKey::Domain(claim.name.clone()),
                    fence: claim.fence,
                };
                store.renew_leases(std::slice::from_ref(&lease), MINUTE).await.unwrap();
                store.release_lease(&lease).await.unwrap();
            }
        }
        7 => {
            let mut takes: Vec<BudgetTake> = (0..3).map(|_| take(&format!("b{}", dice.below(5)))).collect();
            takes.dedup_by(|a, b| a.key == b.key);
            store.take_budgets(&takes).await.unwrap();
            store.return_budgets(&takes).await.unwrap();
        }
        8 => {
            let kill = StoredKill {
                kill: Kill::new(KillKind::Tenant, &format!("t{}", dice.below(3))).unwrap(),
                note: None,
                by: "ops".into(),
                since: NOW,
            };
            if allowed(store.put_kill(&kill, None, audit("kill", "t")).await).is_some() {
                store.delete_kill(&kill, audit("restore", "t")).await.unwrap();
            }
        }
        _ => {
            let key = LeaseKey::Domain(name(&text));
            store.acquire_lease(&key, owner, MINUTE).await.unwrap();
            store.release_leases(owner).await.unwrap();
        }
    }
}

async fn change(store: &SharedStore, text: &str, reason: Reason, fence: Option<Fence>) {
    let Some(record) = store.domain(&name(text)).await.unwrap() else {
        return;
    };
    let change = Transition {
        fence,
        timeline: vec![line("changed")],
        ..to(&record, reason)
    };
    allowed(store.transition(change).await);
}

fn take(key: &str) -> BudgetTake {
    BudgetTake {
        key: key.to_owned(),
        size: 1_000,
        per: MINUTE,
        amount: 1,
        small_tenant: false,
    }
}

/// The versions of all domains, as a node keeps them that follows the feed.
#[derive(Default)]
struct Follower {
    at: FeedPosition,
    versions: BTreeMap<String, u64>,
    seen: usize,
}

impl Follower {
    async fn new(store: &SharedStore) -> Self {
        Self {
            at: store.feed_end().await.unwrap(),
            ..Self::default()
        }
    }

    /// Takes up what there is; returns whether there was something.
    async fn follow(&mut self, store: &SharedStore) -> bool {
        let Feed::Changes { changes, position, .. } = store.changes_after(&self.at, 50).await.unwrap() else {
            panic!("the feed is broken")
        };
        self.at = position;
        self.seen += changes.len();
        for change in &changes {
            let Changed::Domain { name, .. } = change else { continue };
            match store.domains(std::slice::from_ref(name)).await.unwrap().first() {
                Some(record) => self.versions.insert(name.to_string(), record.version),
                None => self.versions.remove(name.as_str()),
            };
        }
        !changes.is_empty()
    }
}

async fn stored_versions(database: &Database) -> BTreeMap<String, u64> {
    let rows = database.rows("SELECT name, version FROM linkseal.domains").await;
    let pair = |row: Vec<Option<String>>| {
        let [Some(name), Some(version)] = row.as_slice() else {
            panic!("null")
        };
        (name.clone(), version.parse().unwrap())
    };
    rows.into_iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_do_everything_at_once_agree() {
    let database = Server::shared().await.database().await;
    let mut stores: Vec<Arc<super::PostgresStore>> = Vec::new();
    for _ in 0..2 {
        stores.push(Arc::new(opened(&database).await));
    }
    let shared = |n: u64| -> SharedStore { stores[usize::try_from(n % 2).unwrap()].clone() };
    let mut follower = Follower::new(&shared(0)).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for n in 0..TASKS {
        let store = shared(n);
        tasks.spawn(async move {
            let (mut dice, owner) = (Dice(n + 1), Owner::unique());
            for _ in 0..STEPS {
                step(&store, &mut dice, owner).await;
            }
        });
    }
    let mut upkeep = JoinSet::new();
    for store in stores.clone() {
        let done = Arc::clone(&done);
        upkeep.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                store.upkeep(0).await.unwrap();
            }
        });
    }
    let store = shared(1);
    while !tasks.is_empty() {
        follower.follow(&store).await;
        while let Some(ended) = tasks.try_join_next() {
            ended.unwrap();
        }
    }
    done.store(true, Ordering::Relaxed);
    while let Some(ended) = upkeep.join_next().await {
        ended.unwrap();
    }
    while follower.follow(&store).await {}

    let stored = stored_versions(&database).await;
    assert!(!stored.is_empty());
    assert_eq!(follower.versions, stored);
    assert_feed_has_no_gap(&database, &follower).await;
    assert_counts_are_exact(&database, &store).await;
    for stray in [
        "SELECT count(*) FROM linkseal.work w FULL JOIN linkseal.domains d USING (name) WHERE w.name IS NULL OR d.id IS NULL",
        "SELECT count(*) FROM linkseal.kills",
        "SELECT count(*) FROM linkseal.work WHERE owner IS NULL AND due_at IS DISTINCT FROM
            (SELECT next_due FROM linkseal.domains d WHERE d.name = work.name)",
    ] {
        assert_eq!(value(&database, stray).await, "0", "{stray}");
    }
    // Sessions report what they counted when they end, at the latest.
    drop((store, stores));
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name LIKE 'linkseal %'";
    until("the sessions end", async || {
        (value(&database, sessions).await == "0").then_some(())
    })
    .await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(value(&database, deadlocks).await, "0");
}

/// Numbers of a shard follow each other, and its head is the last.
async fn assert_feed_has_no_gap(database: &Database, follower: &Follower) {
    let gaps = "SELECT count(*) FROM linkseal.feed_heads h LEFT JOIN
        (SELECT shard, count(*) AS n, max(seq) AS last FROM linkseal.changes GROUP BY shard) c USING (shard)
        WHERE h.seq <> coalesce(c.n, 0) OR h.seq <> coalesce(c.last, 0)";
    assert_eq!(value(database, gaps).await, "0");
    let all = value(database, "SELECT sum(seq) FROM linkseal.feed_heads").await;
    assert_eq!(follower.seen.to_string(), all);
}

async fn assert_counts_are_exact(database: &Database, store: &SharedStore) {
    for (tenant, filter) in [(None, ""), (Some("t1"), "WHERE tenant = 't1'")] {
        let sql = format!("SELECT reason, count(*) FROM linkseal.domains {filter} GROUP BY reason");
        let real: BTreeMap<String, String> = database
            .rows(&sql)
            .await
            .into_iter()
            .map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap()))
            .collect();
        let counted = store.counts(tenant).await.unwrap();
        let counted: BTreeMap<String, String> = counted
            .iter()
            .map(|count| (count.reason.as_str().to_owned(), count.domains.to_string()))
            .collect();
        assert_eq!(counted, real);
    }
}

/// A number that is taken first and committed last must not be passed over.
#[tokio::test]
async fn a_follower_misses_nothing_of_a_transaction_that_stays_open() {
    let database = Server::shared().await.database().await;
    let store: SharedStore = Arc::new(opened(&database).await);
    let mut follower = Follower::new(&store).await;
    let held = add(&store, "held.example", "acme", Reason::Queued).await;
    // Stays open with its changes made, as before its commit: the timeline's row is a later statement's.
    let session = database.connect().await;
    session
        .batch_execute(
            "BEGIN;
             UPDATE linkseal.domains SET version = version + 1 WHERE name = 'held.example';
             WITH h AS (UPDATE linkseal.feed_heads SET seq = seq + 1
                WHERE shard = (SELECT shard FROM linkseal.changes WHERE name = 'held.example') RETURNING shard, seq)
             INSERT INTO linkseal.changes (shard, seq, tag, what, name) SELECT shard, seq, 7, 'domain', 'held.example' FROM h",
        )
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..40 {
        let store = Arc::clone(&store);
        // Those of the same shard wait.
        tasks.spawn(async move {
            add(&store, &format!("d{n}.example"), "acme", Reason::Queued).await;
        });
    }
    until("changes of other shards are seen", async || {
        follower.follow(&store).await;
        (follower.seen > 5).then_some(())
    })
    .await;
    assert_eq!(follower.versions.get("held.example"), Some(&held.version));
    session.batch_execute("COMMIT").await.unwrap();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    while follower.follow(&store).await {}
    assert_eq!(follower.seen, 42);
    assert_eq!(follower.versions.get("held.example"), Some(&(held.version + 1)));
    assert_eq!(follower.versions, stored_versions(&database).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_claim_at_once_share_what_is_due() {
    let database = Server::shared().await.database().await;
    let stores: [SharedStore; 2] = [Arc::new(opened(&database).await), Arc::new(opened(&database).await)];
    database
        .sql(
            "INSERT INTO linkseal.work (name, due_at) SELECT 'd' || n || '.example', n FROM generate_series(1, 400) n;
             INSERT INTO linkseal.domains (name, tenant, reason, next_due, version, record)
             SELECT name, 't', 'queued', due_at, 1, '{}' FROM linkseal.work",
        )
        .await;
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let store = Arc::clone(&stores[n % 2]);
        tasks.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claims = store.claim_due(Owner::unique(), MINUTE, 10).await.unwrap();
                if claims.is_empty() {
                    return mine;
                }
                mine.extend(claims.into_iter().map(|claim| claim.name.to_string()));
            }
        });
    }
    let mut all: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(all.len(), 400);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 400, "none twice");
}

/// With another level, a statement would not see what was committed while it waited for a lock.
#[tokio::test]
async fn transactions_are_of_the_same_level_whatever_the_default_is() {
    let database = Server::shared().await.database().await;
    let name = database.name();
    database
        .sql(&format!(
            "ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
        ))
        .await;
    let store = opened(&database).await;
    let level = store.write("probe", |db: super::super::call::Db| async move {
        let row = db.row("SELECT current_setting('transaction_isolation')", &[]).await?;
        Ok(row.unwrap().get::<_, String>(0))
    });
    assert_eq!(level.await.unwrap(), "read committed");
}
