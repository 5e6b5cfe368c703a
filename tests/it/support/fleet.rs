//! A fleet: nodes with a directory each, one PostgreSQL database, one CA, one DNS server, and HAProxy in front. The CA
//! validates through HAProxy, so any node may have to answer a challenge. Tests reach a node through HAProxy, which
//! speaks the PROXY protocol, or directly, without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_devca::{DevCa, DevCaConfig};
use linkseal_dns::Kind as Record;
use linkseal_dns::testing::DnsServer;
use linkseal_peers::haproxy::{self, BackEnd, Haproxy};
use linkseal_peers::ports::free_port;
use linkseal_peers::postgres::{Database, Server};
use rustls::ClientConfig;
use tempfile::TempDir;
use toml::Value;

use super::client::{self, Web};
use super::edge::{EDGE_NAME, Edge, Settings, write_secret};
use super::process::Process;
use super::until;
use super::world::{Links, log};

/// What the issue asks of a change: it is in force on every node after this.
pub(crate) const EVERYWHERE: Duration = Duration::from_secs(2);

/// What the nodes of a fleet share, and the configuration of each. Nodes are numbered from 0.
pub(crate) struct Fleet {
    pub(crate) settings: Vec<Settings>,
    pub(crate) balancer: Haproxy,
    pub(crate) ca: DevCa,
    /// The CA's clock. The nodes use the system's.
    pub(crate) ca_clock: Clock,
    _dns: DnsServer,
    pub(crate) database: Database,
    dir: TempDir,
    _tasks: Tasks,
}

