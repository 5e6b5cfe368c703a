//! Socket activation: a parent process holds the listening sockets, as systemd does with
//! linkseal.socket, so that no connection is refused while the edge restarts.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::client::{self, KeepAliveConnection};
use crate::support::exclusive;
use crate::support::process::Process;
use crate::support::world::Plan;

const NAME: &str = "links.restart.test";
const RESTARTS: usize = 3;
/// Moves the sockets from standard input and output to descriptors 3 and 4, where sd_listen_fds(3)
/// expects them.
const PASS_SOCKETS: &str = r#"exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" "$@""#;

/// The parent, which keeps the sockets open across restarts of the edge.
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
        let pass_sockets = |command: &mut Command| {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", PASS_SOCKETS])
                .arg(command.get_program())
                .args(command.get_args())
                .stdin(http)
                .stdout(https)
                .stderr(Stdio::piped());
            *command = shell;
        };
        self.plan.serve_with(pass_sockets).await
    }
}

/// What a client that connects continuously has experienced.
#[derive(Debug, Default)]
struct Outcome {
    answers: usize,
    longest: Duration,
    failures: Vec<String>,
}

impl Outcome {
    async fn add(&mut self, request: impl Future<Output = Result<(), String>>) {
        let begun = Instant::now();
        match request.await {
            Ok(()) => self.answers += 1,
            Err(error) => self.failures.push(error),
        }
        self.longest = self.longest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A health check over a connection of its own. A draining edge answers 503.
async fn health(stream: TcpStream) -> Result<(), String> {
    let answer = client::get_once(stream, "127.0.0.1", "/healthz").await;
    let answer = answer.map_err(|e| e.to_string())?;
    let answered = ["HTTP/1.1 200 ", "HTTP/1.1 503 "].iter().any(|s| answer.starts_with(s));
    answered
        .then_some(())
        .ok_or_else(|| format!("a health check without an answer: {answer:?}"))
}

async fn connect(edge: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(edge).await.map_err(|e| format!("connecting: {e}"))
}

async fn checks(http: SocketAddr, stop: CancellationToken) -> Outcome {
    let mut outcome = Outcome::default();
    while !stop.is_cancelled() {
        outcome.add(async { health(connect(http).await?).await }).await;
    }
    outcome
}

async fn handshakes(https: SocketAddr, client: Arc<ClientConfig>, stop: CancellationToken) -> Outcome {
    let mut outcome = Outcome::default();
    while !stop.is_cancelled() {
        let request = async {
            let stream = connect(https).await?;
            let session = client::handshake_over(stream, NAME, &client).await;
            session.map(drop).map_err(|e| format!("a handshake: {e}"))
        };
        outcome.add(request).await;
    }
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_refused_across_restarts() {
    let _exclusive = exclusive().await;
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
        // An idle keep-alive connection must not delay the restart.
        let session = client::handshake(https, NAME, &client).await.expect("a session");
        let mut idle = KeepAliveConnection::new(session, NAME).await.expect("HTTP/1.1");
        assert_eq!(idle.get("/robots.txt").await.expect("an answer").status, 200);
        process.signal("TERM");
        let status = process.ended().await;
        assert!(status.success(), "{status}: {}", process.log());
        // No process accepts this connection until the next one starts.
        let waiting = connect(http).await.expect("not refused");
        process = parent.serve().await;
        health(waiting).await.expect("an answer from the next process");
    }
    stop.cancel();
    for outcome in [checks.await, handshakes.await] {
        let outcome = outcome.expect("no panic");
        println!("{outcome:?}");
        assert!(outcome.failures.is_empty(), "{outcome:?}");
        assert!(outcome.answers > RESTARTS, "{outcome:?}");
    }
}
