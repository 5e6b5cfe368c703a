//! Certificates of a fleet: one order for each need, whichever node makes it, and all nodes serve what came of it.

use linkseal_control::NewDomain;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{Reason, State};
use tokio::task::JoinSet;

use crate::support::client;
use crate::support::edge::{domain, operator};
use crate::support::fleet::{Fleet, everywhere};
use crate::support::until;

/// Registered through three nodes at once.
const DOMAINS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_registered_on_one_node_is_known_to_all_and_ordered_once() {
    let fleet = Fleet::new(3).await;
    let edges = fleet.edges().await;
    let name = "links.one.test";
    edges[0].register(name).await;
    everywhere("known to all", async || {
        fleet.is_known_to(&edges, name).await.then_some(())
    })
    .await;
    edges[2].until_issued(name).await;
    fleet.until_served_by_all(&edges, name).await;
    let stats = fleet.ca.name_stats(name);
    assert_eq!((stats.orders, stats.certificates, stats.failed), (1, 1, 0));
    // Through the balancer, whose PROXY headers the nodes require and read.
    for _ in 0..edges.len() {
        client::handshake(fleet.balancer.https(), name, &fleet.client(&[]))
            .await
            .expect("served");
    }
    for edge in edges {
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_handshakes_on_all_nodes_at_once_cause_one_order() {
    let fleet = Fleet::new(3).await.set("acme.issue", "on_demand");
    let edges = fleet.edges().await;
    let name = "links.first.test";
    edges[0].register(name).await;
    until("known to all", async || {
        fleet.is_known_to(&edges, name).await.then_some(())
    })
    .await;
    let mut handshakes = JoinSet::new();
    for edge in &edges {
        let (https, client) = (edge.https, fleet.client(&[]));
        handshakes.spawn(async move {
            client::handshake(https, name, &client)
                .await
                .map(|s| client::serial(&s))
        });
    }
    let mut serials = Vec::new();
    while let Some(handshake) = handshakes.join_next().await {
        serials.push(handshake.expect("no panic").expect("all wait for the same certificate"));
    }
    serials.dedup();
    assert_eq!(serials.len(), 1, "{serials:?}");
    let stats = fleet.ca.name_stats(name);
    assert_eq!((stats.orders, stats.certificates), (1, 1));
    for edge in edges {
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_registered_through_all_nodes_at_once_are_ordered_once_each() {
    let mut limits = toml::Table::new();
    limits.insert("orders_per_account".into(), "100/3h".into());
    let fleet = Fleet::new(3).await.set("acme.limits", limits);
    let edges = fleet.edges().await;
    let before = fleet.ca.stats().orders;
    let names: Vec<String> = (0..DOMAINS).map(|i| format!("links.d{i}.test")).collect();
    let mut registering = JoinSet::new();
    for (i, name) in names.iter().enumerate() {
        let operator = operator();
        let control = edges[i % edges.len()].control.clone();
        let new = NewDomain {
            name: domain(name),
            tenant: None,
            sending_domain: None,
            records: None,
        };
        registering.spawn(async move { control.operator().register(new, &operator).await.map(drop) });
    }
    while let Some(registered) = registering.join_next().await {
        registered.expect("no panic").expect("registered");
    }
    for name in &names {
        edges[1].until_issued(name).await;
        fleet.until_served_by_all(&edges, name).await;
    }
    let made = fleet.ca.stats().orders - before;
    assert_eq!(made, DOMAINS as u64, "one order for each");
    for edge in edges {
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_orders_of_all_nodes_together_stay_within_the_account_s_limit() {
    const LIMIT: u64 = 12;
    let mut limits = toml::Table::new();
    limits.insert("orders_per_account".into(), format!("{LIMIT}/3h").into());
    let fleet = Fleet::new(3).await.set("acme.limits", limits);
    let edges = fleet.edges().await;
    let names: Vec<String> = (0..20).map(|i| format!("links.l{i}.test")).collect();
    for (i, name) in names.iter().enumerate() {
        edges[i % edges.len()].register(name).await;
    }
    for name in &names {
        let settled = |r: &DomainRecord| r.ssl.reason == Reason::RateLimited || r.ssl.state() == State::Issued;
        edges[0].until(name, "issued or waiting", settled).await;
    }
    let orders = fleet.ca.stats().orders;
    assert!(
        (LIMIT - 2..=LIMIT).contains(&orders),
        "{orders} orders of {LIMIT} allowed"
    );
    for edge in edges {
        edge.stop().await;
    }
}
