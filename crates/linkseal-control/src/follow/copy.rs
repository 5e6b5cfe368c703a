//! What a change that is in memory now means for this node's copy on disk. A copy that cannot be written keeps its
//! position, and the next start follows on from there.

use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::Slug;
use linkseal_store::copy::LocalCopy;
use linkseal_store::{FeedPosition, StoreError};

use super::Follower;

impl Follower {
    /// Brings in domains as they are in memory now; `gone` were purged, and `reissued` have another certificate.
    ///
    /// # Errors
    /// When the store does not give a certificate.
    pub(super) async fn copy_domains(
        &self,
        records: Vec<DomainRecord>,
        mut gone: Vec<DomainName>,
        reissued: Vec<DomainName>,
    ) -> Result<(), StoreError> {
        let Some(copy) = self.core.copy.as_deref() else {
            return Ok(());
        };
        // The data plane does not know a name that admission denies.
        let (denied, served) = records.into_iter().partition(|r| r.ssl.reason == Reason::Denied);
        let denied: Vec<DomainRecord> = denied;
        gone.extend(denied.into_iter().map(|record| record.name));
        self.copied(copy.remove(gone).await);
        self.copied(copy.put_records(served).await);
        self.copy_certificates(copy, reissued).await
    }

    /// Brings in the certificates that this node serves: those in memory, and those that the copy has.
    async fn copy_certificates(&self, copy: &LocalCopy, reissued: Vec<DomainName>) -> Result<(), StoreError> {
        if reissued.is_empty() {
            return Ok(());
        }
        let there = copy.with_certificate(reissued.clone()).await.unwrap_or_default();
        for name in reissued {
            if !there.contains(&name) && self.core.certificates.held(&name).is_none() {
                continue;
            }
            match self.core.store.certificate(&name).await? {
                Some(stored) => self.copied(copy.put_certificate(&name, stored).await),
                None => self.copied(copy.remove_certificate(&name).await),
            };
        }
        Ok(())
    }

    /// After everything was read anew: what the data plane does not know goes, and each certificate that is left is
    /// compared with the store's.
    pub(super) async fn sweep_copy(&self) -> Result<(), StoreError> {
        let Some(copy) = self.core.copy.as_deref() else {
            return Ok(());
        };
        let registry = &self.core.registry;
        self.copied(copy.sweep(|name| registry.get(name.as_str()).is_some()).await);
        self.copied(copy.remove_redirects().await);
        let mut pages = copy.pages(super::anew::PAGE);
        while let Ok(Some(page)) = pages.next().await {
            let names = page.into_iter().map(|record| record.name).collect();
            let there = copy.with_certificate(names).await.unwrap_or_default();
            self.copy_certificates(copy, there.into_iter().collect()).await?;
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
    fn copied<T>(&self, written: Result<T, StoreError>) -> bool {
        if let Err(error) = &written {
            self.core.copy_failed(error);
        }
        written.is_ok()
    }
}
