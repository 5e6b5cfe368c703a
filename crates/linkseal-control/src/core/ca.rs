//! The CAs in the order of the configuration, and what the store says about each of them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use linkseal_base::clock::Timestamp;
use linkseal_dns::CaIdentity;
use linkseal_domain::{DomainRecord, reach};
use linkseal_issuer::Issuer;
use linkseal_store::{CaTrouble, StoreError};

use super::Core;
use super::settings::Limits;

/// A CA with our account there and its rate limits.
pub struct ConfiguredCa {
    pub issuer: Arc<Issuer>,
    /// Mirrored here so that orders wait instead of failing.
    pub limits: Limits,
    /// As CAA records see it; empty until its directory was read.
    identity: ArcSwap<CaIdentity>,
}

impl ConfiguredCa {
    /// A CA; nothing is sent to it yet.
    pub fn new(issuer: Issuer, limits: Limits) -> Self {
        Self {
            issuer: Arc::new(issuer),
            limits,
            identity: ArcSwap::default(),
        }
    }

    /// Its directory URL, by which all records name it.
    pub fn directory(&self) -> &str {
        self.issuer.directory()
    }

    /// As CAA records see it; without identities until its directory was read.
    pub fn identity(&self) -> Arc<CaIdentity> {
        self.identity.load_full()
    }

    pub(crate) fn set_identity(&self, identity: CaIdentity) {
        self.identity.store(Arc::new(identity));
    }
}

/// The CAs in their order; there is always one.
#[derive(Clone)]
pub struct CaPool {
    first: Arc<ConfiguredCa>,
    others: Vec<Arc<ConfiguredCa>>,
}

impl CaPool {
    /// The first choice, and the CAs to fall back to.
    pub fn new(first: ConfiguredCa, others: Vec<ConfiguredCa>) -> Self {
        Self {
            first: Arc::new(first),
            others: others.into_iter().map(Arc::new).collect(),
        }
    }

    /// The first choice.
    pub fn first(&self) -> &Arc<ConfiguredCa> {
        &self.first
    }

    /// All of them, first choice first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ConfiguredCa>> + Clone {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(crate) fn has_one(&self) -> bool {
        self.others.is_empty()
    }

    /// The CA with this directory; `None` if it is not configured (any more).
    pub fn find(&self, directory: &str) -> Option<&Arc<ConfiguredCa>> {
        self.iter().find(|a| a.directory() == directory)
    }

    /// The CAs that an order for a name may go to: all except those that keep refusing it, unless
    /// all of them do.
    pub(crate) fn willing<'a>(&'a self, record: &'a DomainRecord, now: Timestamp) -> Vec<&'a Arc<ConfiguredCa>> {
        let willing = self.iter().filter(|a| !record.ssl.is_refused_by(a.directory(), now));
        let willing: Vec<_> = willing.collect();
        if willing.is_empty() {
            self.iter().collect()
        } else {
            willing
        }
    }
}

/// Until when a CA accepts no orders at all, from what is stored about it.
pub fn held_back(stored: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    stored.filter(|until| until.is_ahead(now, reach::ACCOUNT_LIMIT))
}

/// Until when a CA is out of use; `None` if it is in use or may be tried.
pub(crate) fn out_until(trouble: Option<&CaTrouble>, now: Timestamp) -> Option<Timestamp> {
    let until = trouble.and_then(|t| t.out_until);
    until.filter(|until| until.is_ahead(now, reach::OUTAGE))
}

impl Core {
    /// The configured CAs.
    pub(crate) fn cas(&self) -> Arc<CaPool> {
        self.cas.load_full()
    }

    /// Until when a CA is out of use; `None` if it is in use or may be tried.
    pub(crate) async fn out_until(&self, directory: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let trouble = self.store.ca_trouble(directory).await?;
        Ok(out_until(trouble.as_ref(), now))
    }

    /// Until when a CA has asked for no orders at all; `None` if it accepts them.
    pub(crate) async fn held_back(&self, directory: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(held_back(self.store.held_back(directory).await?, now))
    }
}
