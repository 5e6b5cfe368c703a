//! An edge inside the test process: bound to free ports, run as a task, stopped and restarted.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use linkseal::app::{App, Options};
use linkseal_base::clock::Clock;
use linkseal_config::Config;
use linkseal_control::{Actor, Control, NewDomain};
use linkseal_domain::ssl::{Reason, State};
use linkseal_domain::{DomainName, DomainRecord};
use serde_json::Value as Json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use toml::{Table, Value};

use super::until;

/// The edge's own name.
pub(crate) const EDGE_NAME: &str = "track.edge.test";
/// The secret of its link key, which has id 1.
pub(crate) const LINK_SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// The secret of webhook sinks.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A configuration: values that suit most tests, and what a test changes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    table: Table,
    /// The directory of the configuration, the store and the journal.
    dir: PathBuf,
}

impl Settings {
    /// For an edge that keeps everything in `dir`, resolves through `dns`, and orders from the CA
    /// at `directory`, whose root is in `ca_file`.
    pub(crate) fn new(dir: &Path, dns: SocketAddr, directory: &str, ca_file: &Path) -> Self {
        let text = format!(
            r#"
            [listen]
            http = ["127.0.0.1:0"]
            https = ["127.0.0.1:0"]
            admin = ["127.0.0.1:0"]
            [edge]
            name = "{EDGE_NAME}"
            addresses = ["127.0.0.1"]
            node = "edge-1"
            handshake_wait = "30s"
            drain_delay = "0s"
            drain = "5s"
            probe_interval = "off"
            [acme]
            issue = "on_demand"
            directory = "{directory}"
            accept_terms = true
            ca_file = "{}"
            [store]
            url = "sqlite:linkseal.db"
            [links]
            keys = [{{ id = 1, secret_file = "link-1.key" }}]
            [events]
            dir = "events"
            [[events.sink]]
            name = "archive"
            kind = "file"
            path = "delivered.ndjson"
            types = ["open", "click", "redirect", "unsubscribe", "upstream", "verdict.corrected"]
            [[events.sink]]
            name = "domains"
            kind = "file"
            path = "domains.ndjson"
            types = ["domain.ssl.issued", "domain.ssl.renewed", "domain.ssl.failed", "domain.ssl.expiring", "domain.ssl.expired", "domain.ssl.moved"]
            [dns]
            resolvers = ["{dns}"]
            [log]
            format = "json"
            "#,
            ca_file.display()
        );
        Self {
            table: text.parse().expect("TOML"),
            dir: dir.to_owned(),
        }
    }

    /// Sets one key, given as `section.key`.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let (section, key) = key.split_once('.').expect("section.key");
        self.section(section).insert(key.to_owned(), value.into());
        self
    }

    fn section(&mut self, name: &str) -> &mut Table {
        let section = self.table.entry(name).or_insert_with(|| Table::new().into());
        section.as_table_mut().expect("a section")
    }

    /// Adds an entry to an array of tables, such as `upstream` or `admin.tokens`; `entry` is its keys as TOML.
    pub(crate) fn add(&mut self, list: &str, entry: &str) -> &mut Self {
        let entry: Table = entry.parse().expect("TOML");
        let (table, list) = match list.split_once('.') {
            Some((section, list)) => (self.section(section), list),
            None => (&mut self.table, list),
        };
        let list = table.entry(list).or_insert_with(|| Value::Array(Vec::new()));
        list.as_array_mut().expect("a list").push(entry.into());
        self
    }

    /// Whether the edge orders certificates at all.
    pub(crate) fn issues(&self) -> bool {
        self.table["acme"].get("issue").and_then(Value::as_str) != Some("off")
    }

    /// Writes the file and the secrets it names; returns its path.
    pub(crate) fn write(&self) -> PathBuf {
        write_secret(&self.dir.join("link-1.key"), LINK_SECRET);
        let file = self.dir.join("linkseal.toml");
        fs::write(&file, toml::to_string(&self.table).expect("TOML")).expect("written");
        file
    }

    /// The recipients' events (opens, clicks, …) that the file sink has received.
    pub(crate) fn delivered(&self) -> Vec<Json> {
        delivered_to(&self.dir.join("delivered.ndjson"))
    }

    /// The `domain.ssl.*` events that the file sink has received.
    pub(crate) fn domain_events(&self) -> Vec<Json> {
        delivered_to(&self.dir.join("domains.ndjson"))
    }
}

