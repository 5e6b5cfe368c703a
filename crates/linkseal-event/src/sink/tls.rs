//! Whom sinks trust: the public certificate authorities, and those a sink's `ca_file` names.

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// Trust in the public authorities and these.
pub(super) fn config(trust: &[CertificateDer<'static>]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for certificate in trust {
        roots.add(certificate.clone()).map_err(|e| e.to_string())?;
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Ok(ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
