//! Damaged rows in the store affect one domain only, and can be repaired from outside.

use std::net::Ipv4Addr;
use std::time::Duration;

use linkseal_control::{Actor, NewDomain, OperatorError};
use linkseal_domain::ssl::{Reason, SslEvent, SslStatus};
use linkseal_store::Transition;
use serde_json::json;

use super::*;

impl Harness {
    /// Changes the store's file directly.
    fn by_hand(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.dir.path().join("store.db")).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.execute_batch(sql).unwrap();
    }

    fn spoil(&self, name: &str) {
        self.by_hand(&format!("UPDATE domains SET record = '{{}}' WHERE name = '{name}'"));
    }

    async fn ssl(&self, name: &str) -> SslStatus {
        self.store.domain(&super::name(name)).await.unwrap().unwrap().ssl
    }

    /// Waits until a domain's order is scheduled again after a freeze.
    async fn resumes(&self, name: &str) {
        let waited = async {
            while self.ssl(name).await.reason == Reason::Paused {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waited)
            .await
            .unwrap_or_else(|_| panic!("{name} still waits for the thaw"));
    }
}

#[tokio::test]
async fn an_unreadable_domain_delays_no_other_after_a_freeze() {
    let edge = Harness::start(Vec::new()).await;
    for name in ["a.example", "b.example", "c.example"] {
        edge.add(name).await;
        let name = super::name(name);
        let (store, now) = (edge.control.store(), edge.control.clock().now());
        let mut record = store.domain(&name).await.unwrap().unwrap();
        let until = now + Duration::from_secs(3_600);
        record.apply(SslEvent::Frozen { until }, now);
        let stopped = store.transition(Transition::of(record)).await;
        assert_eq!(stopped.unwrap().ssl.reason, Reason::Paused);
    }
    edge.by_hand(
        "CREATE TRIGGER t BEFORE UPDATE ON domains WHEN NEW.name = 'b.example'
         BEGIN SELECT RAISE(ABORT, 'not now'); END;",
    );
    let freeze = edge.call("PUT", "/v1/issuer/freeze").json(json!({})).send().await;
    assert_eq!(freeze.status, 201);
    assert_eq!(edge.call("DELETE", "/v1/issuer/freeze").send().await.status, 204);
    edge.resumes("c.example").await;
    assert_ne!(edge.ssl("a.example").await.reason, Reason::Paused);
    assert_eq!(edge.ssl("b.example").await.reason, Reason::Paused);
    // And it is not lost itself.
    edge.by_hand("DROP TRIGGER t");
    edge.resumes("b.example").await;
}

/// A registration never answers "not registered", even if the domain is purged at the same time.
#[tokio::test]
async fn a_domain_purged_during_its_registration_is_registered() {
    let edge = Harness::start(Vec::new()).await;
    let actor = Actor {
        who: "ops".into(),
        from: Ipv4Addr::LOCALHOST.into(),
        tenant: None,
    };
    let adds = async {
        for _ in 0..100 {
            let new = NewDomain {
                name: name("a.example"),
                tenant: None,
                sending_domain: None,
                records: None,
            };
            edge.control.operator().register(new, &actor).await.expect("added");
        }
    };
    let purges = async {
        for _ in 0..200 {
            let purged = edge.control.operator().purge(&name("a.example"), &actor).await;
            assert!(matches!(purged, Ok(()) | Err(OperatorError::NotFound)), "{purged:?}");
        }
    };
    futures_util::join!(adds, purges);
}

#[tokio::test]
async fn a_purged_unreadable_domain_can_be_registered_again() {
    let edge = Harness::start(Vec::new()).await;
    edge.add("a.example").await;
    assert!(edge.registry.get("a.example").is_some());
    edge.spoil("a.example");
    let purge = edge.call("DELETE", "/v1/domains/a.example?purge=true").send().await;
    assert_eq!(purge.status, 204);
    assert!(edge.registry.get("a.example").is_none());
    edge.add("a.example").await;
    assert!(edge.registry.get("a.example").is_some(), "handshakes know it");
}

#[tokio::test]
async fn the_edges_own_name_is_registered_again_when_unreadable() {
    let edge = Harness::start(Vec::new()).await;
    edge.control.operator().register_own_names(&name(EDGE).into()).await;
    let own = format!("/v1/domains/{EDGE}?purge=true");
    let refused = edge.call("DELETE", &own).send().await;
    refused.is_problem(409, "conflict");
    // At run time, an operator purges it.
    edge.spoil(EDGE);
    assert_eq!(edge.call("DELETE", &own).send().await.status, 204);
    assert!(edge.ssl(EDGE).await.next_attempt.is_some());
    assert!(edge.registry.get(EDGE).is_some());
    // At start, this happens automatically.
    edge.spoil(EDGE);
    edge.control.operator().register_own_names(&name(EDGE).into()).await;
    assert!(edge.ssl(EDGE).await.next_attempt.is_some());
    assert!(edge.store.unreadable().is_empty());
}

#[tokio::test]
async fn wrong_counters_do_not_prevent_changes() {
    let edge = Harness::start(Vec::new()).await;
    edge.add("a.example").await;
    edge.add("b.example").await;
    edge.by_hand("UPDATE counts SET n = 0; UPDATE totals SET n = 0; UPDATE renewals SET n = 0;");
    let paused = edge
        .call("PATCH", "/v1/domains/a.example")
        .json(json!({"paused": true}));
    assert_eq!(paused.send().await.status, 200);
    let counts = edge.store.counts(None).await.unwrap();
    let of = |reason| counts.iter().find(|c| c.reason == reason).map(|c| c.domains);
    assert_eq!(of(Reason::NeverRequested), Some(1), "counted again: {counts:?}");
    assert_eq!(of(Reason::Paused), Some(1), "{counts:?}");
    let purge = edge.call("DELETE", "/v1/domains/b.example?purge=true").send().await;
    assert_eq!(purge.status, 204);
}

#[tokio::test]
async fn a_version_mismatch_within_a_row_does_not_prevent_changes() {
    let edge = Harness::start(Vec::new()).await;
    edge.add("a.example").await;
    edge.by_hand("UPDATE domains SET version = version + 5 WHERE name = 'a.example'");
    let paused = edge
        .call("PATCH", "/v1/domains/a.example")
        .json(json!({"paused": true}));
    assert_eq!(paused.send().await.status, 200);
    let purge = edge.call("DELETE", "/v1/domains/a.example?purge=true").send().await;
    assert_eq!(purge.status, 204);
}

#[tokio::test]
async fn one_unreadable_record_does_not_affect_answers_about_others() {
    let edge = Harness::start(Vec::new()).await;
    for n in 0..3 {
        edge.add(&format!("d{n}.example")).await;
    }
    edge.spoil("d1.example");
    edge.registry.remove(&name("d1.example"), u64::MAX);
    let asked = json!({"names": ["d0.example", "d1.example", "nope", "d2.example"]});
    let ready = edge.post("/v1/domains/https_ready", asked).await.json();
    assert_eq!(
        ready["ready"],
        json!({"d0.example": false, "d1.example": null, "nope": null, "d2.example": false})
    );
    let exported = edge.get("/v1/domains/export").await;
    assert_eq!(exported.text().lines().count(), 2);
    let listed = edge.get("/v1/domains").await.json();
    assert_eq!(listed["domains"].as_array().unwrap().len(), 2);
    for path in [
        "/v1/issuer",
        "/v1/audit",
        "/metrics",
        "/metrics/domains",
        "/",
        "/issuer",
    ] {
        assert_eq!(edge.get(path).await.status, 200, "{path}");
    }
}
