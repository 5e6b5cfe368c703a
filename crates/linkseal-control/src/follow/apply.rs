//! What a change that another node has stored means for this node's memory. This node's own changes come back here
//! too, and change nothing.

use std::collections::{HashMap, HashSet};

use linkseal_domain::DomainName;
use linkseal_store::{Changed, FeedPosition, StoreError};

use super::Follower;

impl Follower {
    /// Applies the changes up to a position. What is in memory is at least as new as they are when this returns; after
    /// an error they are applied again.
    pub(super) async fn apply(&self, changes: Vec<Changed>, position: &FeedPosition) -> Result<(), StoreError> {
        let mut domains: HashMap<DomainName, bool> = HashMap::new();
        let (mut tickets, mut kills, mut freeze) = (false, false, false);
        for change in changes {
            match change {
                Changed::Domain { name, certificate } => *domains.entry(name).or_default() |= certificate,
                // Dropped from memory: the next request reads it.
                Changed::Redirect { domain, slug } => {
                    self.operator.redirects().forget(domain.as_ref(), &slug);
                    self.forget_copied_redirect(domain.as_ref(), &slug).await;
                }
                Changed::TicketKeys => tickets = true,
                Changed::Kills => kills = true,
                Changed::Freeze => freeze = true,
            }
        }
        if kills {
            self.operator.reload_kills().await?;
        }
        if !domains.is_empty() {
            for (name, _) in domains.iter().filter(|(_, certificate)| **certificate) {
                self.core.everywhere.followed(name, position);
            }
            self.apply_domains(domains).await?;
        }
        if tickets {
            self.tickets.refresh().await?;
        }
        if freeze {
            // Orders ask the store whether they are frozen; what a freeze has stopped resumes when it ends.
            self.core.wake.notify_one();
        }
        Ok(())
    }

    /// `domains`: whether the certificate of each was changed too.
    async fn apply_domains(&self, domains: HashMap<DomainName, bool>) -> Result<(), StoreError> {
        let core = &self.core;
        // Before they are read: a domain that is added meanwhile is newer, and stays.
        let known: HashMap<&DomainName, u64> = domains
            .keys()
            .filter_map(|name| Some((name, core.registry.get(name.as_str())?.version())))
            .collect();
        let names: Vec<DomainName> = domains.keys().cloned().collect();
        let records = core.store.domains(&names).await?;
        let there: HashSet<&DomainName> = records.iter().map(|record| &record.name).collect();
        let loading = !core.registry.is_loaded();
        for name in names.iter().filter(|name| !there.contains(name)) {
            core.forget(name, known.get(name).copied().unwrap_or_default());
            if loading {
                self.purged_while_loading.lock().insert(name.clone());
            }
        }
        for record in &records {
            core.publish(record);
        }
        let reissued = domains
            .iter()
            .filter(|(name, changed)| **changed && there.contains(name));
        let reissued: Vec<DomainName> = reissued.map(|(name, _)| name.clone()).collect();
        let gone = names.iter().filter(|name| !there.contains(name)).cloned().collect();
        self.copy_domains(records, gone).await;
        self.bring_certificates(reissued).await
    }

    pub(super) async fn forget_what_was_purged_while_loading(&self) -> Result<(), StoreError> {
        if !self.core.registry.is_loaded() || self.purged_while_loading.lock().is_empty() {
            return Ok(());
        }
        let purged = self.purged_while_loading.lock().clone();
        self.apply_domains(purged.iter().map(|name| (name.clone(), true)).collect())
            .await?;
        self.purged_while_loading.lock().clear();
        Ok(())
    }
}
