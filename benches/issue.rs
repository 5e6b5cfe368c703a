//! Issues 100 new domains from Pebble and measures the time from the first registration to the last
//! certificate.
//!
//! `cargo bench --bench issue -- --domains 100 --pebble /usr/bin/pebble` (Debian: `apt-get install
//! pebble`). Pebble runs with `PEBBLE_VA_NOSLEEP=1` and its default of 5 % refused nonces. Both it and
//! linkseal query pebble-challtestsrv for DNS. Without arguments the program exits at once, so that
//! `cargo bench` does not hang.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a program of its own that waits for processes; it indexes only its own arguments and JSON"
)]

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use linkseal::app::{App, Options};
use linkseal_config::Config;
use linkseal_control::{Actor, Control, NewDomain};
use linkseal_domain::DomainName;
use linkseal_domain::ssl::{Reason, State};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Limit for issuing all domains.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Limit for Pebble to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().skip_while(|a| *a != name).nth(1).cloned();
    let (Some(domains), Some(pebble)) = (option("--domains"), option("--pebble")) else {
        println!("usage: issue --domains 100 --pebble /usr/bin/pebble");
        return Ok(());
    };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(domains.parse()?, pebble.as_ref()))
}

async fn run(domains: usize, program: &Path) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let http = free_port()?;
    let pebble = Pebble::start(program, dir.path(), http).await?;
    fs::write(dir.path().join("link.key"), "07".repeat(32))?;
    fs::write(dir.path().join("admin.token"), "08".repeat(32))?;
    let file = dir.path().join("linkseal.toml");
    fs::write(&file, configuration(http, &pebble))?;
    let app = App::bind(Config::load(&file)?, Options::default()).await?;
    let control = app.control().clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (_reload, reloads) = tokio::sync::mpsc::channel(1);
    let edge = tokio::spawn(app.run(async move { drop(stopped.await) }, reloads));

    // The edge's own name is issued first and is not measured.
    issued(&control, 1).await?;
    let begun = Instant::now();
    let actor = Actor {
        who: "bench".into(),
        from: [127, 0, 0, 1].into(),
        tenant: None,
    };
    try_join_all((0..domains).map(|n| {
        let new = DomainName::parse(&format!("links.customer-{n}.example")).map(|name| NewDomain {
            name,
            tenant: None,
            sending_domain: None,
            records: None,
        });
        let (control, actor) = (&control, &actor);
        async move { anyhow::Ok(control.operator().register(new?, actor).await?) }
    }))
    .await?;
    let registered = begun.elapsed();
    issued(&control, domains + 1).await?;
    let took = begun.elapsed();
    println!(
        "{domains} domains: registered in {:.2} s, all issued in {:.2} s, {} orders",
        registered.as_secs_f64(),
        took.as_secs_f64(),
        pebble.orders()?.saturating_sub(1),
    );
    drop(stop);
    edge.await?
}

/// Waits until `wanted` domains have a certificate.
async fn issued(control: &Control, wanted: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let counts = control.store().counts(None).await?;
        let issued: u64 = counts
            .iter()
            .filter(|c| c.reason.state() == State::Issued)
            .map(|c| c.domains)
            .sum();
        if issued >= wanted as u64 {
            return Ok(());
        }
        if begun.elapsed() > TIMEOUT {
            let reasons: Vec<(Reason, u64)> = counts.iter().map(|c| (c.reason, c.domains)).collect();
            anyhow::bail!("{issued} of {wanted} were issued in {TIMEOUT:?}; reasons: {reasons:?}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn configuration(http: SocketAddr, pebble: &Pebble) -> String {
    format!(
        r#"
[listen]
http = ["{http}"]
https = ["127.0.0.1:0"]
admin = ["127.0.0.1:0"]

[edge]
name = "track.platform.example"
addresses = ["127.0.0.1"]
drain_delay = "0s"

[acme]
directory = "{directory}"
accept_terms = true
ca_file = "pebble.pem"

[store]
url = "sqlite:linkseal.db"

[links]
keys = [{{ id = 1, secret_file = "link.key" }}]

[events]
dir = "events"

[dns]
resolvers = ["{dns}"]

[admin]
tokens = [{{ name = "bench", role = "admin", secret_file = "admin.token" }}]

[log]
level = "warn"
"#,
        directory = pebble.directory,
        dns = pebble.dns,
    )
}

/// A running Pebble with its DNS server, both killed on drop.
struct Pebble {
    processes: Vec<Child>,
    directory: String,
    dns: SocketAddr,
    log: std::path::PathBuf,
}

impl Pebble {
    async fn start(program: &Path, dir: &Path, http: SocketAddr) -> anyhow::Result<Self> {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (chain, key) = (dir.join("pebble.pem"), dir.join("pebble.key"));
        fs::write(&chain, own.cert.pem())?;
        fs::write(&key, own.key_pair.serialize_pem())?;
        let (acme, management, api) = (free_port()?, free_port()?, free_port()?);
        let dns = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let config = json!({ "pebble": {
            "listenAddress": acme.to_string(), "managementListenAddress": management.to_string(),
            "certificate": chain, "privateKey": key,
            "httpPort": http.port(), "tlsPort": 1, "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        let file = dir.join("pebble.json");
        fs::write(&file, config.to_string())?;
        let log = dir.join("pebble.log");
        let mut pebble = Self {
            processes: Vec::new(),
            directory: format!("https://localhost:{}/dir", acme.port()),
            dns,
            log: log.clone(),
        };
        let (dns, api) = (dns.to_string(), api.to_string());
        pebble.spawn(
            Command::new(program.with_file_name("pebble-challtestsrv"))
                .args(["-dns01", &dns, "-management", &api])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]),
            &dir.join("dns.log"),
        )?;
        pebble.spawn(
            Command::new(program)
                .arg("-config")
                .arg(&file)
                .args(["-dnsserver", &dns])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_AUTHZREUSE", "0"),
            &log,
        )?;
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(acme).await.is_err() {
            anyhow::ensure!(
                begun.elapsed() < START_TIMEOUT,
                "Pebble does not listen: {}",
                fs::read_to_string(&log)?
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(pebble)
    }

    fn spawn(&mut self, command: &mut Command, log: &Path) -> anyhow::Result<()> {
        let log = fs::File::create(log)?;
        let program = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{}: apt-get install pebble", program.display()))?;
        self.processes.push(child);
        Ok(())
    }

    /// How many orders Pebble has logged.
    fn orders(&self) -> anyhow::Result<usize> {
        let log = fs::read_to_string(&self.log)?;
        Ok(log.lines().filter(|l| l.contains("Added order")).count())
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// A port that was free a moment ago: Pebble and the edge must know each other's port before they start.
fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
