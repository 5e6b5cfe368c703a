//! One change for many domains, page by page. A domain that cannot be changed now holds up no
//! other: it is tried again, with those that failed like it, until it is done.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::{DomainQuery, StoreError};

use super::{Control, Draft, Edit};

/// Domains read at once.
const PAGE: usize = 500;
/// Wait after the store failed, at first and at the longest.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often those that failed are tried again: half an hour.
const ROUNDS: u32 = 30;

impl Control {
    /// Changes all domains of a query that are meant. `edit` decides again, on the newest record;
    /// `what` completes "cannot …" in the log. Returns when all are done; whoever does not want to
    /// wait for a broken store lets it run in the background.
    pub(super) async fn change_all(
        &self,
        what: &'static str,
        mut query: DomainQuery,
        is_meant: impl Fn(&DomainRecord, Timestamp) -> bool,
        mut edit: impl FnMut(&mut Draft) -> Edit<StoreError>,
    ) {
        query.limit = PAGE;
        let mut wait = RETRY;
        let mut left = Vec::new();
        loop {
            match self.inner.store.list(&query).await {
                Ok(page) => {
                    let Some(last) = page.last() else { break };
                    query.after = Some(last.name.clone());
                    let now = self.inner.clock.now();
                    for record in page.iter().filter(|r| is_meant(r, now)) {
                        self.change_one(what, &record.name, &mut edit, &mut left).await;
                    }
                }
                Err(error) => {
                    self.store_fails(what, None, &error);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
        for _ in 0..ROUNDS {
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
            for name in std::mem::take(&mut left) {
                self.change_one(what, &name, &mut edit, &mut left).await;
            }
        }
        if !left.is_empty() {
            tracing::error!(domains = left.len(), first = ?left.first(), "cannot {what}, not after many tries; look at the store");
        }
    }

    /// Changes one of many; notes it where it is to be tried again.
    async fn change_one(
        &self,
        what: &'static str,
        name: &DomainName,
        edit: &mut impl FnMut(&mut Draft) -> Edit<StoreError>,
        left: &mut Vec<DomainName>,
    ) {
        match self.change(name, None, edit).await {
            // `None`: it was purged meanwhile.
            Ok(_) => {}
            // The store has logged its name; trying again makes it no more readable.
            Err(StoreError::Unreadable { .. }) => {}
            Err(error) => {
                self.store_fails(what, Some(name), &error);
                left.push(name.clone());
            }
        }
    }

    /// Logs that the store does not do something that is tried again: a line a minute for each
    /// cause, with the number of those that were left out.
    pub(super) fn store_fails(&self, what: &'static str, name: Option<&DomainName>, error: &StoreError) {
        let now = self.inner.clock.uptime();
        if let Some(unsaid) = self.inner.store_complaints.due(error.kind(), what, now) {
            let domain = name.map(DomainName::as_str);
            tracing::error!(domain, %error, left_out = unsaid, "cannot {what}; it is tried again");
        }
    }
}
