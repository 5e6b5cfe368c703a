//! A CA that refuses, stalls, loses responses or fails: the state a domain ends up in, when it is retried,
//! and that it never costs more orders than necessary.

use std::time::Duration;

use http::StatusCode;
use linkseal_base::clock::Timestamp;
use linkseal_devca::{Endpoint, Lost, Problem, Refusal, RetryAfter};
use linkseal_domain::ssl::{Reason, State};
use rustls::AlertDescription;

use crate::support::client::alert;
use crate::support::until;
use crate::support::world::{Plan, World, is_busy, next_attempt};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Relative jitter of the back-off.
const JITTER: f64 = 0.1;

async fn world_on_register() -> World {
    Plan::on_register().await.start().await
}

fn connection_refused(name: &str) -> Problem {
    let detail = format!("127.0.0.1: Fetching http://{name}/.well-known/acme-challenge/x: Connection refused");
    Problem::new(StatusCode::BAD_REQUEST, "connection", detail)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_nonces_cause_neither_failures_nor_further_orders() {
    let world = world_on_register().await;
    for every in [2, 3, 7] {
        world.faults().bad_nonce_every(Some(every));
        let names: Vec<_> = (0..5).map(|i| format!("links.c{i}.nonce{every}.test")).collect();
        for name in &names {
            world.edge.register(name).await;
        }
        for name in &names {
            let record = world.edge.until_issued(name).await;
            assert_eq!((world.ca.name_stats(name).orders, record.ssl.attempts), (1, 0));
        }
    }
    assert!(world.ca.stats().bad_nonces > 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_limit_holds_all_orders_until_retry_after() {
    let world = world_on_register().await;
    let wait = HOUR / 2;
    world
        .faults()
        .refuse_next(Endpoint::NewOrder, 1, Refusal::too_many_orders(wait));
    let begun = world.clock.now();
    world.edge.register("links.first.test").await;
    let first = world.edge.until_reason("links.first.test", Reason::RateLimited).await;
    assert!(next_attempt(&first) >= begun + wait);
    assert_eq!(first.ssl.attempts, 0, "it does not count against the domain");
    assert!(
        first
            .ssl
            .last_error
            .expect("the CA's error")
            .detail
            .contains("too many new orders")
    );

    let others: Vec<_> = (0..5).map(|i| format!("links.other{i}.test")).collect();
    for name in &others {
        world.edge.register(name).await;
    }
    for name in &others {
        let record = world.edge.until_reason(name, Reason::RateLimited).await;
        assert!(next_attempt(&record) >= begun + wait, "{name}");
        assert!(
            world.handshake(name).await.is_err(),
            "a handshake does not wait that long"
        );
        world.edge.verify(name).await;
    }
    world.clock.advance(wait - MINUTE);
    for name in &others {
        world.edge.verify(name).await;
        let record = world.edge.record(name).await;
        assert_eq!(record.ssl.reason, Reason::RateLimited);
    }
    let stats = world.ca.stats();
    assert_eq!((stats.rate_limited, stats.orders), (1, 1), "nothing was sent early");
    world.clock.advance(2 * MINUTE);
    for name in others.iter().map(String::as_str).chain(["links.first.test"]) {
        world.edge.until_issued(name).await;
        assert_eq!(world.ca.name_stats(name).orders, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_for_a_name_holds_only_that_name() {
    let world = world_on_register().await;
    let (limited, free) = ("links.limited.test", "links.free.test");
    world
        .faults()
        .refuse_name(limited, None, Refusal::too_many_failures(limited, HOUR));
    let begun = world.clock.now();
    world.edge.register(limited).await;
    let record = world.edge.until_reason(limited, Reason::RateLimited).await;
    assert!(next_attempt(&record) >= begun + HOUR);
    world.edge.register(free).await;
    world.edge.until_issued(free).await;
    world.edge.verify(limited).await;
    assert_eq!(world.ca.name_stats(limited).refused, 1, "tried once");
    world.faults().allow_name(limited);
    world.advance_until_issued(limited).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_of_a_ca_in_maintenance_is_respected() {
    let world = world_on_register().await;
    let (seconds, date) = ("links.seconds.test", "links.date.test");
    let wait = 10 * MINUTE;
    for name in [seconds, date] {
        let until = world.clock.now() + wait;
        let retry_after = if name == date {
            RetryAfter::Date(until)
        } else {
            RetryAfter::Seconds(wait)
        };
        world.faults().set_maintenance(Some(retry_after));
        world.edge.register(name).await;
        let record = world.edge.until_reason(name, Reason::CaUnreachable).await;
        // A date is rounded to whole seconds.
        assert!(
            next_attempt(&record) >= until.minus(Duration::from_secs(1)),
            "{record:?}"
        );
        assert_eq!((record.ssl.state(), record.ssl.attempts), (State::Pending, 0));
        world.faults().set_maintenance(None);
        world.advance_until_issued(name).await;
        assert_eq!(world.ca.name_stats(name).orders, 1);
    }
    let busy = "links.busy.test";
    let refusal = Refusal::busy(2 * MINUTE);
    world.faults().refuse_next(Endpoint::NewOrder, 1, refusal);
    world.edge.register(busy).await;
    world.edge.until_reason(busy, Reason::CaUnreachable).await;
    let meanwhile = "links.meanwhile.test";
    world.edge.register(meanwhile).await;
    world.edge.until_issued(meanwhile).await;
    world.advance_until_issued(busy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_continue_when_an_unreachable_ca_is_back() {
    let plan = Plan::new().await;
    plan.faults().set_down(true);
    let world = plan.start_at_once().await;
    let name = "links.down.test";
    world.edge.register(name).await;
    let error = world.handshake(name).await.expect_err("there is no certificate");
    assert_eq!(alert(&error), Some(AlertDescription::InternalError));
    let record = world.edge.until_reason(name, Reason::CaUnreachable).await;
    assert_eq!(record.ssl.attempts, 0);
    assert!(record.ssl.last_error.is_some());
    let wait = next_attempt(&record).saturating_since(world.clock.now());
    assert!(wait <= 3 * MINUTE, "{wait:?}: the CA may be back soon");
    world.faults().set_down(false);
    world.advance_until_issued(name).await;
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_validation_is_awaited() {
    let world = world_on_register().await;
    let name = "links.slow.test";
    let delay = Duration::from_secs(80);
    world.faults().set_validation_delay(delay);
    world.edge.register(name).await;
    world.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    let record = world.edge.until_reason(name, Reason::Validating).await;
    assert_eq!(record.ssl.state(), State::Pending);
    world.clock.advance(delay);
    world.edge.until_issued(name).await;
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_order_is_resumed_once_and_then_abandoned() {
    let world = world_on_register().await;
    let name = "links.stuck.test";
    world.faults().set_stuck_validations(&[name]);
    world.edge.register(name).await;
    world.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    for attempts in 1..=2 {
        let record = until("the attempt times out", async || {
            let record = world.edge.record(name).await;
            if record.ssl.setbacks == attempts && !is_busy(&record) {
                return Some(record);
            }
            world.clock.advance(Duration::from_secs(5));
            None
        })
        .await;
        assert_eq!(record.ssl.reason, Reason::RetryScheduled);
        assert_eq!(
            world.ca.name_stats(name).orders,
            1,
            "the order is resumed, not repeated"
        );
        if attempts == 1 {
            world.advance_to_next_attempt(name).await;
        }
    }
    world.faults().set_stuck_validations(&[]);
    world.advance_until_issued(name).await;
    assert_eq!(world.ca.name_stats(name).orders, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_challenge_shows_the_cas_error_and_the_next_attempt() {
    let world = world_on_register().await;
    let problem = |kind: &str| Problem::new(StatusCode::FORBIDDEN, kind, format!("details about {kind}"));
    for (kind, state, reason) in [
        ("connection", State::Pending, Reason::ValidationFailed),
        ("unauthorized", State::Pending, Reason::ValidationFailed),
        ("dns", State::Pending, Reason::ValidationFailed),
        ("caa", State::Unknown, Reason::CaaForbids),
    ] {
        let name = format!("links.{kind}.test");
        world.faults().reject_challenge(&name, Some(problem(kind)));
        world.edge.register(&name).await;
        let record = world.edge.until(&name, "failed", |r| r.ssl.attempts == 1).await;
        assert_eq!((record.ssl.state(), record.ssl.reason), (state, reason));
        let error = record.ssl.last_error.clone().expect("the CA's error");
        assert_eq!(error.kind, format!("urn:ietf:params:acme:error:{kind}"));
        assert_eq!(error.detail, format!("details about {kind}"));
        let wait = next_attempt(&record).saturating_since(error.at).as_secs_f64();
        assert!((wait - 60.0).abs() <= 60.0 * JITTER + 1.0, "{kind}: {wait} s");
        world.faults().reject_challenge(&name, None);
        let record = world.advance_until_issued(&name).await;
        assert_eq!((record.ssl.attempts, record.ssl.last_error), (0, None));
        assert_eq!(world.ca.name_stats(&name).orders, 2, "a failed order is not resumed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_identifier_shows_the_cas_subproblems() {
    let world = world_on_register().await;
    let name = "links.policy.test";
    let refusal = Refusal::of(Problem::rejected_identifiers([(
        name,
        "The ACME server refuses to issue",
    )]));
    world.faults().refuse_name(name, None, refusal);
    world.edge.register(name).await;
    let record = world.edge.until_reason(name, Reason::ValidationFailed).await;
    let error = record.ssl.last_error.expect("the CA's error");
    assert_eq!(error.kind, "urn:ietf:params:acme:error:rejectedIdentifier");
    assert_eq!(error.subproblems.len(), 1);
    assert_eq!(error.subproblems[0].identifier.as_deref(), Some(name));
    assert_eq!(error.subproblems[0].detail, "The ACME server refuses to issue");
}

/// Takes over ten seconds: fourteen orders one after the other, each with a retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_costs_a_second_order_only_when_the_new_order_response_is_lost() {
    let world = world_on_register().await;
    let endpoints = [
        Endpoint::NewNonce,
        Endpoint::NewOrder,
        Endpoint::Authorization,
        Endpoint::Challenge,
        Endpoint::Order,
        Endpoint::Finalize,
        Endpoint::Certificate,
    ];
    for endpoint in endpoints {
        for lost in [Lost::Request, Lost::Answer] {
            let name = format!("links.{endpoint:?}-{lost:?}.test").to_lowercase();
            world.faults().lose_next(endpoint, lost, 1);
            world.edge.register(&name).await;
            world.advance_until_issued(&name).await;
            let allowed = if (endpoint, lost) == (Endpoint::NewOrder, Lost::Answer) {
                2
            } else {
                1
            };
            let orders = world.ca.name_stats(&name).orders;
            assert!(orders <= allowed, "{endpoint:?}, {lost:?}: {orders} orders");
            assert_eq!(world.ca.name_stats(&name).certificates, 1, "{endpoint:?}, {lost:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_new_account_response_does_not_create_a_second_account() {
    let plan = Plan::new().await;
    plan.faults().lose_next(Endpoint::NewAccount, Lost::Answer, 1);
    let world = plan.start_at_once().await;
    world.edge.register("links.account.test").await;
    drop(world.handshake("links.account.test").await);
    world.advance_until_issued("links.account.test").await;
    assert_eq!(world.ca.stats().accounts, 1, "one key has one account");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_that_takes_long_to_sign_is_awaited() {
    let world = world_on_register().await;
    let name = "links.processing.test";
    let span = Duration::from_secs(60);
    world.faults().set_processing(span);
    world.edge.register(name).await;
    until("the domain is issued", async || {
        world.clock.advance(Duration::from_millis(200));
        let record = world.edge.record(name).await;
        (record.ssl.state() == State::Issued).then_some(())
    })
    .await;
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_the_ca_failed_to_sign_is_ordered_again() {
    let world = world_on_register().await;
    let name = "links.unsigned.test";
    let problem = Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "serverInternal",
        "the HSM is on fire",
    );
    world.faults().fail_finalize(1, problem);
    world.edge.register(name).await;
    let record = world.edge.until(name, "failed", |r| r.ssl.last_error.is_some()).await;
    assert_eq!(record.ssl.state(), State::Pending);
    assert_eq!(
        record.ssl.last_error.clone().expect("the CA's error").detail,
        "the HSM is on fire"
    );
    world.advance_until_issued(name).await;
    assert_eq!(world.ca.name_stats(name).orders, 2);
}

/// Let's Encrypt allows 5 failed authorizations per name and hour; linkseal leaves one of them unused.
const FAILURES_PER_HOUR: usize = 4;

/// Takes over ten seconds: 75 rounds, each with a verification and two handshakes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_four_authorizations_fail_per_hour_regardless_of_requests() {
    let world = World::start().await;
    let name = "links.hopeless.test";
    world.faults().reject_challenge(name, Some(connection_refused(name)));
    world.edge.register(name).await;
    let mut failures: Vec<Timestamp> = Vec::new();
    // Five hours in steps of four minutes, with everything that can trigger an order at each step.
    for _ in 0..75 {
        drop(world.handshake(name).await);
        world.edge.verify(name).await;
        drop(world.handshake(name).await);
        until("no order is in progress", async || {
            let record = world.edge.record(name).await;
            let waits = record.ssl.next_attempt.is_some_and(|at| at > world.clock.now());
            (!is_busy(&record) && waits).then_some(())
        })
        .await;
        let failed = usize::try_from(world.ca.name_stats(name).failed).unwrap();
        failures.resize(failed, world.clock.now());
        world.clock.advance(4 * MINUTE);
    }
    for (i, first) in failures.iter().enumerate() {
        let within = failures[i..].iter().filter(|t| **t < *first + HOUR).count();
        assert!(
            within <= FAILURES_PER_HOUR,
            "{within} within an hour of {first}: {failures:?}"
        );
    }
    let least = 4 * FAILURES_PER_HOUR;
    assert!(
        failures.len() >= least,
        "it was tried {} times in five hours: {failures:?}",
        failures.len()
    );
    let stats = world.ca.name_stats(name);
    assert_eq!(stats.orders, stats.failed, "no order was made without a validation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_and_waits_survive_a_restart() {
    let world = world_on_register().await;
    let (failed, limited) = ("links.failed.test", "links.limited.test");
    world
        .faults()
        .reject_challenge(failed, Some(connection_refused(failed)));
    world
        .faults()
        .refuse_name(limited, None, Refusal::too_many_failures(limited, HOUR));
    for name in [failed, limited] {
        world.edge.register(name).await;
    }
    world.edge.until_reason(failed, Reason::ValidationFailed).await;
    world.edge.until_reason(limited, Reason::RateLimited).await;
    let before = [
        world.edge.record(failed).await.ssl,
        world.edge.record(limited).await.ssl,
    ];
    let asked = (world.ca.name_stats(failed), world.ca.name_stats(limited));

    let world = world.restart().await;
    until("all domains are loaded", async || {
        world.edge.control.is_loaded().then_some(())
    })
    .await;
    for _ in 0..5 {
        for name in [failed, limited] {
            let error = world.handshake(name).await.expect_err("there is no certificate");
            assert_eq!(alert(&error), Some(AlertDescription::InternalError));
        }
    }
    assert_eq!(
        before,
        [
            world.edge.record(failed).await.ssl,
            world.edge.record(limited).await.ssl
        ]
    );
    assert_eq!(asked, (world.ca.name_stats(failed), world.ca.name_stats(limited)));
    world.faults().reject_challenge(failed, None);
    world.advance_until_issued(failed).await;
}
