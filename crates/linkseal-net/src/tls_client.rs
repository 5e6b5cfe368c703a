//! TLS as a client: the one place where roots, protocol versions and the crypto provider are chosen,
//! for the ACME client, the sinks, the upstreams and the command line.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// The certificate authorities that a client trusts.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The public ones and these.
    PublicAnd(&'a [CertificateDer<'static>]),
    /// Only these, none of the public ones.
    Only(&'a [CertificateDer<'static>]),
}

/// Why a file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    #[error("{0}")]
    Read(#[from] std::io::Error),
    #[error("not readable as PEM: {0}")]
    Pem(#[from] pem::Error),
    #[error("it contains no PEM certificate")]
    Empty,
}

/// A client for TLS 1.3 and 1.2 that offers `alpn`, most preferred first.
///
/// # Errors
/// A certificate in `trust` cannot be used as a root.
pub fn config(trust: Trust<'_>, alpn: &[&[u8]]) -> Result<ClientConfig, rustls::Error> {
    let (mut roots, added) = match trust {
        Trust::PublicAnd(added) => (webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(), added),
        Trust::Only(these) => (RootCertStore::empty(), these),
    };
    for certificate in added {
        roots.add(certificate.clone())?;
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// The file cannot be read, is not PEM, or contains no certificate.
pub fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaFileError> {
    let text = std::fs::read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>()?;
    if certificates.is_empty() {
        return Err(CaFileError::Empty);
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(matches!(read_ca_file(&path), Err(CaFileError::Read(_))));
        std::fs::write(&path, "nothing").unwrap();
        assert!(matches!(read_ca_file(&path), Err(CaFileError::Empty)));
    }

    #[test]
    fn an_invalid_certificate_cannot_be_a_root() {
        let garbage = [CertificateDer::from(vec![1, 2, 3])];
        assert!(config(Trust::PublicAnd(&garbage), &[]).is_err());
        let config = config(Trust::Only(&[]), &[b"h2", b"http/1.1"]).unwrap();
        assert_eq!(config.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    }
}
