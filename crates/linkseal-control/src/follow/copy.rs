//! What a change that is in memory now means for this node's copy on disk. A copy that cannot be written keeps its
//! position, and the next start follows on from there.

use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::Slug;
use linkseal_store::{FeedPosition, StoreError};

use super::Follower;

impl Follower {
    /// Brings in domains as they are in memory now; `gone` were purged.
    pub(super) async fn copy_domains(&self, records: Vec<DomainRecord>, mut gone: Vec<DomainName>) {
        let Some(copy) = self.core.copy.as_deref() else { return };
        // The data plane does not know a name that admission denies.
        let (denied, served): (Vec<_>, Vec<_>) = records.into_iter().partition(|r| r.ssl.reason == Reason::Denied);
        gone.extend(denied.into_iter().map(|record| record.name));
        self.copied(copy.remove(gone).await);
        self.copied(copy.put_records(served).await);
    }

    /// After everything was read again: deletes what the data plane does not know, and compares each certificate that
    /// is not in memory with the store's.
    pub(super) async fn sweep_copy(&self) -> Result<(), StoreError> {
        let Some(copy) = self.core.copy.as_deref() else {
            return Ok(());
        };
        let (registry, certificates) = (&self.core.registry, &self.core.certificates);
        self.copied(copy.sweep(|name| registry.get(name.as_str()).is_some()).await);
        self.copied(copy.remove_redirects().await);
        let mut pages = copy.pages(super::reread::PAGE);
        while let Ok(Some(page)) = pages.next().await {
            let names = page.into_iter().map(|record| record.name);
            let names = names.filter(|name| certificates.held(name).is_none()).collect();
            self.bring_certificates(names).await?;
        }
        Ok(())
    }

    /// A redirect was changed; with no domain, that of all domains.
    pub(super) async fn forget_copied_redirect(&self, domain: Option<&DomainName>, slug: &Slug) {
        if let Some(copy) = self.core.copy.as_deref() {
            self.copied(copy.remove_redirect(domain, slug).await);
        }
    }

    /// Everything up to this position is in the copy.
    pub(super) async fn copy_is_at(&self, position: &FeedPosition) {
        let Some(copy) = self.core.copy.as_deref() else { return };
        let is_known = self.copied.lock().as_ref() == Some(position);
        if !is_known && self.copied(copy.set_position(position).await) {
            *self.copied.lock() = Some(position.clone());
        }
    }

    /// Returns whether it was written.
    pub(super) fn copied<T>(&self, written: Result<T, StoreError>) -> bool {
        if let Err(error) = &written {
            self.core.copy_failed(error);
        }
        written.is_ok()
    }
}
