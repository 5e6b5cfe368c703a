//! A client of the admin port that requests long lists without pause delays neither the edge nor other
//! clients of that port.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::client::{self, Web};
use crate::support::exclusive;
use crate::support::world::Plan;

const NAME: &str = "links.bystander.test";
const DOMAINS: usize = 1_000;
/// Connections of the crowd, and pipelined requests on each.
const CROWD: usize = 30;
const LISTS: usize = 10;
const ROUNDS: usize = 10;
/// Without the crowd it takes milliseconds; the rest is for a debug build on a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// Requests lists over one connection after the other.
async fn request_lists(admin: SocketAddr) {
    let requests = format!("GET /v1/domains?limit=1000 HTTP/1.1\r\nhost: {admin}\r\n\r\n").repeat(LISTS);
    loop {
        let requested = async {
            let mut stream = TcpStream::connect(admin).await?;
            stream.write_all(requests.as_bytes()).await?;
            let mut answers = vec![0; 1 << 20];
            while stream.read(&mut answers).await? > 0 {}
            std::io::Result::Ok(())
        };
        // A connection that was closed in favour of another is opened again.
        let _ = requested.await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_delay_no_handshake_challenge_or_operator() {
    let _exclusive = exclusive().await;
    let plan = Plan::new().await;
    let process = plan.serve().await;
    process.register(NAME).await;
    let trusting = plan.client(&[]);
    let first = client::handshake(process.https, NAME, &trusting).await;
    drop(first.expect("a certificate"));
    let lines = (0..DOMAINS).map(|n| format!("{{\"name\":\"links.c{n}.test\"}}\n"));
    let (web, admin) = (Web::plain(), process.admin_url());
    let import = format!("{admin}/v1/domains/import");
    let imported = web.call("POST", &import, Some(lines.collect()), &[]).await;
    assert_eq!(imported.expect("imported").status, 200);
    let address: SocketAddr = admin.trim_start_matches("http://").parse().expect("an address");
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        crowd.spawn(request_lists(address));
    }
    let mut longest = [Duration::ZERO; 3];
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let session = client::handshake(process.https, NAME, &trusting).await;
        drop(session.expect("a handshake"));
        longest[0] = longest[0].max(begun.elapsed());
        let begun = Instant::now();
        let challenge = format!("http://{}/.well-known/acme-challenge/any-token", process.http);
        assert_eq!(web.get(&challenge).await.expect("a challenge").status, 200);
        longest[1] = longest[1].max(begun.elapsed());
        let begun = Instant::now();
        let healthy = web.get(&format!("{admin}/healthz")).await.expect("a probe");
        assert_eq!(healthy.status, 200);
        longest[2] = longest[2].max(begun.elapsed());
    }
    crowd.abort_all();
    assert!(longest.iter().all(|took| *took < SOON), "{longest:?}");
}
