//! An edge with a development CA, a DNS server and clients, all on one clock.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::shutdown::Tasks;
use linkseal_devca::{DevCa, DevCaConfig, Faults};
use linkseal_dns::Kind as Record;
use linkseal_dns::testing::DnsServer;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{Reason, State};
use linkseal_link::{Destination, LinkKey, Message, Minter};
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use toml::Value;
use uuid::Uuid;

use super::client::{self, Answer};
use super::edge::{EDGE_NAME, Edge, LINK_SECRET, Settings, WEBHOOK_SECRET, write_secret};
use super::process::Process;
use super::until;

/// A world before its edge starts: a running CA and DNS server, and the edge's configuration.
pub(crate) struct Plan {
    pub(crate) dir: TempDir,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) ca: DevCa,
    pub(crate) dns: DnsServer,
    tasks: Tasks,
}

/// A running edge with everything around it.
pub(crate) struct World {
    pub(crate) edge: Edge,
    pub(crate) clock: Clock,
    pub(crate) ca: DevCa,
    pub(crate) dns: DnsServer,
    pub(crate) settings: Settings,
    dir: TempDir,
    /// The tasks of the CA and the DNS server.
    tasks: Tasks,
}

impl Plan {
    /// Starts the CA and the DNS server, where every name below `test` points to the edge.
    pub(crate) async fn new() -> Self {
        Self::with_ca(|_| {}).await
    }

    /// As [`Self::new`], for an edge that orders a certificate as soon as a domain is registered.
    pub(crate) async fn on_register() -> Self {
        Self::new().await.set("acme.issue", "on_register")
    }

    /// As [`Self::new`], for an edge in a process of its own. It uses the system's clock while a test
    /// advances the CA's, so the CA's certificates are valid from a day before they are issued.
    pub(crate) async fn with_backdated_ca() -> Self {
        Self::with_ca(|ca| ca.backdate = Duration::from_secs(86_400)).await
    }

    /// As [`Self::new`], after a change to the CA's configuration.
    pub(crate) async fn with_ca(change: impl FnOnce(&mut DevCaConfig)) -> Self {
        log();
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let mut config = DevCaConfig::new(clock.clone());
        change(&mut config);
        let ca = DevCa::start(config, &tasks).await.expect("a CA");
        let dns = DnsServer::start(&tasks).await.expect("a DNS server");
        dns.add(EDGE_NAME, Record::A, "127.0.0.1");
        dns.add("*.test", Record::Cname, EDGE_NAME);
        let dir = tempfile::tempdir().expect("a directory");
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, ca.root_pem()).expect("written");
        let settings = Settings::new(dir.path(), dns.address(), &ca.directory_url(), &ca_file);
        Self {
            dir,
            settings,
            clock,
            ca,
            dns,
            tasks,
        }
    }

    /// Sets a key of the edge's configuration.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.settings.set(key, value);
        self
    }

    /// Starts the edge as a process, where the CA then looks for challenges.
    pub(crate) async fn serve(&self) -> Process {
        self.serve_with(|_| {}).await
    }

    /// As [`Self::serve`], after a change to the command.
    pub(crate) async fn serve_with(&self, change: impl FnOnce(&mut Command)) -> Process {
        let process = Process::serve_with(&self.settings.write(), change).await;
        self.ca.set_http_port(process.http.port());
        self.ca.set_https_port(process.https.port());
        process
    }

    /// A client that trusts the CA.
    pub(crate) fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        Arc::new(client::tls(self.ca.root_pem(), alpn))
    }

    /// Adds an entry to an array of tables of the edge's configuration; `entry` is its keys as TOML.
    pub(crate) fn add(mut self, list: &str, entry: &str) -> Self {
        self.settings.add(list, entry);
        self
    }

    /// Adds a token for the admin API; `scope` is more keys of its entry as TOML.
    pub(crate) fn add_token(self, name: &str, role: &str, secret: &str, scope: &str) -> Self {
        write_secret(&self.dir.path().join(format!("{name}.token")), secret);
        let entry = format!("name = \"{name}\"\nrole = \"{role}\"\nsecret_file = \"{name}.token\"\n{scope}");
        self.add("admin.tokens", &entry)
    }

    /// Adds a webhook sink to a receiver on this machine, signed with [`WEBHOOK_SECRET`].
    pub(crate) fn add_webhook(self, name: &str, url: &str, types: &[&str]) -> Self {
        write_secret(&self.dir.path().join("webhook.key"), WEBHOOK_SECRET);
        let sink = format!(
            "name = \"{name}\"\nkind = \"webhook\"\nurl = \"{url}\"\nsecret_files = [\"webhook.key\"]\n\
             allow_private = true\ntypes = {types:?}"
        );
        self.add("events.sink", &sink)
    }

    /// Makes the CA offer no renewal information (RFC 9773), so that the certificate's lifetime alone
    /// decides when it is renewed.
    pub(crate) fn without_renewal_info(self) -> Self {
        self.faults().set_ari_off(true);
        self
    }

    /// The CA's faults, effective before the edge starts.
    pub(crate) fn faults(&self) -> Arc<Faults> {
        self.ca.faults()
    }

    /// Starts the edge and waits until its own name has a certificate: from then on nothing happens
    /// that the test did not cause.
    pub(crate) async fn start(self) -> World {
        let world = self.start_at_once().await;
        if world.settings.issues() {
            world.edge.until_issued(EDGE_NAME).await;
        }
        world
    }

    /// Starts the edge without waiting for a certificate.
    pub(crate) async fn start_at_once(self) -> World {
        let edge = start(&self.settings, &self.clock, &self.ca).await;
        World {
            edge,
            clock: self.clock,
            ca: self.ca,
            dns: self.dns,
            settings: self.settings,
            dir: self.dir,
            tasks: self.tasks,
        }
    }
}

