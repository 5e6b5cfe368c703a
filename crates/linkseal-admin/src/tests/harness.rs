//! The admin port of one node and what it needs.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode};
use linkseal_base::clock::Clock;
use linkseal_base::metrics::MetricsHub;
use linkseal_base::shutdown::Tasks;
use linkseal_config::AdminToken;
use linkseal_control::{CaPool, Clients, ConfiguredCa, Control, Issue, Limit, Limits};
use linkseal_dns::{Answer, CaIdentity, Checker, CheckerSettings, Data, Kind, Lookup, LookupError, Record, Target};
use linkseal_domain::cert::cache::Certificates;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::cert::tickets::TicketKeys;
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_domain::links::{KillSwitches, RedirectCache};
use linkseal_domain::registry::Registry;
use linkseal_event::{Activity, Delivery, Durability, Eraser, Event, EventSettings, EventType, IpPrivacy, Journal};
use linkseal_issuer::testing;
use linkseal_link::{LinkKey, LinkKeys};
use linkseal_store::SharedStore;
use linkseal_store::sqlite::SqliteStore;
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use super::call::{Call, Reply};
use super::{EDGE, name};
use crate::{Admin, PagesKey, Parts, Settings, bind};

/// DNS in which names that begin with `right` point to the edge, and others do not exist. TXT records
/// are those that a test adds; the servers of names below `dead.example` fail.
#[derive(Clone, Default)]
pub(super) struct NameBasedDns {
    pub(super) texts: Arc<Mutex<HashMap<String, String>>>,
}

