//! A CA that refuses, is away, asks for absurd waits or moves its windows: no certificate expires, and limits that
//! were exceeded show in the outcome.

use std::time::Duration;

use linkseal_control::Limit;

use super::super::*;
use super::{HOUR, fleet, limits};

const CENTURY: Duration = Duration::from_secs(36_500 * 86_400);

fn account(count: u32, per: Duration) -> Limits {
    Limits {
        orders_per_account: Limit { count, per },
        ..limits()
    }
}

/// A fleet that still grows while its first certificates are renewed.
fn growing() -> Scenario {
    Scenario {
        onboarding: Onboarding::PerDay(40),
        flaky: 0.02,
        ..fleet(800, DAY * 45)
    }
}

#[test]
fn orders_within_correctly_configured_limits_are_not_refused() {
    for scenario in [
        Scenario {
            span: DAY * 4,
            ..fleet(1_000, DAY * 45)
        },
        Scenario {
            names_per_registered_domain: 80,
            span: DAY * 60,
            ari: false,
            ..fleet(160, HOUR * 160)
        },
        Scenario {
            failing: 0.3,
            flaky: 0.2,
            ..growing()
        },
    ] {
        let outcome = run(&scenario);
        assert_eq!((outcome.refused_account, outcome.refused_name), (0, 0));
        assert!(outcome.first > 0);
    }
}

#[test]
fn limits_configured_too_high_show_as_refusals_and_nothing_expires() {
    let scenario = Scenario {
        limits: account(1_000, HOUR * 3),
        ca_limits: account(60, HOUR * 3),
        span: DAY * 30,
        ..fleet(800, DAY * 90)
    };
    let outcome = run(&scenario);
    assert!(outcome.refused_account > 0, "{outcome:?}");
    assert_eq!((outcome.first, outcome.expired, outcome.refused_name), (800, 0, 0));
    // After each wait for the CA, at most one order per slot is refused, not every waiting one.
    let slots = scenario.max_concurrent_orders as u64;
    assert!(outcome.refused_account < slots * 800, "{}", outcome.refused_account);

    let few = Limit {
        count: 10,
        per: DAY * 7,
    };
    let tight = Limits {
        per_registered_domain: few,
        ..limits()
    };
    let scenario = Scenario {
        names_per_registered_domain: 40,
        ca_limits: tight,
        span: DAY * 60,
        ..fleet(40, DAY * 45)
    };
    let outcome = run(&scenario);
    assert!(outcome.refused_name > 0, "{outcome:?}");
    assert_eq!((outcome.first, outcome.expired, outcome.refused_account), (40, 0, 0));
}

#[test]
fn a_stricter_limit_of_failed_validations_shows_as_refusals() {
    let strict = Limits {
        failed_per_name: Limit { count: 2, per: HOUR },
        ..limits()
    };
    let failing = Scenario {
        failing: 0.2,
        span: DAY * 10,
        ..fleet(100, DAY * 45)
    };
    assert_eq!(run(&failing).refused_name, 0);
    let outcome = run(&Scenario {
        ca_limits: strict,
        ..failing
    });
    assert!(outcome.refused_name > 0, "{outcome:?}");
}

#[test]
fn nothing_expires_with_a_retry_after_of_a_century() {
    let outages = vec![Window {
        from: DAY * 20,
        length: DAY * 2,
    }];
    let away = Scenario {
        onboarding: Onboarding::Running,
        retry_after: Some(CENTURY),
        outages: outages.clone(),
        ..fleet(200, DAY * 45)
    };
    let outcome = run(&away);
    assert!(outcome.failed_unreachable > 0 && outcome.renewals > 300, "{outcome:?}");
    assert_eq!(outcome.expired, 0);
    // The same when refusals by the account's limit carry it, and lifetimes are short.
    let refused = Scenario {
        retry_after: Some(CENTURY),
        outages,
        limits: account(1_000, HOUR * 3),
        ca_limits: account(100, HOUR * 3),
        ..growing()
    };
    for life in [DAY * 45, HOUR * 160] {
        let outcome = run(&Scenario {
            lifetimes: vec![(Duration::ZERO, life)],
            ..refused.clone()
        });
        assert_eq!(
            (outcome.expired, outcome.still_waiting),
            (0, 0),
            "{life:?}: {outcome:?}"
        );
    }
}

#[test]
fn certificates_with_a_window_moved_to_the_past_are_replaced_within_hours() {
    let moved = Scenario {
        onboarding: Onboarding::Running,
        moves: vec![Move {
            at: DAY * 30,
            share: 0.4,
            to: MoveTo::Past,
        }],
        ..fleet(500, DAY * 90)
    };
    let outcome = run(&moved);
    let followed = outcome.replaced_after_move;
    assert!((150..=250).contains(&followed), "{followed}");
    // The CA is asked four times a day.
    assert!(
        outcome.longest_after_move < HOUR * 8,
        "{:?}",
        outcome.longest_after_move
    );
    assert_eq!((outcome.expired, outcome.refused_account), (0, 0));
    assert_eq!(run(&Scenario { moves: vec![], ..moved }).replaced_after_move, 0);
}

#[test]
fn a_window_moved_beyond_expiry_delays_a_renewal_only_to_our_own_limit() {
    for life in [DAY * 90, DAY * 45, HOUR * 160] {
        let moved = Scenario {
            onboarding: Onboarding::Running,
            moves: vec![Move {
                at: DAY * 10,
                share: 1.0,
                to: MoveTo::BeyondExpiry,
            }],
            ..fleet(200, life)
        };
        let outcome = run(&moved);
        assert_eq!(outcome.expired, 0, "{life:?}");
        let share = outcome.least_left_share.expect("some were renewed");
        assert!(share > 0.15 && share < 0.25, "{life:?}: {share}");
    }
}
