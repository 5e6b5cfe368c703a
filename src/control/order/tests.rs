use super::super::tests::{Bench, name};
use super::*;
use crate::domain::record::Origin;

/// A certificate that the CA has issued counts at the CA, also where we refuse it.
#[tokio::test]
async fn what_the_ca_has_counted_is_not_given_back() {
    let bench = Bench::new().await;
    let control = &bench.control;
    let record = DomainRecord::new(
        name("links.customer.example"),
        None,
        Origin::Registered,
        bench.clock.now(),
    );
    let authority = Arc::clone(control.tools().authorities.first());
    let takes = rules::budgets((&record.name, &record.ssl), authority.directory(), &authority.limits);
    let left = async || {
        let now = bench.clock.now();
        let mut left = Vec::new();
        for take in &takes {
            left.push(bench.store.budget_left(take, now).await.unwrap().round() as i64);
        }
        left
    };
    let full = left().await;
    assert_eq!(
        full.len(),
        3,
        "of the account, the registered domain, the exact set of names"
    );
    for (spent, kept) in [
        (Spent::Nothing, [0, 0, 0]),
        (Spent::Order, [1, 0, 0]),
        (Spent::Certificate, [2, 1, 1]),
    ] {
        let Ok(Choice::At(chosen)) = control.choose(&record, false).await else {
            panic!("{spent:?}: nothing stands in the way")
        };
        control.give_back(&chosen, &record, spent).await.unwrap();
        let gone: Vec<_> = full.iter().zip(left().await).map(|(full, left)| full - left).collect();
        assert_eq!(gone, kept, "{spent:?}");
    }
}
