//! `listen.health`, the port for probes and scrapers.

use std::net::SocketAddr;

use linkseal_domain::ssl::State;
use linkseal_peers::ports::free_port;
use tokio::net::TcpStream;

use crate::support::client::get_once;
use crate::support::until;
use crate::support::world::Plan;

async fn get(address: SocketAddr, path: &str) -> String {
    let stream = TcpStream::connect(address).await.expect("the health port");
    get_once(stream, "probe.example", path).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_health_port_is_plain_http_and_reveals_no_domain() {
    let port = free_port();
    let plan = Plan::new().await.set("listen.health", vec![port.to_string()]);
    let world = plan.set("acme.issue", "on_register").start().await;
    let ready = async || get(port, "/readyz").await.starts_with("HTTP/1.1 200").then_some(());
    until("ready", ready).await;
    assert!(get(port, "/readyz?strict=true").await.starts_with("HTTP/1.1 200"));
    world.edge.register("links.health.test").await;
    let record = world.edge.until_issued("links.health.test").await;
    assert_eq!(record.ssl.state(), State::Issued);
    let metrics = get(port, "/metrics").await;
    assert!(metrics.contains("linkseal_build_info{"), "{metrics}");
    assert!(!metrics.contains("links.health.test"), "{metrics}");
    for path in ["/v1/domains", "/metrics/domains", "/"] {
        let answer = get(port, path).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
}
