//! Whether a name that the data plane does not know may be served.
//!
//! While the registry is still being loaded, such a name is looked up in the store. After that it is
//! admitted by the platform's `ask` endpoint ([`ask`]), or because its DNS points here ([`cname`]),
//! whichever is configured. Refused names whose DNS points here are listed ([`rejected`]). Every path
//! is bounded, in all and per client network ([`network_shares`]), because any client can send any
//! name.

mod ask;
mod cname;
mod cname_names;
mod network_shares;
mod rejected;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use linkseal_domain::admission::{Admission as AdmissionPolicy, Admitted, ClientNetwork};
use linkseal_domain::record::Origin;
use linkseal_domain::registry::Entry;
use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::StoreError;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use ask::{Answer, CONCURRENT as CONCURRENT_ASKS};
pub use ask::{AskSettings, Asker};
pub(crate) use cname_names::CnameNames;
pub(crate) use rejected::Rejected;
pub use rejected::RejectedName;

use self::cname::CnameChecks;
use self::network_shares::ConcurrencyShares;
use crate::core::{Core, Edit};

/// Point queries at the same time: a flood of names before the registry is loaded must not starve
/// the store's other users.
const CONCURRENT_LOOKUPS: usize = 32;

/// Decides about unknown names. The data plane asks it through
/// [`linkseal_domain::admission::Admission`].
pub struct Admission {
    core: Arc<Core>,
    asker: ArcSwapOption<Asker>,
    lookups: ConcurrencyShares,
    cname_names: Arc<CnameNames>,
    cname_checks: CnameChecks,
    rejected: Arc<Rejected>,
}

impl Admission {
    pub(crate) fn new(
        core: Arc<Core>,
        asker: Option<Arc<Asker>>,
        cname_names: Arc<CnameNames>,
        rejected: Arc<Rejected>,
    ) -> Arc<Self> {
        Arc::new(Self {
            core,
            asker: ArcSwapOption::new(asker),
            lookups: ConcurrencyShares::new(),
            cname_names,
            cname_checks: CnameChecks::new(),
            rejected,
        })
    }

    /// Replaces the client of the `ask` endpoint after a reload; `None` if there is no endpoint.
    pub(crate) fn set_asker(&self, asker: Option<Arc<Asker>>) {
        self.asker.store(asker);
    }

    /// The platform's answer about a name that it admitted before, or `None` if it is not asked any
    /// more.
    pub(crate) async fn ask_again(&self, name: &DomainName) -> Option<Answer> {
        let asker = self.asker.load_full()?;
        Some(asker.ask(name).await)
    }

    /// The refused names whose DNS points here, as this node has seen them, newest first.
    pub fn rejected(&self, limit: usize) -> Vec<RejectedName> {
        self.rejected.newest(limit, self.core.clock.now())
    }

    /// How many names are on the list of refused names.
    pub(crate) fn rejected_len(&self) -> usize {
        self.rejected.len()
    }

    async fn decide(self: &Arc<Self>, name: &DomainName, asking: ClientNetwork) -> Admitted {
        if !self.core.registry.is_loaded() {
            match self.stored(name, asking).await {
                Admitted::No => {}
                known => return known,
            }
        }
        // It may have been loaded since the caller looked.
        let loaded = self.core.registry.get(name.as_str());
        if let Some(entry) = loaded.filter(|entry| entry.reason != Reason::Denied) {
            return Admitted::Yes(entry);
        }
        if let Some(cname) = &self.core.settings().cname {
            return self.admit_by_cname(name, asking, cname).await;
        }
        let Some(asker) = self.asker.load_full() else {
            return Admitted::No;
        };
        match asker.ask_for(name, asking).await {
            Answer::Yes { tenant } => {
                let record = DomainRecord::new(name.clone(), tenant, Origin::Asked, self.core.clock.now());
                match self.add(record, "the ask endpoint answered yes").await {
                    Ok(entry) => Admitted::Yes(entry),
                    Err(error) => {
                        self.core.store_failed("store admitted names", Some(name), &error);
                        Admitted::Unreachable
                    }
                }
            }
            Answer::No => Admitted::No,
            Answer::Unreachable => Admitted::Unreachable,
        }
    }

    async fn stored(&self, name: &DomainName, asking: ClientNetwork) -> Admitted {
        let Some(_turn) = self.lookups.turn(CONCURRENT_LOOKUPS, asking) else {
            return Admitted::Unreachable;
        };
        let read = self.core.store.domain(name);
        match self.core.read_for_data_plane(read).await {
            Ok(Some(record)) if record.ssl.reason != Reason::Denied => Admitted::Yes(Arc::new(Entry::of(&record))),
            Ok(_) => Admitted::No,
            Err(error) => {
                self.core
                    .store_failed("look up names for handshakes", Some(name), &error);
                let copied = self.core.copied_record(name).await;
                copied.map_or(Admitted::Unreachable, |record| {
                    Admitted::Yes(Arc::new(Entry::of(&record)))
                })
            }
        }
    }

    /// Stores an admitted name; `why` goes into its timeline.
    async fn add(&self, record: DomainRecord, why: &str) -> Result<Arc<Entry>, StoreError> {
        if let Some(entry) = self.core.registry.get(record.name.as_str()) {
            return Ok(entry);
        }
        // If it is stored already, another handshake was faster, or it had been denied and is
        // admitted again.
        let record = self
            .core
            .create_or_change(record, ("admitted", why), |draft| {
                if draft.record.ssl.reason != Reason::Denied {
                    return Edit::Nothing;
                }
                draft.apply(SslEvent::Wanted);
                draft.log("admitted", Some(why.into()));
                Edit::Store
            })
            .await?;
        Ok(Arc::new(Entry::of(&record)))
    }
}

/// [`Admission`] as the data plane asks it.
pub struct KnownNames(Arc<Admission>);

impl KnownNames {
    pub fn new(admission: &Arc<Admission>) -> Arc<Self> {
        Arc::new(Self(Arc::clone(admission)))
    }
}

#[async_trait]
impl AdmissionPolicy for KnownNames {
    /// Decides on the control plane's runtime: the caller's thread drives connections. Dropping the future
    /// ends the decision.
    async fn admit(&self, name: &DomainName, asking: ClientNetwork) -> Admitted {
        let (admission, name) = (Arc::clone(&self.0), name.clone());
        let deciding = self.0.core.tasks.spawn(async move {
            let answer = admission.decide(&name, asking).await;
            if matches!(answer, Admitted::No) {
                admission.note_rejected(&name);
            }
            answer
        });
        // Aborted only when the process ends.
        AbortOnDropHandle::new(deciding).await.unwrap_or(Admitted::Unreachable)
    }
}
