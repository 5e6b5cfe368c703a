//! From a stored certificate to one in memory that handshakes can use.

use std::sync::Arc;

use linkseal_domain::DomainName;
use linkseal_domain::cert::certificate::Certificate;
use linkseal_store::StoredCertificate;

use super::Core;

impl Core {
    /// Opens the sealed key of a stored certificate and parses both.
    pub(crate) fn open_certificate(
        &self,
        name: &DomainName,
        stored: &StoredCertificate,
    ) -> Result<Certificate, String> {
        let place = format!("certificates/{name}");
        let key = self
            .sealer
            .open(&place, &stored.sealed_key)
            .map_err(|e| e.to_string())?;
        Certificate::new(&stored.chain_pem, &key).map_err(|e| e.to_string())
    }

    /// Serves a certificate from memory, unless its domain was purged since it was read.
    pub(crate) fn serve(&self, name: &DomainName, certificate: Arc<Certificate>) {
        self.certificates.put(name.clone(), certificate);
        // A purge removes the domain first and the certificate last; checking in the opposite order
        // closes the race.
        if self.registry.is_loaded() && self.registry.get(name.as_str()).is_none() {
            self.certificates.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use linkseal_domain::DomainRecord;
    use linkseal_domain::record::Origin;

    use super::*;
    use crate::tests::{Bench, name};

    /// A certificate that was read before its domain was purged must not be served to the next owner.
    #[tokio::test]
    async fn a_certificate_of_a_purged_domain_is_not_kept_in_memory() {
        let bench = Bench::new().await;
        let (core, name) = (&bench.control.core, name("links.customer.example"));
        let made = rcgen::generate_simple_self_signed([name.to_string()]).unwrap();
        let certificate = Certificate::new(&made.cert.pem(), &made.key_pair.serialize_der()).unwrap();
        let certificate = Arc::new(certificate);
        core.serve(&name, Arc::clone(&certificate));
        assert!(core.certificates.held(&name).is_none());
        let record = DomainRecord::new(name.clone(), None, Origin::Registered, bench.clock.now());
        core.registry.put(&record);
        core.serve(&name, certificate);
        assert!(core.certificates.held(&name).is_some());
    }
}
