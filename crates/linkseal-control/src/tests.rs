//! Test bench shared by the unit tests of all rooms.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_dns::{Answer, Checker, CheckerSettings, Data, Kind, Lookup, LookupError, Record, Target};
use linkseal_domain::DomainName;
use linkseal_domain::cert::cache::Certificates;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::cert::tickets::TicketKeys;
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_domain::links::{KillSwitches, RedirectCache};
use linkseal_domain::registry::Registry;
use linkseal_issuer::testing;
use linkseal_store::copy::LocalCopy;
use linkseal_store::sqlite::SqliteStore;
use linkseal_store::{AuditEntry, Owner, SharedStore};
use prometheus::Registry as Prometheus;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Actor, CaPool, Clients, CnameSettings, ConfiguredCa, Control, Issue, Limit, Limits, Metrics, Ownership, Parts,
    Settings, audit_entry,
};

/// An empty store, and the directory it is in.
pub(super) fn fresh() -> (SharedStore, TempDir) {
    fresh_at(Clock::system())
}

fn fresh_at(clock: Clock) -> (SharedStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("linkseal.db"), clock, None).unwrap();
    (Arc::new(store), dir)
}

pub(super) fn actor() -> Actor {
    Actor {
        who: "ops".into(),
        from: Ipv4Addr::LOCALHOST.into(),
        tenant: None,
    }
}

/// What every name points to.
const EDGE: &str = "track.platform.example";
/// The only CA, at port 9 (discard) of loopback, where nothing listens.
pub(super) const CA: &str = "https://127.0.0.1:9/directory";

/// DNS in which every name points to the edge, except those whose first label is `missing` or `failing`.
/// Queries for `panics` panic.
struct ScriptedDns;

#[async_trait]
impl Lookup for ScriptedDns {
    async fn lookup(&self, name: &str, kind: Kind) -> Result<Answer, LookupError> {
        if name.starts_with("missing") {
            return Err(LookupError::NxDomain { ttl: Some(60) });
        }
        assert!(!name.starts_with("panics"), "the test wants a panic");
        if name.starts_with("failing") {
            return Err(LookupError::ServFail { text: None });
        }
        if kind != Kind::Cname {
            return Err(LookupError::NoData { ttl: Some(60) });
        }
        let record = Record {
            owner: name.to_owned(),
            ttl: 60,
            data: Data::Name(EDGE.to_owned()),
        };
        Ok(Answer { records: vec![record] })
    }
}

/// A control plane whose background tasks do not run.
pub(super) struct Bench {
    pub(super) control: Control,
    pub(super) clock: Clock,
    pub(super) store: SharedStore,
    dir: Arc<TempDir>,
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::with_cname(None).await
    }

    pub(super) async fn with_cname(cname: Option<CnameSettings>) -> Self {
        let clock = Clock::system();
        let (store, dir) = fresh_at(clock.clone());
        Self::on(store, clock, Arc::new(dir), cname, true, None).await
    }

    /// Another node on the same store.
    pub(super) async fn beside(&self) -> Self {
        let (store, clock, dir) = (Arc::clone(&self.store), self.clock.clone(), Arc::clone(&self.dir));
        Self::on(store, clock, dir, None, true, None).await
    }

    /// Another node, whose registry is not loaded yet.
    pub(super) async fn beside_unloaded(&self) -> Self {
        let (store, clock, dir) = (Arc::clone(&self.store), self.clock.clone(), Arc::clone(&self.dir));
        Self::on(store, clock, dir, None, false, None).await
    }

    /// Another node on the same store, with a copy of its own.
    pub(super) async fn beside_with(&self, copy: &Arc<LocalCopy>, loaded: bool) -> Self {
        let (store, clock, dir) = (Arc::clone(&self.store), self.clock.clone(), Arc::clone(&self.dir));
        Self::on(store, clock, dir, None, loaded, Some(Arc::clone(copy))).await
    }

    /// An empty copy in the bench's directory.
    pub(super) fn copy(&self) -> Arc<LocalCopy> {
        let path = self.dir.path().join("copy.db");
        Arc::new(LocalCopy::open(&path, self.clock.clone()).unwrap())
    }

    async fn on(
        store: SharedStore,
        clock: Clock,
        dir: Arc<TempDir>,
        cname: Option<CnameSettings>,
        loaded: bool,
        copy: Option<Arc<LocalCopy>>,
    ) -> Self {
        let (tasks, prometheus) = (Tasks::new(), Prometheus::new());
        let sealer = Arc::new(Sealer::from_file(&dir.path().join("key"), true).unwrap());
        let issuer = testing::issuer(CA, &store, &sealer, &clock, &prometheus).await;
        let target = Target {
            names: name(EDGE).into(),
            addresses: Vec::new(),
        };
        let checks = CheckerSettings {
            target,
            spf_include: None,
            dkim: Vec::new(),
            dmarc: None,
        };
        let dns_metrics = linkseal_dns::Metrics::register(&prometheus);
        let checker = Checker::new(checks, Arc::new(ScriptedDns), clock.clone(), dns_metrics);
        let limit = |count| Limit {
            count,
            per: Duration::from_secs(3_600),
        };
        let limits = Limits {
            orders_per_account: limit(300),
            per_registered_domain: limit(50),
            failed_per_name: limit(5),
        };
        let registry = Registry::new();
        if loaded {
            registry.set_loaded();
        }
        let owner = Owner::unique();
        let control = Control::new(Parts {
            clock: clock.clone(),
            store: Arc::clone(&store),
            copy,
            sealer,
            registry,
            certificates: Certificates::new(100, 100).0,
            tickets: TicketKeys::new(),
            redirects: RedirectCache::new(1 << 20, 1).0,
            kills: KillSwitches::new(),
            handshake_failures: HandshakeFailures::default(),
            clients: Clients {
                authorities: CaPool::new(ConfiguredCa::new(issuer, limits), Vec::new()),
                checker: Arc::new(checker),
                asker: None,
                preflight: None,
            },
            settings: Settings {
                issue: Issue::OnRegister,
                names: name(EDGE).into(),
                recheck: Duration::from_secs(86_400),
                departed_after: Duration::from_secs(30 * 86_400),
                probe: None,
                cname,
                ownership: Ownership::default(),
                max_domains_per_tenant: Some(100),
                rejected_capacity: 0,
            },
            owner,
            node: Some(crate::NodeOfFleet {
                name: format!("edge-{owner}"),
                former: None,
                version: "1".into(),
            }),
            max_concurrent_orders: 4,
            tasks,
            metrics: Metrics::register(&prometheus).unwrap(),
        });
        // No follower runs: a test that needs one has its own, and the others work as if it kept up.
        control.core.lag.caught_up(Duration::from_secs(u64::from(u32::MAX)));
        Self {
            control,
            clock,
            store,
            dir,
        }
    }

    pub(super) fn audit(&self, action: &str, name: &DomainName) -> AuditEntry {
        let now = self.clock.now();
        audit_entry(&actor(), now, action, name.to_string(), Value::Null, Value::Null)
    }

    /// Makes every access to stored domains fail.
    pub(super) fn break_store(&self) {
        self.sql("PRAGMA foreign_keys = OFF; DROP TABLE domains");
    }

    /// Changes the store behind its back.
    pub(super) fn sql(&self, batch: &str) {
        let db = rusqlite::Connection::open(self.dir.path().join("linkseal.db")).unwrap();
        db.execute_batch(batch).unwrap();
    }
}

pub(super) fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}
