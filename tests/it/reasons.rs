//! Every reason of the contract, produced by its real cause and cleared by its real fix: at
//! Pebble, a real CA, with a DNS server that says what a customer's would. Where the CA's own clock
//! has to move, or the CA to say what Pebble cannot, it is the development CA.
//!
//! Between Pebble and the edge stand two doors: one to the CA's API, one to the challenges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_control::Patch;
use linkseal_dns::Kind as Record;
use linkseal_dns::testing::{DnsServer, Failure};
use linkseal_domain::ssl::{Reason, State};
use linkseal_domain::{DomainRecord, messages};
use tempfile::TempDir;
use toml::Value;

use crate::support::door::Door;
use crate::support::edge::{EDGE_NAME, Edge, Settings, domain, operator};
use crate::support::heavy;
use crate::support::origin::Origin;
use crate::support::pebble::{Options, Pebble};
use crate::support::world::Plan;

const NAME: &str = "links.customer.test";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Pebble, DNS and an edge, with doors in between.
struct Stage {
    pebble: Pebble,
    dns: DnsServer,
    edge: Edge,
    clock: Clock,
    settings: Settings,
    /// In front of the CA's API, and of the edge's challenges.
    api: Door,
    challenges: Door,
    shown: Vec<Reason>,
    _dir: TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self::with(Options::default(), |_| {}).await
    }

    async fn with(options: Options, configure: impl FnOnce(&mut Settings)) -> Self {
        let (clock, dir) = (Clock::system(), tempfile::tempdir().expect("a directory"));
        let dns = DnsServer::start(&Tasks::new()).await.expect("a DNS server");
        dns.add(EDGE_NAME, Record::A, "127.0.0.1");
        let challenges = Door::held(0).await;
        let options = Options {
            dns: Some(dns.address()),
            ..options
        };
        let pebble = Pebble::start(challenges.port, options).await;
        let api = Door::held(0).await;
        api.open(pebble.address());
        let directory = format!("https://localhost:{}/dir", api.port);
        let mut settings = Settings::new(dir.path(), dns.address(), &directory, &pebble.ca_file());
        // Addresses of others stand in DNS here: nothing is sent there.
        settings
            .set("acme.issue", "on_register")
            .set("acme.preflight_address", "127.0.0.1:1");
        configure(&mut settings);
        let edge = Edge::start(&settings, &clock, |_, _| {}).await;
        challenges.open(edge.http);
        Self {
            pebble,
            dns,
            edge,
            clock,
            settings,
            api,
            challenges,
            shown: Vec::new(),
            _dir: dir,
        }
    }

    /// The edge's own name has its certificate: what is ordered from now on is the story's.
    async fn quiet(self) -> Self {
        self.edge.until_issued(EDGE_NAME).await;
        self
    }

    /// How many orders Pebble was asked for.
    fn orders(&self) -> usize {
        self.pebble.log().matches("Added order").count()
    }

    /// The name points here, as it should.
    fn right(&self, name: &str) {
        self.dns.add(name, Record::Cname, EDGE_NAME);
    }

    /// Waits until the name has come to a reason; its owner reads a whole sentence.
    async fn comes_to(&mut self, name: &str, reason: Reason) {
        let record = self.edge.until_reason(name, reason).await;
        let text = messages::message(&record, self.edge.control.messages().borrow());
        for sentence in [&text.en, &text.de] {
            assert!(
                !sentence.is_empty() && !sentence.contains(['{', '…']),
                "{reason:?}: {sentence}"
            );
        }
        assert_eq!(record.ssl.state(), reason.state());
        self.shown.push(reason);
    }

    /// Lets the time until the next attempt go by.
    async fn pass_to_next(&self, name: &str) {
        let record = self.edge.record(name).await;
        let next = record.ssl.next_attempt.expect("a time for the next attempt");
        self.clock.advance(next.saturating_since(self.clock.now()));
    }

    /// Changes what the platform decides about the name.
    async fn patch(&self, patch: serde_json::Value) {
        let patch: Patch = serde_json::from_value(patch).expect("a patch");
        let changed = self.edge.control.patch(&domain(NAME), patch, &operator()).await;
        changed.expect("changed");
    }
}

