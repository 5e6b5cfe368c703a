//! Fills the data plane's registry in the background, so that the start does not depend on the number
//! of domains. It is the only walk over all records at a start: what else a start has to find among them is
//! noted on the way.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::Reason;
use linkseal_store::{Pages, StoreError};

use super::clock;
use crate::admission::CnameNames;
use crate::core::{Core, Observer};
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
    /// Loads all domains; until then the data plane looks missing names up one by one.
    pub(crate) async fn run(self) {
        let started = self.core.clock.uptime();
        let mut found = Found::default();
        while let Err(error) = self.load_all(&mut found).await {
            self.core.store_failed("load domains", None, &error);
            tokio::time::sleep(RETRY).await;
        }
        self.core.registry.set_loaded();
        let took = self.core.clock.uptime().saturating_sub(started);
        tracing::info!(domains = self.core.registry.len(), ?took, "all domains loaded");
        self.operator.release_former_own_names().await;
        if found.beyond_reach {
            clock::bring_all_within_reach(&self.core).await;
        }
        self.operator.resume_stopped_unless_frozen(found.stopped).await;
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
            let now = self.core.clock.now();
            for record in &page {
                found.note(record, now);
                self.own_names.stored(record);
                // A change since the page was read has published a newer entry, which stays.
                if record.ssl.reason != Reason::Denied && self.core.registry.put_if_absent(record) {
                    self.cname_names.stored(record);
                }
            }
        }
        Ok(())
    }
}