impl Fleet {
    /// A fleet of this many nodes, none of which runs yet. A domain's certificate is ordered when it is registered.
    pub(crate) async fn new(nodes: usize) -> Self {
        log();
        let (ca_clock, tasks) = (Clock::system(), Tasks::new());
        let mut config = DevCaConfig::new(ca_clock.clone());
        // Its certificates are valid for the nodes, whose clock stays behind when a test advances the CA's.
        config.backdate = Duration::from_secs(86_400);
        let ca = DevCa::start(config, &tasks).await.expect("a CA");
        let dns = DnsServer::start(&tasks).await.expect("a DNS server");
        dns.add(EDGE_NAME, Record::A, "127.0.0.1");
        dns.add("*.test", Record::Cname, EDGE_NAME);
        let database = Server::shared().await.database().await;
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("ca.pem"), ca.root_pem()).expect("written");
        write_secret(&dir.path().join("sealing.key"), &"5e".repeat(32));
        // A node comes back on its ports after a restart.
        let back_ends: Vec<BackEnd> = (0..nodes)
            .map(|_| BackEnd {
                http: free_port(),
                https: free_port(),
                health: free_port(),
            })
            .collect();
        let balancer = Haproxy::start("/readyz", &back_ends).await;
        // The first node orders the fleet's own name before HAProxy knows that it is there.
        ca.set_http_port(back_ends[0].http.port());
        ca.set_https_port(back_ends[0].https.port());
        let mut settings = Vec::new();
        for (i, ports) in back_ends.iter().enumerate() {
            let node = node_dir(dir.path(), i);
            fs::create_dir(&node).expect("a node's directory");
            let mut own = Settings::new(&node, dns.address(), &ca.directory_url(), &dir.path().join("ca.pem"));
            let list = |address: String| Value::Array(vec![address.into()]);
            own.set("listen.http", list(ports.http.to_string()))
                .set("listen.https", list(ports.https.to_string()))
                .set("listen.health", list(ports.health.to_string()))
                .set("listen.proxy_protocol_from", list(format!("{}/32", haproxy::SOURCE)))
                .set("edge.node", node_name(i))
                .set("acme.issue", "on_register")
                .set("acme.preflight", false)
                .set("store.url", database.url())
                .set("store.key_file", dir.path().join("sealing.key").display().to_string());
            settings.push(own);
        }
        Self {
            settings,
            balancer,
            ca,
            ca_clock,
            _dns: dns,
            database,
            dir,
            _tasks: tasks,
        }
    }

    /// Sets a key of every node's configuration.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        for settings in &mut self.settings {
            settings.set(key, value.clone());
        }
        self
    }

    /// Starts a node inside the test's process.
    pub(crate) async fn edge(&self, node: usize) -> Edge {
        Edge::start(&self.settings[node], &Clock::system(), |_, _| {}).await
    }

    /// Starts all nodes inside the test's process, and waits until they are in rotation and the fleet's own name has a
    /// certificate: from then on nothing happens that the test did not cause.
    pub(crate) async fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for node in 0..self.settings.len() {
            edges.push(self.edge(node).await);
        }
        edges[0].until_issued(EDGE_NAME).await;
        self.put_in_rotation().await;
        edges
    }

    /// Starts a node as a process of its own.
    pub(crate) async fn process(&self, node: usize) -> Process {
        Process::serve(&self.settings[node].write()).await
    }

    /// As [`Self::edges`], with processes.
    pub(crate) async fn processes(&self) -> Vec<Process> {
        let mut processes = Vec::new();
        for node in 0..self.settings.len() {
            processes.push(self.process(node).await);
        }
        processes[0].until_state(EDGE_NAME, "issued").await;
        self.put_in_rotation().await;
        processes
    }

    /// From now on the CA may reach any node.
    async fn put_in_rotation(&self) {
        self.until_all_up().await;
        self.ca.set_http_port(self.balancer.http().port());
        self.ca.set_https_port(self.balancer.https().port());
    }

    /// Waits until HAProxy has every node in rotation.
    pub(crate) async fn until_all_up(&self) {
        let all: Vec<usize> = (0..self.settings.len()).collect();
        self.balancer.until_up(&all).await;
    }

    /// The directory of a node's configuration, journal and copy.
    pub(crate) fn node_dir(&self, node: usize) -> PathBuf {
        node_dir(self.dir.path(), node)
    }

    /// A client that trusts the CA and resumes no session.
    pub(crate) fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        Arc::new(client::tls_with_clock(self.ca.root_pem(), alpn, &Clock::system()))
    }

    /// Whether all nodes serve a domain's links.
    pub(crate) async fn is_known_to(&self, edges: &[Edge], name: &str) -> bool {
        let open = Links::of(name, &self.ca_clock).open();
        for edge in edges {
            let url = format!("http://{}{open}", edge.http);
            let answer = Web::plain().call("GET", &url, None, &[("host", name)]).await;
            if answer.expect("an answer").status == 404 {
                return false;
            }
        }
        true
    }

    /// Waits until every node serves a certificate of this name; returns its serial number, which must be the same.
    pub(crate) async fn until_served_by_all(&self, edges: &[Edge], name: &str) -> String {
        let client = self.client(&[]);
        until(&format!("all serve {name}"), async || {
            let mut serials = Vec::new();
            for edge in edges {
                let session = client::handshake(edge.https, name, &client).await.ok()?;
                serials.push(client::serial(&session));
            }
            serials.dedup();
            (serials.len() == 1).then(|| serials.remove(0))
        })
        .await
    }

    /// Ends the leases of a node's process at once, as if their time had passed.
    pub(crate) async fn end_leases(&self) {
        self.database
            .sql("UPDATE linkseal.work SET until = linkseal.now_ms(), due_at = linkseal.now_ms() WHERE until > linkseal.now_ms()")
            .await;
    }
}

/// Waits for a condition that must hold within [`EVERYWHERE`].
pub(crate) async fn everywhere<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let met = until(what, async || condition().await).await;
    let taken = begun.elapsed();
    assert!(taken < EVERYWHERE, "{what}: {taken:?}");
    met
}

/// `edge.node` of a node.
pub(crate) fn node_name(node: usize) -> String {
    format!("node-{node}")
}

fn node_dir(fleet: &Path, node: usize) -> PathBuf {
    fleet.join(node_name(node))
}
