//! A node that is killed in the middle of its orders: the others take them up, and order nothing twice.

use std::time::{Duration, Instant};

use crate::support::fleet::Fleet;
use crate::support::process::Process;
use crate::support::{exclusive, until};

const HOUR: Duration = Duration::from_secs(3_600);
/// Half of what others would have to wait for the leases of a node that was killed.
const LEASE: Duration = Duration::from_secs(30);
const DOMAINS: usize = 8;
const KILLS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_orders_of_a_killed_node_are_taken_up_by_the_others() {
    let fleet = Fleet::new(3).await;
    let mut nodes = fleet.processes().await;
    fleet.ca.faults().set_validation_delay(HOUR);
    let names: Vec<String> = (0..DOMAINS).map(|i| format!("links.k{i}.test")).collect();
    for name in &names {
        nodes[0].register(name).await;
    }
    for name in &names {
        fleet.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    }
    nodes.remove(0).kill();
    fleet.balancer.until_up(&[1, 2]).await;
    fleet.ca_clock.advance(HOUR);
    fleet.end_leases().await;
    for name in &names {
        nodes[0].until_state(name, "issued").await;
        let stats = fleet.ca.name_stats(name);
        assert_eq!((stats.orders, stats.certificates), (1, 1), "{name}");
    }
}

/// Each node makes one order at a time: a kill may interrupt one, and cost one more only if it comes between the CA's
/// answer to the new order and its way into the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_costs_at_most_one_order() {
    let _exclusive = exclusive().await;
    let fleet = Fleet::new(2).await.set("acme.max_concurrent_orders", 1);
    let mut nodes = fleet.processes().await;
    let mut more = 0;
    for kill in 0..KILLS {
        let before = fleet.ca.stats().orders;
        let names: Vec<String> = (0..DOMAINS).map(|i| format!("links.k{kill}x{i}.test")).collect();
        let (last, first) = names.split_last().expect("names");
        for name in first {
            nodes[0].register(name).await;
        }
        // At another step of another order each time.
        let requests = fleet.ca.stats().requests + u64::from(linkseal_base::random::bytes::<1>()[0] % 32);
        fleet.ca.until(|ca| ca.stats().requests >= requests).await;
        nodes.remove(0).kill();
        fleet.balancer.until_up(&[1]).await;
        let known = fleet
            .database
            .rows("SELECT d.name FROM linkseal.orders o JOIN linkseal.domains d ON d.id = o.domain WHERE o.url IS NOT NULL")
            .await;
        fleet.end_leases().await;
        // A change wakes the other node, which would look for work that was left behind within half a minute.
        nodes[0].register(last).await;
        let mut failed = 0;
        for name in &names {
            failed += until_issued(&nodes[0], name).await;
        }
        for name in known.into_iter().flatten().flatten() {
            assert_eq!(
                fleet.ca.name_stats(&name).orders,
                1 + failures(&nodes[0], &name).await,
                "{name}: its order was in the store"
            );
        }
        let needed = before + DOMAINS as u64 + failed;
        let extra = fleet.ca.stats().orders.saturating_sub(needed);
        assert!(extra <= 1, "{extra} orders too many after kill {kill}");
        more += extra;
        nodes.insert(0, fleet.process(0).await);
        fleet.until_all_up().await;
    }
    println!("{KILLS} kills, {DOMAINS} orders each, {more} more");
}

/// Waits until a domain is issued; returns how many of its orders have failed. One whose validation met the killed node
/// fails and waits: it is asked for again at once, as an operator would.
async fn until_issued(node: &Process, name: &str) -> u64 {
    until(&format!("{name} is issued"), async || {
        let domain = node.domain(name).await;
        if domain["ssl"]["state"] == "issued" {
            return Some(());
        }
        if !domain["ssl"]["last_error"].is_null() {
            node.admin("POST", &format!("/v1/domains/{name}/verify"), None).await;
        }
        None
    })
    .await;
    failures(node, name).await
}

/// How many orders of a domain have failed, by its timeline.
async fn failures(node: &Process, name: &str) -> u64 {
    let timeline = node.admin("GET", &format!("/v1/domains/{name}/timeline"), None).await;
    timeline.text().matches(r#""event":"failed""#).count() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_goes_on_with_its_own_orders() {
    let fleet = Fleet::new(1).await;
    let mut nodes = fleet.processes().await;
    fleet.ca.faults().set_validation_delay(HOUR);
    let name = "links.back.test";
    nodes[0].register(name).await;
    fleet.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    nodes.remove(0).kill();
    let begun = Instant::now();
    let back = fleet.process(0).await;
    fleet.until_all_up().await;
    fleet.ca_clock.advance(HOUR);
    back.until_state(name, "issued").await;
    // It knows that its former process has ended, whose leases it need not wait for.
    assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
    let stats = fleet.ca.name_stats(name);
    assert_eq!((stats.orders, stats.certificates), (1, 1));
}
