//! The control plane: the one owner of domain transitions.
//!
//! Every change goes the same way (`change`): read the record, compute the next one with the
//! pure function of [`linkseal_domain::ssl`], store it, and only then let the data plane see it.
//! The `scheduler` finds what is due, `work` does it under a lease, `lanes` decides who gets one of
//! the places for it and `queue` whose order goes first, `handshake` answers handshakes that wait.

mod admission;
mod ask;
pub mod authority;
mod backoff;
mod bucket;
mod caa_watch;
mod change;
mod change_all;
mod clock_watch;
mod cname;
pub mod complaints;
mod freeze;
mod handshake;
mod history;
mod holds;
mod import;
mod input;
mod kills;
mod lanes;
mod lines;
mod loader;
mod looks;
mod mass_failure;
mod metrics;
mod newcomer_shares;
mod newcomers;
mod operator;
mod order;
mod outbox;
mod overview;
mod own_names;
mod ownership;
mod preflight;
mod probe;
pub mod queue;
mod recheck;
mod redirects;
mod rejected;
mod renewal_info;
mod room;
pub mod rules;
pub mod scheduler;
mod share;
mod standstill;
mod store_watch;
mod strict;
#[cfg(test)]
mod tests;
mod tickets;
mod work;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::{Mutex, Notify, Semaphore, mpsc};

pub use admission::KnownNames;
pub use ask::{AskSettings, Asker};
pub use authority::{CaPool, ConfiguredCa};
pub use caa_watch::{TargetCaa, TargetVerdict};
pub use change::{Draft, Edit};
pub use cname::CnameSettings;
pub use freeze::NewFreeze;
pub use holds::Holds;
pub use import::Import;
pub use input::{Actor, GUEST, NewDomain, OperatorError, Patch, Registered, Reissue};
pub use kills::{KillSwitchStore, NewKill};
pub use mass_failure::MassFailure;
pub use metrics::Metrics;
pub use operator::{MOVED, REISSUES, audit_entry};
pub use outbox::OutboxPublisher;
pub use overview::{AuthorityState, Budget, Forecast, Overview, Standing};
pub use ownership::{OwnerRecord, Ownership};
pub use preflight::{PreflightSettings, Preflighter};
pub use probe::ProbeSettings;
pub use queue::Priority;
pub use redirects::{NewRedirect, Redirects};
pub use rejected::RejectedName;

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::shutdown::Tasks;
use linkseal_dns::Checker;
use linkseal_domain::DomainName;
use linkseal_domain::cert::cache::{CertificateRequest, Certificates};
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::cert::tickets::TicketKeys;
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_domain::links::{KillSwitches, Lookup, RedirectCache};
use linkseal_domain::messages;
use linkseal_domain::registry::Registry;
use linkseal_store::SharedStore;

/// When certificates are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issue {
    /// As soon as a domain is registered.
    OnRegister,
    /// At the first handshake, or when someone verifies.
    OnDemand,
    /// Never: what is held is served.
    Off,
}

/// A limit of the CA: so many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub count: u32,
    /// In what time.
    pub per: Duration,
}

/// The CA's limits, mirrored, so that they are never run into.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// New orders of the account.
    pub orders_per_account: Limit,
    /// Certificates under one registered domain (public suffix list).
    pub per_registered_domain: Limit,
    /// Failed authorizations of one name.
    pub failed_per_name: Limit,
}

/// What can change by a reload.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When certificates are ordered.
    pub issue: Issue,
    /// edge.name: what people are told to point at.
    pub target: DomainName,
    /// How often DNS is looked at for a domain that holds a certificate.
    pub recheck: Duration,
    /// How long a name may lead elsewhere until it is hardly looked at any more.
    pub departed_after: Duration,
    /// How issued domains are probed. `None`: they are not.
    pub probe: Option<ProbeSettings>,
    /// Older targets that customers still point to.
    pub aliases: Vec<DomainName>,
    /// The bounds of admission by DNS. `None`: DNS alone admits no name.
    pub cname: Option<CnameSettings>,
    /// What a token of one tenant needs to take a name.
    pub ownership: Ownership,
    /// How many domains a tenant may have for its own tokens to register more. `None`: any number.
    pub max_domains_per_tenant: Option<u64>,
    /// How many refused names that point here are kept; 0: refused names are not looked at.
    pub rejected_capacity: usize,
}

