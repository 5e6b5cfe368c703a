//! The composition root: builds an edge from a configuration, runs it, reloads it and drains it.
//!
//! [`App::bind`] opens everything that can fail (ports, keys, store, journal) and reports an error in one
//! sentence; [`App::run`] serves until `stop` resolves, then drains.
//!
//! | file | does |
//! |---|---|
//! | `wiring` | translates the configuration into each crate's settings |
//! | `clients` | makes the control plane's clients: CAs, resolver, preflight, permission endpoint |
//! | `store`, `store_wait` | open the store; answer health checks while its disk keeps the start waiting |
//! | `fleet` | what a node needs beside a store that it shares with others |
//! | `reload`, `drain` | SIGHUP and shutdown |
//! | `outbox` | writes the control plane's outbox to the journal |
//! | `admin_runtime`, `delivery_runtime` | the runtimes of the admin port and of event delivery, apart from the data plane's |
//! | `background` | the priority of what runs beside the data plane; the look at memory |
//! | `demo`, `doctor` | an edge with its own CA on loopback; the checks before a start |

mod admin_runtime;
pub(crate) mod background;
mod clients;
mod delivery_runtime;
#[cfg(feature = "devca")]
pub(crate) mod demo;
pub(crate) mod doctor;
mod drain;
mod fleet;
mod outbox;
mod reload;
pub(crate) mod store;
mod store_wait;
pub(crate) mod wiring;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use linkseal_admin::{Admin, PagesKey};
use linkseal_base::clock::Clock;
use linkseal_base::metrics::MetricsHub;
use linkseal_base::shutdown::Tasks;
use linkseal_config::Config;
use linkseal_control::{Control, KnownNames, NodeOfFleet};
use linkseal_dns::ResolverSettings;
use linkseal_domain::cert::cache::Certificates;
use linkseal_domain::cert::tickets::TicketKeys;
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_domain::links::{KillSwitches, RedirectCache};
use linkseal_domain::registry::Registry;
use linkseal_edge::connection::Connections;
use linkseal_edge::cores::Cores;
use linkseal_edge::fair::FairRoom;
use linkseal_edge::limits::Limits;
use linkseal_edge::tls::acceptor::Acceptor;
use linkseal_edge::{http, tls};
use linkseal_event::{Activity, Delivery, Eraser, EventRecorder, Journal};
use linkseal_issuer::AccountKey;
use linkseal_net::listener::{Bound, Inherited, Listener};
use linkseal_net::proxy_protocol::Balancers;
use linkseal_net::shares::Turns;
use linkseal_store::Owner;

use self::admin_runtime::AdminRuntime;
use self::clients::ClientFactory;
use self::delivery_runtime::DeliveryRuntime;
use self::fleet::{NodeLock, Shared};
use self::store::Opened;
use crate::descriptors;

pub use crate::telemetry::logs::LogHandle;

/// Certificates kept in memory, about 10 KiB each.
const CACHED_CERTIFICATES: u64 = 100_000;
/// Memory for stored redirects, in bytes: about 50,000 of a typical length.
const CACHED_REDIRECTS: u64 = 16 * 1024 * 1024;
/// Queued look-ups of stored redirects; a look-up beyond waits for room.
const LOOKUP_QUEUE: usize = 64;
/// How many of them one client network may have queued.
const LOOKUPS_OF_NETWORK: usize = LOOKUP_QUEUE / 4;
/// Requests whose body may be awaited at once; one client network gets a quarter.
const AWAITED_BODIES: usize = 4_096;
/// Queued certificate requests of handshakes.
const REQUEST_QUEUE: usize = 4_096;
/// How long the start waits for the sinks' cursors: an unavailable disk must not keep it from serving.
const DELIVERY_BEGINS: Duration = Duration::from_secs(2);

/// The inputs of an edge that do not come from its configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The clock; tests move theirs.
    pub clock: Clock,
    /// The configuration file, read again on SIGHUP. Without one a reload fails.
    pub config_file: Option<PathBuf>,
    /// The resolver's defaults; the configuration's servers take precedence.
    pub dns: ResolverSettings,
    /// Everything is on loopback (demo, tests): ports 80 and 443 of a name are replaced by the ports this
    /// edge is bound to, and private addresses are accepted.
    pub loopback: bool,
    /// Listening sockets passed in by the parent process (LISTEN_FDS).
    pub inherited: Inherited,
    /// The process log, whose levels a reload changes; `None` where another program owns the log.
    pub log: Option<LogHandle>,
}

