//! A node while PostgreSQL is away: it serves what it has served, also after a restart, and goes on with everything
//! else when the database is back.

use std::time::Duration;

use linkseal_peers::postgres::{Options, Server};
use rustls::AlertDescription;
use serde_json::json;

use crate::support::client::{Web, alert};
use crate::support::edge::write_secret;
use crate::support::world::{Plan, World};
use crate::support::{until, until_within};

const NAME: &str = "links.known.test";
const DESTINATION: &str = "https://shop.example/sale";
/// For what a node does once the database is back, after its longest pause between two attempts.
const BACK: Duration = Duration::from_secs(60);
const SEALING_KEY: &str = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

async fn get(world: &World, path: &str) -> crate::support::client::Answer {
    let url = format!("http://{}{path}", world.edge.admin);
    Web::plain().get(&url).await.expect("an answer")
}

async fn open_and_click_are_answered(world: &World) {
    let links = world.links(NAME);
    let open = world.fetch(NAME, &links.open()).await.expect("an answer");
    assert_eq!((open.status, open.header("content-type")), (200, Some("image/gif")));
    let click = world.fetch(NAME, &links.click(DESTINATION)).await.expect("an answer");
    assert_eq!((click.status, click.header("location")), (302, Some(DESTINATION)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_and_restarts_without_postgresql() {
    let mut server = Server::start(Options::default()).await;
    let database = server.database().await;
    let plan = Plan::on_register().await;
    write_secret(&plan.dir.path().join("sealing.key"), SEALING_KEY);
    let plan = plan
        .set("store.url", database.url())
        .set("store.key_file", "sealing.key")
        .set("store.copy_dir", "copy");
    let world = plan.start().await;
    world.edge.register(NAME).await;
    world.edge.until_issued(NAME).await;
    let serial = world.served(NAME).await;

    // The certificate is in this process's memory no more when the database goes.
    let world = world.restart().await;
    until("the domains are loaded", async || {
        (get(&world, "/readyz").await.status == 200).then_some(())
    })
    .await;
    server.kill().await;
    assert_eq!(world.served(NAME).await, serial);
    open_and_click_are_answered(&world).await;

    let restart = tokio::time::timeout(BACK, world.restart()).await;
    let world = restart.expect("it starts from its copy");
    until("the domains are loaded", async || {
        (get(&world, "/readyz").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(world.served(NAME).await, serial);
    open_and_click_are_answered(&world).await;
    let refused = world.handshake("links.unknown.test").await.unwrap_err();
    assert_eq!(alert(&refused), Some(AlertDescription::UnrecognisedName));
    until("the events are delivered", async || {
        (world.settings.delivered().len() == 4).then_some(())
    })
    .await;

    assert_eq!(get(&world, "/readyz?strict=true").await.status, 503);
    let url = format!("http://{}/v1/domains", world.edge.admin);
    let new = json!({"name": "links.new.test"});
    let refused = Web::plain().post(&url, &new).await.expect("an answer");
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &json!("store_unavailable"))
    );
    assert!(refused.header("retry-after").is_some(), "{:?}", refused.headers);
    let metrics = get(&world, "/metrics").await.text();
    assert!(metrics.contains("linkseal_store_writable 0"), "{metrics}");

    server.start_again().await;
    until_within(BACK, "a domain can be registered", async || {
        let answer = Web::plain().post(&url, &new).await.expect("an answer");
        (answer.status == 201).then_some(())
    })
    .await;
    world.edge.until_issued("links.new.test").await;
    open_and_click_are_answered(&world).await;
    assert_eq!(world.served(NAME).await, serial, "nothing was ordered anew");
    drop(database);
}
