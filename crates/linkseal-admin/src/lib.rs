//! The admin port (contract, section 7): the JSON API, health, metrics and their description, for
//! the platform's back end, its operators and its monitoring; and the pages for people (`pages`).
//!
//! One table of endpoints (`endpoint`) says path, role and shape of everything there is; the
//! routes, the role checks (`auth`) and `/openapi.json` are all made from it. What changes goes
//! through [`linkseal_control::Control`], which writes the audit lines.

mod api;
mod auth;
mod client;
mod counters;
mod endpoint;
mod health;
mod input;
mod life;
mod metrics;
mod openapi;
mod operation;
mod outsiders;
mod pages;
mod places;
mod problem;
mod scope;
mod server;
mod streams;
#[cfg(test)]
mod tests;
mod throttle;
mod tls;
mod turns;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use bytes::Bytes;
use http::Method;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub use pages::{PagesKey, PagesKeyError};
pub use places::MAX as CONNECTIONS_OF_PORT;
pub use server::bind;

use linkseal_base::metrics::MetricsHub;
use linkseal_base::shutdown::Tasks;
use linkseal_config::AdminToken;
use linkseal_config::pages::{Logo, Pages as PagesSettings};
use linkseal_control::Control;
use linkseal_domain::DomainName;
use linkseal_domain::cert::cache::Certificates;
use linkseal_domain::registry::Registry;
use linkseal_event::{Activity, Delivery, Eraser, Journal};
use linkseal_link::LinkKeys;
use server::{Port, Server};

/// What can change by a reload.
pub struct Settings {
    /// Whether it speaks plain HTTP off loopback too.
    pub plain: bool,
    /// Who may use it. Empty: anybody on this machine, on loopback only.
    pub tokens: Vec<AdminToken>,
    /// The proxies in front whose word on clients counts.
    pub trusted_proxies: Vec<IpNet>,
    /// What the pages are called and look like, and where they are.
    pub pages: PagesSettings,
    /// The platform's logo. `None`: none.
    pub logo: Option<Logo>,
    /// edge.name: its certificate is served here too.
    pub edge_name: DomainName,
    /// Older targets: links of tenants without a domain may be on them.
    pub aliases: Vec<DomainName>,
    /// The link keys in use, shared with the edge.
    pub link_keys: Arc<LinkKeys>,
    /// links.prefix, without a slash at its end.
    pub prefix: String,
    /// links.max_age. `None`: links never get too old.
    pub max_age: Option<Duration>,
}

/// What an admin port is made of.
pub struct Parts {
    /// What it is the face of.
    pub control: Control,
    /// The domains in memory: whose links an inspected link may be.
    pub registry: Registry,
    /// The metrics it shows.
    pub metrics: MetricsHub,
    /// Where edge.name's certificate is.
    pub certificates: Certificates,
    /// Whether health checks are told to look elsewhere.
    pub draining: Arc<AtomicBool>,
    /// The events of this node.
    pub journal: Journal,
    /// What came of late on each domain.
    pub activity: Activity,
    /// What brings them to the sinks.
    pub delivery: Delivery,
    /// What erases them.
    pub eraser: Eraser,
    /// What signs the pages' sessions and share links.
    pub pages_key: PagesKey,
    /// What can change by a reload.
    pub settings: Settings,
    /// The sockets of [`bind`].
    pub sockets: Vec<TcpListener>,
    /// The sockets of [`bind`] for probes and scrapers: plain, without tokens.
    pub health_sockets: Vec<TcpListener>,
    /// Where it runs.
    pub tasks: Tasks,
    /// Where the health port runs: beside the edge, whose health it tells.
    pub health_tasks: Tasks,
}

/// The admin port, bound.
pub struct Admin {
    context: Arc<Context>,
    servers: Vec<(Server, TcpListener, Tasks)>,
}

/// What the endpoints need.
struct Context {
    control: Control,
    registry: Registry,
    metrics: MetricsHub,
    certificates: Certificates,
    draining: Arc<AtomicBool>,
    journal: Journal,
    activity: Activity,
    delivery: Delivery,
    eraser: Eraser,
    event_streams: Arc<streams::Streams>,
    transfers: Arc<streams::Streams>,
    turns: turns::Turns,
    lists: turns::Turns,
    live: ArcSwap<Live>,
    /// Told when `live` is another.
    reloaded: Notify,
    counters: counters::Counters,
    store: health::StoreHealth,
    scraped: health::Scraped,
    rules: Rules,
    pages: pages::Pages,
    throttle: throttle::Throttle,
    /// `/openapi.json`, as it is sent.
    document: Bytes,
    tasks: Tasks,
}

