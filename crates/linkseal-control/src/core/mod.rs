//! What every room of the control plane shares: the clock, the store, the data plane's views, the
//! settings in force, and the one way a domain's record changes.
//!
//! A change goes through [`Core::change`]: read the record, compute the next one with the pure
//! state machine of `linkseal-domain`, store it, and only then publish it to the data plane and to
//! the [`Observers`]. Nothing in here knows the rooms above.

pub(crate) mod audit;
pub(crate) mod ca;
mod certificates;
pub(crate) mod change;
mod change_all;
pub(crate) mod change_queue;
mod copy;
mod everywhere;
pub(crate) mod freeze;
mod lag;
pub(crate) mod leases;
pub mod log_limit;
mod messages;
pub(crate) mod metrics;
pub(crate) mod priority;
pub(crate) mod rate;
pub(crate) mod settings;

use std::sync::Arc;

use arc_swap::ArcSwap;
use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_dns::Checker;
use linkseal_domain::cert::cache::Certificates;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_domain::registry::Registry;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::copy::LocalCopy;
use linkseal_store::{Owner, SharedStore, StoreError};
use tokio::sync::Notify;

pub(crate) use audit::Actor;
pub(crate) use ca::{CaPool, ConfiguredCa};
pub(crate) use change::{Draft, Edit};
pub use everywhere::Everywhere;
pub(crate) use lag::Lag;
pub use messages::MessageContext;
pub(crate) use metrics::Metrics;
pub(crate) use priority::Priority;
pub(crate) use settings::{Issue, Limit, Limits, Settings};

use self::change_queue::ChangeQueues;
use self::leases::Leases;
use self::log_limit::LogLimit;

/// The shared state of one node's control plane.
pub(crate) struct Core {
    pub(crate) clock: Clock,
    pub(crate) store: SharedStore,
    /// This node's copy of what it serves; `None` with a store that no other node uses.
    pub(crate) copy: Option<Arc<LocalCopy>>,
    /// How far this node is behind the store.
    pub(crate) lag: Lag,
    /// Opens and seals secrets in the store.
    pub(crate) sealer: Arc<Sealer>,
    /// The data plane's view of the domains; written here.
    pub(crate) registry: Registry,
    /// The data plane's certificates; written here.
    pub(crate) certificates: Certificates,
    /// Handshakes that failed, as the data plane counts them.
    pub(crate) handshake_failures: HandshakeFailures,
    /// Where background work runs.
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
    /// This process, as the owner of leases.
    pub(crate) owner: Owner,
    /// Which certificates every node serves.
    pub(crate) everywhere: Everywhere,
    /// The leases on domains that it holds.
    pub(crate) leases: Arc<Leases>,
    /// Wakes the scheduler: something may have become due.
    pub(crate) wake: Notify,
    /// Wakes the outbox publisher: a lifecycle event was stored.
    pub(crate) outbox_ready: Notify,
    settings: ArcSwap<Settings>,
    cas: ArcSwap<CaPool>,
    checker: ArcSwap<Checker>,
    observers: Observers,
    /// Changes of one name, one after the other.
    changes: ChangeQueues<DomainName>,
    store_log: LogLimit,
}

/// Keeps something in memory about stored domains.
pub(crate) trait Observer: Send + Sync {
    /// A record was stored or read.
    fn stored(&self, record: &DomainRecord);
    /// A domain was purged.
    fn purged(&self, _name: &DomainName) {}
}

/// Who learns of every stored change, in this order.
pub(crate) struct Observers {
    /// The names admitted by DNS, which are bounded.
    pub(crate) cname: Arc<dyn Observer>,
    /// The names stored as the edge's own.
    pub(crate) own_names: Arc<dyn Observer>,
    /// The list of refused names, which known names leave.
    pub(crate) rejected: Arc<dyn Observer>,
    /// The data plane's cache of stored redirects.
    pub(crate) redirects: Arc<dyn Observer>,
}

impl Observers {
    fn all(&self) -> [&dyn Observer; 4] {
        [&*self.cname, &*self.own_names, &*self.rejected, &*self.redirects]
    }
}

/// What a [`Core`] is made of.
pub(crate) struct CoreParts {
    pub(crate) clock: Clock,
    pub(crate) store: SharedStore,
    pub(crate) copy: Option<Arc<LocalCopy>>,
    pub(crate) lag: Lag,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) registry: Registry,
    pub(crate) certificates: Certificates,
    pub(crate) handshake_failures: HandshakeFailures,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
    pub(crate) owner: Owner,
    pub(crate) everywhere: Everywhere,
    pub(crate) settings: Settings,
    pub(crate) cas: CaPool,
    pub(crate) checker: Arc<Checker>,
    pub(crate) observers: Observers,
}

impl Core {
    pub(crate) fn new(parts: CoreParts) -> Arc<Self> {
        Arc::new(Self {
            leases: Leases::new(Arc::clone(&parts.store), parts.clock.clone(), parts.owner),
            clock: parts.clock,
            store: parts.store,
            copy: parts.copy,
            lag: parts.lag,
            sealer: parts.sealer,
            registry: parts.registry,
            certificates: parts.certificates,
            handshake_failures: parts.handshake_failures,
            tasks: parts.tasks,
            metrics: parts.metrics,
            owner: parts.owner,
            everywhere: parts.everywhere,
            wake: Notify::new(),
            outbox_ready: Notify::new(),
            settings: ArcSwap::from_pointee(parts.settings),
            cas: ArcSwap::from_pointee(parts.cas),
            checker: ArcSwap::new(parts.checker),
            observers: parts.observers,
            changes: ChangeQueues::default(),
            store_log: LogLimit::every(log_limit::STORE_INTERVAL),
        })
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The DNS checker in force.
    pub(crate) fn checker(&self) -> Arc<Checker> {
        self.checker.load_full()
    }

    /// Replaces the settings after a reload; returns the old ones. Work in progress keeps the clients
    /// that it started with.
    pub(crate) fn reload(&self, settings: Settings, cas: CaPool, checker: Arc<Checker>) -> Arc<Settings> {
        let before = self.settings.swap(Arc::new(settings));
        self.cas.store(Arc::new(cas));
        self.checker.store(checker);
        before
    }

    /// Logs that the store failed at something that will be retried: one line a minute for each
    /// cause, with the number of lines suppressed.
    pub(crate) fn store_failed(&self, task: &'static str, domain: Option<&DomainName>, error: &StoreError) {
        if let Some(suppressed) = self.store_log.due(error.kind(), task, self.clock.uptime()) {
            let domain = domain.map(DomainName::as_str);
            tracing::error!(domain, %error, task, suppressed, "store operation failed; will retry");
        }
    }
}
