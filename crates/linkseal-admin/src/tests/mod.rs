//! The admin port over real sockets, on a control plane made of its real parts: a SQLite store, a
//! CA that cannot be reached, and DNS that says what the names say (`right.…` points here).

mod access;
mod agreement;
mod attacks;
mod bulk;
mod domains;
mod edge_cases;
mod events;
mod freeze;
mod links;
mod moved;
mod operators;
mod ownership;
mod pages;
mod repair;
mod service;
mod share;
mod sinks;
mod tenants;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use linkseal_base::clock::Clock;
use linkseal_base::metrics::MetricsHub;
use linkseal_base::shutdown::Tasks;
use linkseal_config::AdminToken;
use linkseal_config::admin::Role;
use linkseal_control::{CaPool, Clients, ConfiguredCa, Control, Issue, Limit, Limits};
use linkseal_dns::{Answer, CaIdentity, Checker, CheckerSettings, Data, Kind, Lookup, LookupError, Record, Target};
use linkseal_domain::DomainName;
use linkseal_domain::cert::cache::Certificates;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::cert::tickets::TicketKeys;
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_domain::links::{KillSwitches, RedirectCache};
use linkseal_domain::registry::Registry;
use linkseal_event::{Activity, Delivery, Durability, Eraser, Event, EventSettings, EventType, IpPrivacy, Journal};
use linkseal_issuer::{AccountKey, CaSettings, Issuer};
use linkseal_link::{LinkKey, LinkKeys};
use linkseal_store::SharedStore;
use linkseal_store::sqlite::SqliteStore;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{Admin, PagesKey, Parts, Settings, bind};

const EDGE: &str = "track.platform.example";
const VIEWER: &str = "viewer-token-0123456789";
const SUPPORT: &str = "support-token-0123456789";
const ADMIN: &str = "admin-token-0123456789";
/// Longer than anything takes that goes well, however busy the machine.
const PATIENT: Duration = Duration::from_secs(60);

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn three_tokens() -> Vec<AdminToken> {
    [(Role::Viewer, VIEWER), (Role::Support, SUPPORT), (Role::Admin, ADMIN)]
        .map(|(role, token)| AdminToken {
            name: format!("{role:?}").to_lowercase(),
            role,
            tenant: None,
            token: SecretString::from(token),
        })
        .into()
}

/// DNS in which names that start with `right` lead to the edge, and no others exist; TXT records
/// stand where tests put them, and names below `dead.example` have servers that fail.
#[derive(Clone, Default)]
struct NamesTell {
    texts: Arc<Mutex<HashMap<String, String>>>,
}

