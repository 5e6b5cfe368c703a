//! Token buckets, and CAs that are held back.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

use super::{MINUTE, NOW};
use crate::{BudgetAnswer, BudgetTake, SharedStore};

const HOUR: Duration = Duration::from_secs(3600);

fn take(key: &str, size: u32, amount: u32) -> BudgetTake {
    BudgetTake {
        key: key.to_owned(),
        size,
        per: HOUR,
        amount,
        small_tenant: false,
    }
}

fn exhausted(answer: BudgetAnswer) -> (String, Timestamp) {
    let BudgetAnswer::Exhausted { key, until } = answer else {
        panic!("there was some left")
    };
    (key, until)
}

async fn left(store: &SharedStore, key: &str, size: u32, now: Timestamp) -> f64 {
    store.budget_left(&take(key, size, 0), now).await.unwrap()
}

#[track_caller]
fn assert_near(left: f64, wanted: f64) {
    assert!((left - wanted).abs() < 1e-3, "{left} is not {wanted}");
}

pub(crate) async fn a_bucket_refills_continuously(store: SharedStore) {
    assert_near(left(&store, "orders", 4, NOW).await, 4.0);
    for _ in 0..4 {
        assert_eq!(
            store.take_budgets(&[take("orders", 4, 1)], NOW).await.unwrap(),
            BudgetAnswer::Taken
        );
    }
    let (key, until) = exhausted(store.take_budgets(&[take("orders", 4, 1)], NOW).await.unwrap());
    assert_eq!((key.as_str(), until), ("orders", NOW + HOUR / 4));
    assert_near(left(&store, "orders", 4, NOW + HOUR / 8).await, 0.5);
    let early = until.minus(Duration::from_millis(10));
    // After the slot of the caller before; rounded up to a millisecond.
    let (_, next) = exhausted(store.take_budgets(&[take("orders", 4, 1)], early).await.unwrap());
    let late = next.saturating_since(until + HOUR / 4);
    assert!(next >= until + HOUR / 4 && late <= Duration::from_millis(1), "{next}");
    assert_eq!(
        store.take_budgets(&[take("orders", 4, 1)], until).await.unwrap(),
        BudgetAnswer::Taken
    );
    assert_near(left(&store, "orders", 4, until + HOUR * 100).await, 4.0);
}

pub(crate) async fn slots_are_given_out_in_order_and_can_be_returned(store: SharedStore) {
    let take = take("orders", 4, 1);
    let ask = || async {
        let answer = store.take_budgets(std::slice::from_ref(&take), NOW).await.unwrap();
        exhausted(answer).1
    };
    store
        .take_budgets(
            &[BudgetTake {
                amount: 4,
                ..take.clone()
            }],
            NOW,
        )
        .await
        .unwrap();
    let slots = [ask().await, ask().await, ask().await];
    assert_eq!(slots, [1, 2, 3].map(|n| NOW + HOUR / 4 * n));
    store.return_budgets(&[take.slot()], NOW).await.unwrap();
    assert_eq!(ask().await, slots[2], "the last slot is free again");
    assert_near(left(&store, "orders", 4, NOW).await, 0.0);
}

pub(crate) async fn budgets_are_taken_all_or_none(store: SharedStore) {
    let scarce = take("scarce", 1, 1);
    let scarcer = BudgetTake {
        per: HOUR * 2,
        ..take("scarcer", 1, 1)
    };
    store
        .take_budgets(&[scarce.clone(), scarcer.clone()], NOW)
        .await
        .unwrap();
    let answer = store
        .take_budgets(&[take("ample", 10, 3), scarce, scarcer, take("other", 5, 1)], NOW)
        .await
        .unwrap();
    assert_eq!(
        exhausted(answer),
        ("scarcer".to_owned(), NOW + HOUR * 2),
        "the one that takes longest"
    );
    assert_near(left(&store, "ample", 10, NOW).await, 10.0);
    assert_near(left(&store, "other", 5, NOW).await, 5.0);

    // One bucket named twice counts twice.
    let twice = [take("twice", 3, 2), take("twice", 3, 2)];
    assert_eq!(exhausted(store.take_budgets(&twice, NOW).await.unwrap()).0, "twice");
    assert_eq!(store.take_budgets(&twice[..1], NOW).await.unwrap(), BudgetAnswer::Taken);
    assert_near(left(&store, "twice", 3, NOW).await, 1.0);
    assert_eq!(store.take_budgets(&[], NOW).await.unwrap(), BudgetAnswer::Taken);
}

