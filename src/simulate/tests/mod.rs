//! Small fleets under Let's Encrypt's limits.

use std::time::Duration;

use linkseal_control::Limit;

use super::*;

mod refusals;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn limits() -> Limits {
    Limits {
        orders_per_account: Limit {
            count: 300,
            per: HOUR * 3,
        },
        per_registered_domain: Limit {
            count: 50,
            per: DAY * 7,
        },
        failed_per_name: Limit { count: 5, per: HOUR },
    }
}

pub(super) fn fleet(domains: u32, life: Duration) -> Scenario {
    Scenario {
        domains,
        names_per_registered_domain: 1,
        onboarding: Onboarding::Import,
        span: DAY * 100,
        lifetimes: vec![(Duration::ZERO, life)],
        limits: limits(),
        ca_limits: limits(),
        retry_after: None,
        ari: true,
        max_concurrent_orders: 16,
        order_time: Duration::from_secs(8),
        failing: 0.0,
        flaky: 0.0,
        departing: 0.0,
        outages: vec![],
        moves: vec![],
        seed: 1,
    }
}

#[test]
fn nothing_expires_under_lets_encrypts_limits_at_any_lifetime() {
    for (life, renewed) in [(DAY * 90, 1), (DAY * 64, 2), (DAY * 45, 3), (HOUR * 160, 28)] {
        let outcome = run(&fleet(60, life));
        assert_eq!((outcome.first, outcome.expired, outcome.failed_validations), (60, 0, 0));
        assert!(outcome.renewals >= 60 * renewed, "{life:?}: {}", outcome.renewals);
        let wanted = if life < DAY * 10 { 0.45 } else { 0.3 };
        let share = outcome.least_left_share.expect("some were renewed");
        assert!(share > wanted, "{life:?}: {share}");
        assert_eq!(outcome.account_taken, 60, "renewals by ARI are exempt");
    }
}

#[test]
fn an_import_waits_for_the_accounts_limit_and_postpones_each_domain_once() {
    let scenario = Scenario {
        span: DAY * 2,
        ..fleet(1_000, DAY * 45)
    };
    let outcome = run(&scenario);
    assert_eq!((outcome.first, outcome.still_waiting), (1_000, 0));
    // 300 at once, then one every 36 seconds: 700 of them.
    let last = Duration::from_secs(36 * 700);
    let wait = outcome.longest_wait;
    assert!(wait > last.mul_f64(0.97) && wait < last.mul_f64(1.03), "{wait:?}");
    assert!((690..=760).contains(&outcome.held_back), "{}", outcome.held_back);
    assert_eq!(outcome.account_taken, 1_000);
}

#[test]
fn subdomains_of_one_registered_domain_wait_for_its_limit() {
    let scenario = Scenario {
        names_per_registered_domain: 80,
        span: DAY * 6,
        ..fleet(80, DAY * 90)
    };
    let outcome = run(&scenario);
    // 50 at once, then one every 3.36 hours: 30 of them need 4.2 days.
    assert_eq!(outcome.first, 80);
    assert!(outcome.longest_wait > DAY * 4 && outcome.longest_wait < DAY * 5);
}

#[test]
fn a_fleet_too_large_for_the_accounts_limit_shows_expired_certificates() {
    let scenario = Scenario {
        ari: false,
        onboarding: Onboarding::Running,
        limits: Limits {
            orders_per_account: Limit { count: 10, per: DAY },
            ..limits()
        },
        ..fleet(600, DAY * 45)
    };
    // 20 renewals a day are needed, 10 are allowed.
    let outcome = run(&scenario);
    assert!(outcome.expired > 100, "{}", outcome.expired);
    assert!(outcome.longest_expired > DAY);
    assert!(outcome.series.expired.iter().any(|n| *n > 100));
    // With the exemption the same limits carry it.
    let exempt = run(&Scenario { ari: true, ..scenario });
    assert_eq!((exempt.expired, exempt.account_taken), (0, 0));
}

#[test]
fn certificates_expire_only_in_an_outage_longer_than_the_renewal_margin() {
    let outage = |days| Scenario {
        onboarding: Onboarding::Running,
        span: DAY * 60,
        outages: vec![Window {
            from: DAY * 10,
            length: DAY * days,
        }],
        ..fleet(60, DAY * 45)
    };
    let short = run(&outage(10));
    assert_eq!(short.expired, 0);
    assert!(short.failed_unreachable > 0 && short.least_left_share.is_some_and(|s| s < 0.2));
    let long = run(&outage(18));
    assert!(long.expired > 0);
    assert!(long.longest_expired > DAY && long.longest_expired < DAY * 4);
}

