//! The load of `peers/run.sh`: TLS connections to a server, and what they cost its processes.
//!
//! ```text
//! load full|resumed|idle|first --addr ADDR --name NAME --ca ROOT.pem --path PATH
//!      [--expect 200] [--count N] [--tasks N] [--pids PID,PID]
//! ```
//! `full` and `resumed`: connections with one request each; prints the server's CPU time for one,
//! in µs. `idle`: connections that are kept after one request; prints the server's memory for one,
//! in KiB. `first`: tries until a request is answered; prints the ms it took. Anything that is not
//! as expected (another status, a handshake of the other kind) ends it with an error. Without
//! arguments it ends at once, so that running all targets does not hang.
//!
//! All servers get the same: TLS 1.3, X25519, AES-128-GCM, HTTP/1.1, a browser's User-Agent.

#![allow(
    clippy::disallowed_methods,
    reason = "a client, whose tasks end with it; nothing of linkseal is in it"
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
/// Kernel ticks in a second (`getconf CLK_TCK`): 100 on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a server that is starting may take.
const STARTING: Duration = Duration::from_secs(60);
/// How long one connection may take: a server that hangs must not hang the script.
const PATIENCE: Duration = Duration::from_secs(20);
/// What was answered is also to be delivered: that is the server's work too.
const SETTLE: Duration = Duration::from_millis(500);
/// How long a server that has started needs until its memory stays as it is.
const CALM: Duration = Duration::from_secs(4);
/// Wait between two tries of `first`.
const RETRY: Duration = Duration::from_millis(2);

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
    let needed = |name: &str| option(name).ok_or_else(|| format!("{name} is needed"));
    let number = |name: &str, default: usize| option(name).map_or(Ok(default), str::parse);
    let name = needed("--name")?;
    let close = if mode == Mode::Idle {
        ""
    } else {
        "Connection: close\r\n"
    };
    let path = needed("--path")?;
    let load = Load {
        mode,
        address: needed("--addr")?.parse()?,
        name: ServerName::try_from(name.to_owned())?,
        ca: needed("--ca")?.to_owned(),
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
                // The measurement begins between the two.
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
        tokio::time::sleep(SETTLE).await;
        let cpu = cpu_seconds(&self.pids)? - before;
        let count = self.count as f64;
        println!("{:.2}", cpu * 1e6 / count);
        eprintln!("{:.0} connections per second", count / took.as_secs_f64());
        Ok(())
    }

    async fn idle(self: Arc<Self>) -> Fallible<()> {
        let connector = self.connector()?;
        let mut held = Vec::with_capacity(self.count);
        // What the first connections make the server set up is not theirs.
        for _ in 0..self.tasks {
            held.push(self.answered(&connector).await?);
        }
        // Memory used for starting up is given back only after a while.
        tokio::time::sleep(CALM).await;
        let before = resident_kib(&self.pids)?;
        for _ in 0..self.count {
            held.push(self.answered(&connector).await?);
        }
        let grown = resident_kib(&self.pids)? - before;
        println!("{:.2}", grown / self.count as f64);
        // All of them are still there.
        for stream in &mut held {
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
                Err(error) if begun.elapsed() > STARTING => return Err(error),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
        println!("{}", begun.elapsed().as_millis());
        Ok(())
    }

    /// A client that has not been here yet. Each of its tickets is used once.
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

    /// One connection with one request, to its end.
    async fn connection(&self, connector: &TlsConnector, kind: HandshakeKind) -> Fallible<()> {
        tokio::time::timeout(PATIENCE, async {
            let mut stream = self.open(connector).await?;
            stream.write_all(self.request.as_bytes()).await?;
            let mut answer = Vec::with_capacity(1024);
            stream.read_to_end(&mut answer).await?;
            self.check(&answer)?;
            match stream.get_ref().1.handshake_kind() {
                Some(k) if k == kind => Ok(()),
                other => Err(format!("a handshake of kind {kind:?} was wanted; it was {other:?}").into()),
            }
        })
        .await?
    }

    /// One connection that stays open, after one request.
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

    /// Reads an answer whose length its head tells.
    async fn read_answer(&self, stream: &mut TlsStream<TcpStream>) -> Fallible<()> {
        let mut answer = Vec::with_capacity(1024);
        loop {
            if tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await?? == 0 {
                return Err("the server closed a connection that was to be kept".into());
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
            false => Err(format!("`{}…` was wanted; it was: {}", self.expected, answer.escape_ascii()).into()),
        }
    }
}

/// User and system time of processes, all their threads, ended ones too.
fn cpu_seconds(pids: &[String]) -> Fallible<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Fields 14 and 15 (proc(5)); the second, in brackets, may hold spaces.
        let fields = stat.rsplit_once(") ").ok_or("/proc/PID/stat has another form")?.1;
        for field in fields.split(' ').skip(11).take(2) {
            ticks += field.parse::<u64>()?;
        }
    }
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// Memory of processes that is in RAM, in KiB.
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
