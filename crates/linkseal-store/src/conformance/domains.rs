//! Creating, changing and forgetting single domains.

use linkseal_domain::ssl::Reason;

use super::{Fresh, NOW, add, audit, changed, changes, creation, held, lease, line, name, owner, record, to};
use crate::{Changed, OrderRecord, OrderStep, StoreError, StoredCertificate, TimelineEntry, Transition};

pub(crate) async fn a_domain_is_created_once(Fresh { store, .. }: &Fresh) {
    let mut wanted = record("a.example", "acme", Reason::Queued);
    wanted.version = 77;
    let begin = store.feed_end().await.unwrap();
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
    assert_eq!(changes(store, &begin).await.0, [changed(&name("a.example"))]);
}

pub(crate) async fn a_transition_stores_everything_together(Fresh { store, .. }: &Fresh) {
    let before = add(store, "a.example", "acme", Reason::Ordering).await;
    let fence = lease(store, &before.name, owner(1)).await.unwrap();
    store.put_order(&order("a.example"), fence).await.unwrap();
    let head = store.feed_end().await.unwrap();
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
    let (seen, head) = changes(store, &head).await;
    let with_certificate = Changed::Domain {
        name: before.name.clone(),
        certificate: true,
    };
    assert_eq!(seen, [with_certificate]);

    // A change without a certificate keeps the one there is, and says that it did not change.
    store.transition(to(&after, Reason::Moved)).await.unwrap();
    assert_eq!(store.certificate(&before.name).await.unwrap(), Some(certificate));
    assert_eq!(changes(store, &head).await.0, [changed(&before.name)]);
}

pub(crate) async fn a_transition_from_an_old_version_conflicts(Fresh { store, .. }: &Fresh) {
    let first = add(store, "a.example", "acme", Reason::Queued).await;
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

pub(crate) async fn a_refused_transition_changes_nothing(Fresh { store, .. }: &Fresh) {
    let first = add(store, "a.example", "acme", Reason::Queued).await;
    let fence = lease(store, &first.name, owner(1)).await.unwrap();
    store.put_order(&order("a.example"), fence).await.unwrap();
    store.transition(to(&first, Reason::Ordering)).await.unwrap();
    let (head, counts) = (store.feed_end().await.unwrap(), store.counts(None).await.unwrap());
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
        (store.feed_end().await.unwrap(), store.counts(None).await.unwrap()),
        (head, counts)
    );
}

pub(crate) async fn several_domains_are_read_at_once(Fresh { store, .. }: &Fresh) {
    let one = add(store, "a.example", "acme", Reason::Ok).await;
    let two = add(store, "b.example", "acme", Reason::Ok).await;
    let names = [two.name.clone(), name("nowhere.example"), one.name.clone()];
    let mut read = store.domains(&names).await.unwrap();
    read.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    assert_eq!(read, [one, two]);
    assert!(store.domains(&[]).await.unwrap().is_empty());
}

pub(crate) async fn of_concurrent_transitions_one_wins(Fresh { store, .. }: &Fresh) {
    let mut current = add(store, "a.example", "acme", Reason::Queued).await;
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

pub(crate) async fn a_purge_leaves_only_the_audit_log(Fresh { store, .. }: &Fresh) {
    let first = add(store, "a.example", "acme", Reason::Queued).await;
    let other = add(store, "b.example", "acme", Reason::Queued).await;
    let fence = lease(store, &first.name, owner(1)).await.unwrap();
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
    let head = store.feed_end().await.unwrap();
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
    let (seen, _) = changes(store, &head).await;
    assert!(
        matches!(&seen[..], [Changed::Domain { name, .. }] if *name == first.name),
        "{seen:?}"
    );
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

pub(crate) async fn a_domain_that_is_added_again_is_a_new_one(Fresh { store, .. }: &Fresh) {
    let first = add(store, "a.example", "acme", Reason::Ordering).await;
    let fence = lease(store, &first.name, owner(1)).await.unwrap();
    store
        .purge(&first.name, None, audit("purge", "a.example"))
        .await
        .unwrap();
    let again = add(store, "a.example", "other", Reason::NeverRequested).await;
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
    let next = lease(store, &first.name, owner(2)).await.unwrap();
    assert!(next.number > fence.number);
    assert_eq!(store.timeline(&first.name, None, 10).await.unwrap().len(), 1);
    assert_eq!(store.certificate(&first.name).await.unwrap(), None);
    store.release_lease(&held(&first.name, fence)).await.unwrap();
    assert_eq!(
        lease(store, &first.name, owner(3)).await,
        None,
        "the new lease is not the old one's to release"
    );
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
