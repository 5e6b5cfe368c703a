//! HAProxy in front of edges, as an operator's balancer: it passes TCP on with the PROXY protocol, to the
//! edges whose health check succeeds.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::ports::free_port;
use crate::process::{Home, Process};
use crate::wait::until;

/// Two failed checks take an edge out, one good check brings it back.
const CHECK: &str = "check inter 100ms fall 2 rise 1";
/// In its home.
const STATS_SOCKET: &str = "stats";
/// The column of `show stat` with `UP` or `DOWN`.
const STATUS_COLUMN: usize = 17;
/// The address that it connects from: edges can trust it and still take connections without the PROXY protocol from
/// clients on the same machine.
pub const SOURCE: &str = "127.0.0.2";

/// One edge.
#[derive(Clone, Copy, Debug)]
pub struct BackEnd {
    /// Its HTTP port.
    pub http: SocketAddr,
    /// Its HTTPS port.
    pub https: SocketAddr,
    /// Where it answers the health check, in plain HTTP and without the PROXY protocol.
    pub health: SocketAddr,
}

/// A running HAProxy.
#[derive(Debug)]
pub struct Haproxy {
    process: Option<Process>,
    http: SocketAddr,
    https: SocketAddr,
    home: Home,
}

impl Haproxy {
    /// Starts an HAProxy that asks each back end for `health_path` and takes turns between those that
    /// answer 200.
    pub async fn start(health_path: &str, back_ends: &[BackEnd]) -> Self {
        let home = Home::new("haproxy");
        let (http, https) = (free_port(), free_port());
        let mut config = format!(
            "global\n  maxconn 1000\n  stats socket {} mode 600\n\
             defaults\n  mode tcp\n  balance roundrobin\n  option httpchk GET {health_path}\n  option redispatch\n\
             \x20 source {SOURCE}\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n  timeout check 2s\n",
            home.path().join(STATS_SOCKET).display()
        );
        config += &listen("http", http, back_ends, |edge| edge.http);
        config += &listen("https", https, back_ends, |edge| edge.https);
        fs::write(home.path().join("haproxy.cfg"), config).expect("written");
        let mut haproxy = Self {
            process: None,
            http,
            https,
            home,
        };
        haproxy.start_again().await;
        haproxy
    }

    /// Its HTTP port.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its HTTPS port.
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// Waits until exactly these back ends, numbered from 0, are in rotation for both ports.
    pub async fn until_up(&self, back_ends: &[usize]) {
        let wanted: Vec<String> = ["http", "https"]
            .iter()
            .flat_map(|port| back_ends.iter().map(move |i| format!("{port},{i}")))
            .collect();
        until(&format!("the back ends {back_ends:?} are up"), async || {
            (self.up().await == wanted).then_some(())
        })
        .await;
    }

    /// Kills it, and with it all connections.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("a running HAProxy");
        process.signal(Signal::KILL);
        process.ended().await;
    }

    /// Starts it on its ports after [`Self::kill`].
    pub async fn start_again(&mut self) {
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(self.home.path().join("haproxy.cfg"));
        let process = self.process.insert(Process::spawn(&self.home, &command, Signal::KILL));
        process.until_listening(self.http).await;
        process.until_listening(self.https).await;
        // The socket is renamed into its place after the ports are open.
        let stats = self.home.path().join(STATS_SOCKET);
        process
            .until_ready(async || UnixStream::connect(&stats).await.ok().map(drop))
            .await;
    }

    /// `port,number` of the back ends in rotation.
    async fn up(&self) -> Vec<String> {
        let mut stats = UnixStream::connect(self.home.path().join(STATS_SOCKET))
            .await
            .expect("the socket");
        stats.write_all(b"show stat\n").await.expect("asked");
        let mut table = String::new();
        stats.read_to_string(&mut table).await.expect("a table");
        let servers = table.lines().filter_map(|line| {
            let columns: Vec<&str> = line.split(',').collect();
            // While a failure is being counted it is `UP 1/2`.
            let up = columns.get(STATUS_COLUMN)?.starts_with("UP") && columns[1].parse::<usize>().is_ok();
            up.then(|| format!("{},{}", columns[0], columns[1]))
        });
        servers.collect()
    }
}

/// The section for one port.
fn listen(name: &str, address: SocketAddr, back_ends: &[BackEnd], port: impl Fn(&BackEnd) -> SocketAddr) -> String {
    let mut section = format!("listen {name}\n  bind {address}\n");
    for (i, edge) in back_ends.iter().enumerate() {
        let (target, health) = (port(edge), edge.health);
        section += &format!(
            "  server {i} {target} send-proxy-v2 {CHECK} addr {} port {}\n",
            health.ip(),
            health.port()
        );
    }
    section
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;

    use super::*;

    /// How a header of the PROXY protocol begins, version 2 (section 2.2 of its specification).
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    /// A server that answers what a connection's first `hello` or HTTP request ends, and closes it.
    async fn server(tasks: &mut JoinSet<()>, answer: impl Fn(&[u8]) -> String + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                while ![&b"hello"[..], b"\r\n\r\n"].iter().any(|end| bytes.ends_with(end)) {
                    if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                        break;
                    }
                }
                drop(stream.write_all(answer(&bytes).as_bytes()).await);
            }
        });
        address
    }

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"hello").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    #[tokio::test]
    async fn healthy_back_ends_get_connections_with_the_proxy_protocol() {
        let mut tasks = JoinSet::new();
        let healthy = [(); 2].map(|()| Arc::new(AtomicBool::new(true)));
        let mut back_ends = Vec::new();
        for (i, healthy) in healthy.iter().map(Arc::clone).enumerate() {
            let named =
                move |port: &'static str| move |bytes: &[u8]| format!("{i} {port} {}", bytes.starts_with(SIGNATURE));
            let health = move |request: &[u8]| {
                let good = request.starts_with(b"GET /healthz ") && healthy.load(Ordering::Relaxed);
                let status = if good { "200 OK" } else { "503 Service Unavailable" };
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            };
            back_ends.push(BackEnd {
                http: server(&mut tasks, named("http")).await,
                https: server(&mut tasks, named("https")).await,
                health: server(&mut tasks, health).await,
            });
        }
        let mut haproxy = Haproxy::start("/healthz", &back_ends).await;
        haproxy.until_up(&[0, 1]).await;
        let mut answers = [ask(haproxy.http()).await, ask(haproxy.http()).await];
        answers.sort();
        assert_eq!(answers, ["0 http true", "1 http true"]);

        healthy[0].store(false, Ordering::Relaxed);
        haproxy.until_up(&[1]).await;
        for _ in 0..4 {
            assert_eq!(ask(haproxy.https()).await, "1 https true");
        }
        healthy[0].store(true, Ordering::Relaxed);
        haproxy.until_up(&[0, 1]).await;

        haproxy.kill().await;
        assert!(TcpStream::connect(haproxy.http()).await.is_err());
        haproxy.start_again().await;
        haproxy.until_up(&[0, 1]).await;
    }
}
