//! `linkseal demo`: a complete edge on loopback, with an in-process ACME CA. Its directory contains what a real
//! installation has: a configuration, keys, a store, a journal.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use linkseal_base::clock::Clock;
use linkseal_base::random;
use linkseal_base::shutdown::Tasks;
use linkseal_config::Config;
use linkseal_control::{Actor, NewDomain};
use linkseal_devca::{DevCa, DevCaConfig};
use linkseal_dns::ResolverSettings;
use linkseal_domain::DomainName;
use linkseal_domain::cert::sealed::write_private;
use linkseal_event::Follower;
use linkseal_link::{Destination, Kind, LinkKey, Message, Minter, url};
use linkseal_net::listener::Inherited;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{App, Options};

/// The demo's customers; every name in `localhost` is loopback (RFC 6761 §6.3).
const DOMAINS: [&str; 3] = ["links.acme.localhost", "go.shop.localhost", "news.club.localhost"];
const EDGE_NAME: &str = "track.localhost";
/// The HTTPS and admin ports, counted from the base (docs/specification.md §2).
const HTTPS_OFFSET: u16 = 363;
const ADMIN_OFFSET: u16 = 1_000;
/// How many ports are tried, the requested one included.
const PORTS_TRIED: u16 = 100;
/// How long to wait for the CA to stop.
const CA_END: Duration = Duration::from_secs(5);

/// How to use the demo; printed as one line of JSON with `--json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DemoInfo {
    /// Base URL of plain HTTP.
    pub(crate) http: String,
    /// Base URL of HTTPS, for use with a domain's name and `curl --resolve`.
    pub(crate) https: String,
    /// Base URL of the admin API.
    pub(crate) admin: String,
    /// The root certificate to trust.
    pub(crate) ca_file: PathBuf,
    /// The bearer token of the admin API.
    pub(crate) token: String,
    /// The registered domains.
    pub(crate) domains: Vec<String>,
    /// An open link of the first domain.
    pub(crate) open_url: String,
    /// A click link of the first domain.
    pub(crate) click_url: String,
    /// The file that events are delivered to; `%Y-%m-%d` stands for the day.
    pub(crate) events: PathBuf,
}

/// A demo that is bound and registered.
pub(crate) struct Demo {
    app: App,
    ca: Tasks,
    pub(crate) info: DemoInfo,
}

impl Demo {
    /// Sets up a demo in a directory; existing keys and a store there are used again.
    pub(crate) async fn bind(dir: &Path, port_base: u16) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| {
            format!(
                "--dir: {} cannot be created; give a directory that this user may write to",
                dir.display()
            )
        })?;
        let dir = dir.canonicalize()?;
        let clock = Clock::system();
        let http = free_port(port_base)?;
        let https = free_port(port_base.saturating_add(HTTPS_OFFSET))?;
        let admin = free_port(port_base.saturating_add(ADMIN_OFFSET))?;

        let ca_tasks = Tasks::new();
        let ca = DevCa::start(
            DevCaConfig {
                http_port: http,
                https_port: https,
                state_dir: Some(dir.clone()),
                ..DevCaConfig::new(clock.clone())
            },
            &ca_tasks,
        )
        .await
        .context("the development CA")?;
        let ca_file = dir.join("ca.pem");
        fs::write(&ca_file, ca.root_pem())?;

        let link_key = secret(&dir.join("link-1.key"))?;
        let token = secret(&dir.join("admin.token"))?;
        let file = dir.join("linkseal.toml");
        fs::write(&file, configuration(http, https, admin, &ca.directory_url()))?;
        let config = Config::load(&file)?;
        let options = Options {
            clock: clock.clone(),
            config_file: Some(file),
            inherited: Inherited::default(),
            log: None,
            loopback: true,
            // Names in localhost are never looked up, and no others are used.
            dns: ResolverSettings {
                resolvers: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))],
                ..ResolverSettings::default()
            },
        };
        let app = App::bind(config, options).await?;
        let actor = Actor {
            who: "demo".into(),
            from: Ipv4Addr::LOCALHOST.into(),
            tenant: None,
        };
        for name in DOMAINS {
            let new = NewDomain {
                name: DomainName::parse(name)?,
                tenant: None,
                sending_domain: None,
                records: None,
            };
            app.control().operator().register(new, &actor).await?;
        }

        let [first, ..] = DOMAINS;
        let minter = Minter::new(&LinkKey::from_hex(1, &link_key)?, first);
        let message = Message {
            id: Uuid::new_v4(),
            issued_at: u32::try_from(clock.now().as_secs()).unwrap_or(u32::MAX),
        };
        let base = format!("https://{first}:{https}");
        let destination = Destination::new("https://example.com/welcome?utm_source=demo")?;
        let info = DemoInfo {
            http: format!("http://127.0.0.1:{http}"),
            https: format!("https://127.0.0.1:{https}"),
            admin: format!("http://127.0.0.1:{admin}"),
            ca_file,
            token,
            domains: DOMAINS.map(str::to_owned).to_vec(),
            open_url: url(&base, Kind::Open, &minter.open(&message)),
            click_url: url(&base, Kind::Click, &minter.click(&message, 1, &destination)),
            events: dir.join("delivered/%Y-%m-%d.ndjson"),
        };
        Ok(Self {
            app,
            ca: ca_tasks,
            info,
        })
    }

    /// Serves until `stop` resolves. `say` is called with a line for each certificate and each event.
    pub(crate) async fn run(
        self,
        stop: impl Future<Output = ()>,
        reload: tokio::sync::mpsc::Receiver<()>,
        say: impl FnMut(&str),
    ) -> anyhow::Result<()> {
        let narration = narrate(self.app.journal.follow(None), say);
        let result = tokio::select! {
            result = self.app.run(stop, reload) => result,
            never = narration => match never {},
        };
        self.ca.stop();
        self.ca.wait(CA_END).await;
        result
    }
}

