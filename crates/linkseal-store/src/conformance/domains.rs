//! Creating, changing and forgetting single domains.

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::Reason;

use super::{MINUTE, NOW, add, audit, creation, lease, line, name, record, to};
use crate::{
    Changed, OrderRecord, OrderStep, SharedStore, StoreError, StoredCertificate, TimelineEntry, Transition,
    domain_lease,
};

pub(crate) async fn a_domain_is_created_once(store: SharedStore) {
    let mut wanted = record("a.example", "acme", Reason::Queued);
    wanted.version = 77;
    wanted.fallback_url = Some("https://acme.example/".into());
    let mut new = creation(wanted.clone());
    new.audit = Some(audit("create", "a.example"));
    let created = store.create(new).await.unwrap();
    wanted.version = created.version;
    assert_eq!(created, wanted);
    assert_eq!(store.domain(&name("a.example")).await.unwrap(), Some(wanted));
    assert_eq!(store.domain(&name("b.example")).await.unwrap(), None);
    assert_eq!(store.timeline(&name("a.example"), None, 10).await.unwrap().len(), 1);
    assert_eq!(store.audit(None, 10).await.unwrap().len(), 1);

    let again = creation(record("a.example", "other", Reason::Ok));
    assert!(matches!(store.create(again).await, Err(StoreError::Exists)));
    assert_eq!(store.domain(&name("a.example")).await.unwrap().unwrap().tenant, "acme");
    assert_eq!(store.change_head().await.unwrap(), 1);
}

pub(crate) async fn a_transition_stores_everything_together(store: SharedStore) {
    let before = add(&store, "a.example", "acme", Reason::Ordering).await;
    let fence = lease(&store, &before.name, "node", NOW).await.unwrap();
    store.put_order(&order("a.example"), fence).await.unwrap();
    let head = store.change_head().await.unwrap();
    let certificate = StoredCertificate {
        chain_pem: "chain".into(),
        sealed_key: vec![0, 1, 255],
    };
    let change = Transition {
        fence: Some(fence),
        certificate: Some(certificate.clone()),
        order_ended: true,
        timeline: vec![
            line("validated"),
            TimelineEntry {
                detail: Some("R11".into()),
                ..line("issued")
            },
        ],
        audit: Some(audit("reissue", "a.example")),
        ..to(&before, Reason::Ok)
    };
    let after = store.transition(change).await.unwrap();
    assert_eq!(after.version, before.version + 1);
    assert_eq!(store.domain(&before.name).await.unwrap(), Some(after.clone()));
    assert_eq!(
        store.certificate(&before.name).await.unwrap(),
        Some(certificate.clone())
    );
    assert_eq!(store.order(&before.name).await.unwrap(), None);
    let lines = store.timeline(&before.name, None, 2).await.unwrap();
    assert_eq!(
        (lines[0].event.as_str(), lines[0].detail.as_deref()),
        ("issued", Some("R11"))
    );
    assert_eq!(lines[1].event, "validated");
    assert_eq!(store.audit(None, 1).await.unwrap()[0].action, "reissue");
    let changes = store.changes_since(head, 10).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(
        changes[0].what,
        Changed::Domain {
            name: before.name.clone(),
            certificate: true
        }
    );

    // A change without a certificate keeps the one there is, and says that it did not change.
    store.transition(to(&after, Reason::Moved)).await.unwrap();
    assert_eq!(store.certificate(&before.name).await.unwrap(), Some(certificate));
    let changes = store.changes_since(changes[0].seq, 10).await.unwrap();
    assert_eq!(
        changes[0].what,
        Changed::Domain {
            name: before.name,
            certificate: false
        }
    );
}

pub(crate) async fn a_transition_from_an_old_version_conflicts(store: SharedStore) {
    let first = add(&store, "a.example", "acme", Reason::Queued).await;
    let second = store.transition(to(&first, Reason::Ordering)).await.unwrap();
    assert!(matches!(
        store.transition(to(&first, Reason::Denied)).await,
        Err(StoreError::Conflict)
    ));
    assert_eq!(store.domain(&first.name).await.unwrap(), Some(second));
    let stranger = record("nowhere.example", "acme", Reason::Ok);
    assert!(matches!(
        store.transition(Transition::of(stranger)).await,
        Err(StoreError::NotFound)
    ));
}

