//! Token buckets.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

use super::{Fresh, MINUTE, NOW};
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

async fn left(store: &SharedStore, key: &str, size: u32) -> f64 {
    store.budget_left(&take(key, size, 0)).await.unwrap()
}

#[track_caller]
fn assert_near(left: f64, wanted: f64) {
    assert!((left - wanted).abs() < 1e-3, "{left} is not {wanted}");
}

async fn taken(store: &SharedStore, take: BudgetTake) {
    assert_eq!(store.take_budgets(&[take]).await.unwrap(), BudgetAnswer::Taken);
}

/// The slot of a caller that finds too few tokens, and the bucket that lacks them.
async fn refused(store: &SharedStore, take: BudgetTake) -> (String, Timestamp) {
    exhausted(store.take_budgets(&[take]).await.unwrap())
}

pub(crate) async fn a_bucket_refills_continuously(Fresh { store, clock, .. }: &Fresh) {
    let one = || take("orders", 4, 1);
    assert_near(left(store, "orders", 4).await, 4.0);
    for _ in 0..4 {
        taken(store, one()).await;
    }
    let (key, until) = refused(store, one()).await;
    assert_eq!((key.as_str(), until), ("orders", NOW + HOUR / 4));
    clock.set(NOW + HOUR / 8).await;
    assert_near(left(store, "orders", 4).await, 0.5);
    clock.set(until.minus(Duration::from_millis(10))).await;
    // After the slot of the caller before; rounded up to a millisecond.
    let (_, next) = refused(store, one()).await;
    let late = next.saturating_since(until + HOUR / 4);
    assert!(next >= until + HOUR / 4 && late <= Duration::from_millis(1), "{next}");
    clock.set(until).await;
    taken(store, one()).await;
    clock.set(until + HOUR * 100).await;
    assert_near(left(store, "orders", 4).await, 4.0);
}

pub(crate) async fn slots_are_given_out_in_order_and_can_be_returned(Fresh { store, .. }: &Fresh) {
    let one = || take("orders", 4, 1);
    taken(store, take("orders", 4, 4)).await;
    let mut slots = Vec::new();
    for _ in 0..3 {
        slots.push(refused(store, one()).await.1);
    }
    assert_eq!(slots, [1, 2, 3].map(|n| NOW + HOUR / 4 * n));
    store.return_budgets(&[one().slot()]).await.unwrap();
    assert_eq!(refused(store, one()).await.1, slots[2], "the last slot is free again");
    assert_near(left(store, "orders", 4).await, 0.0);
}

pub(crate) async fn budgets_are_taken_all_or_none(Fresh { store, .. }: &Fresh) {
    let scarce = take("scarce", 1, 1);
    let scarcer = BudgetTake {
        per: HOUR * 2,
        ..take("scarcer", 1, 1)
    };
    store.take_budgets(&[scarce.clone(), scarcer.clone()]).await.unwrap();
    let answer = store
        .take_budgets(&[take("ample", 10, 3), scarce, scarcer, take("other", 5, 1)])
        .await
        .unwrap();
    assert_eq!(
        exhausted(answer),
        ("scarcer".to_owned(), NOW + HOUR * 2),
        "the one that takes longest"
    );
    assert_near(left(store, "ample", 10).await, 10.0);
    assert_near(left(store, "other", 5).await, 5.0);

    // One bucket named twice counts twice.
    let twice = [take("twice", 3, 2), take("twice", 3, 2)];
    assert_eq!(exhausted(store.take_budgets(&twice).await.unwrap()).0, "twice");
    assert_eq!(store.take_budgets(&twice[..1]).await.unwrap(), BudgetAnswer::Taken);
    assert_near(left(store, "twice", 3).await, 1.0);
    assert_eq!(store.take_budgets(&[]).await.unwrap(), BudgetAnswer::Taken);
}

