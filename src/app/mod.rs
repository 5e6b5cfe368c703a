//! The composition root: from a configuration to a bound edge, and from there to its end.
//!
//! [`App::bind`] opens everything that can fail (ports, keys, store, journal) and says in one
//! sentence what is wrong; [`App::run`] serves until it is told to stop, then drains.

#[cfg(feature = "devca")]
pub mod demo;
pub mod doctor;
mod lifecycle;
mod meanwhile;
mod office;
mod reload;
mod stopping;
mod tools;
pub(crate) mod wiring;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;
use linkseal_admin::{Admin, PagesKey};
use linkseal_base::clock::Clock;
use linkseal_base::metrics::MetricsHub;
use linkseal_base::shutdown::Tasks;
use linkseal_config::Config;
use linkseal_control::{Control, KnownNames};
use linkseal_dns::ResolverSettings;
use linkseal_domain::cert::cache::Certificates;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::cert::tickets::TicketKeys;
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_domain::links::{KillSwitches, RedirectCache};
use linkseal_domain::registry::Registry;
use linkseal_edge::connection::{Connections, ServeHttp};
use linkseal_edge::fair::FairRoom;
use linkseal_edge::limits::Limits;
use linkseal_edge::tls::acceptor::Acceptor;
use linkseal_edge::{Connection, http, tls};
use linkseal_event::{Activity, Delivery, Eraser, Journal};
use linkseal_issuer::AccountKey;
use linkseal_net::listener::Listener;
use linkseal_net::listener::{Bound, Inherited};
use linkseal_net::proxy_protocol::Balancers;
use linkseal_net::shares::Turns;
use linkseal_store::SharedStore;
use linkseal_store::sqlite::SqliteStore;
use tokio_util::sync::CancellationToken;

use self::office::Office;
use self::tools::ClientFactory;
use crate::descriptors;
use crate::telemetry::logs::LogHandle;

/// Certificates in memory at most: about 10 KiB each.
const CACHED_CERTIFICATES: u64 = 100_000;
/// Memory for stored redirects, in bytes: some 50,000 of a common length.
const CACHED_REDIRECTS: u64 = 16 * 1024 * 1024;
/// Look-ups of stored redirects that wait to be answered; those beyond wait until there is room.
const LOOKUP_QUEUE: usize = 64;
/// How many of them may be for one client network.
const LOOKUPS_OF_NETWORK: usize = LOOKUP_QUEUE / 4;
/// Requests whose body may be waited for at once; a quarter of them for one client network.
const AWAITED_BODIES: usize = 4_096;
/// Handshakes whose request waits to be looked at.
const REQUEST_QUEUE: usize = 4_096;
/// How long the start waits for the sinks' cursors: a disk that is away must not keep it from serving.
const DELIVERY_BEGINS: Duration = Duration::from_secs(2);

/// What of an edge does not come from its configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The clock; tests move theirs.
    pub clock: Clock,
    /// The configuration's file, read again on SIGHUP. `None`: there is nothing to read again.
    pub config_file: Option<PathBuf>,
    /// How DNS is asked; the configuration's resolvers go over these.
    pub dns: ResolverSettings,
    /// Whether the names' ports 80 and 443 are those that this edge is bound to, and private
    /// addresses are as good as public ones: where everything is on loopback (demo, tests).
    pub loopback: bool,
    /// Listening sockets that were handed in.
    pub inherited: Inherited,
    /// The log, whose levels a reload changes. `None`: the log is another's.
    pub log: Option<LogHandle>,
}

/// What the journal and its sinks are told by a configuration; for commands that work on a stopped
/// node's.
pub fn event_settings(config: &Config) -> anyhow::Result<linkseal_event::EventSettings> {
    wiring::events(config)
}

/// The addresses an edge is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
    /// The admin port.
    pub admin: Vec<SocketAddr>,
    /// The health port.
    pub health: Vec<SocketAddr>,
}

/// A bound edge.
pub struct App {
    config: ArcSwap<Config>,
    options: Options,
    addresses: Addresses,
    control: Control,
    workshop: Arc<ClientFactory>,
    context: Arc<http::Context>,
    connections: Connections<Http>,
    limits: Limits,
    admin: Admin,
    /// Ends after all tasks.
    _office: Office,
    journal: Journal,
    delivery: Delivery,
    edge_tasks: Tasks,
    tasks: Tasks,
    bound: Vec<Bound>,
    requests: tokio::sync::mpsc::Receiver<linkseal_domain::cert::cache::CertificateRequest>,
    lookups: tokio::sync::mpsc::Receiver<linkseal_domain::links::Lookup>,
    draining: Arc<AtomicBool>,
    reloads: linkseal_config::Metrics,
}

/// The edge's HTTP, as the connections want it.
struct Http(Arc<http::Context>);