pub(crate) async fn a_refused_transition_changes_nothing(store: SharedStore) {
    let first = add(&store, "a.example", "acme", Reason::Queued).await;
    let fence = lease(&store, &first.name, "node", NOW).await.unwrap();
    store.put_order(&order("a.example"), fence).await.unwrap();
    store.transition(to(&first, Reason::Ordering)).await.unwrap();
    let (head, counts) = (store.change_head().await.unwrap(), store.counts(None).await.unwrap());
    let stale = Transition {
        fence: Some(fence),
        certificate: Some(StoredCertificate {
            chain_pem: "chain".into(),
            sealed_key: vec![1],
        }),
        order_ended: true,
        timeline: vec![line("issued")],
        audit: Some(audit("reissue", "a.example")),
        ..to(&first, Reason::Ok)
    };
    assert!(matches!(store.transition(stale).await, Err(StoreError::Conflict)));
    assert_eq!(store.certificate(&first.name).await.unwrap(), None);
    assert!(store.order(&first.name).await.unwrap().is_some());
    assert_eq!(store.timeline(&first.name, None, 10).await.unwrap().len(), 1);
    assert!(store.audit(None, 10).await.unwrap().is_empty());
    assert_eq!(
        (store.change_head().await.unwrap(), store.counts(None).await.unwrap()),
        (head, counts)
    );
}

pub(crate) async fn of_concurrent_transitions_one_wins(store: SharedStore) {
    let mut current = add(&store, "a.example", "acme", Reason::Queued).await;
    let first = current.version;
    for _ in 0..5 {
        let tries = (0..20).map(|n| {
            let change = Transition {
                timeline: vec![line(&format!("try_{n}"))],
                ..to(&current, Reason::Queued)
            };
            store.transition(change)
        });
        let outcomes = futures_util::future::join_all(tries).await;
        let lost = outcomes
            .iter()
            .filter(|o| matches!(o, Err(StoreError::Conflict)))
            .count();
        assert_eq!(lost, 19);
        current = outcomes.into_iter().find_map(Result::ok).unwrap();
        assert_eq!(store.domain(&current.name).await.unwrap(), Some(current.clone()));
    }
    assert_eq!(current.version, first + 5);
    assert_eq!(store.timeline(&current.name, None, 100).await.unwrap().len(), 6);
}

pub(crate) async fn a_purge_leaves_only_the_audit_log(store: SharedStore) {
    let first = add(&store, "a.example", "acme", Reason::Queued).await;
    let other = add(&store, "b.example", "acme", Reason::Queued).await;
    let fence = lease(&store, &first.name, "node", NOW).await.unwrap();
    let certificate = StoredCertificate {
        chain_pem: "chain".into(),
        sealed_key: vec![1],
    };
    let change = Transition {
        certificate: Some(certificate),
        ..to(&first, Reason::Ok)
    };
    let held = store.transition(change).await.unwrap();
    store.put_order(&order("a.example"), fence).await.unwrap();
    let head = store.change_head().await.unwrap();
    store
        .purge(&first.name, None, audit("purge", "a.example"))
        .await
        .unwrap();

    assert_eq!(store.domain(&first.name).await.unwrap(), None);
    assert_eq!(store.certificate(&first.name).await.unwrap(), None);
    assert_eq!(store.order(&first.name).await.unwrap(), None);
    assert!(store.open_orders().await.unwrap().is_empty());
    assert!(store.timeline(&first.name, None, 10).await.unwrap().is_empty());
    assert_eq!(store.audit(None, 10).await.unwrap()[0].action, "purge");
    let changes = store.changes_since(head, 10).await.unwrap();
    assert!(matches!(&changes[..], [c] if matches!(&c.what, Changed::Domain { name, .. } if *name == first.name)));
    assert!(matches!(
        store.transition(to(&held, Reason::Ok)).await,
        Err(StoreError::NotFound)
    ));
    assert!(matches!(
        store.purge(&first.name, None, audit("purge", "a.example")).await,
        Err(StoreError::NotFound)
    ));
    assert_eq!(store.audit(None, 10).await.unwrap().len(), 1);
    assert_eq!(store.domain(&other.name).await.unwrap(), Some(other));
}