#[async_trait]
impl Lookup for NamesTell {
    async fn lookup(&self, name: &str, kind: Kind) -> Result<Answer, LookupError> {
        if kind == Kind::Txt && name.ends_with("dead.example") {
            return Err(LookupError::ServFail { text: None });
        }
        if let Some(text) = self.texts.lock().unwrap().get(name).filter(|_| kind == Kind::Txt) {
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

/// What the checks of a harness see.
#[derive(Default)]
struct Dns {
    /// `None`: what the names say.
    lookup: Option<Arc<dyn Lookup>>,
    /// The edge's configured addresses.
    addresses: Vec<IpAddr>,
    cas: Vec<CaIdentity>,
}

struct Harness {
    address: SocketAddr,
    health: SocketAddr,
    control: Control,
    checker: Arc<Checker>,
    journal: Journal,
    delivery: Delivery,
    events: EventSettings,
    registry: Registry,
    certificates: Certificates,
    draining: Arc<AtomicBool>,
    admin: Admin,
    tasks: Tasks,
    clock: Clock,
    store: SharedStore,
    dns: NamesTell,
    dir: TempDir,
}

impl Harness {
    async fn start(tokens: Vec<AdminToken>) -> Self {
        Self::start_at("127.0.0.1:0", tokens, Issue::OnDemand).await
    }

    async fn start_at(address: &str, tokens: Vec<AdminToken>, issue: Issue) -> Self {
        Self::start_with(address, tokens, issue, Dns::default()).await
    }

    /// Nothing of the control plane runs by itself, so that states stay as tests make them.
    async fn start_with(address: &str, tokens: Vec<AdminToken>, issue: Issue, plan: Dns) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let metrics = MetricsHub::new().unwrap();
        let prometheus = metrics.registry();
        let store: SharedStore = Arc::new(SqliteStore::open(dir.path().join("store.db"), None).unwrap());
        let sealer = Arc::new(Sealer::from_file(&dir.path().join("key"), true).unwrap());
        let pages_key = PagesKey::load_or_create(&store, &sealer).await.unwrap();
        let key = AccountKey::load_or_create(&store, &sealer).await.unwrap();
        // Port 9 (discard) of loopback: no one listens.
        let settings = CaSettings {
            directory: "https://127.0.0.1:9/directory".to_owned(),
            contact: Vec::new(),
            ca_file: None,
            eab: None,
            profile: None,
        };
        let issuer_metrics = linkseal_issuer::Metrics::register(prometheus).unwrap();
        let issuer = Issuer::new(
            settings,
            key,
            Arc::clone(&store),
            Arc::clone(&sealer),
            clock.clone(),
            issuer_metrics,
        )
        .unwrap();
        let target = Target {
            name: name(EDGE),
            aliases: Vec::new(),
            addresses: plan.addresses,
        };
        let checks = CheckerSettings {
            target,
            spf_include: None,
            dkim: Vec::new(),
            dmarc: None,
        };
        let dns = NamesTell::default();
        let dns_metrics = linkseal_dns::Metrics::register(prometheus);
        let lookup = plan.lookup.unwrap_or_else(|| Arc::new(dns.clone()));
        let checker = Arc::new(Checker::new(checks, lookup, clock.clone(), dns_metrics));
        checker.set_cas(plan.cas);
        let (certificates, requests) = Certificates::new(100, 100);
        // No one loads certificates here: a request for one is answered at once.
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
            sealer,
            registry: registry.clone(),
            certificates: certificates.clone(),
            tickets: TicketKeys::new(),
            redirects: RedirectCache::new(1 << 20, 1).0,
            kills: KillSwitches::new(),
            handshake_failures: HandshakeFailures::default(),
            tools: Clients {
                authorities: CaPool::new(ConfiguredCa::new(issuer, limits), Vec::new()),
                checker: Arc::clone(&checker),
                asker: None,
                preflight: None,
            },
            settings: linkseal_control::Settings {
                issue,
                target: name(EDGE),
                recheck: Duration::from_secs(86_400),
                departed_after: Duration::from_secs(30 * 86_400),
                probe: None,
                aliases: Vec::new(),
                cname: None,
                ownership: linkseal_control::Ownership::Txt,
                max_domains_per_tenant: Some(100),
                rejected_capacity: 10,
            },
            node: "edge-1".to_owned(),
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

    fn call(&self, method: &str, path: &str) -> Call {
        let uri = format!("http://{}{path}", self.address);
        Call {
            request: Request::builder().method(method).uri(uri),
            body: Bytes::new(),
        }
    }

    /// Lets a domain's owner publish what a tenant's token needs to register names below it.
    async fn publish_owner(&self, token: &str, domain: &str) {
        let new = serde_json::json!({"name": domain});
        let refused = self.call("POST", "/v1/domains").token(token).json(new).send().await;
        let record = refused.is_problem(403, "forbidden")["record"].clone();
        let text = |key: &str| record[key].as_str().unwrap().to_owned();
        self.dns.texts.lock().unwrap().insert(text("host"), text("value"));
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path).send().await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path).json(body).send().await
    }

    async fn add(&self, name: &str) {
        let reply = self.post("/v1/domains", serde_json::json!({"name": name})).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    }

    /// Writes an event to the journal.
    async fn append_event(&self, domain: &str, tenant: &str) {
        let event = Event::new(EventType::Open, self.clock.now(), domain, tenant);
        self.journal.append(&event).await.unwrap();
    }

    /// Makes every question to the store fail.
    fn break_store(&self) {
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

fn settings_with(tokens: Vec<AdminToken>) -> Settings {
    Settings {
        plain: false,
        tokens,
        trusted_proxies: Vec::new(),
        pages: linkseal_config::pages::Pages::default(),
        logo: None,
        edge_name: name(EDGE),
        aliases: Vec::new(),
        prefix: String::new(),
        max_age: None,
        link_keys: Arc::new(LinkKeys::new([LinkKey::from_hex(1, &"07".repeat(32)).unwrap()]).unwrap()),
    }
}

struct Call {
    request: http::request::Builder,
    body: Bytes,
}

impl Call {
    fn header(mut self, key: &str, value: &str) -> Self {
        self.request = self.request.header(key, value);
        self
    }

    fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn json(mut self, body: Value) -> Self {
        self.body = body.to_string().into();
        self
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    async fn send(self) -> Reply {
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let request = self.request.body(Full::new(self.body)).unwrap();
        let answer = tokio::time::timeout(PATIENT, client.request(request))
            .await
            .unwrap()
            .unwrap();
        let (parts, body) = answer.into_parts();
        // A stream of events has no end.
        let endless = parts
            .headers
            .get("content-type")
            .is_some_and(|t| t == "text/event-stream");
        let body = match endless {
            true => Bytes::new(),
            false => tokio::time::timeout(PATIENT, body.collect())
                .await
                .unwrap()
                .unwrap()
                .to_bytes(),
        };
        Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }
}

#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, key: &str) -> &str {
        self.headers.get(key).map_or("", |v| v.to_str().unwrap())
    }

    /// That it is a problem of this status and code.
    fn is_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        assert!(problem["detail"].as_str().unwrap().len() > 5, "{self:?}");
        problem
    }

    fn names(&self) -> Vec<String> {
        let domains = self.json()["domains"].as_array().unwrap().clone();
        domains.iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect()
    }
}
