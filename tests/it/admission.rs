//! Which names get a certificate: unknown names leave nothing behind, and with `policy = "ask"` the
//! platform's permission endpoint decides.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use linkseal_control::KnownNames;
use linkseal_dns::Kind as Record;
use linkseal_domain::DomainName;
use linkseal_domain::admission::{Admission as _, Admitted, ClientNetwork};
use linkseal_domain::ssl::{Reason, State};
use rustls::AlertDescription;
use toml::Value;

use crate::support::client::{self, alert};
use crate::support::origin::Origin;
use crate::support::until;
use crate::support::world::{Plan, World};

/// Handshakes in a flood, and how many are concurrent.
const FLOOD: usize = 3_000;
const BATCH: usize = 40;
/// Memory that a flood may leave behind: the allocator keeps some, but it must not grow with the flood.
const MAX_GROWTH: usize = 24 << 20;

/// Rejected names checked per minute, and DNS queries of one check.
const CHECKS: usize = 30;
const QUERIES: usize = 4;

/// The platform's permission endpoint. It gives the same answer for all names, which a test can change.
struct Platform {
    origin: Origin,
    status: Arc<Mutex<Option<u16>>>,
    asked: Arc<AtomicUsize>,
}

impl Platform {
    /// With `None` it does not answer at all.
    async fn start(status: Option<u16>) -> Self {
        let (status, asked) = (Arc::new(Mutex::new(status)), Arc::<AtomicUsize>::default());
        let (answer, count) = (Arc::clone(&status), Arc::clone(&asked));
        let origin = Origin::start(move |request| {
            assert!(request.starts_with("/allow?domain="), "{request}");
            count.fetch_add(1, Ordering::SeqCst);
            let status = *answer.lock().unwrap();
            status.map(|status| (status, r#"{"tenant":"customer-7"}"#.to_owned()))
        })
        .await;
        Self { origin, status, asked }
    }

    fn set_status(&self, status: Option<u16>) {
        *self.status.lock().unwrap() = status;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A world whose edge asks this endpoint.
    async fn world(&self) -> World {
        let ask: toml::Table = format!(
            "url = \"http://{}/allow\"\ntimeout = \"500ms\"\ncache = \"10m\"",
            self.origin.address
        )
        .parse()
        .unwrap();
        let plan = Plan::new().await.set("admission.policy", "ask");
        let plan = plan.set("admission.rejected_capacity", 0);
        plan.set("admission.ask", Value::Table(ask)).start().await
    }
}

async fn refused(edge: SocketAddr, name: &str, world: &World) -> Option<AlertDescription> {
    let error = client::handshake(edge, name, &world.client(&[]))
        .await
        .expect_err("no session");
    alert(&error)
}

/// Resident memory of this process, which includes the edge, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    pages
        .split(' ')
        .nth(1)
        .and_then(|p| p.parse::<usize>().ok())
        .expect("pages")
        * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_name_gets_an_alert_and_leaves_nothing_behind() {
    let world = Plan::new().await.set("admission.rejected_capacity", 0).start().await;
    let (orders, asked) = (world.ca.stats().orders, world.dns.asked_in_all());
    for name in ["links.nobody.test", "xn--bcher-kva.nobody.test", "a"] {
        let alert = refused(world.edge.https, name, &world).await;
        assert_eq!(alert, Some(AlertDescription::UnrecognisedName), "{name}");
    }
    assert!(world.edge.find("links.nobody.test").await.is_none());
    assert_eq!((world.ca.stats().orders, world.dns.asked_in_all()), (orders, asked));
    let counts = world.edge.control.store().counts(None).await.unwrap();
    assert_eq!(
        counts.iter().map(|c| c.domains).sum::<u64>(),
        1,
        "the edge's own name only"
    );
}

/// Takes over ten seconds: 3,750 TLS handshakes in a debug build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_random_names_causes_no_order_few_queries_and_no_growth() {
    let begun = std::time::Instant::now();
    let world = World::start().await;
    let config = world.client(&[]);
    let flood = async |round: usize, handshakes: usize| {
        for batch in 0..handshakes / BATCH {
            let names = (0..BATCH).map(|i| format!("r{round}-{batch}-{i}.random{i}.test"));
            let all = names.map(|name| {
                let config = &config;
                async move {
                    client::handshake(world.edge.https, &name, config)
                        .await
                        .expect_err("refused")
                }
            });
            for error in futures_util::future::join_all(all).await {
                assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{error:?}");
            }
        }
    };
    // A first flood makes the allocations that happen only once.
    flood(0, FLOOD / 4).await;
    let (orders, asked, before) = (world.ca.stats().orders, world.dns.asked_in_all(), resident());
    flood(1, FLOOD).await;
    let growth = resident().saturating_sub(before);
    println!(
        "{FLOOD} handshakes for random names: memory grew by {} KiB",
        growth >> 10
    );
    assert!(growth < MAX_GROWTH, "{} KiB more", growth >> 10);
    assert_eq!(world.ca.stats().orders, orders);
    // All of them point here through the wildcard of the tests' DNS, so they are checked, at a low rate.
    let (asked, checks) = (
        world.dns.asked_in_all() - asked,
        CHECKS + CHECKS * begun.elapsed().as_secs() as usize / 60,
    );
    println!("{asked} queries");
    assert!(asked <= checks * QUERIES, "{asked} queries");
    assert!((1..=checks).contains(&world.edge.control.admission().rejected(1000).len()));
    let counts = world.edge.control.store().counts(None).await.unwrap();
    assert_eq!(
        counts.iter().map(|c| c.domains).sum::<u64>(),
        1,
        "the edge's own name only"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platform_admits_a_name_and_names_its_tenant() {
    let platform = Platform::start(Some(200)).await;
    let world = platform.world().await;
    let name = "links.asked.test";
    let config = world.client(&[]);
    let crowd = (0..20).map(|_| client::handshake(world.edge.https, name, &config));
    for outcome in futures_util::future::join_all(crowd).await {
        outcome.expect("admitted and served");
    }
    assert_eq!(platform.asked(), 1, "concurrent handshakes make one request");
    let record = world.edge.record(name).await;
    assert_eq!(
        (record.ssl.state(), record.tenant.as_str()),
        (State::Issued, "customer-7")
    );
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_by_the_platform_is_cached() {
    for status in [403, 404] {
        let platform = Platform::start(Some(status)).await;
        let world = platform.world().await;
        let name = "links.refused.test";
        for _ in 0..3 {
            let alert = refused(world.edge.https, name, &world).await;
            assert_eq!(alert, Some(AlertDescription::UnrecognisedName));
        }
        assert_eq!(platform.asked(), 1, "the answer is cached");
        assert!(world.edge.find(name).await.is_none());
        assert_eq!(world.dns.asked(name), 0);
    }
}

/// Takes over ten seconds: the cache for missing answers expires in real time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_answer_is_not_a_rejection() {
    for status in [Some(500), None] {
        let platform = Platform::start(status).await;
        let world = platform.world().await;
        let name = "links.later.test";
        let alert = refused(world.edge.https, name, &world).await;
        assert_eq!(alert, Some(AlertDescription::InternalError), "{status:?}");
        assert!(world.edge.find(name).await.is_none());
        // A missing answer is cached only briefly, so that linkseal notices when the platform is back.
        platform.set_status(Some(200));
        until("the platform is asked again", async || world.handshake(name).await.ok()).await;
        assert_eq!(world.edge.record(name).await.ssl.state(), State::Issued);
    }
}

/// Such an answer is logged and has no other effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_an_invalid_tenant_is_not_used() {
    let tenants = [
        "\"\"".to_owned(),
        "\"a/b\"".to_owned(),
        "\"a\\u0007b\"".to_owned(),
        "7".to_owned(),
        format!("\"{}\"", "x".repeat(254)),
    ];
    let bodies = tenants.clone();
    let origin = Origin::start(move |request| {
        let (_, rest) = request.split_once("domain=links.n")?;
        let number: usize = rest.split('.').next()?.parse().ok()?;
        Some((200, format!("{{\"tenant\":{}}}", bodies.get(number)?)))
    })
    .await;
    let ask = format!("url = \"http://{}/allow\"", origin.address);
    let ask: toml::Table = ask.parse().expect("TOML");
    let plan = Plan::new().await.set("admission.policy", "ask");
    let plan = plan.set("admission.ask", Value::Table(ask));
    let process = plan.serve().await;
    for (number, tenant) in tenants.iter().enumerate() {
        let name = format!("links.n{number}.test");
        let error = client::handshake(process.https, &name, &plan.client(&[]))
            .await
            .expect_err("no session");
        assert_eq!(alert(&error), Some(AlertDescription::InternalError), "{tenant}");
        let known = process.admin("GET", &format!("/v1/domains/{name}"), None).await;
        assert_eq!(known.status, 404, "{tenant}: {}", known.text());
        // The log is rate-limited per cause, of which there are two: an invalid name, and not a string.
        let logged = |line: &&str| line.contains(&name) && line.contains("answer ignored");
        let lines = || process.log().lines().filter(logged).count();
        if matches!(number, 0 | 3) {
            // Its thread may be behind the answer.
            until("the log line", async || (lines() == 1).then_some(())).await;
        } else {
            assert_eq!(lines(), 0, "{tenant}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_certificates_are_served_regardless_of_the_platform_even_after_a_restart() {
    let platform = Platform::start(Some(200)).await;
    let mut world = platform.world().await;
    let name = "links.kept.test";
    world.handshake(name).await.expect("admitted");
    for status in [Some(403), None] {
        platform.set_status(status);
        world = world.restart().await;
        world.handshake(name).await.expect("the stored certificate is served");
        assert_eq!(world.edge.record(name).await.ssl.state(), State::Issued);
        // New names depend on the platform.
        let expected = match status {
            Some(_) => AlertDescription::UnrecognisedName,
            None => AlertDescription::InternalError,
        };
        assert_eq!(
            refused(world.edge.https, "links.new.test", &world).await,
            Some(expected)
        );
    }
    assert_eq!(world.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registered_name_that_points_elsewhere_causes_no_order() {
    let world = World::start().await;
    let (elsewhere, missing) = ("links.elsewhere.example", "links.missing.example");
    world.dns.add(elsewhere, Record::A, "203.0.113.9");
    for (name, reason) in [(elsewhere, Reason::DnsElsewhere), (missing, Reason::DnsMissing)] {
        world.edge.register(name).await;
        let alert = refused(world.edge.https, name, &world).await;
        assert_eq!(alert, Some(AlertDescription::InternalError));
        let record = world.edge.record(name).await;
        assert_eq!((record.ssl.state(), record.ssl.reason), (State::Unknown, reason));
        assert!(record.ssl.next_attempt.is_some(), "it is checked again automatically");
        assert_eq!(world.ca.name_stats(name).orders, 0);
    }
    // The customer fixes the record, and linkseal notices.
    world.dns.remove(elsewhere, Record::A);
    world.dns.add(elsewhere, Record::Cname, crate::support::edge::EDGE_NAME);
    world.clock.advance(Duration::from_secs(61));
    world.edge.until_issued(elsewhere).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_name_that_points_here_is_listed_until_it_is_registered() {
    let world = World::start().await;
    let (points_here, unset) = ("links.set.test", "links.unset.example");
    let rejected_names = async || world.edge.control.admission().rejected(10);
    for name in [unset, points_here, points_here] {
        let alert = refused(world.edge.https, name, &world).await;
        assert_eq!(alert, Some(AlertDescription::UnrecognisedName));
    }
    let listed = until("the name is listed", async || {
        let listed = rejected_names().await;
        listed.first().is_some_and(|n| n.count == 2).then_some(listed)
    })
    .await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0].name.as_str(), points_here);
    assert!(listed[0].first_seen <= listed[0].last_seen);
    assert!(world.edge.find(points_here).await.is_none(), "nothing is stored");
    assert_eq!(world.ca.name_stats(points_here).orders, 0);
    world.edge.register(points_here).await;
    assert!(rejected_names().await.is_empty());
    world.handshake(points_here).await.expect("served");
}

/// A request may ask about a name just before the registry is loaded, and be heard just after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_loaded_since_it_was_looked_up_is_served() {
    let world = World::start().await;
    world.edge.register("links.loaded.test").await;
    let names = KnownNames::new(world.edge.control.admission());
    let from = ClientNetwork::of(Ipv4Addr::LOCALHOST.into());
    let name = |text| DomainName::parse(text).expect("a name");
    assert!(matches!(
        names.admit(&name("links.loaded.test"), from).await,
        Admitted::Yes(_)
    ));
    assert!(matches!(
        names.admit(&name("links.unknown.test"), from).await,
        Admitted::No
    ));
}
