//! Fallback CAs: which CA an order goes to, when the next takes over, and when the first is used again.

use std::time::Duration;

use http::StatusCode;
use linkseal_base::shutdown::Tasks;
use linkseal_control::Standing;
use linkseal_devca::{DevCa, DevCaConfig, EabKey, Problem, Profile, Refusal};
use linkseal_dns::Kind as Record;
use linkseal_domain::ssl::{Reason, State};
use linkseal_domain::{DomainRecord, messages};
use toml::{Table, Value};
use zeroize::Zeroizing;

use crate::support::edge::{EDGE_NAME, write_secret};
use crate::support::until;
use crate::support::world::{Plan, World};

const HOUR: Duration = Duration::from_secs(3_600);

/// A plan with a fallback CA; `second` is more keys of its `[[acme.fallback]]` entry as TOML.
async fn two(second: &str) -> (Plan, DevCa) {
    two_of(second, |_| {}).await
}

/// As [`two`], after a change to the second CA's configuration.
async fn two_of(second: &str, change: impl FnOnce(&mut DevCaConfig)) -> (Plan, DevCa) {
    let plan = Plan::with_ca(|config| config.caa_identities = vec!["first.test".to_owned()]).await;
    let mut config = DevCaConfig::new(plan.clock.clone());
    config.caa_identities = vec!["second.test".to_owned()];
    change(&mut config);
    // It runs until the test's runtime ends.
    let other = DevCa::start(config, &Tasks::new()).await.expect("a second CA");
    let ca_file = plan.dir.path().join("second.pem");
    std::fs::write(&ca_file, other.root_pem()).expect("written");
    let mut fallback: Table = second.parse().expect("TOML");
    fallback.insert("directory".into(), other.directory_url().into());
    fallback.insert("accept_terms".into(), true.into());
    fallback.insert("ca_file".into(), ca_file.display().to_string().into());
    let plan = plan
        .set("acme.issue", "on_register")
        .set("acme.fallback", vec![Value::from(fallback)]);
    (plan, other)
}

/// Starts the edge, where both CAs then look for challenges.
async fn start(plan: Plan, second: &DevCa) -> World {
    let world = plan.start_at_once().await;
    second.set_http_port(world.edge.http.port());
    second.set_https_port(world.edge.https.port());
    world.edge.until(EDGE_NAME, "stored", |_| true).await;
    world
}

/// As [`start`], and waits until the edge's own name has a certificate from the first CA.
async fn start_issued(plan: Plan, second: &DevCa) -> World {
    let world = start(plan, second).await;
    assert_eq!(ca(&world.edge.until_issued(EDGE_NAME).await), world.ca.directory_url());
    world
}