#[test]
fn the_capacity_of_an_account_follows_from_limit_and_lifetime() {
    let carried = |life| fleet(1, life).carried();
    // 2,400 a day, renewed after two thirds of their life less some jitter, half of a short one.
    assert_eq!(fleet(1, DAY).orders_per_day().round() as u64, 2_400);
    assert_eq!([DAY * 90, DAY * 45, HOUR * 160].map(carried), [138_600, 69_300, 7_600]);
}

#[test]
fn failing_and_departed_customers_are_not_counted_as_expired() {
    let scenario = Scenario {
        failing: 0.2,
        departing: 0.3,
        flaky: 0.05,
        ..fleet(200, DAY * 45)
    };
    let outcome = run(&scenario);
    assert_eq!(outcome.expired, 0);
    assert!(
        outcome.never_issued > 20 && outcome.expired_departed > 20,
        "{outcome:?}"
    );
    assert!(outcome.failed_validations > 0);
    assert_eq!(outcome.first + outcome.never_issued + outcome.still_waiting, 200);
    // Attempts end after a month of failures.
    assert!(outcome.failed_validations < outcome.never_issued * 45, "{outcome:?}");
}

#[test]
fn nothing_expires_when_the_ca_shortens_its_lifetimes() {
    let scenario = Scenario {
        lifetimes: vec![(Duration::ZERO, DAY * 90), (DAY * 30, DAY * 45), (DAY * 80, HOUR * 160)],
        span: DAY * 150,
        onboarding: Onboarding::PerDay(5),
        ..fleet(60, DAY)
    };
    let outcome = run(&scenario);
    assert_eq!((outcome.first, outcome.expired), (60, 0));
    assert!(outcome.renewals > 60 * 5, "{}", outcome.renewals);
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    let scenario = Scenario {
        flaky: 0.1,
        departing: 0.1,
        ..fleet(50, DAY * 45)
    };
    let once = run(&scenario);
    assert_eq!(once, run(&scenario));
    assert_ne!(once, run(&Scenario { seed: 2, ..scenario }));
}

#[test]
fn the_plot_is_well_formed_and_shows_what_happened() {
    let scenario = Scenario {
        flaky: 0.1,
        onboarding: Onboarding::Running,
        outages: vec![Window {
            from: DAY * 10,
            length: DAY * 20,
        }],
        ..fleet(60, DAY * 45)
    };
    let outcome = run(&scenario);
    let svg = plot(&scenario, &outcome);
    let tags = well_formed(&svg);
    assert!(tags > 100, "{tags}");
    assert!(svg.contains("60 domains, certificates of 45 days, 100 days"));
    for class in ["a", "b", "c"] {
        assert!(svg.contains(&format!("class=\"{class}\"")));
    }
    assert!(svg.contains("prefers-color-scheme:dark") && svg.contains("days since the start"));
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    // A plot without any event is well-formed too.
    let empty = Scenario {
        span: DAY,
        onboarding: Onboarding::Running,
        ..fleet(1, DAY * 90)
    };
    well_formed(&plot(&empty, &run(&empty)));
}

/// Checks that tags nest, that attributes are quoted and that no bare `&` or `<` is left; returns
/// how many tags there are.
fn well_formed(svg: &str) -> usize {
    let mut open = Vec::new();
    let mut count = 0;
    let mut rest = svg;
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        for entity in text.split('&').skip(1) {
            assert!(
                ["amp;", "lt;", "gt;", "quot;"].iter().any(|e| entity.starts_with(e)),
                "{entity}"
            );
        }
        let end = tag.find('>').expect("a tag ends");
        let inner = &tag[1..end];
        assert!(!inner.contains('<'), "{inner}");
        assert!(inner.matches('"').count().is_multiple_of(2), "{inner}");
        if let Some(name) = inner.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else if !inner.ends_with('/') {
            open.push(inner.split_whitespace().next().expect("a name").to_owned());
        }
        count += 1;
        rest = &tag[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    count
}
