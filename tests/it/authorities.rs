//! Several CAs in order: which one an order goes to, when the next one takes over, and when the
//! first is used again.

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

use crate::support::edge::{EDGE_NAME, private};
use crate::support::until;
use crate::support::world::{Plan, World};

const HOUR: Duration = Duration::from_secs(3_600);

/// A world with a second CA to fall back to; `second` says more of it in the configuration.
async fn two(second: &str) -> (Plan, DevCa) {
    two_of(second, |_| {}).await
}

/// The same, with a second CA of one's own making.
async fn two_of(second: &str, change: impl FnOnce(&mut DevCaConfig)) -> (Plan, DevCa) {
    let plan = Plan::with_ca(|config| config.caa_identities = vec!["first.test".to_owned()]).await;
    let mut config = DevCaConfig::new(plan.clock.clone());
    config.caa_identities = vec!["second.test".to_owned()];
    change(&mut config);
    // It ends with the test's runtime.
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

/// Starts the edge; both CAs look for challenges there.
async fn start(plan: Plan, second: &DevCa) -> World {
    let world = plan.start_at_once().await;
    second.set_http_port(world.edge.http.port());
    second.set_https_port(world.edge.https.port());
    world.edge.until(EDGE_NAME, "known", |_| true).await;
    world
}

/// The same, once the edge's own name has its certificate from the first.
async fn start_well(plan: Plan, second: &DevCa) -> World {
    let world = start(plan, second).await;
    assert_eq!(ca(&world.edge.until_issued(EDGE_NAME).await), world.ca.directory_url());
    world
}

/// The directory of the CA that has issued the certificate held.
fn ca(record: &DomainRecord) -> &str {
    &record.ssl.certificate.as_ref().expect("a certificate").ca
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_takes_over_from_one_that_is_down_and_gives_back() {
    let (plan, second) = two("").await;
    plan.faults().set_down(true);
    let world = start(plan, &second).await;
    world.edge.register("links.a.test").await;
    for name in [EDGE_NAME, "links.a.test"] {
        let record = world.pass_until_issued(name).await;
        assert_eq!(ca(&record), second.directory_url());
    }
    let trouble = world.edge.control.store().ca_trouble(&world.ca.directory_url()).await;
    let trouble = trouble.expect("the store").expect("a trouble");
    let until = trouble.out_until.expect("out of use");
    assert!(until > world.clock.now(), "no order waits for the first any more");
    assert_eq!(second.stats().certificates, 2);

    // It is back, but not tried before its time; a restart forgets nothing of that.
    world.faults().set_down(false);
    let world = world.restart().await;
    second.set_http_port(world.edge.http.port());
    world.edge.register("links.b.test").await;
    assert_eq!(
        ca(&world.edge.until_issued("links.b.test").await),
        second.directory_url()
    );
    assert_eq!(world.ca.stats().orders, 0);

    world.clock.advance(until.saturating_since(world.clock.now()));
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
async fn one_order_tries_a_ca_that_was_out_and_the_others_do_not_wait_for_it() {
    let (plan, second) = two("").await;
    plan.faults().set_down(true);
    let world = start(plan, &second).await;
    world.pass_until_issued(EDGE_NAME).await;
    let trouble = async || {
        let trouble = world.edge.control.store().ca_trouble(&world.ca.directory_url()).await;
        trouble.expect("the store").expect("a trouble")
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
    // The trial fails, for the CA never looks: it is out for longer, and its order goes on elsewhere.
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
async fn an_accounts_limit_at_one_does_not_hold_the_other() {
    let (plan, second) = two("").await;
    let world = start_well(plan, &second).await;
    world
        .faults()
        .refuse_next(linkseal_devca::Endpoint::NewOrder, 1, Refusal::too_many_orders(HOUR));
    for name in ["links.first.test", "links.other.test"] {
        world.edge.register(name).await;
        assert_eq!(ca(&world.edge.until_issued(name).await), second.directory_url());
    }
    assert_eq!(world.ca.stats().rate_limited, 1, "asked once");
    world.clock.advance(HOUR);
    world.edge.register("links.later.test").await;
    assert_eq!(
        ca(&world.edge.until_issued("links.later.test").await),
        world.ca.directory_url()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_has_limits_of_its_own() {
    let (plan, second) = two("limits = { orders_per_account = \"2/1h\" }").await;
    let mut limits = Table::new();
    limits.insert("orders_per_account".into(), "2/1h".into());
    let world = start_well(plan.set("acme.limits", limits), &second).await;
    let mut cas = Vec::new();
    for name in ["links.a.test", "links.b.test", "links.c.test"] {
        world.edge.register(name).await;
        cas.push(ca(&world.edge.until_issued(name).await).to_owned());
    }
    assert_eq!(
        cas,
        [world.ca.directory_url(), second.directory_url(), second.directory_url()],
        "one of the first's two orders was for the edge's own name"
    );
    world.edge.register("links.d.test").await;
    let waits = world.edge.until_reason("links.d.test", Reason::RateLimited).await;
    let wait = waits
        .ssl
        .next_attempt
        .expect("a time")
        .saturating_since(world.clock.now());
    assert!(
        wait <= HOUR / 2,
        "{wait:?}: a token comes in half an hour at the latest"
    );
    world.pass_until_issued("links.d.test").await;
    assert_eq!((world.ca.stats().rate_limited, second.stats().rate_limited), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_has_an_external_account_and_a_profile_of_its_own() {
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
    std::fs::write(&key, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc").expect("written");
    private(&key);
    plan.faults().set_down(true);
    let world = start(plan, &second).await;
    let record = world.pass_until_issued(EDGE_NAME).await;
    assert_eq!(ca(&record), second.directory_url());
    let held = record.ssl.certificate.expect("a certificate");
    assert!(held.not_after.saturating_since(held.not_before) <= 160 * HOUR);
    world.faults().set_down(false);
    let overview = world.edge.control.overview().await.expect("an overview");
    let states: Vec<_> = overview.authorities.iter().map(|a| a.standing).collect();
    assert!(
        matches!(states.as_slice(), [Standing::Out(_), Standing::InUse]),
        "{states:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_one_keeps_refusing_goes_to_the_next() {
    let (plan, second) = two("").await;
    let world = start_well(plan, &second).await;
    let name = "links.policy.test";
    let refusal = Refusal::of(Problem::rejected_identifiers([(name, "not with us")]));
    world.faults().refuse_name(name, None, refusal.clone());
    world.edge.register(name).await;
    assert_eq!(ca(&world.pass_until_issued(name).await), second.directory_url());
    assert_eq!(world.ca.name_stats(name).refused, 2);
    // Where both refuse, no one is asked again and again.
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
        world.pass_to_next_attempt(nowhere).await;
    }
    let asked = world.ca.name_stats(nowhere).refused + second.name_stats(nowhere).refused;
    assert!(asked <= 7, "{asked}");
    // The others go to the first as ever.
    world.edge.register("links.fine.test").await;
    assert_eq!(
        ca(&world.edge.until_issued("links.fine.test").await),
        world.ca.directory_url()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_names_what_it_replaces_only_where_that_was_issued() {
    let (plan, second) = two("").await;
    plan.faults().set_down(true);
    second.faults().set_ari_off(true);
    let world = start(plan, &second).await;
    let name = "links.renewed.test";
    world.edge.register(name).await;
    let held = world.pass_until_issued(name).await;
    assert_eq!(ca(&held), second.directory_url());
    let renew_at = held.ssl.certificate.as_ref().expect("a certificate").renew_at;
    // One order finds out that the first is back; the others do not wait for that.
    world.faults().set_down(false);
    world.clock.advance(HOUR);
    let trial = async || {
        let trouble = world.edge.control.store().ca_trouble(&world.ca.directory_url()).await;
        trouble.expect("the store")
    };
    world.edge.register("links.trial.test").await;
    world.edge.until_issued("links.trial.test").await;
    until("the first is in use again", async || {
        trial().await.is_none().then_some(())
    })
    .await;
    world.clock.advance(renew_at.saturating_since(world.clock.now()) + HOUR);
    let renewed = |r: &DomainRecord| r.ssl.reason == Reason::Ok && ca(r) == world.ca.directory_url();
    world.edge.until(name, "renewed at the first", renewed).await;
    assert_eq!(world.ca.stats().orders_with_replaces, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caa_decides_before_an_order_which_ca_it_goes_to() {
    let (plan, second) = two("").await;
    let world = start_well(plan, &second).await;
    until("the directories were read", async || {
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
async fn a_ca_that_alone_fails_is_tried_by_one_order_at_a_time() {
    let plan = Plan::new().await.set("acme.issue", "on_register");
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
        assert_eq!(world.ca.name_stats(name).refused, 0, "{name} was spared");
    }
    for name in &names {
        world.pass_until_issued(name).await;
    }
}