/// The control plane of one node. Clones are the same one.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    store: SharedStore,
    sealer: Arc<Sealer>,
    registry: Registry,
    certificates: Certificates,
    tickets: TicketKeys,
    tools: ArcSwap<Clients>,
    redirects: Redirects,
    kills: KillSwitchStore,
    settings: ArcSwap<Settings>,
    /// Owner of the leases: the node's name, so that a restarted node takes its own up at once.
    node: String,
    tasks: Tasks,
    metrics: Metrics,
    /// Woken when something may have become due.
    wake: Notify,
    /// Woken when something has happened that is to be told of.
    told: Notify,
    queue: Arc<queue::Queue>,
    /// Names that are being worked on here, with the handshakes that wait for each.
    in_hand: DashMap<DomainName, work::InHand>,
    /// One change of what is known of the CAs at a time.
    judging: Mutex<()>,
    /// Woken when how CAA records name the CAs has to be read again.
    identities: Notify,
    /// Woken when they were read.
    identified: Notify,
    /// What CAA records at the edge's own names say.
    target_caa: ArcSwap<Vec<TargetCaa>>,
    /// How many certificates are at risk, and when that was counted.
    at_risk: std::sync::Mutex<Option<(Timestamp, u64)>>,
    /// Names just registered, which may be taken up before what waits to be.
    newcomers: newcomers::Newcomers,
    /// Changes of one name follow one another.
    changing: lines::Lines<DomainName>,
    /// Registrations by tenants, each tenant's one after the other: they are counted.
    registering: lines::Lines<String>,
    /// The places in which DNS is looked at.
    looks: looks::Looks,
    /// The places in which CAs are asked when to renew.
    renewal_info: renewal_info::Desk,
    loads: Arc<Semaphore>,
    cname: cname::CnameAdmission,
    owners: ownership::Owners,
    rejected: rejected::Rejected,
    /// Names stored as the edge's own, configured or not.
    own: std::sync::Mutex<BTreeSet<DomainName>>,
    handshake_failures: HandshakeFailures,
    mass_failure: mass_failure::MassFailureGuard,
    order_mass_failure: mass_failure::MassFailureGuard,
    standstills: standstill::Standstills,
    complaints: complaints::Complaints,
    /// What the store did not do, as far as it was logged.
    store_complaints: complaints::Complaints,
    /// How our own resolvers fail, as far as it was logged.
    dns_complaints: complaints::Complaints,
    /// CAs that refuse all orders by a limit: the shortest wait grows while they do.
    throttles: standstill::Standstills,
}

/// Whom the control plane asks. A reload makes them again; work at hand ends with those it began with.
#[derive(Clone)]
pub struct Clients {
    /// The CAs, in their order.
    pub authorities: CaPool,
    /// Looks at DNS.
    pub checker: Arc<Checker>,
    /// Asks the platform about unknown names. `None`: only registered names are admitted.
    pub asker: Option<Arc<Asker>>,
    /// Tries the challenge's URL before an order. `None`: no one does.
    pub preflight: Option<Arc<Preflighter>>,
}

/// What a control plane is made of.
pub struct Parts {
    /// The clock.
    pub clock: Clock,
    /// The store.
    pub store: SharedStore,
    /// Opens and seals what the store holds.
    pub sealer: Arc<Sealer>,
    /// The data plane's view of the domains; filled here.
    pub registry: Registry,
    /// The data plane's certificates; filled here.
    pub certificates: Certificates,
    /// The data plane's ticket keys; filled here.
    pub tickets: TicketKeys,
    /// The data plane's stored redirects; answered from here.
    pub redirects: RedirectCache,
    /// The data plane's kill switches; filled here.
    pub kills: KillSwitches,
    /// What the data plane notes of handshakes that failed.
    pub handshake_failures: HandshakeFailures,
    /// Whom it asks.
    pub tools: Clients,
    /// What can change by a reload.
    pub settings: Settings,
    /// This node's name.
    pub node: String,
    /// How many orders run at once.
    pub max_concurrent_orders: usize,
    /// Where the background work runs.
    pub tasks: Tasks,
    /// Its metrics.
    pub metrics: Metrics,
}

/// Certificates loaded from the store at once for handshakes.
const CONCURRENT_LOADS: usize = 64;
/// Sockets that are open at most, those of orders and of the policy `cname` aside.
pub const SOCKETS: usize = looks::AT_ONCE * linkseal_dns::SOCKETS_OF_CHECK
    + looks::REPORTS * linkseal_dns::SOCKETS_OF_REPORT
    + preflight::AT_ONCE
    + probe::CONCURRENT
    + ask::CONCURRENT;