/// The directory URL of the CA that issued the stored certificate.
fn ca(record: &DomainRecord) -> &str {
    &record.ssl.certificate.as_ref().expect("a certificate").ca
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_ca_takes_over_while_the_first_is_down() {
    let (plan, second) = two("").await;
    plan.faults().set_down(true);
    let world = start(plan, &second).await;
    world.edge.register("links.a.test").await;
    for name in [EDGE_NAME, "links.a.test"] {
        let record = world.advance_until_issued(name).await;
        assert_eq!(ca(&record), second.directory_url());
    }
    let trouble = world.edge.control.store().ca_trouble(&world.ca.directory_url()).await;
    let trouble = trouble.expect("the store").expect("an outage");
    let until = trouble.out_until.expect("out of use");
    assert!(until > world.clock.now(), "no order waits for the first CA");
    assert_eq!(second.stats().certificates, 2);

    // It is back, but not tried before its time, even after a restart.
    world.faults().set_down(false);
    let world = world.restart().await;
    second.set_http_port(world.edge.http.port());
    world.edge.register("links.b.test").await;
    assert_eq!(
        ca(&world.edge.until_issued("links.b.test").await),
        second.directory_url()
    );
    assert_eq!(world.ca.stats().orders, 0);

    world.advance_to(until);
    world.edge.register("links.c.test").await;
    assert_eq!(
        ca(&world.edge.until_issued("links.c.test").await),
        world.ca.directory_url()
    );
    world.edge.register("links.d.test").await;
    assert_eq!(
        ca(&world.edge.until_issued("links.d.test").await),
        world.ca.directory_url()
    );
    let trouble = world.edge.control.store().ca_trouble(&world.ca.directory_url()).await;
    assert_eq!(trouble.expect("the store"), None);
    assert_eq!(second.stats().certificates, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_trial_order_tests_a_ca_after_an_outage() {
    let (plan, second) = two("").await;
    plan.faults().set_down(true);
    let world = start(plan, &second).await;
    world.advance_until_issued(EDGE_NAME).await;
    let trouble = async || {
        let trouble = world.edge.control.store().ca_trouble(&world.ca.directory_url()).await;
        trouble.expect("the store").expect("an outage")
    };
    let before = trouble().await;
    world.faults().set_down(false);
    world.faults().set_validation_delay(HOUR);
    world.clock.advance(
        before
            .out_until
            .expect("out of use")
            .saturating_since(world.clock.now()),
    );
    world.edge.register("links.trial.test").await;
    world.ca.until(|ca| ca.stats().orders == 1).await;
    for name in ["links.a.test", "links.b.test", "links.c.test"] {
        world.edge.register(name).await;
        assert_eq!(ca(&world.edge.until_issued(name).await), second.directory_url());
    }
    assert_eq!(world.ca.stats().orders, 1);
    // The trial fails, since the CA never validates: the outage goes on, and the order goes to the second CA.
    let record = until("the trial fails", async || {
        let record = world.edge.record("links.trial.test").await;
        world.clock.advance(Duration::from_secs(2));
        (record.ssl.state() == State::Issued).then_some(record)
    })
    .await;
    assert_eq!(ca(&record), second.directory_url());
    let after = trouble().await;
    assert_eq!((after.outages, after.since), (before.outages + 1, before.since));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_limit_at_one_ca_does_not_affect_the_other() {
    let (plan, second) = two("").await;
    let world = start_issued(plan, &second).await;
    world
        .faults()
        .refuse_next(linkseal_devca::Endpoint::NewOrder, 1, Refusal::too_many_orders(HOUR));
    for name in ["links.first.test", "links.other.test"] {
        world.edge.register(name).await;
        assert_eq!(ca(&world.edge.until_issued(name).await), second.directory_url());
    }
    assert_eq!(world.ca.stats().rate_limited, 1, "tried once");
    world.clock.advance(HOUR);
    world.edge.register("links.later.test").await;
    assert_eq!(
        ca(&world.edge.until_issued("links.later.test").await),
        world.ca.directory_url()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_ca_has_its_own_limits() {
    let (plan, second) = two("limits = { orders_per_account = \"2/1h\" }").await;
    let mut limits = Table::new();
    limits.insert("orders_per_account".into(), "2/1h".into());
    let world = start_issued(plan.set("acme.limits", limits), &second).await;
    let mut cas = Vec::new();
    for name in ["links.a.test", "links.b.test", "links.c.test"] {
        world.edge.register(name).await;
        cas.push(ca(&world.edge.until_issued(name).await).to_owned());
    }
    assert_eq!(
        cas,
        [world.ca.directory_url(), second.directory_url(), second.directory_url()],
        "one of the first CA's two orders was for the edge's own name"
    );
    world.edge.register("links.d.test").await;
    let waits = world.edge.until_reason("links.d.test", Reason::RateLimited).await;
    let wait = waits
        .ssl
        .next_attempt
        .expect("a time")
        .saturating_since(world.clock.now());
    assert!(wait <= HOUR / 2, "{wait:?}: a token is added every half an hour");
    world.advance_until_issued("links.d.test").await;
    assert_eq!((world.ca.stats().rate_limited, second.stats().rate_limited), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_ca_has_its_own_external_account_and_profile() {
    let second = "profile = \"short\"\neab = { key_id = \"kid-2\", hmac_key_file = \"eab.key\" }";
    let (plan, second) = two_of(second, |config| {
        config.eab = vec![EabKey {
            key_id: "kid-2".into(),
            hmac_key: Zeroizing::new(vec![7; 32]),
        }];
        let short = Profile {
            description: "six days".into(),
            lifetime: Some(160 * HOUR),
        };
        config.profiles.insert("short".into(), short);
    })
    .await;
    let key = plan.dir.path().join("eab.key");
    write_secret(&key, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
    plan.faults().set_down(true);
    let world = start(plan, &second).await;
    let record = world.advance_until_issued(EDGE_NAME).await;
    assert_eq!(ca(&record), second.directory_url());
    let issued = record.ssl.certificate.expect("a certificate");
    assert!(issued.not_after.saturating_since(issued.not_before) <= 160 * HOUR);
    world.faults().set_down(false);
    let overview = world.edge.control.report().overview().await.expect("an overview");
    let states: Vec<_> = overview.authorities.iter().map(|a| a.standing).collect();
    assert!(
        matches!(states.as_slice(), [Standing::Out(_), Standing::InUse]),
        "{states:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_refused_by_one_ca_goes_to_the_next() {
    let (plan, second) = two("").await;
    let world = start_issued(plan, &second).await;
    let name = "links.policy.test";
    let refusal = Refusal::of(Problem::rejected_identifiers([(name, "not with us")]));
    world.faults().refuse_name(name, None, refusal.clone());
    world.edge.register(name).await;
    assert_eq!(ca(&world.advance_until_issued(name).await), second.directory_url());
    assert_eq!(world.ca.name_stats(name).refused, 2);
    // When both refuse, neither is asked over and over.
    let nowhere = "links.nowhere.test";
    world.faults().refuse_name(nowhere, None, refusal.clone());
    second.faults().refuse_name(nowhere, None, refusal);
    world.edge.register(nowhere).await;
    for attempts in 1..=6 {
        let record = world
            .edge
            .until(nowhere, "refused", |r| r.ssl.attempts >= attempts)
            .await;
        assert_eq!(record.ssl.state(), State::Pending);
        world.advance_to_next_attempt(nowhere).await;
    }
    let asked = world.ca.name_stats(nowhere).refused + second.name_stats(nowhere).refused;
    assert!(asked <= 7, "{asked}");
    // Other names still go to the first CA.
    world.edge.register("links.fine.test").await;
    assert_eq!(
        ca(&world.edge.until_issued("links.fine.test").await),
        world.ca.directory_url()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_names_the_old_certificate_only_to_the_ca_that_issued_it() {
    let (plan, second) = two("").await;
    plan.faults().set_down(true);
    second.faults().set_ari_off(true);
    let world = start(plan, &second).await;
    let name = "links.renewed.test";
    world.edge.register(name).await;
    let record = world.advance_until_issued(name).await;
    assert_eq!(ca(&record), second.directory_url());
    let renew_at = record.ssl.certificate.as_ref().expect("a certificate").renew_at;
    // A trial order finds the first CA back; the others do not wait for it.
    world.faults().set_down(false);
    world.clock.advance(HOUR);
    let outage = async || {
        let trouble = world.edge.control.store().ca_trouble(&world.ca.directory_url()).await;
        trouble.expect("the store")
    };
    world.edge.register("links.trial.test").await;
    world.edge.until_issued("links.trial.test").await;
    until("the first CA is in use again", async || {
        outage().await.is_none().then_some(())
    })
    .await;
    world.advance_to(renew_at + HOUR);
    let renewed = |r: &DomainRecord| r.ssl.reason == Reason::Ok && ca(r) == world.ca.directory_url();
    world.edge.until(name, "renewed by the first CA", renewed).await;
    assert_eq!(world.ca.stats().orders_with_replaces, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caa_records_decide_which_ca_an_order_goes_to() {
    let (plan, second) = two("").await;
    let world = start_issued(plan, &second).await;
    until("the directories are loaded", async || {
        world.edge.control.messages().borrow().ca_id.map(drop)
    })
    .await;
    for (name, issuer) in [
        ("links.one.test", "first.test"),
        ("links.two.test", "second.test"),
        ("links.none.test", "third.test"),
    ] {
        world.dns.add(name, Record::A, "127.0.0.1");
        world.dns.add(name, Record::Caa, &format!("0 issue {issuer}"));
        world.edge.register(name).await;
    }
    assert_eq!(
        ca(&world.edge.until_issued("links.one.test").await),
        world.ca.directory_url()
    );
    assert_eq!(
        ca(&world.edge.until_issued("links.two.test").await),
        second.directory_url()
    );
    let forbidden = world.edge.until_reason("links.none.test", Reason::CaaForbids).await;
    let context = world.edge.control.messages();
    assert_eq!(
        messages::message(&forbidden, context.borrow()).en,
        "Add this record at links.none.test: CAA 0 issue \"first.test\"."
    );
    for (ca, names) in [
        (&world.ca, ["links.two.test", "links.none.test"]),
        (&second, ["links.one.test", "links.none.test"]),
    ] {
        for name in names {
            assert_eq!(ca.name_stats(name).orders + ca.name_stats(name).refused, 0, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_ca_without_fallback_gets_one_order_at_a_time() {
    let plan = Plan::on_register().await;
    let world = plan.start().await;
    let refusal = Problem::new(StatusCode::BAD_REQUEST, "malformed", "out of order");
    world
        .faults()
        .refuse_next(linkseal_devca::Endpoint::NewOrder, 4, refusal.into());
    let names: Vec<_> = (0..6).map(|i| format!("links.c{i}.test")).collect();
    for name in &names[..3] {
        world.edge.register(name).await;
        world.edge.until(name, "failed", |r| r.ssl.setbacks == 1).await;
    }
    for name in &names[3..] {
        world.edge.register(name).await;
        world.edge.until_reason(name, Reason::CaUnreachable).await;
        assert_eq!(world.ca.name_stats(name).refused, 0, "{name} was not tried");
    }
    for name in &names {
        world.advance_until_issued(name).await;
    }
}
