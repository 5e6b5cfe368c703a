//! Fills the data plane's registry in the background, so that the start does not depend on the number
//! of domains.

use std::sync::Arc;
use std::time::Duration;

use linkseal_domain::ssl::Reason;
use linkseal_store::{DomainQuery, Pages, StoreError};

use crate::admission::CnameNames;
use crate::core::{Core, Observer};
use crate::operator::Operator;
use crate::operator::own_names::OwnNames;

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

impl Loader {
    /// Loads all domains; until then the data plane looks missing names up one by one.
    pub(crate) async fn run(self) {
        let started = self.core.clock.now();
        while let Err(error) = self.load_all().await {
            self.core.store_failed("load domains", None, &error);
            tokio::time::sleep(RETRY).await;
        }
        self.core.registry.set_loaded();
        self.operator.release_former_own_names().await;
        let took = self.core.clock.now().saturating_since(started);
        tracing::info!(domains = self.core.registry.len(), ?took, "all domains loaded");
    }

    async fn load_all(&self) -> Result<(), StoreError> {
        let all = DomainQuery {
            limit: PAGE,
            ..DomainQuery::default()
        };
        let mut pages = Pages::of(&self.core.store, all);
        while let Some(page) = pages.next().await? {
            page.iter().for_each(|record| self.own_names.stored(record));
            for record in page.iter().filter(|r| r.ssl.reason != Reason::Denied) {
                // A change since the page was read has published a newer entry, which stays.
                if self.core.registry.put_if_absent(record) {
                    self.cname_names.stored(record);
                }
            }
        }
        Ok(())
    }
}
