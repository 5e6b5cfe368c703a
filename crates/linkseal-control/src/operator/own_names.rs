//! The edge's own names: `edge.name` and its aliases, as configured now. A name that is no longer one of
//! them becomes a domain like any other: it can be retired, and its DNS is checked.

use std::collections::BTreeSet;
use std::sync::Arc;

use linkseal_domain::record::Origin;
use linkseal_domain::ssl::SslEvent;
use linkseal_domain::{DomainName, DomainRecord, EdgeNames};
use linkseal_store::StoreError;
use parking_lot::Mutex;

use super::Operator;
use crate::checks::dns;
use crate::core::{Actor, Edit, Issue, Observer};

/// The names stored as the edge's own, whether they are configured or not.
#[derive(Default)]
pub(crate) struct OwnNames(Mutex<BTreeSet<DomainName>>);

impl OwnNames {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl Observer for OwnNames {
    fn stored(&self, record: &DomainRecord) {
        let mut own = self.0.lock();
        if record.origin == Origin::Edge {
            own.insert(record.name.clone());
        } else if !own.is_empty() {
            own.remove(record.name.as_str());
        }
    }

    fn purged(&self, name: &DomainName) {
        self.0.lock().remove(name.as_str());
    }
}

impl Operator {
    /// Makes sure that the edge's own names are registered and get certificates.
    pub async fn register_own_names(&self, names: &EdgeNames) {
        for name in names.iter() {
            let registered = match self.register_own_name(name).await {
                // The edge cannot work without it, and a new certificate is ordered without help.
                Err(StoreError::Unreadable { why, .. }) => {
                    tracing::error!(domain = %name, error = why, "record of the edge's own name unreadable; replacing it");
                    self.purge_unreadable(name, &why, &Actor::own()).await
                }
                registered => registered,
            };
            if let Err(error) = registered {
                self.core
                    .store_failed("register the edge's own names", Some(name), &error);
            }
        }
        if self.core.registry.is_loaded() {
            self.release_former_own_names().await;
        }
    }

    pub(super) async fn register_own_name(&self, name: &DomainName) -> Result<(), StoreError> {
        let now = self.core.clock.now();
        let mut record = DomainRecord::new(name.clone(), None, Origin::Edge, now);
        if self.core.settings().issue != Issue::Off {
            record.apply(SslEvent::Wanted, now);
        }
        let entry = ("registered", "the edge's own name");
        self.core
            .create_or_change(record, entry, |draft| {
                if draft.record.origin == Origin::Edge {
                    return Edit::Nothing;
                }
                draft.record.origin = Origin::Edge;
                Edit::Store
            })
            .await?;
        Ok(())
    }

    /// Turns stored own names that are no longer configured into domains like any other.
    pub(crate) async fn release_former_own_names(&self) {
        let settings = self.core.settings();
        let former: Vec<DomainName> = {
            let own = self.own_names.0.lock();
            own.iter()
                .filter(|name| !settings.names.contains(name.as_str()))
                .cloned()
                .collect()
        };
        for name in former {
            let changed = self.core.change(&name, None, |draft| {
                if draft.record.origin != Origin::Edge
                    || self.core.settings().names.contains(draft.record.name.as_str())
                {
                    return Edit::<StoreError>::Nothing;
                }
                draft.record.origin = Origin::Registered;
                dns::plan_check(&self.core, draft);
                draft.log("registered", Some("no longer the edge's own name".into()));
                Edit::Store
            });
            if let Err(error) = changed.await {
                self.core
                    .store_failed("release former own names of the edge", Some(&name), &error);
            }
        }
    }
}
