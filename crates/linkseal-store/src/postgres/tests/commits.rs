//! Commits whose answer is lost, or that do not end: what was done is done once, and the answer says what is true.

use std::sync::Arc;
use std::time::{Duration, Instant};

use linkseal_domain::links::Kill;
use linkseal_domain::ssl::Reason;
use linkseal_link::{KillKind, Slug};
use linkseal_peers::cutter::{CommitFault, Cutter, Mode};
use linkseal_peers::postgres::{Database, Options, Server};
use linkseal_peers::until;

use super::super::call::CALL;
use super::{lock_waits, opened, opened_at, value};
use crate::conformance::{MINUTE, NOW, add, audit, changes, creation, line, name, owner, record, to};
use crate::{
    BudgetTake, CaAccount, CaTrouble, Creation, Freeze, Lease, LeaseKey, NewTicketKey, SharedStore, StoreError,
    StoredKill, StoredRedirect, Transition,
};

/// A store whose commits can be cut.
struct Cut {
    store: SharedStore,
    cutter: Cutter,
    database: Database,
}

async fn cut() -> Cut {
    let server = Server::shared().await;
    let (database, cutter) = (server.database().await, Cutter::start(server.address()).await);
    let store = Arc::new(opened_at(&database, cutter.addr()).await);
    Cut {
        store,
        cutter,
        database,
    }
}

impl Cut {
    /// The next commit meets this fault.
    async fn next(&self, fault: CommitFault) {
        self.cutter.set(Mode::OnCommit(fault, 1)).await;
    }

    /// This number of commits has met a fault.
    fn met(&self, commits: u64) {
        assert_eq!(self.cutter.counts().commits, commits);
    }
}

const ON_THE_WIRE: [CommitFault; 2] = [CommitFault::AnswerCut, CommitFault::Lost];

fn with_lines(record: &linkseal_domain::DomainRecord) -> Transition {
    Transition {
        timeline: vec![line("changed")],
        audit: Some(audit("change", record.name.as_str())),
        ..to(record, Reason::Ok)
    }
}

#[tokio::test]
async fn changes_of_a_domain_are_made_once() {
    for fault in ON_THE_WIRE {
        let cut = cut().await;
        let store = &cut.store;
        let begin = store.feed_end().await.unwrap();
        cut.next(fault).await;
        let new = Creation {
            audit: Some(audit("create", "a.example")),
            ..creation(record("a.example", "acme", Reason::Queued))
        };
        let created = store.create(new).await.unwrap();
        cut.next(fault).await;
        let changed = store.transition(with_lines(&created)).await.unwrap();
        assert_eq!(changed.version, created.version + 1);
        assert_eq!(store.domain(&created.name).await.unwrap(), Some(changed));
        assert_eq!(store.timeline(&created.name, None, 10).await.unwrap().len(), 2);
        cut.next(fault).await;
        store
            .purge(&created.name, None, audit("purge", "a.example"))
            .await
            .unwrap();
        assert_eq!(store.domain(&created.name).await.unwrap(), None);
        assert_eq!(store.audit(None, 10).await.unwrap().len(), 3);
        assert_eq!(store.counts(None).await.unwrap(), []);
        assert_eq!(changes(store, &begin).await.0.len(), 3);
        cut.met(3);
    }
}

