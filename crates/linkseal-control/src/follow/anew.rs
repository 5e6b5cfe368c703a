//! Reads everything again, after a feed that cannot be followed on. What is in memory stays in use meanwhile, and
//! what is no longer stored goes at the end.

use std::collections::HashSet;

use linkseal_domain::DomainName;
use linkseal_domain::registry::PARTS;
use linkseal_store::{Pages, StoreError};

use super::Follower;

/// Records read at once.
pub(super) const PAGE: usize = 1_000;

impl Follower {
    pub(super) async fn read_anew(&self) -> Result<(), StoreError> {
        self.operator.reload_kills().await?;
        self.tickets.refresh().await?;
        self.operator.redirects().forget_all();
        let core = &self.core;
        let mut known: Vec<(DomainName, u64)> = Vec::new();
        for part in 0..PARTS {
            core.registry
                .for_each_of(part, |entry| known.push((entry.name.clone(), entry.version())));
            tokio::task::yield_now().await;
        }
        let mut stored: HashSet<DomainName> = HashSet::with_capacity(known.len());
        let mut pages = Pages::stored(&core.store, PAGE);
        while let Some(page) = pages.next().await? {
            for record in &page {
                // A store that lost its last commits may have an older version than is in memory.
                core.registry.put_back(record);
                core.publish(record);
                stored.insert(record.name.clone());
            }
            if let Some(copy) = &core.copy
                && let Err(error) = copy.put_back(page).await
            {
                core.copy_failed(&error);
            }
        }
        for (name, version) in &known {
            if !stored.contains(name) {
                core.forget(name, *version);
            } else if core.certificates.held(name).is_some() {
                self.reload_certificate(name).await?;
            }
        }
        self.sweep_copy().await
    }
}
