//! One change for many domains, page by page. A domain that cannot be changed delays no other one:
//! it is retried, together with the others that failed, until it is done.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::{DomainQuery, Pages, StoreError};

use super::{Core, Draft, Edit};

/// Domains read at once.
const PAGE: usize = 500;
/// Wait after the store failed: first, and longest.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often failed domains are retried: for about half an hour.
const ROUNDS: u32 = 30;

impl Core {
    /// All domains, for [`Core::change_all`].
    pub(crate) fn all_pages(&self) -> Pages {
        Pages::stored(&self.store, PAGE)
    }

    /// All domains with a reason, for [`Core::change_all`].
    pub(crate) fn pages_with(&self, reason: Reason) -> Pages {
        let query = DomainQuery {
            reason: Some(reason),
            limit: PAGE,
            ..DomainQuery::default()
        };
        Pages::of(&self.store, query)
    }

    /// Changes all domains for which `matches` holds; `edit` decides again on the newest
    /// record. `task` names the work in the log. Returns when all are done: spawn it where a broken
    /// store must not block. `pages`: the domains to look at.
    pub(crate) async fn change_all(
        self: &Arc<Self>,
        task: &'static str,
        mut pages: Pages,
        matches: impl Fn(&DomainRecord, Timestamp) -> bool,
        mut edit: impl FnMut(&mut Draft) -> Edit<StoreError>,
    ) {
        let mut wait = RETRY;
        let mut failed = Vec::new();
        loop {
            match pages.next().await {
                Ok(None) => break,
                Ok(Some(page)) => {
                    let now = self.clock.now();
                    for record in page.iter().filter(|r| matches(r, now)) {
                        self.change_one(task, &record.name, &mut edit, &mut failed).await;
                    }
                }
                Err(error) => {
                    self.store_failed(task, None, &error);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
        for _ in 0..ROUNDS {
            if failed.is_empty() {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
            for name in std::mem::take(&mut failed) {
                self.change_one(task, &name, &mut edit, &mut failed).await;
            }
        }
        if !failed.is_empty() {
            tracing::error!(
                task,
                domains = failed.len(),
                first = failed.first().map(DomainName::as_str),
                "bulk change incomplete after all retries; check the store"
            );
        }
    }

    /// Changes one of many; pushes it to `failed` if it is to be retried.
    async fn change_one(
        self: &Arc<Self>,
        task: &'static str,
        name: &DomainName,
        edit: &mut impl FnMut(&mut Draft) -> Edit<StoreError>,
        failed: &mut Vec<DomainName>,
    ) {
        match self.change(name, None, edit).await {
            // Changed, or purged meanwhile.
            Ok(_) => {}
            // The store has logged its name; a retry cannot make it readable.
            Err(StoreError::Unreadable { .. }) => {}
            Err(error) => {
                self.store_failed(task, Some(name), &error);
                failed.push(name.clone());
            }
        }
    }
}
