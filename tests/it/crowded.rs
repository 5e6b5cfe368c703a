//! A few addresses that hold every connection they get: others come in all the same, and so do
//! challenges and health checks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::client::{self, Kept};
use crate::support::world::Plan;
use crate::support::{heavy, until};

const NAME: &str = "links.crowded.test";
const CHALLENGE: &str = "/.well-known/acme-challenge/any-token";
const MAX: u32 = 200;
/// Addresses of the crowd, and how many connections each wants: a quarter of all is what it gets.
const CROWD: [Ipv4Addr; 4] = [
    Ipv4Addr::new(127, 0, 0, 2),
    Ipv4Addr::new(127, 0, 0, 3),
    Ipv4Addr::new(127, 0, 0, 4),
    Ipv4Addr::new(127, 0, 0, 5),
];
const EACH: usize = 50;
/// Of the same network as the crowd, and of another.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);
const ROUNDS: usize = 10;
/// Room is made at once; and what else is in the way on a busy machine.
const SOON: Duration = Duration::from_secs(5);

async fn connect(from: Ipv4Addr, edge: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(edge).await
}

async fn session(from: Ipv4Addr, edge: SocketAddr, client: &Arc<ClientConfig>) -> Result<Kept, String> {
    let stream = connect(from, edge).await.map_err(|e| e.to_string())?;
    let session = client::handshake_over(stream, NAME, client).await;
    Kept::over(session.map_err(|e| e.to_string())?, NAME).await
}

/// Holds one connection after the other for as long as it is let.
async fn hold(from: Ipv4Addr, edge: SocketAddr, client: Arc<ClientConfig>, held: Arc<AtomicUsize>) {
    loop {
        if let Ok(mut kept) = session(from, edge, &client).await
            && kept.get("/robots.txt").await.is_ok()
        {
            held.fetch_add(1, Ordering::Relaxed);
            kept.closed().await;
            held.fetch_sub(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One request on port 80 over a connection of its own; the status.
async fn plain(from: Ipv4Addr, edge: SocketAddr, path: &str, host: &str) -> Result<String, std::io::Error> {
    let mut stream = connect(from, edge).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Has the crowd hold what it can get, at least so many, and others come in beside it.
async fn others_come_in(plan: Plan, least: usize, others: &[Ipv4Addr]) {
    let _alone = heavy().await;
    let plan = plan.set("edge.max_connections", i64::from(MAX));
    let process = plan.serve().await;
    process.register(NAME).await;
    let client = plan.client(&[]);
    let first = client::handshake(process.https, NAME, &client).await;
    drop(first.expect("a certificate"));
    let held = Arc::<AtomicUsize>::default();
    let mut crowd = JoinSet::new();
    for address in CROWD {
        for _ in 0..EACH {
            crowd.spawn(hold(address, process.https, Arc::clone(&client), Arc::clone(&held)));
        }
    }
    until("the crowd is in", async || {
        (held.load(Ordering::Relaxed) >= least).then_some(())
    })
    .await;
    for _ in 0..ROUNDS {
        for from in others {
            // A load balancer's check names an address.
            for (path, host, status) in [("/healthz", "127.0.0.1", "200"), (CHALLENGE, NAME, "200")] {
                let begun = Instant::now();
                let answer = plain(*from, process.http, path, host).await;
                assert_eq!(answer.expect("an answer"), status, "{path}");
                assert!(begun.elapsed() < SOON, "{from} {path}: {:?}", begun.elapsed());
            }
            let begun = Instant::now();
            let mut kept = session(*from, process.https, &client).await.expect("a handshake");
            let robots = kept.get("/robots.txt").await.expect("an answer");
            assert_eq!(robots.status, 200);
            let took = begun.elapsed();
            println!("{from}: {took:?} beside {}", held.load(Ordering::Relaxed));
            assert!(took < SOON, "{from}: {took:?}");
            // Nor does what the crowd asks for next cost it its place.
            let robots = kept.get("/robots.txt").await.expect("an answer");
            assert_eq!(robots.status, 200);
        }
    }
    assert!(held.load(Ordering::Relaxed) >= least / 2, "the crowd is still there");
    crowd.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_addresses_that_hold_everything_keep_nobody_out() {
    let plan = Plan::new().await;
    // They are of one network, whose share is half.
    let plan = plan.set("edge.max_connections_per_network", i64::from(MAX));
    others_come_in(plan, 185, &[NEIGHBOUR, STRANGER]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_network_that_holds_its_share_and_asks_for_more_keeps_no_other_out() {
    others_come_in(Plan::new().await, 95, &[NEIGHBOUR, STRANGER]).await;
}