async fn start(settings: &Settings, clock: &Clock, ca: &DevCa) -> Edge {
    Edge::start(settings, clock, |http, https| {
        ca.set_http_port(http.port());
        ca.set_https_port(https.port());
    })
    .await
}

impl World {
    /// A world with the usual configuration.
    pub(crate) async fn start() -> Self {
        Plan::new().await.start().await
    }

    /// Stops the edge and starts another in the same directory.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_| {}).await
    }

    /// As [`Self::restart`], with a change to the directory in between.
    pub(crate) async fn restart_after(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self {
            edge,
            clock,
            ca,
            dns,
            settings,
            dir,
            tasks,
        } = self;
        edge.stop().await;
        meanwhile(dir.path());
        let edge = start(&settings, &clock, &ca).await;
        Self {
            edge,
            clock,
            ca,
            dns,
            settings,
            dir,
            tasks,
        }
    }

    /// The CA's faults.
    pub(crate) fn faults(&self) -> Arc<Faults> {
        self.ca.faults()
    }

    /// The directory of the configuration, the store and the journal.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A client that trusts the CA, uses the same clock and resumes no session.
    pub(crate) fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        Arc::new(client::tls_with_clock(self.ca.root_pem(), alpn, &self.clock))
    }

    /// A full handshake for a name.
    pub(crate) async fn handshake(&self, name: &str) -> io::Result<TlsStream<TcpStream>> {
        client::handshake(self.edge.https, name, &self.client(&[])).await
    }

    /// One request to a name over TLS and HTTP/2.
    pub(crate) async fn fetch(&self, name: &str, path: &str) -> Result<Answer, String> {
        client::fetch(self.edge.https, name, path, &self.client(&[b"h2"])).await
    }

    /// The serial number of the certificate served for a name.
    pub(crate) async fn served(&self, name: &str) -> String {
        client::serial(&self.handshake(name).await.expect("a handshake"))
    }

    /// Waits until this certificate is served, which is shortly after it is stored.
    pub(crate) async fn until_served(&self, name: &str, serial: &str) {
        until(&format!("the new certificate of {name} is served"), async || {
            (self.served(name).await == serial).then_some(())
        })
        .await;
    }

    /// Advances the clock to `at`, if that is in the future.
    pub(crate) fn advance_to(&self, at: Timestamp) {
        self.clock.advance(at.saturating_since(self.clock.now()));
    }

    /// Advances the clock until `at` has just passed.
    pub(crate) fn advance_past(&self, at: Timestamp) {
        self.advance_to(at + Duration::from_millis(1));
    }

    /// Advances the clock to a domain's next attempt.
    pub(crate) async fn advance_to_next_attempt(&self, name: &str) {
        self.advance_past(next_attempt(&self.edge.record(name).await));
    }

    /// Advances the clock from one attempt to the next until a domain is issued.
    pub(crate) async fn advance_until_issued(&self, name: &str) -> DomainRecord {
        until(&format!("{name} is issued"), async || {
            let record = self.edge.record(name).await;
            if record.ssl.state() == State::Issued {
                return Some(record);
            }
            if !is_busy(&record) {
                self.advance_to_next_attempt(name).await;
            }
            None
        })
        .await
    }

    /// Links of a domain.
    pub(crate) fn links(&self, name: &str) -> Links {
        Links::of(name, &self.clock)
    }
}

/// When a domain's next attempt is due.
pub(crate) fn next_attempt(record: &DomainRecord) -> Timestamp {
    record
        .ssl
        .next_attempt
        .unwrap_or_else(|| panic!("no next attempt: {:?}", record.ssl))
}

/// Whether an order is in progress or queued.
pub(crate) fn is_busy(record: &DomainRecord) -> bool {
    record.ssl.reason.is_in_progress() || record.ssl.reason == Reason::Queued
}

/// Paths of links as a platform mints them.
pub(crate) struct Links {
    minter: Minter,
    message: Message,
}

impl Links {
    /// For a domain that is its own tenant.
    pub(crate) fn of(name: &str, clock: &Clock) -> Self {
        let key = LinkKey::from_hex(1, LINK_SECRET).expect("a key");
        Self {
            minter: Minter::new(&key, name),
            message: Message {
                id: Uuid::new_v4(),
                issued_at: u32::try_from(clock.now().as_secs()).expect("a time before 2106"),
            },
        }
    }

    /// The message that they belong to, which events name.
    pub(crate) fn message_id(&self) -> Uuid {
        self.message.id
    }

    pub(crate) fn open(&self) -> String {
        format!("/o/{}.gif", self.minter.open(&self.message))
    }

    pub(crate) fn click(&self, destination: &str) -> String {
        let destination = Destination::new(destination).expect("a destination");
        format!("/c/{}", self.minter.click(&self.message, 3, &destination))
    }
}

/// Shows the log of a failing test at the level that `RUST_LOG` selects.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // The first test of the process installs the subscriber for all.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init(),
    );
}