impl ServeHttp for Http {
    async fn serve<IO>(&self, io: IO, connection: Connection, drain: &CancellationToken)
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        http::serve(io, connection, &self.0, drain.clone()).await;
    }
}

impl App {
    /// Binds ports, opens key, store and journal, and puts everything together. Nothing is
    /// served yet.
    pub async fn bind(config: Config, options: Options) -> anyhow::Result<Self> {
        let clock = options.clock.clone();
        // Work stays on this runtime also where the admin port, which has its own, begins it.
        let here = tokio::runtime::Handle::current();
        let (tasks, edge_tasks) = (Tasks::new().on(here.clone()), Tasks::new().on(here));
        let office = Office::new()?;
        let metrics = MetricsHub::new()?;
        let registry = metrics.registry();
        if let Some(log) = &options.log {
            log.register(registry)?;
        }

        descriptors::raise();
        if let Some(warning) = descriptors::warning(&config, descriptors::allowed()) {
            tracing::warn!("{warning}");
        }

        // Ports first: the commonest mistake, found before anything is written.
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
            tracing::warn!(%address, "a socket that was handed in is none of listen.http and listen.https: it is not used; give the address there or leave it out of the .socket unit");
        }

        let admin_sockets = office.enter(|| linkseal_admin::bind(&wiring::addresses(&config.listen.admin)))?;
        let health_sockets = linkseal_admin::bind(&wiring::addresses(&config.listen.health))?;

        let (kept, measured) = (config.store.clone(), registry.clone());
        let journal_dir = config.events.dir.clone();
        let opening = tasks.spawn_blocking(move || open_store(&kept, &journal_dir, &measured));
        let other: Vec<_> = admin_sockets.iter().chain(&health_sockets).collect();
        let (sealer, store) = meanwhile::answered(opening, &bound, &other)
            .await
            .context("the store")??;
        let sealer = Arc::new(sealer);
        let key = AccountKey::load_or_create(&store, &sealer)
            .await
            .context("the ACME account key")?;
        let pages_key = PagesKey::load_or_create(&store, &sealer).await?;
        let thumbprint = Arc::new(ArcSwapOption::from_pointee(key.thumbprint().to_owned()));
        let control_metrics = linkseal_control::Metrics::register(registry)?;
        let workshop = Arc::new(ClientFactory {
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
            sealer,
            registry: known.clone(),
            certificates: certificates.clone(),
            tickets: tickets.clone(),
            redirects: redirects.clone(),
            kills: kills.clone(),
            handshake_failures: handshake_failures.clone(),
            tools: workshop.make(&config)?,
            settings: wiring::control(&config),
            node: config.edge.node.as_str().to_owned(),
            max_concurrent_orders: wiring::orders(&config),
            tasks: tasks.clone(),
            metrics: control_metrics,
        });
        let admission = KnownNames::new(control.clone());

