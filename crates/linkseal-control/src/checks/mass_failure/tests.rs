use linkseal_base::testing::Written;
use tracing::level_filters::LevelFilter;

use super::*;

const T0: Timestamp = Timestamp::from_secs(1_795_305_600);
const MINUTE: Duration = Duration::from_secs(60);

/// How many of that many consecutive outcomes are suppressed.
fn suppressed(guard: &MassFailureGuard, checks: u32, failed: bool, domains: usize, now: Timestamp) -> usize {
    (0..checks).filter(|_| guard.weigh(failed, domains, now)).count()
}

#[test]
fn up_to_ten_failures_or_two_percent_are_recorded() {
    for (domains, recorded) in [(8, 10), (200, 10), (5_000, 100)] {
        let guard = MassFailureGuard::new(By::Checks);
        // Most checks succeed, so that the share of all domains decides.
        suppressed(&guard, 1_000, false, domains, T0);
        assert_eq!(suppressed(&guard, 150, true, domains, T0), 150 - recorded, "{domains}");
        assert_eq!(
            suppressed(&guard, 5, false, domains, T0),
            0,
            "a success is never suppressed"
        );
    }
}

#[test]
fn orders_are_judged_among_orders() {
    let orders = MassFailureGuard::new(By::Orders);
    suppressed(&orders, 30, false, 181, T0);
    let import = (0..150)
        .map(|n| orders.weigh(n % 5 == 0, 181, T0))
        .filter(|d| *d)
        .count();
    assert_eq!(import, 0, "thirty of an import of 180 are broken");
    let orders = MassFailureGuard::new(By::Orders);
    assert_eq!(suppressed(&orders, 50, true, 181, T0), 40, "a port that is closed");
    assert_eq!(suppressed(&orders, 50, false, 181, T0), 0);
    assert_eq!(orders.state(181, T0).since, None, "half of them succeed");
}

#[test]
fn failures_spread_over_time_are_recorded() {
    let guard = MassFailureGuard::new(By::Checks);
    for minute in 0..1_000 {
        let now = T0 + MINUTE * minute;
        assert_eq!(suppressed(&guard, 1, false, 200, now), 0);
        assert_eq!(suppressed(&guard, 1, true, 200, now), 0);
    }
}

#[test]
fn in_a_large_fleet_it_is_enough_that_most_checks_fail() {
    let guard = MassFailureGuard::new(By::Checks);
    suppressed(&guard, 10, false, 1_000_000, T0);
    assert_eq!(suppressed(&guard, 100, true, 1_000_000, T0 + MINUTE), 80);
}

#[test]
fn it_ends_when_checks_succeed_and_not_before() {
    let guard = MassFailureGuard::new(By::Checks);
    assert_eq!(suppressed(&guard, 30, true, 200, T0), 20);
    for round in 1..20 {
        let now = T0 + RECHECK * round;
        assert_eq!(suppressed(&guard, 20, true, 200, now), 20, "they still fail");
    }
    let later = T0 + RECHECK * 20;
    assert_eq!(suppressed(&guard, 20, false, 200, later), 0);
    assert_eq!(guard.state(200, later).since, None);
    assert_eq!(
        suppressed(&guard, 1, true, 200, later),
        0,
        "and a single failure is recorded again"
    );
}

#[test]
fn an_operators_confirmation_holds_for_an_hour() {
    let guard = MassFailureGuard::new(By::Checks);
    suppressed(&guard, 30, true, 200, T0);
    guard.trust(T0);
    assert_eq!(suppressed(&guard, 190, true, 200, T0 + MINUTE), 0);
    let until = T0 + TRUSTED;
    assert_eq!(guard.state(200, T0).trusted_until, Some(until));
    assert_eq!(suppressed(&guard, 11, true, 200, until), 1);
}

#[test]
fn few_persistent_failures_in_a_quiet_fleet_are_recorded_and_wait_longer_each_time() {
    for by in [By::Orders, By::Checks] {
        let guard = MassFailureGuard::new(by);
        assert_eq!(suppressed(&guard, 11, true, 40, T0), 1, "{by:?}");
        let day = (1..=96).map(|n| T0 + RECHECK * n);
        let recorded = day.clone().find(|at| !guard.weigh(true, 40, *at));
        assert!(recorded.is_some_and(|at| at <= T0 + SETTLED), "{by:?}: {recorded:?}");
        assert_eq!(guard.state(40, T0 + SETTLED).since, None);
        let more = day
            .filter(|at| *at > T0 + SETTLED && guard.weigh(true, 40, *at))
            .count();
        assert_eq!(more, 0, "{by:?}: and not suppressed again");
    }
    let waits: Vec<_> = (0..8).map(order_wait).collect();
    assert_eq!(
        waits[..5],
        [RECHECK, RECHECK * 2, RECHECK * 4, RECHECK * 8, RECHECK * 16]
    );
    assert_eq!(waits[7], RECHECK * 16);
}

#[test]
fn without_outcomes_it_ends() {
    let guard = MassFailureGuard::new(By::Orders);
    suppressed(&guard, 20, true, 40, T0);
    assert_eq!(
        guard.state(40, T0 + RECHECK).since,
        Some(T0),
        "suppressed failures are checked again first"
    );
    assert_eq!(guard.state(40, T0 + SETTLED).since, None);
}

#[test]
fn orders_that_fail_for_a_day_are_recorded() {
    let orders = MassFailureGuard::new(By::Orders);
    let rounds = 4 * 24;
    suppressed(&orders, 20, true, 1_000, T0);
    for round in 1..rounds {
        assert_eq!(
            suppressed(&orders, 20, true, 1_000, T0 + RECHECK * round),
            20,
            "{round}"
        );
    }
    let at_last = T0 + LONGEST;
    for later in [at_last, at_last + RECHECK, at_last + RECHECK * 3] {
        assert_eq!(suppressed(&orders, 20, true, 1_000, later), 0);
    }
    assert_eq!(orders.state(1_000, at_last).since, None);
}

#[test]
fn its_beginning_and_its_end_are_logged_also_if_no_check_ends_it() {
    let written = Written::default();
    let _logs = written.capture(LevelFilter::INFO);
    let guard = MassFailureGuard::new(By::Checks);
    suppressed(&guard, 30, true, 200, T0);
    assert_eq!(guard.state(200, T0 + SETTLED * 2).since, None);
    let text = written.text();
    assert_eq!(text.matches("by=\"checks\"").count(), 2, "{text}");
    assert_eq!(text.matches("mass failure over").count(), 1, "{text}");
}
