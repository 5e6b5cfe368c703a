//! How many names were admitted by DNS below each registered domain, of which each has a bounded number of
//! places.
//!
//! There may be millions of them: a name is kept as its hash, of 64 bits and under a random key, so that two
//! names that count as one are as unlikely as they are harmless.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use dashmap::{DashMap, DashSet};
use linkseal_domain::name::registered_domain;
use linkseal_domain::record::Origin;
use linkseal_domain::{DomainName, DomainRecord};

use crate::core::Observer;

/// The names admitted by DNS.
pub(crate) struct CnameNames {
    hasher: RandomState,
    /// How many names are below each registered domain. Its entry is held while a name of it comes or goes.
    below: DashMap<u64, u32>,
    names: DashSet<u64>,
}

impl CnameNames {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            hasher: RandomState::new(),
            below: DashMap::new(),
            names: DashSet::new(),
        })
    }

    fn add(&self, name: &DomainName) {
        let mut below = self
            .below
            .entry(self.hash(registered_domain(name.as_str())))
            .or_default();
        if self.names.insert(self.hash(name.as_str())) {
            *below = below.saturating_add(1);
        }
    }

    fn forget(&self, name: &DomainName) {
        let registered = self.hash(registered_domain(name.as_str()));
        self.below.remove_if_mut(&registered, |_, below| {
            if self.names.remove(&self.hash(name.as_str())).is_some() {
                *below = below.saturating_sub(1);
            }
            *below == 0
        });
    }

    /// Takes a place below a registered domain for a name, if one is left.
    pub(super) fn reserve<'a>(&'a self, registered: &str, name: &'a DomainName, places: u32) -> Option<Place<'a>> {
        let hash = self.hash(name.as_str());
        let mut below = self.below.entry(self.hash(registered)).or_default();
        let has_place = self.names.contains(&hash);
        if !has_place {
            if *below >= places {
                return None;
            }
            self.names.insert(hash);
            *below = below.saturating_add(1);
        }
        Some(Place {
            names: self,
            name,
            kept: has_place,
        })
    }

    pub(super) fn is_full(&self, registered: &str, places: u32) -> bool {
        let below = self.below.get(&self.hash(registered));
        below.is_some_and(|below| *below >= places)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.below.is_empty() && self.names.is_empty()
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }
}

impl Observer for CnameNames {
    fn stored(&self, record: &DomainRecord) {
        if record.origin == Origin::Cname {
            self.add(&record.name);
        } else if !self.names.is_empty() {
            self.forget(&record.name);
        }
    }

    fn purged(&self, name: &DomainName) {
        self.forget(name);
    }
}

/// A name's place below its registered domain; freed on drop unless it is kept.
pub(super) struct Place<'a> {
    names: &'a CnameNames,
    name: &'a DomainName,
    kept: bool,
}

impl Place<'_> {
    /// The name is stored: it has the place until it is purged.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.names.forget(self.name);
        }
    }
}
