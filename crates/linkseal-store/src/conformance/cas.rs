//! What is known about the CAs, and the freeze of all orders.

use std::time::Duration;

use super::{Fresh, NOW, assert_conflict, audit, changes};
use crate::{CaAccount, CaTrouble, Changed, Freeze, StoreError};

const HOUR: Duration = Duration::from_secs(3600);
const A: &str = "https://a.example/dir";
const B: &str = "https://b.example/dir";

pub(crate) async fn accounts_are_kept_per_directory(Fresh { store, .. }: &Fresh) {
    let account = |directory: &str, kid: &str| CaAccount {
        directory: directory.into(),
        kid: format!("https://kid.example/{kid}"),
        created: NOW,
    };
    let (first, second) = (account(A, "1"), account(A, "2"));
    assert_conflict(store.put_ca_account(&second, Some(&first)).await);
    store.put_ca_account(&first, None).await.unwrap();
    store.put_ca_account(&account(B, "1"), None).await.unwrap();
    assert_conflict(store.put_ca_account(&second, None).await);
    assert_conflict(store.put_ca_account(&second, Some(&second)).await);
    assert_eq!(store.ca_account(A).await.unwrap(), Some(first.clone()));
    store.put_ca_account(&second, Some(&first)).await.unwrap();
    assert_eq!(store.ca_account(A).await.unwrap(), Some(second));
    assert_eq!(store.ca_account(B).await.unwrap(), Some(account(B, "1")));
    assert_eq!(store.ca_account("https://c.example/dir").await.unwrap(), None);
}

fn trouble(directory: &str, failures: u32) -> CaTrouble {
    CaTrouble {
        directory: directory.into(),
        failures,
        outages: 1,
        out_until: (failures > 2).then_some(NOW),
        since: NOW,
        why: "no answer".into(),
    }
}

pub(crate) async fn troubles_are_kept_per_ca_until_they_end(Fresh { store, .. }: &Fresh) {
    assert_eq!(store.ca_trouble(A).await.unwrap(), None);
    let mut before = None;
    for failures in [1, 3] {
        let after = Some(trouble(A, failures));
        store
            .change_ca_trouble(A, before.as_ref(), after.as_ref())
            .await
            .unwrap();
        assert_eq!(store.ca_trouble(A).await.unwrap(), after);
        assert_conflict(store.change_ca_trouble(A, before.as_ref(), None).await);
        before = after;
    }
    assert_eq!(store.ca_trouble(B).await.unwrap(), None);
    store.change_ca_trouble(B, None, Some(&trouble(B, 1))).await.unwrap();
    store.change_ca_trouble(A, before.as_ref(), None).await.unwrap();
    assert_conflict(store.change_ca_trouble(A, before.as_ref(), None).await);
    store.change_ca_trouble(A, None, None).await.unwrap();
    assert_eq!(store.ca_trouble(A).await.unwrap(), None);
    assert_eq!(store.ca_trouble(B).await.unwrap(), Some(trouble(B, 1)));

    store.hold_back(B, NOW + HOUR, None).await.unwrap();
    store.release_ca(B, audit("release", B)).await.unwrap();
    assert_eq!(store.ca_trouble(B).await.unwrap(), None);
    assert_eq!(store.held_back(B).await.unwrap(), None);
}

pub(crate) async fn the_last_hold_back_counts(Fresh { store, clock, .. }: &Fresh) {
    let year = NOW + HOUR * 24 * 365;
    assert_eq!(store.held_back(A).await.unwrap(), None);
    assert_conflict(store.hold_back(A, year, Some(NOW + HOUR)).await);
    store.hold_back(A, year, None).await.unwrap();
    assert_conflict(store.hold_back(A, NOW + HOUR, None).await);
    store.hold_back(A, NOW + HOUR, Some(year)).await.unwrap();
    assert_eq!(store.held_back(A).await.unwrap(), Some(NOW + HOUR));
    assert_eq!(store.held_back(B).await.unwrap(), None);
    clock.set(NOW + HOUR).await;
    assert_eq!(store.held_back(A).await.unwrap(), None);
    assert_conflict(store.hold_back(A, NOW + HOUR * 2, Some(NOW + HOUR)).await);
    store.hold_back(A, NOW + HOUR * 2, None).await.unwrap();
    assert_eq!(store.held_back(A).await.unwrap(), Some(NOW + HOUR * 2));
}

pub(crate) async fn of_concurrent_changes_one_wins(Fresh { store, .. }: &Fresh) {
    // First there is no row that could be locked, then there is one.
    let (one, two) = (trouble(A, 1), trouble(A, 2));
    for (before, after) in [(None, Some(&one)), (Some(&one), Some(&two)), (Some(&two), None)] {
        let tries = (0..10).map(|_| store.change_ca_trouble(A, before, after));
        let outcomes = futures_util::future::join_all(tries).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert_eq!(store.ca_trouble(A).await.unwrap().as_ref(), after);
    }
    let holds = (1..=10).map(|hours| store.hold_back(A, NOW + HOUR * hours, None));
    let outcomes = futures_util::future::join_all(holds).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

pub(crate) async fn a_freeze_lasts_until_it_is_ended(Fresh { store, .. }: &Fresh) {
    assert_eq!(store.freeze().await.unwrap(), None);
    let begin = store.feed_end().await.unwrap();
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
    assert_eq!(changes(store, &begin).await.0, vec![Changed::Freeze; 3]);
}
