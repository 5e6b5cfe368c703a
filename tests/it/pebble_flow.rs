//! Issuance from Pebble, a real ACME CA, with pebble-challtestsrv as the DNS server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use linkseal_base::clock::Clock;
use linkseal_domain::ssl::{Reason, State};
use linkseal_peers::ports::free_port;
use rustls::ClientConfig;
use serde_json::json;
use tempfile::TempDir;

use crate::support::client;
use crate::support::edge::{EDGE_NAME, Edge, Settings, write_secret};
use crate::support::gate::Gate;
use crate::support::origin::Origin;
use crate::support::pebble::{Options, Pebble};
use crate::support::process::Process;
use crate::support::world::Links;
use crate::support::{exclusive, until};

/// Limit for 100 new domains in a debug build on a busy machine.
const HUNDRED_DOMAINS_LIMIT: Duration = Duration::from_secs(30);

/// How many Pebbles are tried. One in four deadlocks under a hundred orders (measured), so that eight in a
/// row have a probability of 1 in 65,000.
const MAX_PEBBLES: u32 = 8;

/// Pebble, and the configuration of an edge that orders from it.
struct Stage {
    pebble: Pebble,
    settings: Settings,
    clock: Clock,
    dir: TempDir,
    http_port: u16,
}

impl Stage {
    async fn new(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let http_port = free_port().port();
        let pebble = Pebble::start(http_port, options).await;
        let mut settings = Settings::new(dir.path(), pebble.dns, &pebble.directory, &pebble.ca_file());
        settings
            .set("acme.issue", "on_register")
            .set("listen.http", vec![format!("127.0.0.1:{http_port}")]);
        Self {
            pebble,
            settings,
            clock: Clock::system(),
            dir,
            http_port,
        }
    }

    async fn edge(&self) -> Edge {
        Edge::start(&self.settings, &self.clock, |_, _| {}).await
    }

    async fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        Arc::new(client::tls(&self.pebble.root().await, alpn))
    }

    /// How many orders Pebble has received.
    fn orders(&self) -> usize {
        self.pebble.log().matches("Added order").count()
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("links.customer{i}.test")).collect()
}

/// Registers `count` domains at once with a new Pebble and waits until all are issued; returns how long it
/// took. Starts over when Pebble deadlocks.
async fn issue(options: Options, count: usize) -> Duration {
    let _exclusive = exclusive().await;
    for _ in 0..MAX_PEBBLES {
        let stage = Stage::new(options.clone()).await;
        tokio::select! {
            biased;
            took = issue_at(&stage, count) => return took,
            () = stage.pebble.deadlocked() => println!("Pebble has deadlocked; trying another"),
        }
    }
    panic!("{MAX_PEBBLES} Pebbles in a row have deadlocked");
}

