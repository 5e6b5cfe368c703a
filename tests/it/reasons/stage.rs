//! The stage for a scenario: Pebble, a DNS server and an edge.

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_control::Patch;
use linkseal_dns::Kind as Record;
use linkseal_dns::testing::DnsServer;
use linkseal_domain::messages;
use linkseal_domain::ssl::Reason;
use tempfile::TempDir;

use crate::support::edge::{EDGE_NAME, Edge, Settings, domain, operator};
use crate::support::gate::Gate;
use crate::support::pebble::{Options, Pebble};

/// The customer's domain.
pub(super) const NAME: &str = "links.customer.test";

/// Pebble, a DNS server and an edge, with gates between Pebble and the edge.
pub(super) struct Stage {
    pub(super) pebble: Pebble,
    pub(super) dns: DnsServer,
    pub(super) edge: Edge,
    pub(super) clock: Clock,
    pub(super) settings: Settings,
    /// In front of the CA's API.
    pub(super) api: Gate,
    /// In front of the edge's port 80, where the CA asks for challenges.
    pub(super) challenges: Gate,
    /// The reasons seen so far.
    pub(super) shown: Vec<Reason>,
    pub(super) dir: TempDir,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(Options::default(), |_| {}).await
    }

    pub(super) async fn with(options: Options, configure: impl FnOnce(&mut Settings)) -> Self {
        let (clock, dir) = (Clock::system(), tempfile::tempdir().expect("a directory"));
        let dns = DnsServer::start(&Tasks::new()).await.expect("a DNS server");
        dns.add(EDGE_NAME, Record::A, "127.0.0.1");
        let challenges = Gate::stalled(0).await;
        let options = Options {
            dns: Some(dns.address()),
            ..options
        };
        let pebble = Pebble::start(challenges.port, options).await;
        let api = Gate::stalled(0).await;
        api.open(pebble.address());
        let directory = format!("https://localhost:{}/dir", api.port);
        let mut settings = Settings::new(dir.path(), dns.address(), &directory, &pebble.ca_file());
        // DNS has addresses of real hosts in these tests: the pre-flight must not connect to them.
        settings
            .set("acme.issue", "on_register")
            .set("acme.preflight_address", "127.0.0.1:1");
        configure(&mut settings);
        let edge = Edge::start(&settings, &clock, |_, _| {}).await;
        challenges.open(edge.http);
        Self {
            pebble,
            dns,
            edge,
            clock,
            settings,
            api,
            challenges,
            shown: Vec::new(),
            dir,
        }
    }

    /// Waits for the certificate of the edge's own name, so that all further orders are the scenario's.
    pub(super) async fn ready(self) -> Self {
        self.edge.until_issued(EDGE_NAME).await;
        self
    }

    /// How many orders Pebble has received.
    pub(super) fn orders(&self) -> usize {
        self.pebble.log().matches("Added order").count()
    }

    /// Points the name to the edge.
    pub(super) fn point_here(&self, name: &str) {
        self.dns.add(name, Record::Cname, EDGE_NAME);
    }

    /// Waits until a domain has a reason, and checks that its message is a complete sentence in both languages.
    pub(super) async fn expect_reason(&mut self, name: &str, reason: Reason) {
        let record = self.edge.until_reason(name, reason).await;
        let text = messages::message(&record, self.edge.control.messages().borrow());
        for sentence in [&text.en, &text.de] {
            assert!(
                !sentence.is_empty() && !sentence.contains(['{', '…']),
                "{reason:?}: {sentence}"
            );
        }
        assert_eq!(record.ssl.state(), reason.state());
        self.shown.push(reason);
    }

    /// Advances the clock to the next attempt.
    pub(super) async fn advance_to_next(&self, name: &str) {
        let record = self.edge.record(name).await;
        let next = record.ssl.next_attempt.expect("a time for the next attempt");
        self.clock.advance(next.saturating_since(self.clock.now()));
    }

    /// Changes the domain's settings.
    pub(super) async fn patch(&self, patch: serde_json::Value) {
        let patch: Patch = serde_json::from_value(patch).expect("a patch");
        let changed = self
            .edge
            .control
            .operator()
            .patch(&domain(NAME), patch, &operator())
            .await;
        changed.expect("changed");
    }
}
