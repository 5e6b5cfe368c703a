//! This node's copy of what it serves: read by the data plane while the store is away, written by the follower and
//! by what is served. Whatever decides about work reads the store.

use std::sync::Arc;
use std::time::Duration;

use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::copy::LocalCopy;
use linkseal_store::{StoreError, StoredCertificate};
use tokio::time::timeout;

use super::Core;

/// How long a handshake waits for the store where there is a copy.
const PATIENCE: Duration = Duration::from_secs(2);

impl Core {
    /// A read of the store for the data plane, which waits for it only briefly where there is a copy.
    pub(crate) async fn read_for_data_plane<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.copy.is_none() {
            return read.await;
        }
        let late = |_| Err(StoreError::Unavailable("it has not answered within 2 s".into()));
        timeout(PATIENCE, read).await.unwrap_or_else(late)
    }

    /// The certificate of a domain from the copy, in memory from now on. `None`: this node has not served it.
    pub(crate) async fn copied_certificate(&self, name: &DomainName) -> Option<Arc<Certificate>> {
        let copy = self.copy.as_ref()?;
        let opened = match copy.certificate(name).await {
            Ok(stored) => self.open_certificate(name, &stored?),
            Err(error) => Err(error.to_string()),
        };
        match opened {
            Ok(certificate) => {
                let certificate = Arc::new(certificate);
                self.serve(name, Arc::clone(&certificate));
                Some(certificate)
            }
            Err(error) => {
                tracing::error!(domain = %name, error, "the certificate in the node's copy of the store cannot be used");
                None
            }
        }
    }

    /// The record of a domain from the copy.
    pub(crate) async fn copied_record(&self, name: &DomainName) -> Option<DomainRecord> {
        let copy = self.copy.as_ref()?;
        copy.record(name).await.ok().flatten()
    }

    /// Writes a certificate that this node serves to the copy; does not wait for its disk.
    pub(crate) fn keep_certificate(self: &Arc<Self>, name: &DomainName, stored: StoredCertificate) {
        let Some(copy) = self.copy.clone() else { return };
        let (core, name) = (Arc::clone(self), name.clone());
        self.tasks.spawn(async move {
            if let Err(error) = core.write_certificate(&copy, &name, stored).await {
                core.copy_failed(&error);
            }
        });
    }

    async fn write_certificate(
        &self,
        copy: &LocalCopy,
        name: &DomainName,
        stored: StoredCertificate,
    ) -> Result<(), StoreError> {
        if copy.put_certificate(name, stored.clone()).await? {
            return Ok(());
        }
        // The follower has not brought in its record yet.
        if let Ok(Some(record)) = self.store.domain(name).await {
            copy.put_records(vec![record]).await?;
            copy.put_certificate(name, stored).await?;
        }
        Ok(())
    }

    /// Logs that the copy could not be written.
    pub(crate) fn copy_failed(&self, error: &StoreError) {
        let task = "write the node's copy of the store";
        if let Some(suppressed) = self.store_log.due(error.kind(), task, self.clock.uptime()) {
            tracing::error!(
                %error, suppressed,
                "the node's copy of the store could not be written; serving goes on, and the next start brings the copy up to date (free or repair the disk of store.copy_dir)"
            );
        }
    }
}