impl Control {
    /// Puts a control plane together; nothing runs yet.
    pub fn new(parts: Parts) -> Self {
        let inner = Inner {
            redirects: Redirects::new(Arc::clone(&parts.store), parts.clock.clone(), parts.redirects),
            owners: ownership::Owners::new(&parts.sealer),
            kills: KillSwitchStore::new(Arc::clone(&parts.store), parts.clock.clone(), parts.kills),
            clock: parts.clock,
            store: parts.store,
            sealer: parts.sealer,
            registry: parts.registry,
            certificates: parts.certificates,
            tickets: parts.tickets,
            tools: ArcSwap::from_pointee(parts.tools),
            settings: ArcSwap::from_pointee(parts.settings),
            node: parts.node,
            tasks: parts.tasks,
            metrics: parts.metrics,
            wake: Notify::new(),
            told: Notify::new(),
            queue: Arc::new(queue::Queue::new(parts.max_concurrent_orders)),
            in_hand: DashMap::new(),
            judging: Mutex::new(()),
            identities: Notify::new(),
            identified: Notify::new(),
            target_caa: ArcSwap::default(),
            at_risk: std::sync::Mutex::default(),
            newcomers: newcomers::Newcomers::new(),
            changing: lines::Lines::default(),
            registering: lines::Lines::default(),
            looks: looks::Looks::new(),
            renewal_info: renewal_info::Desk::default(),
            loads: Arc::new(Semaphore::new(CONCURRENT_LOADS)),
            cname: cname::CnameAdmission::new(),
            rejected: rejected::Rejected::new(),
            own: std::sync::Mutex::default(),
            handshake_failures: parts.handshake_failures,
            mass_failure: mass_failure::MassFailureGuard::new(mass_failure::By::Looks),
            order_mass_failure: mass_failure::MassFailureGuard::new(mass_failure::By::Orders),
            standstills: standstill::Standstills::default(),
            complaints: complaints::Complaints::every(complaints::OF_CAS),
            store_complaints: complaints::Complaints::every(complaints::OF_THE_STORE),
            dns_complaints: complaints::Complaints::every(complaints::OF_RESOLVERS),
            throttles: standstill::Standstills::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts the background work: loading, scheduling, ticket keys, answering handshakes and
    /// look-ups of stored redirects.
    pub fn start(&self, requests: mpsc::Receiver<CertificateRequest>, lookups: mpsc::Receiver<Lookup>) {
        let tasks = &self.inner.tasks;
        tasks.spawn_until_stop(self.redirects().clone().answer_lookups(lookups, tasks.clone()));
        tasks.spawn_until_stop(self.clone().answer_handshakes(requests));
        tasks.spawn_until_stop(self.clone().load_registry());
        tasks.spawn_until_stop(self.clone().watch_rejected());
        tasks.spawn_until_stop(self.clone().watch_clock());
        tasks.spawn_until_stop(self.clone().watch_store());
        tasks.spawn_until_stop(self.clone().run_scheduler());
        tasks.spawn_until_stop(self.clone().go_on_unless_stopped());
        tasks.spawn_until_stop(self.clone().prune_history());
        tasks.spawn_until_stop(self.clone().run_orders());
        tasks.spawn_until_stop(self.clone().run_probes());
        tasks.spawn_until_stop(self.clone().keep_ticket_keys());
        tasks.spawn_until_stop(self.clone().keep_identities());
        tasks.spawn_until_stop(self.clone().watch_target_caa());
    }

    /// Takes over new settings after a reload.
    pub fn set_settings(&self, settings: Settings, tools: Clients, max_concurrent_orders: usize) {
        let goes_on = settings.issue != Issue::Off;
        let before = self.inner.settings.swap(Arc::new(settings));
        self.inner.tools.store(Arc::new(tools));
        self.inner.queue.set_slots(max_concurrent_orders);
        // What was ours to put right may have been.
        if self.inner.standstills.forget(None) {
            self.release_what_waits_for_us();
        }
        if goes_on && before.issue == Issue::Off {
            self.inner.tasks.spawn_until_stop(self.clone().go_on_unless_stopped());
        }
        self.inner.identities.notify_one();
        self.inner.wake.notify_one();
    }

    /// Whom to ask now.
    fn tools(&self) -> Arc<Clients> {
        self.inner.tools.load_full()
    }

    /// The handshakes that failed, by domain.
    pub fn handshake_failures(&self) -> &HandshakeFailures {
        &self.inner.handshake_failures
    }

    /// The store, for reading.
    pub fn store(&self) -> &SharedStore {
        &self.inner.store
    }

    /// The stored redirects.
    pub fn redirects(&self) -> &Redirects {
        &self.inner.redirects
    }

    /// The kill switches; [`KillSwitchStore::load`] puts the stored ones in force.
    pub fn kills(&self) -> &KillSwitchStore {
        &self.inner.kills
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Orders that wait for their turn, by priority.
    pub fn queue_depth(&self) -> [(Priority, usize); 4] {
        self.inner.queue.depth()
    }

    /// Whether the registry is loaded.
    pub fn is_loaded(&self) -> bool {
        self.inner.registry.is_loaded()
    }

    /// What the sentences for people need to know.
    pub fn messages(&self) -> MessageContext {
        let settings = self.inner.settings.load();
        let tools = self.tools();
        MessageContext {
            target: settings.target.clone(),
            addresses: tools.checker.target().addresses.clone(),
            ca_id: tools.checker.caa_identity(),
            ca: tools.authorities.first().issuer.host().to_owned(),
        }
    }
}

/// Owned facts for [`messages::Context`].
#[derive(Clone, Debug)]
pub struct MessageContext {
    target: DomainName,
    addresses: Vec<IpAddr>,
    ca_id: Option<String>,
    ca: String,
}

impl MessageContext {
    /// Borrowed, as the messages take it.
    pub fn borrow(&self) -> messages::Context<'_> {
        messages::Context {
            target: self.target.as_str(),
            addresses: &self.addresses,
            ca_id: self.ca_id.as_deref(),
            ca: &self.ca,
        }
    }
}
