//! Small fleets under the limits of Let's Encrypt.

use std::time::Duration;

use super::*;
use crate::control::Limit;

const HOUR: Duration = Duration::from_secs(3600);

fn limits() -> Limits {
    Limits {
        orders_per_account: Limit { count: 300, per: HOUR * 3 },
        per_registered_domain: Limit { count: 50, per: DAY * 7 },
        failed_per_name: Limit { count: 5, per: HOUR },
    }
}

fn fleet(domains: u32, life: Duration) -> Scenario {
    Scenario {
        domains,
        names_per_registered_domain: 1,
        onboarding: Onboarding::Import,
        span: DAY * 100,
        lifetimes: vec![(Duration::ZERO, life)],
        limits: limits(),
        ari: true,
        max_concurrent_orders: 16,
        order_time: Duration::from_secs(8),
        failing: 0.0,
        flaky: 0.0,
        departing: 0.0,
        outages: vec![],
        seed: 1,
    }
}

#[test]
fn none_expires_at_any_lifetime_under_lets_encrypts_limits() {
    for life in [DAY * 90, DAY * 64, DAY * 45, HOUR * 160] {
        let outcome = run(&fleet(500, life));
        println!("{life:?} {outcome:?}");
    }
}