/// The events in a file sink's file. The last line may still be incomplete: it is left out.
fn delivered_to(file: &Path) -> Vec<Json> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Writes a file that only its owner may read, which linkseal requires of secrets.
pub(crate) fn write_secret(file: &Path, secret: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(file, secret).expect("written");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("mode set");
}

/// A running edge.
pub(crate) struct Edge {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) control: Control,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
    _reload: mpsc::Sender<()>,
}

impl Edge {
    /// Binds and runs an edge; `bound` gets its HTTP and HTTPS addresses before anything is served.
    pub(crate) async fn start(settings: &Settings, clock: &Clock, bound: impl FnOnce(SocketAddr, SocketAddr)) -> Self {
        let file = settings.write();
        let config = Config::load(&file).expect("a good configuration");
        let options = Options {
            clock: clock.clone(),
            config_file: Some(file),
            loopback: true,
            ..Options::default()
        };
        let app = App::bind(config, options).await.expect("bound");
        let (http, https) = (app.addresses().http[0], app.addresses().https[0]);
        let admin = app.addresses().admin[0];
        bound(http, https);
        let control = app.control().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (reload, reloads) = mpsc::channel(1);
        let stopped = async move { drop(stopped.await) };
        Self {
            http,
            https,
            admin,
            control,
            stop: Some(stop),
            running: tokio::spawn(app.run(stopped, reloads)),
            _reload: reload,
        }
    }

    /// Shuts the edge down and waits for it.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        let Self { control, running, .. } = self;
        // The store closes with its last handle.
        drop(control);
        running.await.expect("no panic").expect("a clean shutdown");
    }

    /// Registers a domain.
    pub(crate) async fn register(&self, name: &str) {
        self.register_for(None, name).await;
    }

    /// Registers a domain; without a tenant, its name is its tenant.
    pub(crate) async fn register_for(&self, tenant: Option<&str>, name: &str) {
        let new = NewDomain {
            name: domain(name),
            tenant: tenant.map(str::to_owned),
            sending_domain: None,
            records: None,
        };
        self.control
            .operator()
            .register(new, &operator())
            .await
            .expect("registered");
    }

    /// Verifies a domain as an operator does.
    pub(crate) async fn verify(&self, name: &str) {
        self.control
            .operator()
            .verify(&domain(name), &operator())
            .await
            .expect("verified");
    }

    /// The record of a domain, if it is stored.
    pub(crate) async fn find(&self, name: &str) -> Option<DomainRecord> {
        self.control.store().domain(&domain(name)).await.expect("the store")
    }

    /// The record of a domain that must be stored.
    pub(crate) async fn record(&self, name: &str) -> DomainRecord {
        self.find(name).await.unwrap_or_else(|| panic!("{name} is not stored"))
    }

    /// Waits until a condition holds for a domain's record.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&DomainRecord) -> bool,
    ) -> DomainRecord {
        let mut last = None;
        let label = format!("{name}: {what}");
        let begun = std::time::Instant::now();
        until(&label, async || {
            last = self.find(name).await;
            if begun.elapsed() > super::TIMEOUT.mul_f32(0.95) {
                panic!("{label}: {:#?}", last.as_ref().map(|r| &r.ssl));
            }
            last.clone().filter(&condition)
        })
        .await
    }

    /// Waits until a domain's certificate is stored.
    pub(crate) async fn until_issued(&self, name: &str) -> DomainRecord {
        self.until(name, "issued", |r| r.ssl.state() == State::Issued).await
    }

    /// Waits until a domain's state has this reason.
    pub(crate) async fn until_reason(&self, name: &str, reason: Reason) -> DomainRecord {
        self.until(name, reason.as_str(), |r| r.ssl.reason == reason).await
    }

    /// The event names of a domain's timeline, oldest first.
    pub(crate) async fn timeline(&self, name: &str) -> Vec<String> {
        let lines = self
            .control
            .store()
            .timeline(&domain(name), None, 200)
            .await
            .expect("the store");
        lines.into_iter().rev().map(|l| l.event).collect()
    }
}

pub(crate) fn domain(name: &str) -> DomainName {
    DomainName::parse(name).expect("a name")
}

/// The actor on whose behalf tests act.
pub(crate) fn operator() -> Actor {
    Actor {
        who: "test".into(),
        from: std::net::Ipv4Addr::LOCALHOST.into(),
        tenant: None,
    }
}
