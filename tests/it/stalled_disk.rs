//! A stalled disk costs events, but handshakes, redirects, challenges and the shutdown do not wait for it.
//! These tests run the real binary and take ten to twenty seconds each, because its deadlines are in
//! real time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::support::client::{self, KeepAliveConnection, Web};
use crate::support::process::Process;
use crate::support::stalling_disk::StallingDisk;
use crate::support::world::{Links, Plan};
use crate::support::{exclusive, until};

const NAME: &str = "links.stall.test";
const CHALLENGE: &str = "/.well-known/acme-challenge/any-token";
const SHOP: &str = "https://shop.example/";
/// For whatever needs no disk: far more than it takes on a busy machine, far less than any wait for a disk.
const SOON: Duration = Duration::from_secs(1);
/// A click waits two seconds for the disk; the third is for a busy machine.
const FIRST_CLICKS: Duration = Duration::from_secs(3);
/// Concurrent clicks of different recipients.
const CLICKS: usize = 8;
const DRAIN: &str = "2s";
/// Two seconds to drain, five for the rest of the shutdown, two for a busy machine.
const SHUTDOWN: Duration = Duration::from_secs(9);

/// An edge whose journal is on a disk that can stall, with an issued domain.
struct Stalled {
    plan: Plan,
    disk: StallingDisk,
    process: Process,
    client: Arc<ClientConfig>,
    connection: KeepAliveConnection,
    web: Web,
}

impl Stalled {
    async fn start(durability: &str) -> Self {
        let plan = Plan::new()
            .await
            .set("events.durability", durability)
            .set("edge.drain", DRAIN);
        let disk = StallingDisk::new(&plan.dir.path().join("events"), plan.dir.path());
        let process = plan.serve_with(|command| disk.preload(command)).await;
        process.register(NAME).await;
        let client = plan.client(&[]);
        let session = client::handshake(process.https, NAME, &client).await;
        let stalled = Self {
            connection: KeepAliveConnection::new(session.expect("a certificate"), NAME)
                .await
                .expect("HTTP/1.1"),
            client,
            web: Web::plain(),
            plan,
            disk,
            process,
        };
        stalled.click().await;
        until("the click is delivered", async || {
            let events = stalled.plan.settings.delivered();
            events.iter().any(|e| e["type"] == "click").then_some(())
        })
        .await;
        stalled
    }

    /// How long a click of a new recipient takes, over a connection of its own.
    async fn click(&self) -> Duration {
        click(self.process.https, &Links::of(NAME, &self.plan.clock), &self.client).await
    }

    /// Several clicks at once.
    fn clicks(&self) -> JoinSet<Duration> {
        let mut clicks = JoinSet::new();
        for _ in 0..CLICKS {
            let (edge, client) = (self.process.https, Arc::clone(&self.client));
            let links = Links::of(NAME, &self.plan.clock);
            clicks.spawn(async move { click(edge, &links, &client).await });
        }
        clicks
    }

    /// Checks that what needs no disk is quick: a file over an open connection, a health check, a challenge,
    /// a handshake.
    async fn check_bystanders(&mut self) {
        let begun = Instant::now();
        let robots = self.connection.get("/robots.txt").await;
        assert_eq!(robots.expect("an answer").status, 200);
        assert!(begun.elapsed() < SOON, "robots.txt: {:?}", begun.elapsed());
        // A load balancer's check has an address as its host.
        for (path, host, status) in [("/healthz", "127.0.0.1", 200), (CHALLENGE, NAME, 200)] {
            let url = format!("http://{}{path}", self.process.http);
            let begun = Instant::now();
            let answer = self.web.call("GET", &url, None, &[("host", host)]).await;
            assert_eq!(answer.expect("an answer").status, status, "{path}");
            assert!(begun.elapsed() < SOON, "{path}: {:?}", begun.elapsed());
        }
        let begun = Instant::now();
        let handshake = client::handshake(self.process.https, NAME, &self.client).await;
        handshake.expect("a handshake");
        assert!(begun.elapsed() < SOON, "a handshake: {:?}", begun.elapsed());
    }

    /// Checks the bystanders while clicks wait for the disk; returns how long the slowest click took.
    async fn check_bystanders_during_clicks(&mut self) -> Duration {
        let mut clicks = self.clicks();
        let mut longest = Duration::ZERO;
        while !clicks.is_empty() {
            self.check_bystanders().await;
            while let Some(took) = clicks.try_join_next() {
                longest = longest.max(took.expect("no panic"));
            }
        }
        longest
    }

    /// Checks that a new name gets a certificate: order, challenge, and the handshake that waits for it.
    async fn check_issuance(&self, name: &str) {
        self.process.register(name).await;
        let handshake = client::handshake(self.process.https, name, &self.client).await;
        handshake.expect("a certificate, while the disk is stalled");
    }

    /// Checks that the process exits in time after SIGTERM.
    async fn check_shutdown(mut self) {
        let begun = Instant::now();
        self.process.signal("TERM");
        let status = self.process.ended().await;
        assert!(begun.elapsed() < SHUTDOWN, "{:?}", begun.elapsed());
        assert!(status.success(), "{status}: {}", self.process.log());
        println!("ended after {:?}", begun.elapsed());
    }
}

