//! The control plane of linkseal: the only writer of domain records, and what gets them certificates.
//!
//! The data plane (`linkseal-edge`) calls it for certificates, unknown names and stored redirects, over
//! channels and [`KnownNames`]; the admin port (`linkseal-admin`) calls [`Operator`] and [`Report`]; the
//! binary constructs [`Control`] and starts it. `linkseal simulate` uses only [`rules`], [`queue`] and
//! [`scheduler`].
//!
//! Each room is a folder and knows only the rooms above it in this list:
//!
//! | room | decides or does |
//! |---|---|
//! | `core` | shared state; the one way a record changes (read, compute, store, publish) |
//! | [`rules`] | pure decisions about due times, limits and failures |
//! | `fairness` | who goes first |
//! | `admission` | whether an unknown name may be served |
//! | `checks` | DNS, pre-flight, renewal information, mass-failure guard |
//! | `schedule` | what is due, prepared up to its place in the queue; handshakes that wait |
//! | `order` | orders at the CAs, and which CA |
//! | `operator` | what people and the platform's back end do |
//! | `watch` | background watches: clock, store, probes, CAA, ticket keys |
//! | `follow` | in a fleet: what other nodes store, brought into memory here |
//! | `report` | overview, metrics, lifecycle events |
//!
//! The life of a certificate: `operator::register` stores the record and wakes `schedule::scheduler`,
//! which takes the name up under a lease (`core::leases`) that lasts to the end of its order; `schedule::prepare` runs
//! its steps and puts it into `fairness::queue`; `order::run` takes it from there, orders at the CA that
//! `order::choose` picked, stores the certificate through `core::change` and serves it.

mod admission;
mod checks;
mod core;
mod fairness;
mod follow;
mod operator;
mod order;
mod report;
pub mod rules;
mod schedule;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_dns::Checker;
use linkseal_domain::cert::cache::{CertificateRequest, Certificates};
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::cert::tickets::TicketKeys;
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_domain::links::{KillSwitches, Lookup, RedirectCache};
use linkseal_domain::registry::Registry;
use linkseal_store::copy::LocalCopy;
use linkseal_store::{Owner, SharedStore, StoreError};
use tokio::sync::mpsc;

pub use self::admission::{Admission, AskSettings, Asker, KnownNames, RejectedName};
pub use self::checks::mass_failure::MassFailure;
pub use self::checks::preflight::{PreflightSettings, Preflighter};
pub use self::core::audit::{Actor, GUEST, audit_entry};
pub use self::core::ca::{CaPool, ConfiguredCa};
pub use self::core::log_limit;
pub use self::core::metrics::Metrics;
pub use self::core::priority::Priority;
pub use self::core::settings::{CnameSettings, Issue, Limit, Limits, Ownership, ProbeSettings, Settings};
pub use self::core::{Everywhere, MessageContext};
pub use self::fairness::queue;
pub use self::operator::{
    Holds, Import, KillSwitchStore, MOVED, NewDomain, NewFreeze, NewKill, NewRedirect, Operator, OperatorError,
    OwnerRecord, Patch, REISSUES, Redirects, Registered, Reissue,
};
pub use self::report::{AuthorityState, Budget, Forecast, OutboxPublisher, Overview, Report, Standing};
pub use self::schedule::scheduler;
pub use self::watch::target_caa::{TargetCaa, TargetVerdict};

use self::admission::{CnameNames, Rejected};
use self::checks::Checks;
use self::core::{Core, CoreParts, Lag, Observers};
use self::fairness::Fairness;
pub use self::follow::NodeOfFleet;
use self::follow::{Follower, Membership};
use self::operator::own_names::OwnNames;
use self::operator::redirects::PurgedRedirects;
use self::order::Orders;
use self::schedule::Schedule;
use self::watch::loader::Loader;
use self::watch::probe::Probes;
use self::watch::target_caa::TargetCaaWatch;
use self::watch::tickets::TicketKeeper;

/// Sockets that are open at most, apart from those of orders and of admission by DNS.
pub const SOCKETS: usize = checks::places::CONCURRENT_CHECKS * linkseal_dns::SOCKETS_OF_CHECK
    + checks::places::CONCURRENT_REPORTS * linkseal_dns::SOCKETS_OF_REPORT
    + checks::preflight::CONCURRENT
    + watch::probe::CONCURRENT
    + admission::CONCURRENT_ASKS;