pub(crate) async fn tokens_are_returned_up_to_the_size(Fresh { store, .. }: &Fresh) {
    taken(store, take("orders", 5, 4)).await;
    store
        .return_budgets(&[take("orders", 5, 2), take("untouched", 5, 2)])
        .await
        .unwrap();
    assert_near(left(store, "orders", 5).await, 3.0);
    store.return_budgets(&[take("orders", 5, 4)]).await.unwrap();
    assert_near(left(store, "orders", 5).await, 5.0);
    assert_near(left(store, "untouched", 5).await, 5.0);
    taken(store, take("orders", 5, 5)).await;
    assert_near(left(store, "orders", 5).await, 0.0);
}

pub(crate) async fn a_clock_that_is_set_back_breaks_no_bucket(Fresh { store, clock, .. }: &Fresh) {
    taken(store, take("orders", 2, 2)).await;
    let back = NOW.minus(HOUR * 24);
    clock.set(back).await;
    let (_, until) = refused(store, take("orders", 2, 1)).await;
    assert_eq!(until, back + HOUR / 2, "it refills from the clock's new time on");
    clock.set(until).await;
    assert_near(left(store, "orders", 2).await, 1.0);
    taken(store, take("orders", 2, 1)).await;

    // A clock that goes to and fro by a moment gains nothing.
    clock.set(NOW).await;
    taken(store, take("near", 60, 60)).await;
    for _ in 0..10 {
        for at in [NOW.minus(MINUTE / 2), NOW] {
            clock.set(at).await;
            store.return_budgets(&[take("near", 60, 0)]).await.unwrap();
        }
    }
    assert_near(left(store, "near", 60).await, 0.0);
}

pub(crate) async fn budgets_of_any_size_answer(Fresh { store, clock, .. }: &Fresh) {
    assert!(refused(store, take("none", 0, 1)).await.1 > NOW);
    assert!(refused(store, take("small", 3, 4)).await.1 > NOW);
    // A size that was configured smaller takes effect at once; a larger one fills up.
    taken(store, take("resized", 10, 1)).await;
    assert_near(left(store, "resized", 4).await, 4.0);
    assert_near(left(store, "resized", 20).await, 9.0);
    clock.set(NOW + HOUR / 10).await;
    assert_near(left(store, "resized", 20).await, 11.0);
    let at_once = BudgetTake {
        per: Duration::ZERO,
        ..take("at_once", 1, 1)
    };
    for n in 0..3 {
        clock.set(NOW + HOUR + Duration::from_millis(n)).await;
        taken(store, at_once.clone()).await;
    }
}

pub(crate) async fn concurrent_takes_get_no_more_than_there_is(Fresh { store, .. }: &Fresh) {
    let takes = [take("orders", 7, 1)];
    let answers = futures_util::future::join_all((0..20).map(|_| store.take_budgets(&takes))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .map(Result::unwrap)
        .partition(|answer| *answer == BudgetAnswer::Taken);
    assert_eq!(taken.len(), 7);
    let mut slots: Vec<_> = refused.into_iter().map(|answer| exhausted(answer).1).collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), 13, "each has a slot of its own");
}

pub(crate) async fn callers_that_name_buckets_in_any_order_get_no_more_than_there_is(Fresh { store, .. }: &Fresh) {
    let three = [take("a", 30, 1), take("b", 40, 1), take("c", 50, 1)];
    let calls = (0..60usize).map(|n| {
        let mut takes = three.to_vec();
        takes.rotate_left(n % 3);
        if n % 2 == 0 {
            takes.reverse();
        }
        async move { store.take_budgets(&takes).await.unwrap() }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(
        answers.iter().filter(|answer| **answer == BudgetAnswer::Taken).count(),
        30
    );
    for (key, size, rest) in [("a", 30, 0.0), ("b", 40, 10.0), ("c", 50, 20.0)] {
        assert_near(left(store, key, size).await, rest);
    }
}
