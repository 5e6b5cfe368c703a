//! Failing CAs, the freeze of all orders, and the renewals of each day.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{CertificateInfo, Reason};

use super::{NOW, add, audit, name, to};
use crate::{CaTrouble, DAY, Freeze, SharedStore, StoreError, Transition};

pub(crate) async fn troubles_are_kept_per_ca_until_they_end(store: SharedStore) {
    let trouble = |directory: &str, failures| CaTrouble {
        directory: directory.into(),
        failures,
        outages: 1,
        out_until: (failures > 2).then_some(NOW),
        since: NOW,
        why: "no answer".into(),
    };
    let (a, b) = ("https://a.example/dir", "https://b.example/dir");
    assert_eq!(store.ca_trouble(a).await.unwrap(), None);
    for failures in [1, 3] {
        store.put_ca_trouble(&trouble(a, failures)).await.unwrap();
        assert_eq!(store.ca_trouble(a).await.unwrap(), Some(trouble(a, failures)));
    }
    assert_eq!(store.ca_trouble(b).await.unwrap(), None);
    store.put_ca_trouble(&trouble(b, 1)).await.unwrap();
    store.end_ca_trouble(a).await.unwrap();
    store.end_ca_trouble(a).await.unwrap();
    assert_eq!(store.ca_trouble(a).await.unwrap(), None);
    assert_eq!(store.ca_trouble(b).await.unwrap(), Some(trouble(b, 1)));
}

pub(crate) async fn a_freeze_lasts_until_it_is_ended(store: SharedStore) {
    assert_eq!(store.freeze().await.unwrap(), None);
    for note in [None, Some("incident")] {
        let freeze = Freeze {
            note: note.map(str::to_owned),
            by: "ops".into(),
            since: NOW,
        };
        store.put_freeze(&freeze, audit("freeze", "orders")).await.unwrap();
        assert_eq!(store.freeze().await.unwrap(), Some(freeze));
    }
    store.end_freeze(audit("thaw", "orders")).await.unwrap();
    assert_eq!(store.freeze().await.unwrap(), None);
    let again = store.end_freeze(audit("thaw", "orders")).await;
    assert!(matches!(again, Err(StoreError::NotFound)));
    let actions: Vec<_> = store
        .audit(None, 9)
        .await
        .unwrap()
        .into_iter()
        .map(|l| l.action)
        .collect();
    assert_eq!(actions, ["thaw", "freeze", "freeze"]);
}

fn renewing_at(mut record: DomainRecord, at: Timestamp) -> DomainRecord {
    record.ssl.reason = Reason::Ok;
    record.ssl.certificate = Some(CertificateInfo {
        not_before: NOW,
        not_after: at + DAY,
        obtained: None,
        issuer: "x".into(),
        serial: "01".into(),
        sans: vec![],
        ca: "x".into(),
        ari_id: None,
        renew_at: at,
        ari_check_at: None,
    });
    record
}

pub(crate) async fn renewals_are_counted_by_day(store: SharedStore) {
    let today = Timestamp::from_secs(NOW.as_secs() / 86_400 * 86_400);
    let days = async |until: Timestamp| -> Vec<(Timestamp, u64)> {
        let days = store.renewals(until).await.unwrap();
        days.into_iter().map(|d| (d.day, d.renewals)).collect()
    };
    let mut records = Vec::new();
    for domain in ["a.example", "b.example", "c.example"] {
        let record = add(&store, domain, "acme", Reason::Queued).await;
        let record = renewing_at(record, today + DAY + Duration::from_secs(1));
        records.push(store.transition(Transition::of(record)).await.unwrap());
    }
    assert_eq!(days(today + DAY * 9).await, [(today + DAY, 3)]);
    assert_eq!(days(today).await, []);

    let [a, b, c] = <[DomainRecord; 3]>::try_from(records).unwrap();
    let b = renewing_at(b, (today + DAY * 3).minus(Duration::from_millis(1)));
    let b = store.transition(Transition::of(b)).await.unwrap();
    assert_eq!(days(today + DAY * 9).await, [(today + DAY, 2), (today + DAY * 2, 1)]);
    // A domain that has moved, is retired or purged is not renewed.
    store.transition(to(&a, Reason::Moved)).await.unwrap();
    let mut retired = b.clone();
    retired.retired = Some(NOW);
    store.transition(Transition::of(retired)).await.unwrap();
    assert_eq!(days(today + DAY * 9).await, [(today + DAY, 1)]);
    store
        .purge(&name(c.name.as_str()), None, audit("purge", "c.example"))
        .await
        .unwrap();
    assert_eq!(days(today + DAY * 9).await, []);
}
