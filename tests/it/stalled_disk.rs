//! The real binary on a disk that stalls: it costs events, and neither handshakes, redirects,
//! challenges nor the end of the process wait for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::support::client::{self, Kept, Web};
use crate::support::process::Process;
use crate::support::stall::StallingDisk;
use crate::support::world::{Links, Plan};
use crate::support::{heavy, until};

const NAME: &str = "links.stall.test";
const CHALLENGE: &str = "/.well-known/acme-challenge/any-token";
const SHOP: &str = "https://shop.example/";
/// What needs no disk; far above what it takes on a busy machine, far below any wait for a disk.
const SOON: Duration = Duration::from_secs(1);
/// A click waits two seconds for the disk.
const FIRST_CLICKS: Duration = Duration::from_secs(3);
/// Clicks at once, of as many recipients.
const CLICKS: usize = 8;
const DRAIN: &str = "2s";
/// Drain (2 s), five seconds for all that follows, and a busy machine.
const END: Duration = Duration::from_secs(9);

/// An edge on such a disk, with a domain that is served.
struct Stalled {
    plan: Plan,
    disk: StallingDisk,
    process: Process,
    client: Arc<ClientConfig>,
    kept: Kept,
    web: Web,
}

impl Stalled {
    async fn start(durability: &str) -> Self {
        let plan = Plan::new()
            .await
            .set("events.durability", durability)
            .set("edge.drain", DRAIN);
        let disk = StallingDisk::new(&plan.dir.path().join("events"), plan.dir.path());
        let process = plan.serve_with(|command| disk.below(command)).await;
        process.register(NAME).await;
        let client = plan.client(&[]);
        let session = client::handshake(process.https, NAME, &client).await;
        let stalled = Self {
            kept: Kept::over(session.expect("a certificate"), NAME)
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
            let text = std::fs::read_to_string(stalled.plan.settings.delivered()).unwrap_or_default();
            text.contains(r#""type":"click""#).then_some(())
        })
        .await;
        stalled
    }

    /// One click of another recipient, over a connection of its own; how long it took.
    async fn click(&self) -> Duration {
        click(self.process.https, &Links::of(NAME, &self.plan.clock), &self.client).await
    }

    /// Several at once.
    fn clicks(&self) -> JoinSet<Duration> {
        let mut clicks = JoinSet::new();
        for _ in 0..CLICKS {
            let (edge, client) = (self.process.https, Arc::clone(&self.client));
            let links = Links::of(NAME, &self.plan.clock);
            clicks.spawn(async move { click(edge, &links, &client).await });
        }
        clicks
    }

    /// What needs no disk: a file on a kept connection, a health check, a challenge, a handshake.
    async fn bystanders(&mut self) {
        let begun = Instant::now();
        let robots = self.kept.get("/robots.txt").await;
        assert_eq!(robots.expect("an answer").status, 200);
        assert!(begun.elapsed() < SOON, "robots.txt: {:?}", begun.elapsed());
        // A load balancer's check names an address.
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

    /// No one waits for clicks that wait for the disk; the longest of those.
    async fn bystanders_beside_clicks(&mut self) -> Duration {
        let mut clicks = self.clicks();
        let mut longest = Duration::ZERO;
        while !clicks.is_empty() {
            self.bystanders().await;
            while let Some(took) = clicks.try_join_next() {
                longest = longest.max(took.expect("no panic"));
            }
        }
        longest
    }

    /// A certificate for a name that has none: an order, its challenge, and the handshake that waits.
    async fn issues(&self, name: &str) {
        self.process.register(name).await;
        let handshake = client::handshake(self.process.https, name, &self.client).await;
        handshake.expect("a certificate, while the disk is stalled");
    }

    /// SIGTERM ends it in its time.
    async fn ends(mut self) {
        let begun = Instant::now();
        self.process.signal("TERM");
        let status = self.process.ended().await;
        assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
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

/// Everything stalls, with clicks that wait so long at most.
async fn everything_stalls(durability: &str, first_clicks: Duration) {
    let _alone = heavy().await;
    let mut stalled = Stalled::start(durability).await;
    stalled.disk.stall();
    let longest = stalled.bystanders_beside_clicks().await;
    assert!(longest < first_clicks, "{durability}: {longest:?}");
    stalled.disk.until_held("journal").await;
    stalled.bystanders().await;
    // It is known by now.
    let longest = stalled.bystanders_beside_clicks().await;
    assert!(longest < SOON, "{durability}: {longest:?}");
    stalled.issues("links.new.test").await;
    println!("{durability}: {longest:?}");
    stalled.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_stalled_disk_queued_events_keep_nobody_waiting() {
    everything_stalls("queued", SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_stalled_disk_written_events_keep_only_their_own_clicks_waiting_and_for_two_seconds() {
    everything_stalls("written", FIRST_CLICKS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_stalled_disk_synced_events_keep_only_their_own_clicks_waiting_and_for_two_seconds() {
    everything_stalls("synced", FIRST_CLICKS).await;
}

/// Writing goes on, so that sinks get events; their cursors cannot be made safe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_of_sinks_on_a_disk_that_never_syncs_keep_nobody_waiting() {
    let _alone = heavy().await;
    let mut stalled = Stalled::start("written").await;
    stalled.disk.stall_syncs();
    let longest = stalled.bystanders_beside_clicks().await;
    assert!(longest < FIRST_CLICKS, "{longest:?}");
    stalled.disk.until_held("tokio").await;
    stalled.bystanders_beside_clicks().await;
    stalled.issues("links.new.test").await;
    // What the disk holds goes on where it was.
    stalled.disk.heal();
    let after = stalled.click().await;
    assert!(after < FIRST_CLICKS, "{after:?}");
    stalled.ends().await;
}

/// The store is on such a disk: a start answers health checks meanwhile, serves as soon as the disk
/// goes on, and a write that hangs does not keep the process from ending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_disk_of_the_store_keeps_neither_the_start_silent_nor_the_process_alive() {
    let _alone = heavy().await;
    let plan = Plan::new()
        .await
        .set("store.url", "sqlite:store/linkseal.db")
        .set("edge.drain", DRAIN);
    let on = plan.dir.path().join("store");
    std::fs::create_dir(&on).expect("a directory");
    let disk = StallingDisk::new(&on, plan.dir.path());
    let mut process = plan.serve_with(|command| disk.below(command)).await;
    process.register(NAME).await;
    let client = plan.client(&[]);
    let session = client::handshake(process.https, NAME, &client).await;
    let serial = client::serial(&session.expect("a certificate"));
    process.signal("TERM");
    assert!(process.ended().await.success());

    disk.stall();
    let mut process = plan.serve_with(|command| disk.below(command)).await;
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
    disk.heal();
    until("it serves", async || (get(admin, "/readyz").await == 200).then_some(())).await;
    let session = client::handshake(process.https, NAME, &client).await;
    assert_eq!(client::serial(&session.expect("a certificate")), serial);

    // A write hangs.
    disk.stall();
    let url = format!("http://{admin}/v1/domains");
    let hanging = tokio::spawn(async move {
        let body = serde_json::json!({"name": "links.hangs.test"}).to_string();
        drop(Web::plain().call("POST", &url, Some(body), &[]).await);
    });
    disk.until_held("store-writer").await;
    let begun = Instant::now();
    process.signal("TERM");
    process.ended().await;
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
    hanging.abort();
}
