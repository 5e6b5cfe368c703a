//! The renewals of each day.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{CertificateInfo, Reason};

use super::{Fresh, NOW, add, audit, name, to};
use crate::{DAY, Transition};

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

pub(crate) async fn renewals_are_counted_by_day(Fresh { store, .. }: &Fresh) {
    let today = Timestamp::from_secs(NOW.as_secs() / 86_400 * 86_400);
    let days = async |until: Timestamp| -> Vec<(Timestamp, u64)> {
        let days = store.renewals(until).await.unwrap();
        days.into_iter().map(|d| (d.day, d.renewals)).collect()
    };
    let mut records = Vec::new();
    for domain in ["a.example", "b.example", "c.example"] {
        let record = add(store, domain, "acme", Reason::Queued).await;
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
