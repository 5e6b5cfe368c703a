//! Brings in the certificates that this node serves: those in memory, and those that its copy has. Any other one is
//! loaded by the handshake that needs it.

use std::collections::HashSet;

use linkseal_domain::DomainName;
use linkseal_store::StoreError;

use super::Follower;

impl Follower {
    /// Replaces the certificates of these domains, in memory and in the copy, by those that are stored; each is read
    /// once.
    ///
    /// # Errors
    /// When the store does not give a certificate.
    pub(super) async fn bring_certificates(&self, names: Vec<DomainName>) -> Result<(), StoreError> {
        if names.is_empty() {
            return Ok(());
        }
        let copied = self.copied_among(names.clone()).await;
        for name in names {
            let is_held = self.core.certificates.held(&name).is_some();
            if is_held || copied.contains(&name) {
                self.bring_certificate(&name, is_held).await?;
            }
        }
        Ok(())
    }

    /// The names among these whose certificate the copy has.
    pub(super) async fn copied_among(&self, names: Vec<DomainName>) -> HashSet<DomainName> {
        match self.core.copy.as_deref() {
            Some(copy) => copy.with_certificate(names).await.unwrap_or_default(),
            None => HashSet::new(),
        }
    }

    async fn bring_certificate(&self, name: &DomainName, is_held: bool) -> Result<(), StoreError> {
        let core = &self.core;
        let stored = core.store.certificate(name).await?;
        if is_held {
            match &stored {
                Some(stored) => match core.open_certificate(name, stored) {
                    Ok(certificate) => core.serve(name, certificate.into()),
                    Err(error) => tracing::error!(domain = %name, error, "certificate cannot be opened"),
                },
                None => core.certificates.remove(name),
            }
        }
        if let Some(copy) = core.copy.as_deref() {
            match stored {
                Some(stored) => self.copied(copy.put_certificate(name, stored).await),
                None => self.copied(copy.remove_certificate(name).await),
            };
        }
        Ok(())
    }
}
