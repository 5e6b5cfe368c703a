//! Shares of the connection limit: a few addresses that keep every connection they get do not lock
//! out other clients, challenges or health checks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::client::{self, KeepAliveConnection};
use crate::support::world::Plan;
use crate::support::{exclusive, until};

const NAME: &str = "links.crowded.test";
const CHALLENGE: &str = "/.well-known/acme-challenge/any-token";
const MAX: u32 = 200;
/// The addresses of the crowd, all in one network.
const CROWD: [Ipv4Addr; 4] = [
    Ipv4Addr::new(127, 0, 0, 2),
    Ipv4Addr::new(127, 0, 0, 3),
    Ipv4Addr::new(127, 0, 0, 4),
    Ipv4Addr::new(127, 0, 0, 5),
];
/// Connections that each of them tries to keep: together they would take all.
const EACH: usize = 50;
/// An address in the crowd's network, and one in another.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);
const ROUNDS: usize = 10;
/// The edge makes room at once; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(5);

async fn connect(from: Ipv4Addr, edge: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(edge).await
}

async fn session(from: Ipv4Addr, edge: SocketAddr, client: &Arc<ClientConfig>) -> Result<KeepAliveConnection, String> {
    let stream = connect(from, edge).await.map_err(|e| e.to_string())?;
    let session = client::handshake_over(stream, NAME, client).await;
    KeepAliveConnection::new(session.map_err(|e| e.to_string())?, NAME).await
}

/// Keeps a connection open for as long as the edge allows, then opens another.
async fn occupy(from: Ipv4Addr, edge: SocketAddr, client: Arc<ClientConfig>, open: Arc<AtomicUsize>) {
    loop {
        if let Ok(mut connection) = session(from, edge, &client).await
            && connection.get("/robots.txt").await.is_ok()
        {
            open.fetch_add(1, Ordering::Relaxed);
            connection.closed().await;
            open.fetch_sub(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The status of one request on port 80 over a connection of its own.
async fn plain(from: Ipv4Addr, edge: SocketAddr, path: &str, host: &str) -> Result<String, std::io::Error> {
    let answer = client::get_once(connect(from, edge).await?, host, path).await?;
    Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Lets the crowd open at least `least` connections and checks that `others` are still served.
async fn assert_others_are_served(plan: Plan, least: usize, others: &[Ipv4Addr]) {
    let _exclusive = exclusive().await;
    let plan = plan.set("edge.max_connections", i64::from(MAX));
    let process = plan.serve().await;
    process.register(NAME).await;
    let client = plan.client(&[]);
    let first = client::handshake(process.https, NAME, &client).await;
    drop(first.expect("a certificate"));
    let open = Arc::<AtomicUsize>::default();
    let mut crowd = JoinSet::new();
    for address in CROWD {
        for _ in 0..EACH {
            crowd.spawn(occupy(address, process.https, Arc::clone(&client), Arc::clone(&open)));
        }
    }
    until("the crowd has its connections", async || {
        (open.load(Ordering::Relaxed) >= least).then_some(())
    })
    .await;
    for _ in 0..ROUNDS {
        for from in others {
            // A load balancer's check has an address as its host.
            for (path, host, status) in [("/healthz", "127.0.0.1", "200"), (CHALLENGE, NAME, "200")] {
                let begun = Instant::now();
                let answer = plain(*from, process.http, path, host).await;
                assert_eq!(answer.expect("an answer"), status, "{path}");
                assert!(begun.elapsed() < SOON, "{from} {path}: {:?}", begun.elapsed());
            }
            let begun = Instant::now();
            let mut connection = session(*from, process.https, &client).await.expect("a handshake");
            let robots = connection.get("/robots.txt").await.expect("an answer");
            assert_eq!(robots.status, 200);
            let took = begun.elapsed();
            println!("{from}: {took:?} beside {}", open.load(Ordering::Relaxed));
            assert!(took < SOON, "{from}: {took:?}");
            // The crowd's next attempts do not displace this connection.
            let robots = connection.get("/robots.txt").await.expect("an answer");
            assert_eq!(robots.status, 200);
        }
    }
    assert!(
        open.load(Ordering::Relaxed) >= least / 2,
        "the crowd still has its connections"
    );
    crowd.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_addresses_that_occupy_every_connection_lock_no_client_out() {
    let plan = Plan::new().await;
    // Without this, the share of their one network is half.
    let plan = plan.set("edge.max_connections_per_network", i64::from(MAX));
    assert_others_are_served(plan, 185, &[NEIGHBOUR, STRANGER]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_exceeds_its_share_locks_no_other_out() {
    assert_others_are_served(Plan::new().await, 95, &[NEIGHBOUR, STRANGER]).await;
}
