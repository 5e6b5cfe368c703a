//! Fills the data plane's registry in the background: start-up does not depend on how many
//! domains there are.

use std::time::Duration;

use linkseal_domain::ssl::Reason;
use linkseal_store::{DomainQuery, Pages, StoreError};

use super::Control;

/// Records read at once.
const PAGE: usize = 1_000;
/// Wait after the store failed.
const RETRY: Duration = Duration::from_secs(1);

impl Control {
    /// Loads all domains; until then a name that is missing is looked up singly.
    pub(super) async fn load_registry(self) {
        let begun = self.inner.clock.now();
        while let Err(error) = self.load_all().await {
            self.store_fails("load the domains", None, &error);
            tokio::time::sleep(RETRY).await;
        }
        self.inner.registry.set_loaded();
        self.release_former_own_names().await;
        let took = self.inner.clock.now().saturating_since(begun);
        tracing::info!(domains = self.inner.registry.len(), ?took, "all domains are known");
    }

    async fn load_all(&self) -> Result<(), StoreError> {
        let all = DomainQuery {
            limit: PAGE,
            ..DomainQuery::default()
        };
        let mut pages = Pages::of(&self.inner.store, all);
        while let Some(page) = pages.next().await? {
            page.iter().for_each(|record| self.note_own_name(record));
            for record in page.iter().filter(|r| r.ssl.reason != Reason::Denied) {
                // A change made meanwhile has put a newer entry in: it stays.
                if self.inner.registry.put_if_absent(record) {
                    self.inner.cname.note(record);
                }
            }
        }
        Ok(())
    }
}