/// DNS is wrong, no order is made and the state says why; DNS is repaired, and no one needs to come
/// back: the certificate is there.
async fn wrong_dns(reason: Reason, breaks: impl Fn(&DnsServer), repairs: impl Fn(&DnsServer)) -> Vec<Reason> {
    let mut stage = Stage::new().await.quiet().await;
    let before = stage.orders();
    breaks(&stage.dns);
    stage.edge.register(NAME).await;
    stage.comes_to(NAME, reason).await;
    // Looking again changes nothing.
    let looks = stage.edge.record(NAME).await.ssl.wrong_checks;
    stage.pass_to_next(NAME).await;
    stage
        .edge
        .until(NAME, "looked at again", |r| r.ssl.wrong_checks > looks)
        .await;
    stage.edge.verify(NAME).await;
    stage.comes_to(NAME, reason).await;
    assert_eq!(stage.orders(), before, "{reason:?}: no order where DNS is wrong");
    repairs(&stage.dns);
    stage.pass_to_next(NAME).await;
    stage.edge.until_issued(NAME).await;
    assert_eq!(stage.orders(), before + 1);
    stage.shown
}

async fn dns_reasons() -> Vec<Reason> {
    let right = |dns: &DnsServer| dns.add(NAME, Record::Cname, EDGE_NAME);
    let elsewhere = |dns: &DnsServer, address: &str| dns.add(NAME, Record::A, address);
    let (missing, wrong, proxied, stray, error) = tokio::join!(
        wrong_dns(Reason::DnsMissing, |_| {}, right),
        wrong_dns(
            Reason::DnsElsewhere,
            |dns| elsewhere(dns, "192.0.2.1"),
            |dns| {
                dns.remove(NAME, Record::A);
                right(dns);
            }
        ),
        wrong_dns(
            Reason::Proxied,
            |dns| elsewhere(dns, "104.16.1.1"),
            |dns| {
                dns.remove(NAME, Record::A);
                right(dns);
            }
        ),
        wrong_dns(
            Reason::StrayAaaa,
            |dns| {
                elsewhere(dns, "127.0.0.1");
                dns.add(NAME, Record::Aaaa, "2001:db8::1");
            },
            |dns| dns.remove(NAME, Record::Aaaa),
        ),
        wrong_dns(
            Reason::DnsError,
            |dns| {
                right(dns);
                dns.fail(NAME, Failure::ServFail);
            },
            |dns| dns.heal(NAME),
        ),
    );
    [missing, wrong, proxied, stray, error].concat()
}

/// No one asks: nothing happens until someone verifies.
async fn never_requested() -> Vec<Reason> {
    let mut stage = Stage::with(Options::default(), |s| {
        s.set("acme.issue", "on_demand");
    })
    .await
    .quiet()
    .await;
    stage.right(NAME);
    stage.edge.register(NAME).await;
    stage.comes_to(NAME, Reason::NeverRequested).await;
    stage.edge.verify(NAME).await;
    stage.comes_to(NAME, Reason::Ok).await;
    stage.shown
}

/// The way of an order, held at each step: the API does not answer, the challenge is not answered,
/// and with one slot only the next name has to wait.
async fn steps_of_an_order() -> Vec<Reason> {
    let mut stage = Stage::with(Options::default(), |s| {
        s.set("acme.max_concurrent_orders", 1);
    })
    .await
    .quiet()
    .await;
    let next = "links.next.test";
    stage.right(NAME);
    stage.right(next);
    stage.api.hold();
    stage.edge.register(NAME).await;
    stage.comes_to(NAME, Reason::Ordering).await;
    stage.edge.register(next).await;
    stage.comes_to(next, Reason::Queued).await;
    stage.challenges.hold();
    stage.api.open(stage.pebble.address());
    stage.comes_to(NAME, Reason::Validating).await;
    stage.challenges.open(stage.edge.http);
    stage.edge.until_issued(NAME).await;
    stage.edge.until_issued(next).await;
    stage.shown
}