#[tokio::test]
async fn changes_of_other_tables_are_made_once() {
    for fault in ON_THE_WIRE {
        let cut = cut().await;
        let store = &cut.store;
        let mut met = 0;
        let mut next = async || {
            cut.met(met);
            met += 1;
            cut.next(fault).await;
        };
        let account = CaAccount {
            directory: "https://ca.example/".into(),
            kid: "1".into(),
            created: NOW,
        };
        next().await;
        store.put_ca_account(&account, None).await.unwrap();
        let later = CaAccount {
            kid: "2".into(),
            ..account.clone()
        };
        next().await;
        store.put_ca_account(&later, Some(&account)).await.unwrap();

        let until = store.now().await.unwrap() + MINUTE;
        next().await;
        store.hold_back("https://ca.example/", until, None).await.unwrap();
        next().await;
        store
            .hold_back("https://ca.example/", until + MINUTE, Some(until))
            .await
            .unwrap();

        let trouble = CaTrouble {
            directory: "https://ca.example/".into(),
            failures: 1,
            outages: 0,
            out_until: None,
            since: NOW,
            why: "it is away".into(),
        };
        next().await;
        store
            .change_ca_trouble(&trouble.directory, None, Some(&trouble))
            .await
            .unwrap();
        next().await;
        store
            .change_ca_trouble(&trouble.directory, Some(&trouble), None)
            .await
            .unwrap();
        next().await;
        store
            .release_ca(&trouble.directory, audit("release", "ca"))
            .await
            .unwrap();

        let freeze = Freeze {
            note: None,
            by: "ops".into(),
            since: NOW,
        };
        next().await;
        store.put_freeze(&freeze, audit("freeze", "orders")).await.unwrap();
        next().await;
        store.end_freeze(audit("thaw", "orders")).await.unwrap();

        let kill = StoredKill {
            kill: Kill::new(KillKind::Tenant, "acme").unwrap(),
            note: None,
            by: "ops".into(),
            since: NOW,
        };
        next().await;
        store.put_kill(&kill, None, audit("kill", "acme")).await.unwrap();
        next().await;
        store.delete_kill(&kill, audit("restore", "acme")).await.unwrap();

        let redirect = StoredRedirect {
            domain: None,
            slug: Slug::parse("sale").unwrap(),
            url: "https://x.example/".into(),
            expires: None,
            changed: NOW,
        };
        next().await;
        store
            .put_redirect(&redirect, None, audit("redirect", "sale"))
            .await
            .unwrap();
        next().await;
        store.delete_redirect(&redirect, audit("delete", "sale")).await.unwrap();

        let key = NewTicketKey { id: 1, sealed: vec![7] };
        next().await;
        assert!(store.add_ticket_key(&key, None, MINUTE, MINUTE).await.unwrap());
        next().await;
        assert_eq!(store.secret_or_insert("account", b"sealed").await.unwrap(), b"sealed");
        next().await;
        store.append_audit(audit("sign_in", "ops")).await.unwrap();
        cut.database
            .sql("INSERT INTO linkseal.work (name) VALUES ('NOT-A-NAME');
                 INSERT INTO linkseal.domains (name, tenant, reason, version, record) VALUES ('NOT-A-NAME', 't', 'ok', 1, '{}')")
            .await;
        next().await;
        store.purge_unreadable("NOT-A-NAME", audit("purge", "?")).await.unwrap();
        // Freeze, thaw, kill, restore, redirect, delete, release, sign-in, purge: one line each.
        assert_eq!(store.audit(None, 100).await.unwrap().len(), 9, "{fault:?}");
        cut.met(met);
    }
}

/// Until its deadline, a commit may still be answered; then, the feed says that it took place.
#[tokio::test]
async fn a_commit_whose_answer_never_comes_is_found_in_the_feed() {
    let cut = cut().await;
    let store = &cut.store;
    let kept = add(store, "kept.example", "acme", Reason::Queued).await;
    let purged = add(store, "purged.example", "acme", Reason::Queued).await;
    cut.cutter.set(Mode::OnCommit(CommitFault::AnswerSwallowed, 2)).await;
    let begun = Instant::now();
    let (changed, gone) = tokio::join!(
        store.transition(with_lines(&kept)),
        store.purge(&purged.name, None, audit("purge", "purged.example")),
    );
    assert!(begun.elapsed() < CALL);
    assert_eq!(changed.unwrap().version, kept.version + 1);
    gone.unwrap();
    cut.met(2);
    assert_eq!(store.timeline(&kept.name, None, 10).await.unwrap().len(), 2);
    assert_eq!(store.audit(None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_connection_that_is_lost_before_the_commit_is_replaced() {
    let cut = cut().await;
    let record = add(&cut.store, "a.example", "acme", Reason::Queued).await;
    let session = cut.database.connect().await;
    session
        .batch_execute("BEGIN; SELECT 1 FROM linkseal.work FOR UPDATE")
        .await
        .unwrap();
    let (store, change) = (Arc::clone(&cut.store), with_lines(&record));
    let blocked = async move { store.transition(change).await };
    let (changed, ()) = tokio::join!(blocked, async {
        lock_waits(&cut.database, 1).await;
        cut.cutter.break_all().await;
        session.batch_execute("COMMIT").await.unwrap();
    });
    assert_eq!(changed.unwrap().version, record.version + 1);
    assert_eq!(cut.store.timeline(&record.name, None, 10).await.unwrap().len(), 2);
    assert_eq!(cut.store.audit(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn budgets_whose_return_is_unknown_are_not_returned_twice() {
    let cut = cut().await;
    let store = &cut.store;
    let take = BudgetTake {
        key: "orders".into(),
        size: 100,
        per: MINUTE * 60 * 24 * 365,
        amount: 30,
        small_tenant: false,
    };
    let left = async || store.budget_left(&take).await.unwrap().round();
    for _ in 0..2 {
        store.take_budgets(std::slice::from_ref(&take)).await.unwrap();
    }
    assert_eq!(left().await, 40.0);
    cut.next(CommitFault::AnswerCut).await;
    store.return_budgets(std::slice::from_ref(&take)).await.unwrap();
    assert_eq!(left().await, 70.0);
    cut.next(CommitFault::Lost).await;
    store.return_budgets(std::slice::from_ref(&take)).await.unwrap();
    assert_eq!(left().await, 70.0);
    cut.met(2);
}

#[tokio::test]
async fn a_server_that_goes_away_in_a_commit_and_stays_away_leaves_the_outcome_unknown() {
    let cut = cut().await;
    let record = add(&cut.store, "a.example", "acme", Reason::Queued).await;
    cut.cutter.set(Mode::OnCommit(CommitFault::AnswerSwallowed, 2)).await;
    let begun = Instant::now();
    let (changed, probed, ()) = tokio::join!(cut.store.transition(with_lines(&record)), cut.store.probe(), async {
        until("both are committing", async || {
            (cut.cutter.counts().commits == 2).then_some(())
        })
        .await;
        cut.cutter.set(Mode::Reset).await;
    });
    assert!(begun.elapsed() < CALL + Duration::from_secs(5));
    assert!(matches!(changed, Err(StoreError::OutcomeUnknown)), "{changed:?}");
    assert!(matches!(probed, Err(StoreError::OutcomeUnknown)), "{probed:?}");
    cut.cutter.set(Mode::Pass).await;
    let read = until("the store is back", async || cut.store.domain(&record.name).await.ok()).await;
    assert_eq!(read.unwrap().version, record.version + 1);
}

/// Its commits do not end, and stay where they are: neither made nor undone.
#[tokio::test]
async fn a_standby_that_is_missing_leaves_the_outcome_unknown() {
    let server = Server::start(Options::default()).await;
    let database = server.database().await;
    let store: SharedStore = Arc::new(opened_at(&database, server.address()).await);
    let record = add(&store, "a.example", "acme", Reason::Queued).await;
    let held = add(&store, "b.example", "acme", Reason::Queued).await;
    let key = LeaseKey::Domain(held.name.clone());
    let fence = store.acquire_lease(&key, owner(1), MINUTE).await.unwrap().unwrap();
    server.config(&[("synchronous_standby_names", "ghost")]).await;
    let lease = Lease { key, fence };
    let renewed = store.renew_leases(std::slice::from_ref(&lease), MINUTE).await.unwrap();
    assert_eq!(renewed, [lease]);

    let begun = Instant::now();
    let other = LeaseKey::Domain(record.name.clone());
    let (created, taken) = tokio::join!(
        store.create(creation(crate::conformance::record(
            "c.example",
            "acme",
            Reason::Queued
        ))),
        store.acquire_lease(&other, owner(2), MINUTE),
    );
    assert!(begun.elapsed() < CALL + Duration::from_secs(5));
    assert!(matches!(created, Err(StoreError::OutcomeUnknown)), "{created:?}");
    assert!(matches!(taken, Err(StoreError::OutcomeUnknown)), "{taken:?}");
    server.config(&[("synchronous_standby_names", "")]).await;
    let created = until("the commit ends", async || {
        store.domain(&name("c.example")).await.ok().flatten()
    })
    .await;
    store.transition(to(&created, Reason::Ok)).await.unwrap();
    assert_eq!(value(&database, "SELECT count(*) FROM linkseal.domains").await, "3");
}

#[tokio::test]
async fn a_connection_on_which_a_call_ended_early_is_not_used_again() {
    let database = Server::shared().await.database().await;
    let store = opened(&database).await;
    let panics = store.write("probe", |db: super::super::call::Db| async move {
        db.batch("INSERT INTO linkseal.probe VALUES ('ghost', 1)").await?;
        assert!(database_is_never_this(&db));
        Ok(())
    });
    assert!(panics.await.is_err());
    // On the connection of before, this would commit what that one has written.
    for _ in 0..8 {
        crate::Store::probe(&store).await.unwrap();
    }
    assert_eq!(value(&database, "SELECT count(*) FROM linkseal.probe").await, "1");
}

fn database_is_never_this(db: &super::super::call::Db) -> bool {
    db.tag() == 0
}