pub(crate) async fn a_domain_that_is_added_again_is_a_new_one(store: SharedStore) {
    let first = add(&store, "a.example", "acme", Reason::Ordering).await;
    let fence = lease(&store, &first.name, "node", NOW).await.unwrap();
    store
        .purge(&first.name, None, audit("purge", "a.example"))
        .await
        .unwrap();
    let again = add(&store, "a.example", "other", Reason::NeverRequested).await;
    assert!(
        again.version > first.version,
        "a version identifies one state of one domain"
    );
    // A purge that was decided for the old one does not delete the new one.
    assert!(matches!(
        store
            .purge(&first.name, Some(first.version), audit("purge", "a.example"))
            .await,
        Err(StoreError::Conflict)
    ));
    // The work for the old domain must not be stored for the new one.
    let stale = Transition {
        fence: Some(fence),
        ..to(&first, Reason::Ok)
    };
    assert!(matches!(store.transition(stale).await, Err(StoreError::Fenced)));
    assert!(matches!(
        store.put_order(&order("a.example"), fence).await,
        Err(StoreError::Fenced)
    ));
    let next = lease(&store, &first.name, "other", NOW).await.unwrap();
    assert!(next > fence);
    assert_eq!(store.timeline(&first.name, None, 10).await.unwrap().len(), 1);
    assert_eq!(store.certificate(&first.name).await.unwrap(), None);
    store.release_lease(&domain_lease(&first.name), fence).await.unwrap();
    assert_eq!(
        lease(&store, &first.name, "third", NOW).await,
        None,
        "the new lease is not the old one's to release"
    );
}

pub(crate) async fn due_domains_come_in_order(store: SharedStore) {
    assert_eq!(store.next_due(NOW).await.unwrap(), None);
    let at = |minutes: u32| NOW + MINUTE * minutes;
    let with = |text: &str, due: Option<Timestamp>| {
        let mut record = record(text, "acme", Reason::RetryScheduled);
        record.ssl.next_attempt = due;
        creation(record)
    };
    for (text, due) in [
        ("c.example", Some(3)),
        ("a.example", Some(5)),
        ("b.example", Some(1)),
        ("n.example", None),
    ] {
        store.create(with(text, due.map(at))).await.unwrap();
    }
    assert_eq!(store.next_due(NOW).await.unwrap(), Some(at(1)));
    assert!(store.due(NOW, 10).await.unwrap().is_empty());
    assert_eq!(
        store.due(at(3), 10).await.unwrap(),
        [name("b.example"), name("c.example")]
    );
    assert_eq!(
        store.due(at(9), 2).await.unwrap(),
        [name("b.example"), name("c.example")]
    );
    assert_eq!(store.due(at(9), 10).await.unwrap().len(), 3);

    let mut b = store.domain(&name("b.example")).await.unwrap().unwrap();
    b.ssl.next_attempt = None;
    store.transition(Transition::of(b)).await.unwrap();
    store
        .purge(&name("c.example"), None, audit("purge", "c.example"))
        .await
        .unwrap();
    assert_eq!(store.due(at(9), 10).await.unwrap(), [name("a.example")]);
    assert_eq!(store.next_due(NOW).await.unwrap(), Some(at(5)));
}

fn order(text: &str) -> OrderRecord {
    OrderRecord {
        name: name(text),
        ca: "https://ca.example/dir".into(),
        url: None,
        sealed_key: vec![7],
        step: OrderStep::Creating,
        created: NOW,
    }
}
