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
    pub(super) async fn reread(&self) -> Result<(), StoreError> {
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
        let (left, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(|(name, _)| stored.contains(name));
        for (name, version) in &gone {
            core.forget(name, *version);
        }
        let left = left.into_iter().map(|(name, _)| name);
        let held: Vec<DomainName> = left.filter(|name| core.certificates.held(name).is_some()).collect();
        for some in held.chunks(PAGE) {
            self.bring_certificates(some.to_vec()).await?;
        }
        self.sweep_copy().await
    }
}
