//! Many domains: start-up does not depend on their number, and the first handshake is quick.

use std::time::{Duration, Instant};

use linkseal_domain::DomainRecord;
use linkseal_domain::record::Origin;
use linkseal_store::Creation;

use crate::support::client;
use crate::support::edge::{EDGE_NAME, domain};
use crate::support::world::Plan;
use crate::support::{heavy, until};

const DOMAINS: usize = 20_000;
/// How many are written at the same time: the store commits them together.
const AT_A_TIME: usize = 1_000;
/// The design's bound for the first handshake after a start.
const FIRST_HANDSHAKE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_domains_do_not_slow_the_start_down() {
    let _heavy = heavy().await;
    let world = Plan::new().await.start().await;
    let name = "links.known.test";
    world.edge.register(name).await;
    world.handshake(name).await.expect("a certificate is made");
    let store = world.edge.control.store().clone();
    let now = world.clock.now();
    for batch in 0..DOMAINS / AT_A_TIME {
        let all = (0..AT_A_TIME).map(|i| {
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
    until("all domains are known", async || edge.control.is_loaded().then_some(())).await;
    client::handshake(edge.https, EDGE_NAME, &config)
        .await
        .expect("the edge's own name");
    assert_eq!(world.ca.stats().orders, orders, "the others were not asked for");
}