/// The settings as requests need them.
struct Live {
    access: auth::Access,
    proxies: client::Proxies,
    pages: PagesSettings,
    brand: Arc<pages::Brand>,
    plain: bool,
    edge_name: DomainName,
    aliases: Vec<DomainName>,
    link_keys: Arc<LinkKeys>,
    prefix: String,
    max_age: Option<Duration>,
}

impl Live {
    /// Whether a name (in lower-case ASCII) is edge.name or an alias.
    fn is_edge(&self, name: &str) -> bool {
        self.edge_name.as_str() == name || self.aliases.iter().any(|a| a.as_str() == name)
    }
}

/// Who each endpoint is for.
type Rules = HashMap<(Method, &'static str), endpoint::Rule>;

impl Admin {
    /// Puts it together; nothing is served yet.
    ///
    /// # Errors
    /// When TLS or the metrics cannot be set up.
    pub fn new(parts: Parts) -> anyhow::Result<Self> {
        let counters = counters::Counters::register(parts.metrics.registry())?;
        let endpoints = api::endpoints();
        let rules = endpoints.iter().map(|e| ((e.method.clone(), e.path), e.rule)).collect();
        let context = Arc::new(Context {
            control: parts.control,
            registry: parts.registry,
            metrics: parts.metrics,
            certificates: parts.certificates,
            draining: parts.draining,
            journal: parts.journal,
            activity: parts.activity,
            delivery: parts.delivery,
            eraser: parts.eraser,
            event_streams: streams::Streams::new("event streams", api::EVENT_STREAMS),
            transfers: streams::Streams::new("imports and exports", api::TRANSFERS),
            turns: turns::Turns::new(turns::CHECKS),
            lists: turns::Turns::new(turns::LISTS),
            live: ArcSwap::from_pointee(parts.settings.into()),
            reloaded: Notify::new(),
            counters,
            store: health::StoreHealth::default(),
            scraped: health::Scraped::default(),
            rules,
            pages: pages::Pages::new(&parts.pages_key),
            throttle: throttle::Throttle::default(),
            document: openapi::document(&endpoints).to_string().into(),
            tasks: parts.tasks.clone(),
        });
        let router = endpoint::router(endpoints, &context).merge(pages::router(&context));
        let (admin, health) = (tls::acceptor(&context).map(Port::Admin)?, health::router(&context));
        let server = |router: &Router, port: &Port, socket, tasks: &Tasks| {
            let server = Server::new(&context, router.clone(), port.clone(), tasks);
            (server, socket, tasks.clone())
        };
        let (tasks, health_tasks) = (&parts.tasks, &parts.health_tasks);
        let sockets = parts.sockets.into_iter();
        let sockets = sockets.map(|socket| server(&router, &admin, socket, tasks));
        let health_sockets = parts.health_sockets.into_iter();
        let health_sockets = health_sockets.map(|socket| server(&health, &Port::Health, socket, health_tasks));
        let servers = sockets.chain(health_sockets).collect();
        Ok(Self { context, servers })
    }

    /// Starts serving, until the tasks are told to stop; requests at hand are finished then.
    pub fn start(&mut self) {
        for (server, socket, tasks) in self.servers.drain(..) {
            tasks.spawn(server.run(socket));
        }
    }

    /// Takes over new settings after a reload.
    pub fn set_settings(&self, settings: Settings) {
        self.context.live.store(Arc::new(settings.into()));
        self.context.reloaded.notify_waiters();
    }
}

impl From<Settings> for Live {
    fn from(settings: Settings) -> Self {
        Self {
            access: auth::Access::new(&settings.tokens),
            proxies: client::Proxies::new(settings.trusted_proxies),
            brand: Arc::new(pages::Brand::new(&settings.pages, settings.logo.as_ref())),
            pages: settings.pages,
            plain: settings.plain,
            edge_name: settings.edge_name,
            aliases: settings.aliases,
            link_keys: settings.link_keys,
            prefix: settings.prefix,
            max_age: settings.max_age,
        }
    }
}