        let event_settings = wiring::events(&config)?;
        let event_metrics = linkseal_event::Metrics::register(registry)?;
        let journal = Journal::open(&event_settings, config.edge.node.as_str(), clock.clone(), event_metrics)?;
        let delivery = Delivery::start(&journal, &event_settings, &tasks)?;
        let eraser = Eraser::new(delivery.clone(), journal.clone(), tasks.clone());
        let rules = linkseal_event::verdict::Classifier::builtin()?;
        rules.set_networks(wiring::networks(&config)?);
        let draining = Arc::new(AtomicBool::new(false));
        let http_metrics = http::Metrics::register(registry)?;
        let upstreams = wiring::upstreams(&config, &Default::default(), &http_metrics, &tasks)?;
        let newcomers = descriptors::newcomers(descriptors::allowed());
        let limits = Limits::with_newcomers(wiring::connections(&config), newcomers);
        let context = Arc::new(http::Context {
            settings: ArcSwap::from_pointee(wiring::http(&config, upstreams)?),
            registry: known.clone(),
            admission: admission.clone(),
            thumbprint,
            challenge_upstream: ArcSwapOption::new(wiring::challenge_upstream(&config)?),
            journal: journal.clone(),
            redirects,
            lookups: Turns::new(LOOKUPS_OF_NETWORK),
            bodies: FairRoom::new(AWAITED_BODIES, AWAITED_BODIES / 4),
            kills,
            rules,
            clock: clock.clone(),
            metrics: http_metrics,
            draining: Arc::clone(&draining),
            limits: http::Limits::default(),
            brief: http::BRIEF,
            connections: limits.clone(),
            tasks: edge_tasks.clone(),
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
            Http(Arc::clone(&context)),
            linkseal_edge::metrics::Metrics::register(registry),
            edge_tasks.clone(),
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
            activity: Activity::start(&journal, &tasks),
            delivery: delivery.clone(),
            eraser,
            pages_key,
            settings: wiring::admin(&config, &context),
            sockets: admin_sockets,
            health_sockets,
            tasks: office.tasks(&tasks),
            health_tasks: tasks.clone(),
        })?;
        Ok(Self {
            config: ArcSwap::from_pointee(config),
            options,
            addresses,
            control,
            workshop,
            context,
            connections,
            limits,
            admin,
            _office: office,
            journal,
            delivery,
            edge_tasks,
            tasks,
            bound,
            requests,
            lookups,
            draining,
            reloads,
        })
    }

    /// Where it is bound: real ports also where 0 was configured.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The control plane, for anyone who runs an edge inside a program of their own.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Serves until `stop` resolves, then drains: health checks are told first, then no new
    /// connections are taken, then those at hand end. Every `()` from `reload` reads the
    /// configuration again.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        mut reload: tokio::sync::mpsc::Receiver<()>,
    ) -> anyhow::Result<()> {
        let requests = std::mem::replace(&mut self.requests, tokio::sync::mpsc::channel(1).1);
        if let Err(error) = self.control.kills().load().await {
            tracing::error!(%error, "the kill switches cannot be read yet: what is killed is not, until they can be");
            self.tasks.spawn_until_stop(self.control.clone().load_kills());
        }
        self.control.own_names(&wiring::own_names(&self.config.load())).await;
        let lookups = std::mem::replace(&mut self.lookups, tokio::sync::mpsc::channel(1).1);
        self.control.start(requests, lookups);
        let teller = Arc::new(lifecycle::ToJournal(self.journal.clone()));
        self.tasks
            .spawn_until_stop(self.control.clone().tell_happenings(teller));
        if !self.delivery.begun(DELIVERY_BEGINS).await {
            tracing::warn!("delivery has not begun yet: events of the time until it does are in the journal only");
        }
        self.admin.start();
        for bound in std::mem::take(&mut self.bound) {
            tracing::info!(listener = bound.kind().label(), address = %bound.local_addr(), "listening");
            self.connections.listen(bound);
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

/// Opens the sealing key and the store.
fn open_store(
    config: &linkseal_config::store::Store,
    journal: &Path,
    registry: &prometheus::Registry,
) -> anyhow::Result<(Sealer, SharedStore)> {
    let path = config
        .sqlite_path()
        .context("store.url: only sqlite: can be used here")?;
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty() && !d.exists()) {
        // Only the last part: a path mistyped further up is not made for real.
        std::fs::create_dir(dir).with_context(|| {
            format!(
                "the directory of the store, {}, is not there and cannot be made; make it for the service's user, or set \
                 store.url",
                dir.display()
            )
        })?;
        tracing::info!(directory = %dir.display(), "made the directory of the store");
    }
    // The key first, and never beside a store that is there: its secrets were sealed by another.
    let (key_file, create) = config.key_path();
    not_lost(path, (&key_file, create), journal)?;
    let sealer = Sealer::from_file(&key_file, create && !path.exists())?;
    let metrics = linkseal_store::metrics::Metrics::register(registry);
    let store = SqliteStore::open_to_serve(path, Some(metrics))?;
    Ok((sealer, Arc::new(store)))
}

/// Refuses to begin with an empty store where there was one: its domains, its certificates and the
/// account at the CA would be gone without a word. `key`: the sealing key's file, and whether
/// linkseal makes it; one that an operator brings along is there before the first start.
fn not_lost(store: &Path, key: (&Path, bool), journal: &Path) -> anyhow::Result<()> {
    if store.exists() {
        return Ok(());
    }
    let has_events = std::fs::read_dir(journal).is_ok_and(|mut entries| entries.next().is_some());
    let left = match key {
        (file, true) if file.exists() => file,
        _ if has_events => journal,
        _ => return Ok(()),
    };
    anyhow::bail!(
        "the store {store} is not there, but {left} of an earlier start is: mount its disk, correct store.url, or put a backup back (linkseal store restore); to begin with an empty store, make an empty file first: install -m 600 /dev/null {store}",
        store = store.display(),
        left = left.display(),
    );
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_empty_store_is_not_begun_where_there_was_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (store, key, journal) = (at("linkseal.db"), at("linkseal.key"), at("events"));
        not_lost(&store, (&key, true), &journal).unwrap();
        fs::create_dir(&journal).unwrap();
        fs::write(&key, "key").unwrap();
        not_lost(&store, (&key, false), &journal).unwrap();
        let told = not_lost(&store, (&key, true), &journal).unwrap_err().to_string();
        assert!(told.contains("linkseal.key of an earlier start is"), "{told}");
        fs::write(journal.join("1.journal"), "").unwrap();
        let told = not_lost(&store, (&key, false), &journal).unwrap_err().to_string();
        assert!(told.contains("events of an earlier start is"), "{told}");
        fs::write(&store, "").unwrap();
        not_lost(&store, (&key, true), &journal).unwrap();
    }
}
