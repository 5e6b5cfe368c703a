//! The edge's own names: edge.name and its aliases, as they are configured now. What was one and is
//! one no longer is a domain like others: it can be retired, and its DNS is looked at.

use std::sync::PoisonError;

use linkseal_domain::record::Origin;
use linkseal_domain::ssl::SslEvent;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::StoreError;

use super::{Actor, Control, Edit, Issue};

impl Control {
    /// Makes sure that the edge's own names are known and have certificates.
    pub async fn own_names(&self, names: &[DomainName]) {
        for name in names {
            let known = match self.own_name(name).await {
                // The edge cannot do without it, and its certificate is ordered again by itself.
                Err(StoreError::Unreadable { why, .. }) => {
                    tracing::error!(domain = %name, why, "the record of the edge's own name cannot be read: it is forgotten, and the name is registered again");
                    self.forget_unreadable(name, &why, &Actor::own()).await
                }
                known => known,
            };
            if let Err(error) = known {
                tracing::error!(domain = %name, %error, "the edge's own name cannot be stored");
            }
        }
        if self.inner.registry.is_loaded() {
            self.release_former_own_names().await;
        }
    }

    /// Registers one, unless it is.
    pub(super) async fn own_name(&self, name: &DomainName) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        let mut record = DomainRecord::new(name.clone(), None, Origin::Edge, now);
        if self.inner.settings.load().issue != Issue::Off {
            record.apply(SslEvent::Wanted, now);
        }
        self.create_or_change(record, ("registered", "the edge's own name"), |draft| {
            if draft.record.origin == Origin::Edge {
                return Edit::Nothing;
            }
            draft.record.origin = Origin::Edge;
            Edit::Store
        })
        .await?;
        Ok(())
    }

    /// Whether it is edge.name or an alias now.
    pub(super) fn is_own_name(&self, name: &DomainName) -> bool {
        let settings = self.inner.settings.load();
        settings.target == *name || settings.aliases.contains(name)
    }

    /// Learns of a record that is stored: whether it is kept as the edge's own.
    pub(super) fn note_own_name(&self, record: &DomainRecord) {
        let mut own = self.inner.own.lock().unwrap_or_else(PoisonError::into_inner);
        if record.origin == Origin::Edge {
            own.insert(record.name.clone());
        } else if !own.is_empty() {
            own.remove(record.name.as_str());
        }
    }

    /// Makes domains of those names that are not configured any more.
    pub(super) async fn release_former_own_names(&self) {
        let former: Vec<DomainName> = {
            let own = self.inner.own.lock().unwrap_or_else(PoisonError::into_inner);
            own.iter().filter(|name| !self.is_own_name(name)).cloned().collect()
        };
        for name in former {
            let changed = self.change(&name, None, |draft| {
                if draft.record.origin != Origin::Edge || self.is_own_name(&draft.record.name) {
                    return Edit::<StoreError>::Nothing;
                }
                draft.record.origin = Origin::Registered;
                self.plan_look(draft);
                draft.tells("registered", Some("no longer the edge's own name".into()));
                Edit::Store
            });
            if let Err(error) = changed.await {
                tracing::error!(domain = %name, %error, "a former name of the edge cannot be stored as a domain");
            }
        }
    }
}