/// What a control plane is made of.
pub struct Parts {
    pub clock: Clock,
    pub store: SharedStore,
    /// This node's copy of what it serves; `None` with a store that no other node uses.
    pub copy: Option<Arc<LocalCopy>>,
    /// Opens and seals what the store holds.
    pub sealer: Arc<Sealer>,
    /// The data plane's view of the domains; written here.
    pub registry: Registry,
    /// The data plane's certificates; written here.
    pub certificates: Certificates,
    /// The data plane's ticket keys; written here.
    pub tickets: TicketKeys,
    /// The data plane's stored redirects; answered from here.
    pub redirects: RedirectCache,
    /// The data plane's kill switches; written here.
    pub kills: KillSwitches,
    /// Failed handshakes, counted by the data plane.
    pub handshake_failures: HandshakeFailures,
    pub clients: Clients,
    pub settings: Settings,
    /// This process, as the owner of leases: one that no other process has.
    pub owner: Owner,
    /// Which node of a fleet it is; `None` with a store that no other node uses.
    pub node: Option<NodeOfFleet>,
    pub max_concurrent_orders: usize,
    /// Where background work runs.
    pub tasks: Tasks,
    pub metrics: Metrics,
}

/// The clients that are built from the configuration again at every reload. Work in progress keeps those
/// that it started with.
#[derive(Clone)]
pub struct Clients {
    /// The CAs, in their order.
    pub authorities: CaPool,
    pub checker: Arc<Checker>,
    /// The `ask` endpoint, if there is one.
    pub asker: Option<Arc<Asker>>,
    /// Tries a challenge before an order; `None` turns pre-flights off.
    pub preflight: Option<Arc<Preflighter>>,
}

/// The control plane of one node: constructs its rooms and starts their tasks. Clones share it.
#[derive(Clone)]
pub struct Control {
    core: Arc<Core>,
    admission: Arc<Admission>,
    checks: Arc<Checks>,
    schedule: Arc<Schedule>,
    orders: Arc<Orders>,
    operator: Arc<Operator>,
    report: Arc<Report>,
    target_caa: Arc<TargetCaaWatch>,
    cname_names: Arc<CnameNames>,
    own_names: Arc<OwnNames>,
    tickets: Arc<TicketKeeper>,
    membership: Option<Arc<Membership>>,
}

impl Control {
    /// Constructs the rooms; nothing runs yet.
    pub fn new(parts: Parts) -> Self {
        let (cname_names, own_names, rejected) = (CnameNames::new(), OwnNames::new(), Arc::new(Rejected::new()));
        let (store, copy) = (|| Arc::clone(&parts.store), || parts.copy.clone());
        let redirects = Redirects::new(store(), copy(), parts.clock.clone(), parts.redirects.clone());
        let kills = KillSwitchStore::new(store(), copy(), parts.clock.clone(), parts.kills);
        let membership = parts.node.map(Membership::new);
        let clients = parts.clients;
        let core = Core::new(CoreParts {
            clock: parts.clock,
            store: parts.store,
            copy: parts.copy,
            lag: Lag::new(membership.is_some()),
            sealer: parts.sealer,
            registry: parts.registry,
            certificates: parts.certificates,
            handshake_failures: parts.handshake_failures,
            tasks: parts.tasks,
            metrics: parts.metrics,
            owner: parts.owner,
            everywhere: Everywhere::new(membership.is_some()),
            settings: parts.settings,
            cas: clients.authorities,
            checker: clients.checker,
            observers: Observers {
                cname: cname_names.clone(),
                own_names: own_names.clone(),
                rejected: rejected.clone(),
                redirects: Arc::new(PurgedRedirects(parts.redirects)),
            },
        });
        let admission = Admission::new(core.clone(), clients.asker, cname_names.clone(), rejected);
        let fairness = Fairness::new(core.clone());
        let checks = Checks::new(core.clone(), fairness.clone(), clients.preflight);
        let slots = parts.max_concurrent_orders;
        let schedule = Schedule::new(core.clone(), fairness, admission.clone(), checks.clone(), slots);
        let orders = Orders::new(schedule.clone());
        let operator = Operator::new(schedule.clone(), orders.clone(), own_names.clone(), redirects, kills);
        let target_caa = TargetCaaWatch::new(core.clone(), orders.clone());
        let tickets = TicketKeeper::new(core.clone(), parts.tickets);
        let report = Report::new(admission.clone(), schedule.clone(), orders.clone(), target_caa.clone());
        Self {
            core,
            admission,
            checks,
            schedule,
            orders,
            operator,
            report,
            target_caa,
            cname_names,
            own_names,
            tickets,
            membership,
        }
    }