#[async_trait]
impl Lookup for NameBasedDns {
    async fn lookup(&self, name: &str, kind: Kind) -> Result<Answer, LookupError> {
        if kind == Kind::Txt && name.ends_with("dead.example") {
            return Err(LookupError::ServFail { text: None });
        }
        if let Some(text) = self.texts.lock().get(name).filter(|_| kind == Kind::Txt) {
            let record = Record {
                owner: name.to_owned(),
                ttl: 60,
                data: Data::Txt(text.clone()),
            };
            return Ok(Answer { records: vec![record] });
        }
        if name.starts_with("inside.") && kind == Kind::A {
            let record = Record {
                owner: name.to_owned(),
                ttl: 60,
                data: Data::Address([10, 1, 2, 3].into()),
            };
            return Ok(Answer { records: vec![record] });
        }
        if name.starts_with("inside.") {
            return Err(LookupError::NoData { ttl: Some(60) });
        }
        if name.starts_with("elsewhere.") && kind == Kind::Cname {
            let record = Record {
                owner: name.to_owned(),
                ttl: 60,
                data: Data::Name("other.example".to_owned()),
            };
            return Ok(Answer { records: vec![record] });
        }
        if name.starts_with("elsewhere.") {
            return Err(LookupError::NoData { ttl: Some(60) });
        }
        if !name.starts_with("right") {
            return Err(LookupError::NxDomain { ttl: Some(60) });
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

/// The DNS of a harness.
#[derive(Default)]
pub(super) struct Dns {
    /// Instead of [`NameBasedDns`].
    pub(super) lookup: Option<Arc<dyn Lookup>>,
    /// The edge's configured addresses.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) cas: Vec<CaIdentity>,
}

pub(super) struct Harness {
    pub(super) address: SocketAddr,
    pub(super) health: SocketAddr,
    pub(super) control: Control,
    pub(super) checker: Arc<Checker>,
    pub(super) journal: Journal,
    pub(super) delivery: Delivery,
    pub(super) events: EventSettings,
    pub(super) registry: Registry,
    pub(super) certificates: Certificates,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) admin: Admin,
    pub(super) tasks: Tasks,
    pub(super) clock: Clock,
    pub(super) store: SharedStore,
    pub(super) dns: NameBasedDns,
    pub(super) dir: TempDir,
}

impl Harness {
    pub(super) async fn start(tokens: Vec<AdminToken>) -> Self {
        Self::start_at("127.0.0.1:0", tokens, Issue::OnDemand).await
    }

    pub(super) async fn start_at(address: &str, tokens: Vec<AdminToken>, issue: Issue) -> Self {
        Self::start_with(address, tokens, issue, Dns::default()).await
    }

    /// The control plane is not started, so that states stay as tests set them.
    pub(super) async fn start_with(address: &str, tokens: Vec<AdminToken>, issue: Issue, plan: Dns) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let metrics = MetricsHub::new().unwrap();
        let prometheus = metrics.registry();
        let store: SharedStore = Arc::new(SqliteStore::open(dir.path().join("store.db"), clock.clone(), None).unwrap());
        let sealer = Arc::new(Sealer::from_file(&dir.path().join("key"), true).unwrap());
        let pages_key = PagesKey::load_or_create(&store, None, &sealer).await.unwrap();
        // Port 9 (discard) on loopback: nothing listens.
        let issuer = testing::issuer("https://127.0.0.1:9/directory", &store, &sealer, &clock, prometheus).await;
        let target = Target {
            names: name(EDGE).into(),
            addresses: plan.addresses,
        };
        let checks = CheckerSettings {
            target,
            spf_include: None,
            dkim: Vec::new(),
            dmarc: None,
        };
        let dns = NameBasedDns::default();
        let dns_metrics = linkseal_dns::Metrics::register(prometheus);
        let lookup = plan.lookup.unwrap_or_else(|| Arc::new(dns.clone()));
        let checker = Arc::new(Checker::new(checks, lookup, clock.clone(), dns_metrics));
        checker.set_cas(plan.cas);
        let (certificates, requests) = Certificates::new(100, 100);
        // Nothing loads certificates here, so requests for one are answered at once.
        drop(requests);
        let registry = Registry::new();
        let limit = |count| Limit {
            count,
            per: Duration::from_secs(3_600),
        };
        let limits = Limits {
            orders_per_account: limit(2),
            per_registered_domain: limit(50),
            failed_per_name: limit(5),
        };
        let control = Control::new(linkseal_control::Parts {
            clock: clock.clone(),
            store: Arc::clone(&store),
            copy: None,
            sealer,
            registry: registry.clone(),
            certificates: certificates.clone(),
            tickets: TicketKeys::new(),
            redirects: RedirectCache::new(1 << 20, 1).0,
            kills: KillSwitches::new(),
            handshake_failures: HandshakeFailures::default(),
            clients: Clients {
                authorities: CaPool::new(ConfiguredCa::new(issuer, limits), Vec::new()),
                checker: Arc::clone(&checker),
                asker: None,
                preflight: None,
            },
            settings: linkseal_control::Settings {
                issue,
                names: name(EDGE).into(),
                recheck: Duration::from_secs(86_400),
                departed_after: Duration::from_secs(30 * 86_400),
                probe: None,
                cname: None,
                ownership: linkseal_control::Ownership::Txt,
                max_domains_per_tenant: Some(100),
                rejected_capacity: 10,
            },
            owner: linkseal_store::Owner::unique(),
            node: None,
            max_concurrent_orders: 4,
            tasks: tasks.clone(),
            metrics: linkseal_control::Metrics::register(prometheus).unwrap(),
        });
        let events = EventSettings {
            dir: dir.path().join("events"),
            durability: Durability::Written,
            keep: Duration::from_secs(3_600),
            max_bytes: 1 << 30,
            privacy: IpPrivacy::Full.into(),
            sinks: Vec::new(),
        };
        let event_metrics = linkseal_event::Metrics::register(prometheus).unwrap();
        let journal = Journal::open(&events, "edge-1", clock.clone(), event_metrics).unwrap();
        let delivery = Delivery::start(&journal, &events, &tasks).unwrap();
        let sockets = bind(&[address.parse().unwrap()]).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let health_sockets = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let health = health_sockets[0].local_addr().unwrap();
        let draining = Arc::new(AtomicBool::new(false));
        let mut admin = Admin::new(Parts {
            control: control.clone(),
            registry: registry.clone(),
            metrics,
            certificates: certificates.clone(),
            draining: Arc::clone(&draining),
            journal: journal.clone(),
            activity: Activity::start(&journal, &tasks),
            eraser: Eraser::new(delivery.clone(), journal.clone(), tasks.clone()),
            delivery: delivery.clone(),
            pages_key,
            settings: settings_with(tokens),
            sockets,
            health_sockets,
            tasks: tasks.clone(),
            health_tasks: tasks.clone(),
        })
        .unwrap();
        admin.start();
        Self {
            address,
            health,
            control,
            checker,
            journal,
            delivery,
            events,
            registry,
            certificates,
            draining,
            admin,
            tasks,
            clock,
            store,
            dns,
            dir,
        }
    }

    pub(super) fn call(&self, method: &str, path: &str) -> Call {
        let uri = format!("http://{}{path}", self.address);
        Call {
            request: Request::builder().method(method).uri(uri),
            body: Bytes::new(),
        }
    }

    /// Publishes the owner record that a tenant's token needs to register a domain.
    pub(super) async fn publish_owner(&self, token: &str, domain: &str) {
        let new = serde_json::json!({"name": domain});
        let refused = self.call("POST", "/v1/domains").token(token).json(new).send().await;
        let record = refused.is_problem(403, "forbidden")["record"].clone();
        let text = |key: &str| record[key].as_str().unwrap().to_owned();
        self.dns.texts.lock().insert(text("host"), text("value"));
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path).send().await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path).json(body).send().await
    }

    pub(super) async fn add(&self, name: &str) {
        let reply = self.post("/v1/domains", serde_json::json!({"name": name})).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    }

    /// Writes an event to the journal.
    pub(super) async fn append_event(&self, domain: &str, tenant: &str) {
        let event = Event::new(EventType::Open, self.clock.now(), domain, tenant);
        self.journal.append(&event).await.unwrap();
    }

    /// Makes every operation of the store fail.
    pub(super) fn break_store(&self) {
        let db = rusqlite::Connection::open(self.dir.path().join("store.db")).unwrap();
        let mut tables = db
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            .unwrap();
        let tables: Vec<String> = tables
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for table in tables {
            db.execute_batch(&format!("PRAGMA foreign_keys = OFF; DROP TABLE {table}"))
                .unwrap();
        }
    }
}

pub(super) fn settings_with(tokens: Vec<AdminToken>) -> Settings {
    Settings {
        plain: false,
        tokens,
        trusted_proxies: Vec::new(),
        pages: linkseal_config::pages::Pages::default(),
        logo: None,
        names: name(EDGE).into(),
        prefix: String::new(),
        max_age: None,
        link_keys: Arc::new(LinkKeys::new([LinkKey::from_hex(1, &"07".repeat(32)).unwrap()]).unwrap()),
    }
}