/// The settings of journal and sinks, for commands that work on a stopped node's journal.
pub(crate) fn event_settings(config: &Config) -> anyhow::Result<linkseal_event::EventSettings> {
    wiring::events(config)
}

/// An error with its causes, without repetition: many of our errors already name their cause, or begin with
/// what the error above them says.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if cause.starts_with(&text) {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The addresses an edge is bound to; a configured port 0 is a real port here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub http: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    pub admin: Vec<SocketAddr>,
    pub health: Vec<SocketAddr>,
}

/// A bound edge.
pub struct App {
    config: ArcSwap<Config>,
    options: Options,
    addresses: Addresses,
    control: Control,
    clients: Arc<ClientFactory>,
    context: Arc<http::Context>,
    connections: Connections<Arc<http::Context>>,
    limits: Limits,
    admin: Admin,
    /// Dropped, and so shut down, after all tasks have ended.
    _admin_runtime: AdminRuntime,
    _delivery_runtime: DeliveryRuntime,
    journal: Journal,
    delivery: Delivery,
    cores: Cores,
    /// The same tasks as `tasks`, on whichever runtime spawns them: a back end's connection belongs to the
    /// core that opened it.
    upstream_tasks: Tasks,
    tasks: Tasks,
    bound: Vec<Bound>,
    /// Held as long as this process is the node.
    _node_lock: Option<Arc<NodeLock>>,
    requests: tokio::sync::mpsc::Receiver<linkseal_domain::cert::cache::CertificateRequest>,
    lookups: tokio::sync::mpsc::Receiver<linkseal_domain::links::Lookup>,
    draining: Arc<AtomicBool>,
    reloads: linkseal_config::Metrics,
}

