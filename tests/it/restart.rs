//! The real binary under a parent that holds its listening sockets, as systemd does with
//! linkseal.socket: over a restart no connection is refused.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::client::{self, Kept};
use crate::support::heavy;
use crate::support::process::Process;
use crate::support::world::Plan;

const NAME: &str = "links.restart.test";
const RESTARTS: usize = 3;
/// Its standard input and output are the sockets; they become descriptors 3 and 4, which is where
/// a parent hands sockets in.
const HAND_IN: &str = r#"exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" "$@""#;

/// The parent: it holds the sockets, whatever becomes of the edge.
struct Parent {
    plan: Plan,
    sockets: [TcpListener; 2],
}

impl Parent {
    async fn new() -> Self {
        let plan = Plan::new().await.set("edge.drain", "2s");
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [http, https] = [0, 1].map(|n: usize| vec![sockets[n].local_addr().expect("an address").to_string()]);
        let plan = plan.set("listen.http", http).set("listen.https", https);
        Self { plan, sockets }
    }

    async fn serve(&self) -> Process {
        let [http, https] = self
            .sockets
            .each_ref()
            .map(|s| OwnedFd::from(s.try_clone().expect("a descriptor")));
        let hand_in = |command: &mut Command| {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", HAND_IN])
                .arg(command.get_program())
                .args(command.get_args())
                .stdin(http)
                .stdout(https)
                .stderr(Stdio::piped());
            *command = shell;
        };
        self.plan.serve_with(hand_in).await
    }
}

/// What clients have met that connect all the time.
#[derive(Debug, Default)]
struct Met {
    answers: usize,
    longest: Duration,
    failures: Vec<String>,
}

impl Met {
    async fn ask(&mut self, request: impl Future<Output = Result<(), String>>) {
        let begun = Instant::now();
        match request.await {
            Ok(()) => self.answers += 1,
            Err(error) => self.failures.push(error),
        }
        self.longest = self.longest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A health check over a connection of its own. An edge that drains says 503.
async fn health(mut stream: TcpStream) -> Result<(), String> {
    let request = "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(|e| e.to_string())?;
    let answered = ["HTTP/1.1 200 ", "HTTP/1.1 503 "].iter().any(|s| answer.starts_with(s));
    answered
        .then_some(())
        .ok_or_else(|| format!("a health check without an answer: {answer:?}"))
}

async fn connect(edge: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(edge).await.map_err(|e| format!("connecting: {e}"))
}

async fn checks(http: SocketAddr, stop: CancellationToken) -> Met {
    let mut met = Met::default();
    while !stop.is_cancelled() {
        met.ask(async { health(connect(http).await?).await }).await;
    }
    met
}

async fn handshakes(https: SocketAddr, client: Arc<ClientConfig>, stop: CancellationToken) -> Met {
    let mut met = Met::default();
    while !stop.is_cancelled() {
        let request = async {
            let stream = connect(https).await?;
            let session = client::handshake_over(stream, NAME, &client).await;
            session.map(drop).map_err(|e| format!("a handshake: {e}"))
        };
        met.ask(request).await;
    }
    met
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_restarts_with_sockets_handed_in_no_connection_is_refused() {
    let _alone = heavy().await;
    let parent = Parent::new().await;
    let client = parent.plan.client(&[]);
    let mut process = parent.serve().await;
    process.register(NAME).await;
    let handshake = client::handshake(process.https, NAME, &client).await;
    drop(handshake.expect("a certificate"));
    let (http, https) = (process.http, process.https);
    let stop = CancellationToken::new();
    let checks = tokio::spawn(checks(http, stop.clone()));
    let handshakes = tokio::spawn(handshakes(https, Arc::clone(&client), stop.clone()));
    for _ in 0..RESTARTS {
        // One that is in no one's way, and in the middle of nothing.
        let session = client::handshake(https, NAME, &client).await.expect("a session");
        let mut kept = Kept::over(session, NAME).await.expect("HTTP/1.1");
        assert_eq!(kept.get("/robots.txt").await.expect("an answer").status, 200);
        process.signal("TERM");
        let status = process.ended().await;
        assert!(status.success(), "{status}: {}", process.log());
        // No one is there who would accept it: it waits for the next.
        let waiting = connect(http).await.expect("not refused");
        process = parent.serve().await;
        health(waiting).await.expect("an answer from the next one");
    }
    stop.cancel();
    for met in [checks.await, handshakes.await] {
        let met = met.expect("no panic");
        println!("{met:?}");
        assert!(met.failures.is_empty(), "{met:?}");
        assert!(met.answers > RESTARTS, "{met:?}");
    }
}