pub(crate) async fn tokens_are_returned_up_to_the_size(store: SharedStore) {
    store.take_budgets(&[take("orders", 5, 4)], NOW).await.unwrap();
    store
        .return_budgets(&[take("orders", 5, 2), take("untouched", 5, 2)], NOW)
        .await
        .unwrap();
    assert_near(left(&store, "orders", 5, NOW).await, 3.0);
    store.return_budgets(&[take("orders", 5, 4)], NOW).await.unwrap();
    assert_near(left(&store, "orders", 5, NOW).await, 5.0);
    assert_near(left(&store, "untouched", 5, NOW).await, 5.0);
    assert_eq!(
        store.take_budgets(&[take("orders", 5, 5)], NOW).await.unwrap(),
        BudgetAnswer::Taken
    );
    assert_near(left(&store, "orders", 5, NOW).await, 0.0);
}

pub(crate) async fn a_clock_that_is_set_back_breaks_no_bucket(store: SharedStore) {
    store.take_budgets(&[take("orders", 2, 2)], NOW).await.unwrap();
    let back = NOW.minus(HOUR * 24);
    let (_, until) = exhausted(store.take_budgets(&[take("orders", 2, 1)], back).await.unwrap());
    assert_eq!(until, back + HOUR / 2, "it refills from the clock's new time on");
    assert_near(left(&store, "orders", 2, back + HOUR / 2).await, 1.0);
    assert_eq!(
        store.take_budgets(&[take("orders", 2, 1)], until).await.unwrap(),
        BudgetAnswer::Taken
    );

    // Two callers whose times are a moment apart gain nothing by their order.
    store.take_budgets(&[take("near", 60, 60)], NOW).await.unwrap();
    for _ in 0..10 {
        store
            .return_budgets(&[take("near", 60, 0)], NOW.minus(MINUTE / 2))
            .await
            .unwrap();
        store.return_budgets(&[take("near", 60, 0)], NOW).await.unwrap();
    }
    assert_near(left(&store, "near", 60, NOW).await, 0.0);
}

pub(crate) async fn budgets_of_any_size_answer(store: SharedStore) {
    let (_, until) = exhausted(store.take_budgets(&[take("none", 0, 1)], NOW).await.unwrap());
    assert!(until > NOW);
    assert!(exhausted(store.take_budgets(&[take("small", 3, 4)], NOW).await.unwrap()).1 > NOW);
    let at_once = BudgetTake {
        per: Duration::ZERO,
        ..take("at_once", 1, 1)
    };
    for n in 0..3 {
        let now = NOW + Duration::from_millis(n);
        assert_eq!(
            store.take_budgets(std::slice::from_ref(&at_once), now).await.unwrap(),
            BudgetAnswer::Taken
        );
    }
    // A size that was configured smaller takes effect at once; a larger one fills up.
    store.take_budgets(&[take("resized", 10, 1)], NOW).await.unwrap();
    assert_near(left(&store, "resized", 4, NOW).await, 4.0);
    assert_near(left(&store, "resized", 20, NOW).await, 9.0);
    assert_near(left(&store, "resized", 20, NOW + HOUR / 10).await, 11.0);
}

pub(crate) async fn concurrent_takes_get_no_more_than_there_is(store: SharedStore) {
    let takes = [take("orders", 7, 1)];
    let answers = futures_util::future::join_all((0..20).map(|_| store.take_budgets(&takes, NOW))).await;
    assert_eq!(
        answers
            .into_iter()
            .filter(|a| *a.as_ref().unwrap() == BudgetAnswer::Taken)
            .count(),
        7
    );
}

pub(crate) async fn the_last_hold_back_counts(store: SharedStore) {
    let ca = "https://ca.example/dir";
    assert_eq!(store.held_back(ca, NOW).await.unwrap(), None);
    store.hold_back(ca, NOW + HOUR * 24 * 365).await.unwrap();
    store.hold_back(ca, NOW + HOUR).await.unwrap();
    assert_eq!(store.held_back(ca, NOW).await.unwrap(), Some(NOW + HOUR));
    assert_eq!(store.held_back(ca, NOW + HOUR).await.unwrap(), None);
    assert_eq!(store.held_back("https://other.example/dir", NOW).await.unwrap(), None);
    store.hold_back(ca, NOW + HOUR * 2).await.unwrap();
    assert_eq!(store.held_back(ca, NOW + HOUR).await.unwrap(), Some(NOW + HOUR * 2));
}
