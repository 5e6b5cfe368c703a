//! Start-up time does not depend on the number of stored domains.

use std::time::{Duration, Instant};

use linkseal_domain::DomainRecord;
use linkseal_domain::record::Origin;
use linkseal_store::Creation;

use crate::support::client;
use crate::support::edge::{EDGE_NAME, domain};
use crate::support::world::Plan;
use crate::support::{exclusive, until};

const DOMAINS: usize = 20_000;
/// Domains written concurrently, which the store commits together.
const BATCH: usize = 1_000;
/// Upper bound for the first handshake after a start.
const FIRST_HANDSHAKE: Duration = Duration::from_secs(2);

/// Takes over ten seconds, for writing 20,000 domains to SQLite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_domains_do_not_slow_down_the_start() {
    let _exclusive = exclusive().await;
    let world = Plan::new().await.start().await;
    let name = "links.known.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("a certificate is issued");
    let store = world.edge.control.store().clone();
    let now = world.clock.now();
    for batch in 0..DOMAINS / BATCH {
        let all = (0..BATCH).map(|i| {
            let name = domain(&format!("links.c{batch}-{i}.test"));
            store.create(Creation {
                record: DomainRecord::new(name, None, Origin::Registered, now),
                timeline: Vec::new(),
                audit: None,
            })
        });
        for created in futures_util::future::join_all(all).await {
            created.expect("created");
        }
    }
    drop(store);

    let orders = world.ca.stats().orders;
    let config = world.client(&[]);
    let edge = world.edge;
    edge.stop().await;
    let begun = Instant::now();
    let edge = crate::support::edge::Edge::start(&world.settings, &world.clock, |_, _| {}).await;
    client::handshake(edge.https, name, &config)
        .await
        .expect("served at once");
    let took = begun.elapsed();
    println!("{DOMAINS} domains: first handshake {took:?} after the start");
    assert!(took < FIRST_HANDSHAKE, "{took:?}");
    until("all domains are loaded", async || {
        edge.control.is_loaded().then_some(())
    })
    .await;
    client::handshake(edge.https, EDGE_NAME, &config)
        .await
        .expect("the edge's own name");
    assert_eq!(world.ca.stats().orders, orders, "no order for the other domains");
}