/// Follows the journal; a line for each certificate and each event.
async fn narrate(mut journal: Follower, mut say: impl FnMut(&str)) -> Infallible {
    while let Ok(records) = journal.next().await {
        for record in records {
            if let Some(line) = serde_json::from_slice(&record.json).ok().and_then(|event| line(&event)) {
                say(&line);
            }
        }
    }
    std::future::pending().await
}

/// An event as a line; `None` for one without a domain.
fn line(event: &Value) -> Option<String> {
    let text = |key: &str| event.pointer(key).and_then(Value::as_str);
    let domain = text("/domain")?;
    let kind = text("/type")?;
    Some(match kind {
        "domain.ssl.issued" | "domain.ssl.renewed" => {
            let until = text("/ssl/not_after")
                .map(|t| format!(", valid until {t}"))
                .unwrap_or_default();
            format!("-> certificate issued for {domain}{until}")
        }
        _ if kind.starts_with("domain.") => format!("-> {kind}: {domain}"),
        _ => {
            let class = text("/verdict/class")
                .map(|class| format!(", by: {class}"))
                .unwrap_or_default();
            let url = text("/url").map(|url| format!(" to {url}")).unwrap_or_default();
            format!("-> event: {kind} at {domain}{url}{class}")
        }
    })
}

fn configuration(http: u16, https: u16, admin: u16, directory: &str) -> String {
    // Browsers try ::1 first for names in localhost, but not every machine has it.
    let listen = |port: u16| {
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok();
        let v6 = if v6 {
            format!(", \"[::1]:{port}\"")
        } else {
            String::new()
        };
        format!("\"127.0.0.1:{port}\"{v6}")
    };
    let (http_listen, https_listen) = (listen(http), listen(https));
    format!(
        r#"# Made by `linkseal demo`.
[listen]
http = [{http_listen}]
https = [{https_listen}]
admin = ["127.0.0.1:{admin}"]

[edge]
name = "{EDGE_NAME}"
addresses = ["127.0.0.1", "::1"]
public_https_port = {https}
probe_address = "127.0.0.1:{https}"
max_connections = 500
drain_delay = "0s"
drain = "5s"

[acme]
issue = "on_demand"                 # the first handshake obtains the certificate
directory = "{directory}"
accept_terms = true
ca_file = "ca.pem"

[store]
url = "sqlite:linkseal.db"

[links]
keys = [{{ id = 1, secret_file = "link-1.key" }}]

[events]
dir = "events"
[[events.sink]]
name = "archive"
kind = "file"
path = "delivered/%Y-%m-%d.ndjson"

[admin]
tokens = [{{ name = "demo", role = "admin", secret_file = "admin.token" }}]
"#
    )
}

/// Reads a secret of 32 bytes as hexadecimal digits; creates it if the file does not exist.
fn secret(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let text = hex::encode(random::bytes::<32>());
            write_private(path, text.as_bytes())?;
            Ok(text)
        }
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// The requested port, or the next free one.
fn free_port(requested: u16) -> anyhow::Result<u16> {
    (requested..requested.saturating_add(PORTS_TRIED))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .with_context(|| {
            format!(
                "no free port from {requested} to {}: give another --port-base",
                requested.saturating_add(PORTS_TRIED - 1)
            )
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn certificates_and_events_are_shown_as_one_line_each() {
        for (event, expected) in [
            (
                json!({"type": "domain.ssl.issued", "domain": "a.localhost", "ssl": {"not_after": "2026-12-01T00:00:00Z"}}),
                "-> certificate issued for a.localhost, valid until 2026-12-01T00:00:00Z",
            ),
            (
                json!({"type": "click", "domain": "a.localhost", "url": "https://x.example/", "verdict": {"class": "scanner"}}),
                "-> event: click at a.localhost to https://x.example/, by: scanner",
            ),
            (
                json!({"type": "open", "domain": "a.localhost"}),
                "-> event: open at a.localhost",
            ),
        ] {
            assert_eq!(line(&event).as_deref(), Some(expected));
        }
    }
}
