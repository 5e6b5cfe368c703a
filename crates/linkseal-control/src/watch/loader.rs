//! Fills the data plane's registry in the background, so that the start does not depend on the number
//! of domains. It is the only walk over all records at a start: what else a start has to find among them is
//! noted on the way.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::Reason;
use linkseal_store::{FeedPosition, Pages, StoreError};

use super::clock;
use crate::admission::CnameNames;
use crate::core::{Core, Observer};
use crate::follow::Follower;
use crate::operator::own_names::OwnNames;
use crate::operator::{Operator, is_stopped};

/// Records read at once.
const PAGE: usize = 1_000;
/// Wait after the store failed.
const RETRY: Duration = Duration::from_secs(1);

/// What is filled besides the registry.
pub(crate) struct Loader {
    pub(crate) core: Arc<Core>,
    pub(crate) operator: Arc<Operator>,
    pub(crate) cname_names: Arc<CnameNames>,
    pub(crate) own_names: Arc<OwnNames>,
}

/// What was found among the records: whether they have to be walked again to repair something.
#[derive(Debug, Default)]
struct Found {
    /// Domains that a freeze, or `acme.issue = "off"`, had stopped.
    stopped: bool,
    /// Times that a wrong clock has written.
    beyond_reach: bool,
}

impl Found {
    fn note(&mut self, record: &DomainRecord, now: Timestamp) {
        self.stopped |= is_stopped(record);
        self.beyond_reach = self.beyond_reach || record.ssl.is_beyond_reach(now);
    }
}

impl Loader {
    /// Loads all domains, from the node's copy if that was ever filled; until then the data plane looks missing names
    /// up one by one. In a fleet, `follower` brings in what other nodes have changed since.
    pub(crate) async fn run(self, follower: Option<Follower>) {
        let started = self.core.clock.uptime();
        let mut found = Found::default();
        let copied = self.load_copy(&mut found).await;
        if copied.is_some() {
            self.loaded(started, "the node's copy");
        }
        if let Some(follower) = follower {
            follower.joined().await;
            // What is changed after this position is brought in, whether it was loaded before or after the change.
            let position = match &copied {
                Some(position) => position.clone(),
                None => self.feed_end().await,
            };
            self.core.tasks.spawn_until_stop(follower.run(position));
        }
        if copied.is_none() {
            while let Err(error) = self.load_all(&mut found).await {
                self.core.store_failed("load domains", None, &error);
                tokio::time::sleep(RETRY).await;
            }
            self.loaded(started, "the store");
        }
        self.operator.release_former_own_names().await;
        if found.beyond_reach {
            clock::bring_all_within_reach(&self.core).await;
        }
        self.operator.resume_stopped_unless_frozen(found.stopped).await;
    }

    fn loaded(&self, started: Duration, from: &'static str) {
        self.core.registry.set_loaded();
        let took = self.core.clock.uptime().saturating_sub(started);
        tracing::info!(domains = self.core.registry.len(), ?took, from, "all domains loaded");
    }

    async fn feed_end(&self) -> FeedPosition {
        loop {
            match self.core.store.feed_end().await {
                Ok(position) => return position,
                Err(error) => {
                    self.core.store_failed("find the end of the change feed", None, &error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Loads what the node's copy has; returns the position in the feed that it is at. `None`: there is none, or
    /// it was never filled.
    async fn load_copy(&self, found: &mut Found) -> Option<FeedPosition> {
        let copy = self.core.copy.as_deref()?;
        let loading = async {
            let Some(position) = copy.position().await? else {
                return Ok(None);
            };
            let mut pages = copy.pages(PAGE);
            while let Some(page) = pages.next().await? {
                self.put(&page, found);
            }
            Ok(Some(position))
        };
        loading.await.unwrap_or_else(|error: StoreError| {
            tracing::error!(%error, "the node's copy of the store cannot be read; loading the domains from the store");
            None
        })
    }

    fn put(&self, page: &[DomainRecord], found: &mut Found) {
        let now = self.core.clock.now();
        for record in page {
            found.note(record, now);
            self.own_names.stored(record);
            // A change since the page was read has published a newer entry, which stays.
            if record.ssl.reason != Reason::Denied && self.core.registry.put_if_absent(record) {
                self.cname_names.stored(record);
            }
        }
    }

    async fn load_all(&self, found: &mut Found) -> Result<(), StoreError> {
        let stored = self
            .core
            .store
            .counts(None)
            .await?
            .iter()
            .map(|c| c.domains)
            .sum::<u64>();
        self.core.registry.reserve(usize::try_from(stored).unwrap_or_default());
        let mut pages = Pages::stored(&self.core.store, PAGE);
        while let Some(page) = pages.next().await? {
            self.put(&page, found);
            if let Some(copy) = &self.core.copy {
                let served = page.into_iter().filter(|record| record.ssl.reason != Reason::Denied);
                if let Err(error) = copy.put_records(served.collect()).await {
                    self.core.copy_failed(&error);
                }
            }
        }
        Ok(())
    }
}
