//! The client of `peers/run.sh`: opens TLS connections to a server and measures their cost.
//!
//! ```text
//! load full|resumed|idle|first --addr ADDR --name NAME --ca ROOT.pem --path PATH
//!      [--expect 200] [--count N] [--tasks N] [--pids PID,PID]
//! ```
//! `full` and `resumed` make connections with one request each and print the server's CPU time per
//! connection in µs. `idle` keeps connections open after one request and prints the server's memory per
//! connection in KiB. `first` retries until a request is answered and prints how many ms that took. An
//! unexpected status or kind of handshake is an error. Without arguments the program exits at once, so that
//! `cargo bench` does not hang.
//!
//! All servers get the same requests: TLS 1.3, X25519, AES-128-GCM, HTTP/1.1, a browser's User-Agent.

#![allow(
    clippy::disallowed_methods,
    reason = "a client that uses nothing of linkseal; its tasks end with the program"
)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const USER_AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
/// Kernel ticks per second (`getconf CLK_TCK`): 100 on all current Linux systems.
const TICKS_PER_SECOND: f64 = 100.0;
/// Limit for a server to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Limit for one connection, so that a hanging server ends the script.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Time for the server to deliver the events, which is part of its cost.
const DELIVERY_TIME: Duration = Duration::from_millis(500);
/// Time for a started server's memory to settle.
const MEMORY_SETTLE_TIME: Duration = Duration::from_secs(4);
/// Pause between two attempts of `first`.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let mode = match arguments.get(1).map(String::as_str) {
        Some("full") => Mode::Full,
        Some("resumed") => Mode::Resumed,
        Some("idle") => Mode::Idle,
        Some("first") => Mode::First,
        _ => {
            println!("usage: load full|resumed|idle|first --addr … --name … --ca … --path …; see peers/run.sh");
            return Ok(());
        }
    };
    let option = |name: &str| arguments.iter().skip_while(|a| *a != name).nth(1).map(String::as_str);
    let required = |name: &str| option(name).ok_or_else(|| format!("{name} is required"));
    let number = |name: &str, default: usize| option(name).map_or(Ok(default), str::parse);
    let name = required("--name")?;
    let close = if mode == Mode::Idle {
        ""
    } else {
        "Connection: close\r\n"
    };
    let path = required("--path")?;
    let load = Load {
        mode,
        address: required("--addr")?.parse()?,
        name: ServerName::try_from(name.to_owned())?,
        ca: required("--ca")?.to_owned(),
        request: format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: {USER_AGENT}\r\n{close}\r\n"),
        expected: format!("HTTP/1.1 {} ", number("--expect", 200)?),
        count: number("--count", 1)?,
        tasks: number("--tasks", 16)?,
        pids: option("--pids")
            .unwrap_or_default()
            .split(',')
            .filter(|p| !p.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(Arc::new(load).run())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Full,
    Resumed,
    Idle,
    First,
}

struct Load {
    mode: Mode,
    address: SocketAddr,
    name: ServerName<'static>,
    ca: String,
    request: String,
    expected: String,
    count: usize,
    tasks: usize,
    pids: Vec<String>,
}

impl Load {
    async fn run(self: Arc<Self>) -> Fallible<()> {
        match self.mode {
            Mode::Full | Mode::Resumed => self.handshakes().await,
            Mode::Idle => self.idle().await,
            Mode::First => self.first().await,
        }
    }

    async fn handshakes(self: Arc<Self>) -> Fallible<()> {
        let left = Arc::new(AtomicUsize::new(self.count));
        let warm = Arc::new(Barrier::new(self.tasks + 1));
        let mut tasks = JoinSet::new();
        for _ in 0..self.tasks {
            let (load, left, warm) = (Arc::clone(&self), Arc::clone(&left), Arc::clone(&warm));
            tasks.spawn(async move {
                let connector = load.connector()?;
                load.connection(&connector, HandshakeKind::Full).await?;
                warm.wait().await;
                // The first wait ends the warm-up, the second starts the measurement.
                warm.wait().await;
                let kind = if load.mode == Mode::Resumed {
                    HandshakeKind::Resumed
                } else {
                    HandshakeKind::Full
                };
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    load.connection(&connector, kind).await?;
                }
                Fallible::Ok(())
            });
        }
        tokio::select! {
            _ = warm.wait() => {}
            Some(ended) = tasks.join_next() => return ended?,
        }
        let before = cpu_seconds(&self.pids)?;
        let begun = Instant::now();
        warm.wait().await;
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        let took = begun.elapsed();
        tokio::time::sleep(DELIVERY_TIME).await;
        let cpu = cpu_seconds(&self.pids)? - before;
        let count = self.count as f64;
        println!("{:.2}", cpu * 1e6 / count);
        eprintln!("{:.0} connections per second", count / took.as_secs_f64());
        Ok(())
    }

    async fn idle(self: Arc<Self>) -> Fallible<()> {
        let connector = self.connector()?;
        let mut connections = Vec::with_capacity(self.count);
        // The first connections cause one-time allocations in the server: they are not measured.
        for _ in 0..self.tasks {
            connections.push(self.answered(&connector).await?);
        }
        // The server returns the memory of its start-up only after a while.
        tokio::time::sleep(MEMORY_SETTLE_TIME).await;
        let before = resident_kib(&self.pids)?;
        for _ in 0..self.count {
            connections.push(self.answered(&connector).await?);
        }
        let grown = resident_kib(&self.pids)? - before;
        println!("{:.2}", grown / self.count as f64);
        // All connections must still be usable.
        for stream in &mut connections {
            stream.write_all(self.request.as_bytes()).await?;
            self.read_answer(stream).await?;
        }
        Ok(())
    }

    async fn first(&self) -> Fallible<()> {
        let begun = Instant::now();
        let connector = self.connector()?;
        loop {
            match self.connection(&connector, HandshakeKind::Full).await {
                Ok(()) => break,
                Err(error) if begun.elapsed() > START_TIMEOUT => return Err(error),
                Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
            }
        }
        println!("{}", begun.elapsed().as_millis());
        Ok(())
    }

    /// A new client without tickets. It uses each ticket once.
    fn connector(&self) -> Fallible<TlsConnector> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.ca)? {
            roots.add(certificate?)?;
        }
        let provider = CryptoProvider {
            kx_groups: vec![kx_group::X25519],
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            ..default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if self.mode != Mode::Resumed {
            config.resumption = Resumption::disabled();
        }
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// One connection with one request.
    async fn connection(&self, connector: &TlsConnector, kind: HandshakeKind) -> Fallible<()> {
        tokio::time::timeout(TIMEOUT, async {
            let mut stream = self.open(connector).await?;
            stream.write_all(self.request.as_bytes()).await?;
            let mut answer = Vec::with_capacity(1024);
            stream.read_to_end(&mut answer).await?;
            self.check(&answer)?;
            match stream.get_ref().1.handshake_kind() {
                Some(k) if k == kind => Ok(()),
                other => Err(format!("expected a {kind:?} handshake, got {other:?}").into()),
            }
        })
        .await?
    }

    /// One connection that stays open after one request.
    async fn answered(&self, connector: &TlsConnector) -> Fallible<TlsStream<TcpStream>> {
        let mut stream = self.open(connector).await?;
        stream.write_all(self.request.as_bytes()).await?;
        self.read_answer(&mut stream).await?;
        Ok(stream)
    }

    async fn open(&self, connector: &TlsConnector) -> Fallible<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        Ok(connector.connect(self.name.clone(), socket).await?)
    }

    /// Reads a response with a content-length.
    async fn read_answer(&self, stream: &mut TlsStream<TcpStream>) -> Fallible<()> {
        let mut answer = Vec::with_capacity(1024);
        loop {
            if tokio::time::timeout(TIMEOUT, stream.read_buf(&mut answer)).await?? == 0 {
                return Err("the server closed a keep-alive connection".into());
            }
            let text = String::from_utf8_lossy(&answer);
            let Some((head, _)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length: usize = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(Ok(0), |(_, value)| value.parse())?;
            if answer.len() >= head.len() + 4 + length {
                return self.check(&answer);
            }
        }
    }

    fn check(&self, answer: &[u8]) -> Fallible<()> {
        match answer.starts_with(self.expected.as_bytes()) {
            true => Ok(()),
            false => Err(format!("expected `{}…`, got: {}", self.expected, answer.escape_ascii()).into()),
        }
    }
}

/// User and system time of processes, including all threads, ended ones too.
fn cpu_seconds(pids: &[String]) -> Fallible<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Fields 14 and 15 (proc(5)). Field 2, in parentheses, may contain spaces.
        let fields = stat.rsplit_once(") ").ok_or("unexpected format of /proc/PID/stat")?.1;
        for field in fields.split(' ').skip(11).take(2) {
            ticks += field.parse::<u64>()?;
        }
    }
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// Resident memory of processes in KiB.
fn resident_kib(pids: &[String]) -> Fallible<f64> {
    let mut sum = 0.0;
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .ok_or("no VmRSS")?;
        sum += line.trim().trim_end_matches(" kB").parse::<f64>()?;
    }
    Ok(sum)
}
