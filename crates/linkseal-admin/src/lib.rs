//! The admin port: a JSON API for the platform's back end, operators and monitoring, and pages for
//! people (docs/specification.md §7). It decides who may do what, and shows what the other parts of
//! the node know; every change goes through [`linkseal_control::Control`], which writes the audit
//! entries. The binary builds it last ([`Admin::new`]) and hands it new [`Settings`] on a reload.
//!
//! A request enters through [`port`] (slots, TLS, HTTP/1.1), which determines the client behind
//! trusted [`proxies`]. Under `/v1/` the [`guard`] finds the caller ([`access`]), checks role and reach
//! ([`scope`]) by the table of endpoints ([`endpoint`]), and the handler in [`api`] answers JSON, or a
//! [`problem`]. For the pages, [`pages`]'s frame does the same with a session or a share link
//! ([`tokens`]) and answers HTML; texts in two languages are in [`i18n`]. What both faces ask for is in
//! [`query`], what a domain looks like in [`view`], and [`limits`] keeps one caller from starving the
//! others. `/openapi.json` ([`openapi`]) is derived from the same table of endpoints.
//!
//! All handlers share the [`context`], which knows nothing of the pages.

mod access;
mod api;
mod context;
mod counters;
mod endpoint;
mod guard;
mod i18n;
mod input;
mod limits;
mod openapi;
mod pages;
mod peer;
mod port;
mod problem;
mod proxies;
mod query;
mod scope;
#[cfg(test)]
mod tests;
mod tokens;
mod view;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::middleware::from_fn_with_state;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub use port::server::bind;
pub use port::slots::MAX as CONNECTIONS_OF_PORT;
pub use tokens::signing::{PagesKey, PagesKeyError};

use context::{Context, Live};
use limits::streams::Streams;
use limits::turns::{self, Turns};
use linkseal_base::metrics::MetricsHub;
use linkseal_base::shutdown::Tasks;
use linkseal_config::AdminToken;
use linkseal_config::pages::{Logo, Pages as PagesSettings};
use linkseal_control::Control;
use linkseal_control::log_limit::{LogLimit, STORE_INTERVAL};
use linkseal_domain::EdgeNames;
use linkseal_domain::cert::cache::Certificates;
use linkseal_domain::registry::Registry;
use linkseal_event::{Activity, Delivery, Eraser, Journal};
use linkseal_link::LinkKeys;
use pages::PagesState;
use port::server::{Port, Server};
use port::tls;
use tokens::share::Shares;

/// The admin port, bound.
pub struct Admin {
    context: Arc<Context>,
    pages: PagesState,
    servers: Vec<(Server, TcpListener, Tasks)>,
}

/// What the admin port is built from.
pub struct Parts {
    pub control: Control,
    /// The domains in memory.
    pub registry: Registry,
    /// What `/metrics` shows.
    pub metrics: MetricsHub,
    /// Holds edge.name's certificate, for TLS.
    pub certificates: Certificates,
    /// Whether readiness checks are to fail because the node is about to stop.
    pub draining: Arc<AtomicBool>,
    pub journal: Journal,
    pub activity: Activity,
    pub delivery: Delivery,
    pub eraser: Eraser,
    /// Signs sessions and share links.
    pub pages_key: PagesKey,
    pub settings: Settings,
    /// From [`bind`].
    pub sockets: Vec<TcpListener>,
    /// From [`bind`], for probes and scrapers: plain HTTP, without tokens.
    pub health_sockets: Vec<TcpListener>,
    /// Where the admin port runs.
    pub tasks: Tasks,
    /// Where the health port runs: in the edge's runtime, whose health it reports.
    pub health_tasks: Tasks,
}

/// What a reload can change.
pub struct Settings {
    /// Whether the port speaks plain HTTP off loopback, too.
    pub plain: bool,
    /// Empty: any client on this machine has every right, on loopback only.
    pub tokens: Vec<AdminToken>,
    /// Peers whose `Forwarded` and PROXY headers are trusted.
    pub trusted_proxies: Vec<IpNet>,
    pub pages: PagesSettings,
    pub logo: Option<Logo>,
    /// The port presents its certificate.
    pub names: EdgeNames,
    /// Former edge names, which links may still be on.
    /// Shared with the edge.
    pub link_keys: Arc<LinkKeys>,
    /// `links.prefix`, without a trailing slash.
    pub prefix: String,
    /// `links.max_age`; without it links do not age.
    pub max_age: Option<Duration>,
}

impl Admin {
    /// Builds the port; it serves after [`start`](Self::start).
    ///
    /// # Errors
    /// When TLS or the metrics cannot be set up.
    pub fn new(parts: Parts) -> anyhow::Result<Self> {
        let counters = counters::Counters::register(parts.metrics.registry())?;
        let endpoints = api::endpoints();
        let rules = endpoints.iter().map(|e| ((e.method.clone(), e.path), e.rule)).collect();
        let brand = (parts.settings.pages.clone(), parts.settings.logo.clone());
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
            tasks: parts.tasks.clone(),
            live: ArcSwap::from_pointee(parts.settings.into()),
            reloaded: Notify::new(),
            rules,
            document: openapi::document(&endpoints).to_string().into(),
            shares: Shares::new(&parts.pages_key),
            counters,
            event_streams: Streams::new("event streams", api::EVENT_STREAMS),
            transfers: Streams::new("imports and exports", api::TRANSFERS),
            checks: Turns::new(turns::CHECKS),
            lists: Turns::new(turns::LISTS),
            throttle: limits::throttle::Throttle::default(),
            log_limit: LogLimit::every(STORE_INTERVAL),
            store_health: limits::store_health::StoreHealth::default(),
            scrapes: limits::scrape::ScrapeCache::default(),
        });
        let pages = pages::state(&context, &parts.pages_key, &brand.0, brand.1.as_ref());
        let router = router(endpoints, &context, &pages);
        let (admin, health) = (tls::acceptor(&context).map(Port::Admin)?, api::health::router(&context));
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
        Ok(Self {
            context,
            pages,
            servers,
        })
    }

    /// Serves until the tasks stop; requests in progress are then finished.
    pub fn start(&mut self) {
        for (server, socket, tasks) in self.servers.drain(..) {
            tasks.spawn(server.run(socket));
        }
    }

    /// Applies the settings of a reload.
    pub fn set_settings(&self, settings: Settings) {
        self.pages.set_brand(&settings.pages, settings.logo.as_ref());
        self.context.live.store(Arc::new(settings.into()));
        self.context.reloaded.notify_waiters();
    }
}

/// All routes of the admin port: the API behind the guard, the pages behind their frame, and a page
/// for browsers where neither has the path.
fn router(endpoints: Vec<endpoint::Endpoint>, context: &Arc<Context>, pages: &PagesState) -> Router {
    endpoint::router(endpoints)
        .layer(from_fn_with_state(Arc::clone(context), guard::guard))
        .layer(from_fn_with_state(pages.clone(), pages::html_fallback))
        .with_state(Arc::clone(context))
        .merge(pages::router(pages))
}

impl From<Settings> for Live {
    fn from(settings: Settings) -> Self {
        Self {
            access: access::Access::new(&settings.tokens),
            proxies: proxies::Proxies::new(settings.trusted_proxies),
            pages: settings.pages,
            plain: settings.plain,
            names: settings.names,
            link_keys: settings.link_keys,
            prefix: settings.prefix,
            max_age: settings.max_age,
        }
    }
}