    /// Starts the background tasks. The data plane sends requests for certificates and look-ups of stored
    /// redirects.
    pub fn start(&self, requests: mpsc::Receiver<CertificateRequest>, lookups: mpsc::Receiver<Lookup>) {
        let (core, tasks) = (&self.core, &self.core.tasks);
        let loader = Loader {
            core: core.clone(),
            operator: self.operator.clone(),
            cname_names: self.cname_names.clone(),
            own_names: self.own_names.clone(),
        };
        tasks.spawn_until_stop(self.operator.redirects().clone().answer_lookups(lookups, tasks.clone()));
        tasks.spawn_until_stop(self.schedule.clone().answer_handshakes(requests));
        let follower = self.membership.clone().map(|node| {
            let (operator, tickets) = (self.operator.clone(), self.tickets.clone());
            Follower::new(core.clone(), operator, tickets, node, core.lag.clone())
        });
        tasks.spawn_until_stop(loader.run(follower));
        tasks.spawn_until_stop(self.admission.clone().check_rejected());
        tasks.spawn_until_stop(watch::clock::watch(core.clone(), self.operator.clone()));
        tasks.spawn_until_stop(watch::store::watch(core.clone(), self.operator.clone()));
        tasks.spawn_until_stop(core.clone().keep_leases());
        tasks.spawn_until_stop(self.schedule.clone().run());
        tasks.spawn_until_stop(self.report.clone().prune_audit());
        tasks.spawn_until_stop(self.report.clone().count_domains());
        tasks.spawn_until_stop(self.orders.clone().run());
        tasks.spawn_until_stop(Probes(core.clone()).run());
        tasks.spawn_until_stop(self.tickets.clone().run());
        tasks.spawn_until_stop(self.orders.clone().run_caa_identities());
        tasks.spawn_until_stop(self.target_caa.clone().run());
    }

    /// Makes this process a node of its fleet, before it begins to work.
    ///
    /// # Errors
    /// [`StoreError::NodeTaken`] if another process of that name is alive.
    pub async fn join(&self) -> Result<(), StoreError> {
        match &self.membership {
            Some(node) => node.join(&self.core).await,
            None => Ok(()),
        }
    }

    /// Releases this process's leases once its tasks have ended, so that another one can take its work up at once, and
    /// leaves the fleet. Returns how many leases there were.
    pub async fn release_leases(&self) -> Result<u64, StoreError> {
        let released = self.core.store.release_leases(self.core.owner).await?;
        if let Some(node) = &self.membership {
            node.leave(&self.core).await?;
        }
        Ok(released)
    }

    /// Which certificates every node serves.
    pub fn everywhere(&self) -> &Everywhere {
        &self.core.everywhere
    }

    /// Replaces settings and clients after a reload.
    pub fn set_settings(&self, settings: Settings, clients: Clients, max_concurrent_orders: usize) {
        let orders_are_on = settings.issue != Issue::Off;
        let before = self.core.reload(settings, clients.authorities, clients.checker);
        self.admission.set_asker(clients.asker);
        self.checks.preflights.set(clients.preflight);
        self.schedule.queue.set_slots(max_concurrent_orders);
        // The reload may have fixed what had to be fixed here.
        self.operator.end_standstills();
        if orders_are_on && before.issue == Issue::Off {
            let resume = self.operator.clone().resume_stopped_unless_frozen(true);
            self.core.tasks.spawn_until_stop(resume);
        }
        self.orders.identities.refresh();
        self.core.wake.notify_one();
    }

    /// The operations of people and of the platform's back end.
    pub fn operator(&self) -> &Arc<Operator> {
        &self.operator
    }

    /// What the control plane reports.
    pub fn report(&self) -> &Arc<Report> {
        &self.report
    }

    /// Whether unknown names may be served.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// The store, for reading.
    pub fn store(&self) -> &SharedStore {
        &self.core.store
    }

    pub fn clock(&self) -> &Clock {
        &self.core.clock
    }

    /// The handshakes that failed, by domain.
    pub fn handshake_failures(&self) -> &HandshakeFailures {
        &self.core.handshake_failures
    }

    /// Whether all domains are loaded.
    pub fn is_loaded(&self) -> bool {
        self.core.registry.is_loaded()
    }

    /// The facts about this edge that messages to customers need.
    pub fn messages(&self) -> MessageContext {
        self.core.messages()
    }
}
