//! A certificate with its key, ready to be served.

use std::sync::{Arc, OnceLock};

use linkseal_base::clock::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

/// The certificate of one name, as the edge serves it.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Chain and signing key for rustls.
    pub key: Arc<CertifiedKey>,
    /// End of its validity.
    pub not_after: Timestamp,
    /// The edge's TLS configuration for it, built at its first handshake and reused by all others.
    served: OnceLock<Arc<ServerConfig>>,
}

/// The fields of a leaf certificate that linkseal uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    /// The issuer's common name, else its whole distinguished name.
    pub issuer: String,
    /// The serial number in lower-case hexadecimal.
    pub serial: String,
    /// The DNS names it is for.
    pub sans: Vec<String>,
    /// The ARI identifier (RFC 9773 §4.1). `None`: the leaf has no authority key identifier.
    pub ari_id: Option<String>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain is not PEM, or is empty.
    #[error("the certificate chain is not readable PEM")]
    Pem,
    /// The leaf is not an X.509 certificate.
    #[error("the certificate is not readable: {0}")]
    X509(String),
    /// The key cannot sign, or belongs to another certificate.
    #[error("the private key does not fit the certificate: {0}")]
    Key(rustls::Error),
}

impl Certificate {
    /// From a PEM chain, leaf first, and its PKCS#8 key.
    pub fn new(chain_pem: &str, key_pkcs8: &[u8]) -> Result<Self, CertificateError> {
        Self::with_leaf(chain_pem, key_pkcs8).map(|(certificate, _)| certificate)
    }

    /// Like [`Certificate::new`], and also returns the leaf's fields.
    pub fn with_leaf(chain_pem: &str, key_pkcs8: &[u8]) -> Result<(Self, Leaf), CertificateError> {
        let chain = chain_from_pem(chain_pem)?;
        let leaf = Leaf::of(&chain)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_pkcs8.to_vec()));
        let key = CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
            .map_err(CertificateError::Key)?;
        let certificate = Self {
            key: Arc::new(key),
            not_after: leaf.not_after,
            served: OnceLock::new(),
        };
        Ok((certificate, leaf))
    }

    /// The edge's TLS configuration that presents this certificate.
    ///
    /// It is cached here so that it is dropped with the certificate. Only the template of the first call
    /// is used: the edge has one. The admin port, which serves the same certificate differently, builds
    /// its own configuration from [`Certificate::key`].
    pub fn served_with(&self, template: &ServerConfig) -> &Arc<ServerConfig> {
        self.served.get_or_init(|| {
            let mut config = template.clone();
            config.cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&self.key)));
            Arc::new(config)
        })
    }
}

/// The certificates of a PEM chain.
pub fn chain_from_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| CertificateError::Pem)?;
    if chain.is_empty() {
        Err(CertificateError::Pem)
    } else {
        Ok(chain)
    }
}

impl Leaf {
    /// Reads the first certificate of a chain.
    pub fn of(chain: &[CertificateDer<'_>]) -> Result<Self, CertificateError> {
        let der = chain.first().ok_or(CertificateError::Pem)?;
        let (_, x509) = X509Certificate::from_der(der).map_err(|e| CertificateError::X509(e.to_string()))?;
        let mut sans = Vec::new();
        let mut authority_key = None;
        for extension in x509.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(san) => {
                    sans.extend(san.general_names.iter().filter_map(|n| match n {
                        GeneralName::DNSName(name) => Some((*name).to_owned()),
                        _ => None,
                    }));
                }
                ParsedExtension::AuthorityKeyIdentifier(aki) => {
                    authority_key = aki.key_identifier.as_ref().map(|k| k.0.to_vec());
                }
                _ => {}
            }
        }
        let issuer = x509.issuer().iter_common_name().next().and_then(|c| c.as_str().ok());
        Ok(Self {
            not_before: Timestamp::from_secs(x509.validity().not_before.timestamp()),
            not_after: Timestamp::from_secs(x509.validity().not_after.timestamp()),
            issuer: issuer.map_or_else(|| x509.issuer().to_string(), str::to_owned),
            serial: hex::encode(x509.raw_serial()),
            sans,
            ari_id: authority_key.map(|aki| ari_id(&aki, x509.raw_serial())),
        })
    }
}

/// base64url(authority key identifier) "." base64url(serial), RFC 9773 §4.1.
fn ari_id(authority_key: &[u8], serial: &[u8]) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(authority_key),
        URL_SAFE_NO_PAD.encode(serial)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ari_id_of_rfc_9773() {
        // The example of RFC 9773 §4.1.
        let aki = hex::decode("69885B6B87464041E1B37B847BA0AE2CDE01C8D4".to_ascii_lowercase()).unwrap();
        let serial = hex::decode("0087654321").unwrap();
        assert_eq!(ari_id(&aki, &serial), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    }

    #[test]
    fn a_leaf_is_read_and_a_foreign_key_refused() {
        let one = rcgen::generate_simple_self_signed(["a.example".into()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let pem = one.cert.pem();
        let leaf = Leaf::of(&chain_from_pem(&pem).unwrap()).unwrap();
        assert_eq!(leaf.sans, ["a.example"]);
        Certificate::new(&pem, &one.key_pair.serialize_der()).unwrap();
        assert!(matches!(
            Certificate::new(&pem, &other.serialize_der()),
            Err(CertificateError::Key(_))
        ));
        assert!(matches!(
            Certificate::new("junk", &other.serialize_der()),
            Err(CertificateError::Pem)
        ));
    }
}