async fn issue_at(stage: &Stage, count: usize) -> Duration {
    let edge = stage.edge().await;
    edge.until_issued(EDGE_NAME).await;
    let begun = Instant::now();
    let names = names(count);
    futures_util::future::join_all(names.iter().map(|name| edge.register(name))).await;
    for name in &names {
        edge.until_issued(name).await;
    }
    let took = begun.elapsed();
    assert_eq!(
        stage.orders(),
        count + 1,
        "one order per domain, and one for the edge's own name"
    );
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_gets_a_certificate_from_a_real_ca() {
    let mut stage = Stage::new(Options::default()).await;
    stage.settings.set("acme.issue", "on_demand");
    let edge = stage.edge().await;
    let name = "links.customer.test";
    edge.register(name).await;
    let config = stage.client(&[b"h2"]).await;
    let answer = client::fetch(edge.https, name, &Links::of(name, &stage.clock).open(), &config).await;
    let answer = answer.expect("an answer over HTTP/2");
    assert_eq!((answer.status, answer.body.len()), (200, 43));
    let record = edge.record(name).await;
    assert_eq!((record.ssl.state(), record.ssl.reason), (State::Issued, Reason::Ok));
    assert!(record.ssl.certificate.expect("a certificate").issuer.contains("Pebble"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_domains_are_issued_while_one_nonce_in_twenty_is_refused() {
    let options = Options {
        reject_nonces: 5,
        ..Options::default()
    };
    issue(options, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_domains_are_issued_while_every_other_nonce_is_refused() {
    let options = Options {
        reject_nonces: 50,
        ..Options::default()
    };
    issue(options, 10).await;
}

/// May take minutes: whenever Pebble deadlocks, which takes ten seconds to detect, it starts over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_new_domains_take_seconds() {
    let took = issue(Options::default(), 100).await;
    println!("100 new domains at Pebble: {took:?}");
    assert!(took < HUNDRED_DOMAINS_LIMIT, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_with_failing_servers_causes_no_order() {
    let stage = Stage::new(Options::default()).await;
    let name = "links.broken.test";
    let host = json!({ "host": name });
    stage
        .pebble
        .dns_call("set-servfail", host.clone())
        .await
        .expect("scripted");
    let edge = stage.edge().await;
    edge.until_issued(EDGE_NAME).await;
    edge.register(name).await;
    let record = edge.until_reason(name, Reason::DnsError).await;
    assert_eq!(record.ssl.state(), State::Unknown);
    assert!(record.ssl.next_attempt.is_some());
    assert_eq!(stage.orders(), 1, "for the edge's own name");
    stage.pebble.dns_call("clear-servfail", host).await.expect("scripted");
    stage.clock.advance(Duration::from_secs(61));
    edge.until_issued(name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_port_is_reported_with_the_cas_error() {
    let mut stage = Stage::new(Options::default()).await;
    stage.settings.set("listen.http", vec!["127.0.0.1:0".to_owned()]);
    let edge = stage.edge().await;
    let name = "links.closed.test";
    edge.register(name).await;
    let record = edge.until_reason(name, Reason::ValidationFailed).await;
    assert_eq!(record.ssl.state(), State::Pending);
    assert!(record.ssl.next_attempt.is_some_and(|at| at > stage.clock.now()));
    assert!(record.dns.https, "its DNS is right");
    let error = record.ssl.last_error.expect("the CA's error");
    assert!(error.kind.ends_with(":connection"), "{error:?}");
    assert!(error.detail.contains("connection refused"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_challenge_response_is_reported_with_the_cas_error() {
    let mut stage = Stage::new(Options::default()).await;
    stage.settings.set("listen.http", vec!["127.0.0.1:0".to_owned()]);
    let _other = Origin::start_on(stage.http_port, |_| Some((200, "<h1>Parked</h1>".into()))).await;
    let edge = stage.edge().await;
    let name = "links.parked.test";
    edge.register(name).await;
    let record = edge.until_reason(name, Reason::ValidationFailed).await;
    assert_eq!(record.ssl.state(), State::Pending);
    assert!(record.ssl.next_attempt.is_some());
    let error = record.ssl.last_error.expect("the CA's error");
    assert!(error.kind.ends_with(":unauthorized"), "{error:?}");
    assert!(error.detail.contains("Parked"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_account_is_bound_if_the_ca_requires_one() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let mut stage = Stage::new(Options {
        eab: Some(("kid-1", KEY)),
        ..Options::default()
    })
    .await;
    // Without one, the state says what is missing.
    let name = "links.bound.test";
    let edge = stage.edge().await;
    // The first order fails; while it is being fixed here, others only wait.
    let record = edge.until(EDGE_NAME, "refused", |r| r.ssl.last_error.is_some()).await;
    edge.register(name).await;
    let error = record.ssl.last_error.expect("what is missing");
    assert!(error.detail.contains("set acme.eab"), "{error:?}");
    edge.stop().await;

    let file = stage.dir.path().join("eab.key");
    write_secret(&file, KEY);
    let eab: toml::Table = r#"eab = { key_id = "kid-1", hmac_key_file = "eab.key" }"#
        .parse()
        .expect("TOML");
    stage.settings.set("acme.eab", eab["eab"].clone());
    let edge = stage.edge().await;
    stage.clock.advance(Duration::from_secs(70));
    edge.until_issued(name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_continues_after_a_crash() {
    let mut stage = Stage::new(Options::default()).await;
    stage.settings.set("listen.http", vec!["127.0.0.1:0".to_owned()]);
    let challenges = Gate::stalled(stage.http_port).await;
    let file = stage.settings.write();
    let first = Process::serve(&file).await;
    until("the CA validates", async || {
        let domain = first.domain(EDGE_NAME).await;
        (domain["ssl"]["reason"] == "validating").then_some(())
    })
    .await;
    first.kill();
    let second = Process::serve(&file).await;
    challenges.open(second.http);
    let domain = second.until_state(EDGE_NAME, "issued").await;
    assert_eq!(domain["ssl"]["attempts"], 0);
    assert_eq!(stage.orders(), 1, "the same order");
}
