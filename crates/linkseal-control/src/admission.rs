//! Names the data plane's registry does not know: looked up while it is still being loaded, and
//! asked for where the platform wants to be asked, or in DNS where that decides.

use std::sync::Arc;

use async_trait::async_trait;
use linkseal_domain::admission::{Admission, Admitted, ClientNetwork};
use linkseal_domain::record::Origin;
use linkseal_domain::registry::Entry;
use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::StoreError;

use super::ask::Answer;
use super::newcomer_shares::AtOnce;
use super::{Control, Edit};

/// Point queries at once; a flood of names before the registry is loaded must not starve the rest.
const CONCURRENT_LOOKUPS: usize = 32;

/// Admission by what is stored, and by asking the platform.
pub struct KnownNames {
    control: Control,
    lookups: AtOnce,
}

impl KnownNames {
    /// For the data plane of this control plane.
    pub fn new(control: Control) -> Arc<Self> {
        Arc::new(Self {
            control,
            lookups: AtOnce::new(),
        })
    }

    async fn decide(&self, name: &DomainName, asking: ClientNetwork) -> Admitted {
        if !self.control.inner.registry.is_loaded() {
            match self.stored(name, asking).await {
                Admitted::No => {}
                known => return known,
            }
        }
        if let Some(cname) = &self.control.inner.settings.load_full().cname {
            return self.control.admit_by_cname(name, asking, cname).await;
        }
        let tools = self.control.tools();
        let Some(asker) = &tools.asker else {
            return Admitted::No;
        };
        match asker.ask_for(name, asking).await {
            Answer::Yes { tenant } => {
                let record = DomainRecord::new(name.clone(), tenant, Origin::Asked, self.control.inner.clock.now());
                match self.control.admit(record, "the ask endpoint answered yes").await {
                    Ok(entry) => Admitted::Yes(entry),
                    Err(error) => {
                        self.control.store_fails("store admitted names", Some(name), &error);
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
        match self.control.inner.store.domain(name).await {
            Ok(Some(record)) if record.ssl.reason != Reason::Denied => Admitted::Yes(Arc::new(Entry::of(&record))),
            Ok(_) => Admitted::No,
            Err(error) => {
                self.control.store_fails("look names up", Some(name), &error);
                Admitted::Unreachable
            }
        }
    }
}

#[async_trait]
impl Admission for KnownNames {
    async fn admit(&self, name: &DomainName, asking: ClientNetwork) -> Admitted {
        let answer = self.decide(name, asking).await;
        if matches!(answer, Admitted::No) {
            self.control.note_rejected(name);
        }
        answer
    }
}

impl Control {
    /// Keeps a name that may be served here from now on; `why` is told in its timeline.
    pub(super) async fn admit(&self, record: DomainRecord, why: &str) -> Result<Arc<Entry>, StoreError> {
        if let Some(entry) = self.inner.registry.get(record.name.as_str()) {
            return Ok(entry);
        }
        // Known, but not to the data plane: another handshake was faster, or it had been denied and
        // is not any more.
        let record = self
            .create_or_change(record, ("admitted", why), |draft| {
                if draft.record.ssl.reason != Reason::Denied {
                    return Edit::Nothing;
                }
                draft.happens(SslEvent::Wanted);
                draft.tells("admitted", Some(why.into()));
                Edit::Store
            })
            .await?;
        Ok(Arc::new(Entry::of(&record)))
    }
}