impl App {
    /// Binds ports, opens key, store and journal, and builds every part. Nothing is served yet.
    pub async fn bind(config: Config, options: Options) -> anyhow::Result<Self> {
        let clock = options.clock.clone();
        let all_tasks = Tasks::new();
        // Tasks run on this runtime even if the admin port or the data plane, which have their own, spawns
        // them.
        let tasks = all_tasks.on(tokio::runtime::Handle::current());
        let cores = Cores::start().context("the threads of the data plane")?;
        let admin_runtime = AdminRuntime::new()?;
        let delivery_runtime = DeliveryRuntime::new()
            .context("no threads for event delivery (raise TasksMax= or the limit of processes)")?;
        let delivery_tasks = delivery_runtime.tasks(&tasks);
        let metrics = MetricsHub::new()?;
        let registry = metrics.registry();
        if let Some(log) = &options.log {
            log.register(registry)?;
        }

        descriptors::raise();
        if let Some(warning) = descriptors::warning(&config, descriptors::allowed()) {
            tracing::warn!("{warning}");
        }

        // Ports first: the most common mistake is found before anything is written.
        let mut bound = Vec::new();
        for (kind, endpoints) in [
            (Listener::Http, &config.listen.http),
            (Listener::Https, &config.listen.https),
        ] {
            for endpoint in endpoints {
                bound.push(options.inherited.bind(kind, endpoint.get())?);
            }
        }
        for address in options.inherited.left() {
            tracing::warn!(%address, "inherited socket matches neither listen.http nor listen.https; not used (add the address there, or remove it from the .socket unit)");
        }

        let admin_sockets = admin_runtime.enter(|| linkseal_admin::bind(&wiring::addresses(&config.listen.admin)))?;
        let health_sockets = linkseal_admin::bind(&wiring::addresses(&config.listen.health))?;

        let owner = Owner::unique();
        let node_lock = match config.store.postgres() {
            Some(_) => Some(Arc::new(NodeLock::take(&config.store.copy_dir, owner)?)),
            None => None,
        };
        let opening = Box::pin(store::open_store(&config, clock.clone(), registry, &tasks));
        let other: Vec<_> = admin_sockets.iter().chain(&health_sockets).collect();
        let why = match config.store.postgres() {
            Some(_) => "PostgreSQL does not respond",
            None => "the store's disk does not respond",
        };
        let Opened { sealer, store, shared } = store_wait::answered(opening, why, &bound, &other).await?;
        let sealer = Arc::new(sealer);
        let copy = shared.as_ref().and_then(|shared| shared.copy.clone());
        let key = AccountKey::load_or_create(&store, copy.as_deref(), &sealer).await?;
        let pages_key = PagesKey::load_or_create(&store, copy.as_deref(), &sealer).await?;
        let thumbprint = Arc::new(ArcSwapOption::from_pointee(key.thumbprint().to_owned()));
        let control_metrics = linkseal_control::Metrics::register(registry)?;
        let clients = Arc::new(ClientFactory {
            key,
            store: Arc::clone(&store),
            sealer: Arc::clone(&sealer),
            clock: clock.clone(),
            dns: options.dns.clone(),
            issuer_metrics: linkseal_issuer::Metrics::register(registry)?,
            dns_metrics: linkseal_dns::Metrics::register(registry),
            ask_total: control_metrics.ask.clone(),
            loopback_ports: options.loopback.then(|| {
                let port = |kind| local(&bound, kind).first().map_or(0, SocketAddr::port);
                (port(Listener::Http), port(Listener::Https))
            }),
        });

        let (certificates, requests) = Certificates::new(CACHED_CERTIFICATES, REQUEST_QUEUE);
        let (redirects, lookups) = RedirectCache::new(CACHED_REDIRECTS, LOOKUP_QUEUE);
        let kills = KillSwitches::new();
        let (known, tickets) = (Registry::new(), TicketKeys::new());
        let handshake_failures = HandshakeFailures::default();
        let control = Control::new(linkseal_control::Parts {
            clock: clock.clone(),
            store: Arc::clone(&store),
            copy,
            sealer,
            registry: known.clone(),
            certificates: certificates.clone(),
            tickets: tickets.clone(),
            redirects: redirects.clone(),
            kills: kills.clone(),
            handshake_failures: handshake_failures.clone(),
            clients: clients.make(&config)?,
            settings: wiring::control(&config),
            owner,
            node: node_lock.as_ref().map(|lock| NodeOfFleet {
                name: config.edge.node.as_str().to_owned(),
                former: lock.former,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            max_concurrent_orders: wiring::orders(&config),
            tasks: tasks.clone(),
            metrics: control_metrics,
        });
        if let (Some(Shared { store, is_away, .. }), Some(lock)) = (shared, node_lock.clone()) {
            if is_away {
                tasks.spawn_until_stop(Shared::join_later(store, control.clone(), lock));
            } else {
                control.join().await.context("this node")?;
                lock.joined();
                tasks.spawn_until_stop(async move { store.maintain().await });
            }
        }
        let admission = KnownNames::new(control.admission());

        let event_settings = wiring::events(&config)?;
        let event_metrics = linkseal_event::Metrics::register(registry)?;
        let journal = Journal::open(&event_settings, config.edge.node.as_str(), clock.clone(), event_metrics)?;
        let delivery = Delivery::start(&journal, &event_settings, &delivery_tasks)?;
        let eraser = Eraser::new(delivery.clone(), journal.clone(), delivery_tasks.clone());
        let classifier = linkseal_event::verdict::Classifier::builtin()?;
        classifier.set_networks(wiring::networks(&config)?);
        let draining = Arc::new(AtomicBool::new(false));
        let http_metrics = http::Metrics::register(registry)?;
        let upstreams = wiring::upstreams(&config, &Default::default(), &http_metrics, &all_tasks)?;
        let memory_used = Arc::default();
        background::watch_memory(Arc::clone(&memory_used), &tasks);
        let newcomers = descriptors::newcomers(descriptors::allowed());
        let limits = Limits::with_newcomers(wiring::connections(&config), newcomers);
        let context = Arc::new(http::Context {
            settings: ArcSwap::from_pointee(wiring::http(&config, upstreams)?),
            registry: known.clone(),
            admission: admission.clone(),
            thumbprint,
            challenge_upstream: ArcSwapOption::new(wiring::challenge_upstream(&config)?),
            recorder: EventRecorder::new(classifier, journal.clone()),
            redirects,
            lookups: Turns::new(LOOKUPS_OF_NETWORK),
            bodies: FairRoom::new(AWAITED_BODIES, AWAITED_BODIES / 4),
            kills,
            clock: clock.clone(),
            metrics: http_metrics,
            draining: Arc::clone(&draining),
            timeouts: Arc::default(),
            brief: http::BRIEF,
            connections: limits.clone(),
            memory_used: Arc::clone(&memory_used),
        });
        let acceptor = Acceptor::new(
            tls::acceptor::Parts {
                clock: clock.clone(),
                failures: handshake_failures,
                registry: known.clone(),
                admission,
                certificates: certificates.clone(),
                tickets,
                metrics: tls::metrics::Metrics::register(registry),
            },
            wiring::acceptor(&config),
        )?;
        let connections = Connections::new(
            limits.clone(),
            Balancers::new(wiring::balancers(&config)),
            acceptor,
            Arc::clone(&context),
            linkseal_edge::metrics::Metrics::register(registry),
            cores.set().clone(),
        );
        let reloads = linkseal_config::Metrics::register(registry, clock.now())?;
        let addresses = Addresses {
            http: local(&bound, Listener::Http),
            https: local(&bound, Listener::Https),
            admin: admin_sockets.iter().map(|s| s.local_addr()).collect::<Result<_, _>>()?,
            health: health_sockets
                .iter()
                .map(|s| s.local_addr())
                .collect::<Result<_, _>>()?,
        };
        let admin = Admin::new(linkseal_admin::Parts {
            control: control.clone(),
            registry: known,
            metrics,
            certificates,
            draining: Arc::clone(&draining),
            journal: journal.clone(),
            activity: Activity::start(&journal, &delivery_tasks),
            delivery: delivery.clone(),
            eraser,
            pages_key,
            settings: wiring::admin(&config, &context),
            sockets: admin_sockets,
            health_sockets,
            tasks: admin_runtime.tasks(&tasks),
            health_tasks: tasks.clone(),
        })?;
        Ok(Self {
            config: ArcSwap::from_pointee(config),
            options,
            addresses,
            control,
            clients,
            context,
            connections,
            limits,
            admin,
            _admin_runtime: admin_runtime,
            _delivery_runtime: delivery_runtime,
            journal,
            delivery,
            cores,
            upstream_tasks: all_tasks,
            tasks,
            bound,
            _node_lock: node_lock,
            requests,
            lookups,
            draining,
            reloads,
        })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The control plane, for a program that runs an edge inside its own process.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Serves until `stop` resolves, then drains: readiness turns false first, then accepting stops, then
    /// the open connections end. Each `()` from `reload` reads the configuration again.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        mut reload: tokio::sync::mpsc::Receiver<()>,
    ) -> anyhow::Result<()> {
        let requests = std::mem::replace(&mut self.requests, tokio::sync::mpsc::channel(1).1);
        if let Err(error) = self.control.operator().kills().load().await {
            match self.control.operator().kills().load_copied().await {
                Ok(true) => {
                    tracing::warn!(%error, "cannot load the kill switches; those of this node's copy are in force (retrying)");
                }
                Ok(false) | Err(_) => {
                    tracing::error!(%error, "cannot load the kill switches; killed links are served until they are loaded (retrying)");
                }
            }
            self.tasks
                .spawn_until_stop(self.control.operator().clone().load_kills());
        }
        self.control
            .operator()
            .register_own_names(&wiring::edge_names(&self.config.load()))
            .await;
        let lookups = std::mem::replace(&mut self.lookups, tokio::sync::mpsc::channel(1).1);
        self.control.start(requests, lookups);
        let publisher = Arc::new(outbox::ToJournal(self.journal.clone()));
        self.tasks
            .spawn_until_stop(self.control.report().clone().publish_outbox(publisher));
        if !self.delivery.begun(DELIVERY_BEGINS).await {
            tracing::warn!("delivery has not started yet; until it does, events are in the journal only");
        }
        self.admin.start();
        for bound in std::mem::take(&mut self.bound) {
            tracing::info!(listener = bound.kind().label(), address = %bound.local_addr(), "listening");
            self.connections.listen(bound).context("a listener")?;
        }
        for (listener, addresses) in [("admin", &self.addresses.admin), ("health", &self.addresses.health)] {
            for address in addresses {
                tracing::info!(listener, %address, "listening");
            }
        }
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(()) = reload.recv() => tokio::select! {
                    () = &mut stop => break,
                    () = self.reload() => {}
                },
            }
        }
        self.drain().await;
        Ok(())
    }
}

fn local(bound: &[Bound], kind: Listener) -> Vec<SocketAddr> {
    bound
        .iter()
        .filter(|b| b.kind() == kind)
        .map(Bound::local_addr)
        .collect()
}