async fn click(edge: std::net::SocketAddr, links: &Links, client: &Arc<ClientConfig>) -> Duration {
    let begun = Instant::now();
    let answer = client::fetch(edge, NAME, &links.click(SHOP), client).await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.header("location")), (302, Some(SHOP)));
    begun.elapsed()
}

/// Stalls every operation; the clicks right after that may take up to `first_clicks`.
async fn assert_journal_stall_is_tolerated(durability: &str, first_clicks: Duration) {
    let _exclusive = exclusive().await;
    let mut stalled = Stalled::start(durability).await;
    stalled.disk.stall();
    let longest = stalled.check_bystanders_during_clicks().await;
    assert!(longest < first_clicks, "{durability}: {longest:?}");
    stalled.disk.until_stalled("journal").await;
    stalled.check_bystanders().await;
    // By now the stall is known, and clicks no longer wait.
    let longest = stalled.check_bystanders_during_clicks().await;
    assert!(longest < SOON, "{durability}: {longest:?}");
    stalled.check_issuance("links.new.test").await;
    println!("{durability}: {longest:?}");
    stalled.check_shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_queued_events_a_stalled_disk_delays_nothing() {
    assert_journal_stall_is_tolerated("queued", SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_written_events_a_stalled_disk_delays_only_clicks_and_by_two_seconds() {
    assert_journal_stall_is_tolerated("written", FIRST_CLICKS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_synced_events_a_stalled_disk_delays_only_clicks_and_by_two_seconds() {
    assert_journal_stall_is_tolerated("synced", FIRST_CLICKS).await;
}

/// Writes succeed, so that sinks get events, but their cursors cannot be synced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sink_cursors_on_a_disk_that_never_syncs_delay_nothing() {
    let _exclusive = exclusive().await;
    let mut stalled = Stalled::start("written").await;
    stalled.disk.stall_syncs();
    let longest = stalled.check_bystanders_during_clicks().await;
    assert!(longest < FIRST_CLICKS, "{longest:?}");
    stalled.disk.until_stalled("delivery").await;
    stalled.check_bystanders_during_clicks().await;
    stalled.check_issuance("links.new.test").await;
    // Stalled operations continue where they were.
    stalled.disk.resume();
    let after = stalled.click().await;
    assert!(after < FIRST_CLICKS, "{after:?}");
    stalled.check_shutdown().await;
}

/// The store's disk stalls: a starting process answers health checks and serves as soon as the disk
/// continues, and a write that hangs does not prevent the shutdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_and_shutdown_work_while_the_disk_of_the_store_is_stalled() {
    let _exclusive = exclusive().await;
    let plan = Plan::new()
        .await
        .set("store.url", "sqlite:store/linkseal.db")
        .set("edge.drain", DRAIN);
    let on = plan.dir.path().join("store");
    std::fs::create_dir(&on).expect("a directory");
    let disk = StallingDisk::new(&on, plan.dir.path());
    let mut process = plan.serve_with(|command| disk.preload(command)).await;
    process.register(NAME).await;
    let client = plan.client(&[]);
    let session = client::handshake(process.https, NAME, &client).await;
    let serial = client::serial(&session.expect("a certificate"));
    process.signal("TERM");
    assert!(process.ended().await.success());

    disk.stall();
    let mut process = plan.serve_with(|command| disk.preload(command)).await;
    let web = Web::plain();
    let (edge, admin) = (process.http, process.admin);
    let get = async |at, path: &str| {
        let url = format!("http://{at}{path}");
        let answer = web.call("GET", &url, None, &[("host", "127.0.0.1")]).await;
        answer.expect("an answer").status
    };
    for at in [edge, admin] {
        assert_eq!(get(at, "/healthz").await, 200);
    }
    assert_eq!(get(admin, "/readyz").await, 503);
    assert_eq!(get(admin, "/v1/domains").await, 503);
    let refused = client::handshake(process.https, NAME, &client).await;
    assert!(client::alert(&refused.expect_err("no certificate yet")).is_some());
    disk.resume();
    until("the edge is ready", async || {
        (get(admin, "/readyz").await == 200).then_some(())
    })
    .await;
    let session = client::handshake(process.https, NAME, &client).await;
    assert_eq!(client::serial(&session.expect("a certificate")), serial);

    // Shutdown during a hanging write.
    disk.stall();
    let url = format!("http://{admin}/v1/domains");
    let hanging = tokio::spawn(async move {
        let body = serde_json::json!({"name": "links.hangs.test"}).to_string();
        drop(Web::plain().call("POST", &url, Some(body), &[]).await);
    });
    disk.until_stalled("store-writer").await;
    let begun = Instant::now();
    process.signal("TERM");
    process.ended().await;
    assert!(begun.elapsed() < SHUTDOWN, "{:?}", begun.elapsed());
    hanging.abort();
}