/// Port 80 is closed to the CA: its own words are shown; once it is open, the next attempt works.
/// Closed for a month, linkseal stops; then someone has to say that it is repaired.
async fn closed_port() -> Vec<Reason> {
    let mut stage = Stage::new().await.quiet().await;
    stage.right(NAME);
    stage.challenges.shut();
    stage.edge.register(NAME).await;
    stage.comes_to(NAME, Reason::ValidationFailed).await;
    let record = stage.edge.record(NAME).await;
    assert_eq!(record.ssl.state(), State::Pending);
    assert!(record.ssl.last_error.is_some_and(|e| !e.detail.is_empty()));
    loop {
        let ssl = stage.edge.record(NAME).await.ssl;
        if ssl.reason == Reason::GivenUp {
            break;
        }
        stage.pass_to_next(NAME).await;
        let again = |r: &DomainRecord| r.ssl.attempts > ssl.attempts && !r.ssl.reason.is_in_progress();
        stage.edge.until(NAME, "another attempt", again).await;
    }
    stage.comes_to(NAME, Reason::GivenUp).await;
    stage.challenges.open(stage.edge.http);
    stage.clock.advance(HOUR);
    stage.edge.verify(NAME).await;
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// The CA cannot be reached, which is not the customer's fault, and then it can.
async fn unreachable_ca() -> Vec<Reason> {
    let mut stage = Stage::new().await.quiet().await;
    stage.right(NAME);
    stage.api.shut();
    stage.edge.register(NAME).await;
    stage.comes_to(NAME, Reason::CaUnreachable).await;
    assert_eq!(
        stage.edge.record(NAME).await.ssl.attempts,
        0,
        "it says nothing about the domain"
    );
    stage.api.open(stage.pebble.address());
    stage.pass_to_next(NAME).await;
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// The account's limit is used up; it goes on when it has filled again.
async fn used_up_limit() -> Vec<Reason> {
    let mut stage = Stage::with(Options::default(), |s| {
        let limits: toml::Table = "orders_per_account = \"1/1h\"".parse().expect("TOML");
        s.set("acme.limits", Value::Table(limits));
    })
    .await
    .quiet()
    .await;
    let before = stage.orders();
    stage.right(NAME);
    stage.edge.register(NAME).await;
    stage.comes_to(NAME, Reason::RateLimited).await;
    stage.edge.verify(NAME).await;
    assert_eq!(stage.orders(), before, "verifying again does not speed it up");
    stage.pass_to_next(NAME).await;
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// The CA wants an external account that is not configured: the domain's order is tried again, and
/// works once the operator has put it in.
async fn operators_mistake() -> Vec<Reason> {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let options = Options {
        eab: Some(("kid-1", KEY)),
        ..Options::default()
    };
    let mut stage = Stage::with(options, |_| {}).await;
    stage.right(NAME);
    stage.edge.register(NAME).await;
    stage.comes_to(NAME, Reason::RetryScheduled).await;
    let file = stage._dir.path().join("eab.key");
    std::fs::write(&file, KEY).expect("written");
    crate::support::edge::private(&file);
    let eab: toml::Table = r#"eab = { key_id = "kid-1", hmac_key_file = "eab.key" }"#
        .parse()
        .expect("TOML");
    stage.settings.set("acme.eab", eab["eab"].clone());
    stage.edge.stop().await;
    stage.edge = Edge::start(&stage.settings, &stage.clock, |_, _| {}).await;
    stage.challenges.open(stage.edge.http);
    stage.pass_to_next(NAME).await;
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// The platform says no to a name that it had admitted, and then yes again.
async fn denied() -> Vec<Reason> {
    let status = Arc::new(AtomicU16::new(200));
    let says = Arc::clone(&status);
    let platform = Origin::start(move |_| Some((says.load(Ordering::SeqCst), String::new()))).await;
    let ask: toml::Table = format!("url = \"http://{}/allow\"\ncache = \"0s\"", platform.address)
        .parse()
        .expect("TOML");
    let mut stage = Stage::with(Options::default(), |s| {
        s.set("admission.policy", "ask").set("admission.ask", Value::Table(ask));
    })
    .await
    .quiet()
    .await;
    let before = stage.orders();
    // Admitted while its DNS is wrong, it waits; by the time it is right the platform says no.
    let config = crate::support::client::tls(&stage.pebble.root().await, &[]);
    let config = Arc::new(config);
    crate::support::client::handshake(stage.edge.https, NAME, &config)
        .await
        .expect_err("no certificate yet");
    stage.comes_to(NAME, Reason::DnsMissing).await;
    stage.right(NAME);
    status.store(403, Ordering::SeqCst);
    stage.pass_to_next(NAME).await;
    stage.comes_to(NAME, Reason::Denied).await;
    assert_eq!(stage.orders(), before);
    status.store(200, Ordering::SeqCst);
    crate::support::client::handshake(stage.edge.https, NAME, &config)
        .await
        .expect("the platform allows it again");
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// Someone pauses it, and lets it go on.
async fn paused() -> Vec<Reason> {
    let mut stage = Stage::new().await.quiet().await;
    let before = stage.orders();
    stage.edge.register(NAME).await;
    stage.edge.until_reason(NAME, Reason::DnsMissing).await;
    stage.patch(serde_json::json!({ "paused": true })).await;
    stage.comes_to(NAME, Reason::Paused).await;
    stage.right(NAME);
    stage.clock.advance(DAY);
    stage.edge.verify(NAME).await;
    stage.comes_to(NAME, Reason::Paused).await;
    assert_eq!(stage.orders(), before);
    stage.patch(serde_json::json!({ "paused": false })).await;
    stage.edge.until_issued(NAME).await;
    stage.shown
}

/// A renewal runs, fails, and works; the name leaves, and comes back.
async fn after_issuance() -> Vec<Reason> {
    let mut stage = Stage::new().await.quiet().await;
    stage.right(NAME);
    stage.edge.register(NAME).await;
    stage.comes_to(NAME, Reason::Ok).await;

    stage.challenges.hold();
    let (name, actor) = (domain(NAME), operator());
    stage.edge.control.reissue(&name, &actor).await.expect("accepted");
    stage.comes_to(NAME, Reason::Renewing).await;
    stage.challenges.shut();
    // A replacement that fails leaves the certificate as good as it was, until its renewal is due.
    let failed = |r: &DomainRecord| r.ssl.reason == Reason::Ok && r.ssl.last_error.is_some();
    stage.edge.until(NAME, "failed, and well", failed).await;
    stage.clock.advance(1_250 * DAY);
    stage.comes_to(NAME, Reason::RenewalFailing).await;
    stage.challenges.open(stage.edge.http);
    stage.pass_to_next(NAME).await;
    stage.edge.until_reason(NAME, Reason::Ok).await;

    stage.dns.remove(NAME, Record::Cname);
    stage.dns.add(NAME, Record::A, "192.0.2.1");
    let orders = stage.orders();
    stage.edge.verify(NAME).await;
    stage.comes_to(NAME, Reason::Moved).await;
    stage.dns.remove(NAME, Record::A);
    stage.right(NAME);
    stage.pass_to_next(NAME).await;
    stage.edge.until_reason(NAME, Reason::Ok).await;
    assert_eq!(stage.orders(), orders, "its certificate is as good as it was");
    stage.shown
}

/// Nothing was renewed until the certificate ran out, since the operator had switched it off; and
/// a CAA record that names another CA.
async fn at_the_development_ca() -> Vec<Reason> {
    let plan = Plan::with_ca(|ca| ca.caa_identities = vec!["dev-ca.test".to_owned()]).await;
    let mut world = plan.set("acme.issue", "on_register").start().await;
    world.edge.register(NAME).await;
    let held = world
        .edge
        .until_issued(NAME)
        .await
        .ssl
        .certificate
        .expect("a certificate");
    world.settings.set("acme.issue", "off");
    let mut world = world.restart().await;
    world
        .clock
        .advance(held.not_after.saturating_since(world.clock.now()) + MINUTE);
    world.edge.until_reason(NAME, Reason::Expired).await;
    world.settings.set("acme.issue", "on_register");
    let world = world.restart().await;
    world.edge.verify(NAME).await;
    world.edge.until_reason(NAME, Reason::Ok).await;

    let other = "links.forbidden.test";
    world.dns.add(other, Record::Cname, EDGE_NAME);
    world
        .dns
        .add("forbidden.test", Record::Caa, "0 issue \"other-ca.test\"");
    world.edge.register(other).await;
    let record = world.edge.until_reason(other, Reason::CaaForbids).await;
    let text = messages::message(&record, world.edge.control.messages().borrow());
    assert!(
        text.en.contains("forbidden.test: CAA 0 issue \"dev-ca.test\""),
        "{}",
        text.en
    );
    assert_eq!(world.ca.name_stats(other).orders, 0);
    world.dns.remove("forbidden.test", Record::Caa);
    world.clock.advance(MINUTE);
    world.edge.until_issued(other).await;
    vec![Reason::Expired, Reason::CaaForbids]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_has_its_cause_and_its_fix() {
    let _heavy = heavy().await;
    let mut shown = Vec::new();
    let (a, b, c, d, e) = tokio::join!(
        dns_reasons(),
        never_requested(),
        steps_of_an_order(),
        closed_port(),
        unreachable_ca()
    );
    shown.extend([a, b, c, d, e].concat());
    let (a, b, c, d, e, f) = tokio::join!(
        used_up_limit(),
        operators_mistake(),
        denied(),
        paused(),
        after_issuance(),
        at_the_development_ca()
    );
    shown.extend([a, b, c, d, e, f].concat());
    let missing: Vec<_> = Reason::ALL.iter().filter(|r| !shown.contains(r)).collect();
    assert!(missing.is_empty(), "no story shows {missing:?}");
}
