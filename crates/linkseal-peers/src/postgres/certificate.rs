//! The certificate of a PostgreSQL that speaks TLS.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    SignatureAlgorithm,
};

/// The keys of the server's certificate and of its CA. They decide the hash of the certificate's
/// signature, which SCRAM's channel binding uses (RFC 5929, section 4.1).
#[derive(Clone, Copy, Debug)]
pub enum Key {
    /// P-256, signed with SHA-256.
    P256,
    /// P-384, signed with SHA-384.
    P384,
}

/// A server's certificate and what it takes to trust it.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) ca_pem: String,
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
}

impl Certificate {
    /// A certificate of a new CA for some names or addresses.
    pub(super) fn new(key: Key, names: &[&str]) -> Self {
        let algorithm: &SignatureAlgorithm = match key {
            Key::P256 => &PKCS_ECDSA_P256_SHA256,
            Key::P384 => &PKCS_ECDSA_P384_SHA384,
        };
        let ca_key = KeyPair::generate_for(algorithm).expect("a key");
        let mut ca = CertificateParams::default();
        // Of the same name as its CA, the certificate would pass for a self-signed one.
        ca.distinguished_name
            .push(DnType::CommonName, "CA of a test's PostgreSQL");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = ca.self_signed(&ca_key).expect("a CA");
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.signed_by(&key, &ca, &ca_key).expect("a certificate");
        Self {
            ca_pem: ca.pem(),
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}
