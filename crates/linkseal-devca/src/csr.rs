//! Parses the certificate signing requests (RFC 2986) of `finalize` and checks their signatures.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use http::StatusCode;
use rcgen::{PublicKeyData, SignatureAlgorithm};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384,
};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension};
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::problem::Problem;

/// The contents of a CSR whose signature has been checked.
pub(super) struct Csr {
    /// The DNS names, from the SAN extension and the common name, in lower case.
    pub(super) names: BTreeSet<String>,
    /// The key to certify.
    pub(super) key: SubjectKey,
}

/// The subject's public key, in the form that rcgen takes.
pub(super) struct SubjectKey {
    bits: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl PublicKeyData for SubjectKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &SignatureAlgorithm {
        self.algorithm
    }
}

impl Csr {
    /// Parses a DER CSR and checks that it is signed by the key that it contains.
    pub(super) fn parse(der: &[u8]) -> Result<Self, Problem> {
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|e| bad(format!("Error parsing certificate request: {e}")))?;
        if !rest.is_empty() {
            return Err(bad("Error parsing certificate request: trailing data"));
        }
        let info = &request.certification_request_info;
        let key = subject_key(&info.subject_pki)?;
        let algorithm = verification(&request.signature_algorithm, &info.subject_pki.algorithm)?;
        UnparsedPublicKey::new(algorithm, &key.bits)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| bad("invalid signature on CSR"))?;

        let mut names = BTreeSet::new();
        for name in info.subject.iter_common_name() {
            let name = name.as_str().map_err(|_| bad("the common name is not text"))?;
            names.insert(name.to_ascii_lowercase());
        }
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(san) = extension else {
                continue;
            };
            for name in &san.general_names {
                let GeneralName::DNSName(name) = name else {
                    return Err(bad("CSR contains one or more alternative names that are not DNS names"));
                };
                names.insert(name.to_ascii_lowercase());
            }
        }
        Ok(Self { names, key })
    }
}

fn subject_key(spki: &SubjectPublicKeyInfo<'_>) -> Result<SubjectKey, Problem> {
    let algorithm = match curve_or_rsa(&spki.algorithm) {
        Some(KeyType::P256) => &rcgen::PKCS_ECDSA_P256_SHA256,
        Some(KeyType::P384) => &rcgen::PKCS_ECDSA_P384_SHA384,
        Some(KeyType::Rsa) => &rcgen::PKCS_RSA_SHA256,
        None => return Err(bad("the key must be P-256, P-384 or RSA of at least 2048 bits")),
    };
    Ok(SubjectKey {
        bits: spki.subject_public_key.data.to_vec(),
        algorithm,
    })
}

enum KeyType {
    P256,
    P384,
    Rsa,
}

fn curve_or_rsa(algorithm: &AlgorithmIdentifier<'_>) -> Option<KeyType> {
    if algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        return Some(KeyType::Rsa);
    }
    if algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return None;
    }
    let curve = algorithm.parameters.as_ref()?.as_oid().ok()?;
    if curve == OID_EC_P256 {
        Some(KeyType::P256)
    } else if curve == OID_NIST_EC_P384 {
        Some(KeyType::P384)
    } else {
        None
    }
}

fn verification(
    signature: &AlgorithmIdentifier<'_>,
    key: &AlgorithmIdentifier<'_>,
) -> Result<&'static dyn VerificationAlgorithm, Problem> {
    let oid = &signature.algorithm;
    let found: Option<&'static dyn VerificationAlgorithm> = match curve_or_rsa(key) {
        Some(KeyType::P256) if *oid == OID_SIG_ECDSA_WITH_SHA256 => Some(&signature::ECDSA_P256_SHA256_ASN1),
        Some(KeyType::P256) if *oid == OID_SIG_ECDSA_WITH_SHA384 => Some(&signature::ECDSA_P256_SHA384_ASN1),
        Some(KeyType::P384) if *oid == OID_SIG_ECDSA_WITH_SHA256 => Some(&signature::ECDSA_P384_SHA256_ASN1),
        Some(KeyType::P384) if *oid == OID_SIG_ECDSA_WITH_SHA384 => Some(&signature::ECDSA_P384_SHA384_ASN1),
        Some(KeyType::Rsa) if *oid == OID_PKCS1_SHA256WITHRSA => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Some(KeyType::Rsa) if *oid == OID_PKCS1_SHA384WITHRSA => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Some(KeyType::Rsa) if *oid == OID_PKCS1_SHA512WITHRSA => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    };
    found.ok_or_else(|| bad("the CSR's signature must be ECDSA or RSA PKCS #1 with SHA-256 or better"))
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "badCSR", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csr(key: &rcgen::KeyPair) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["A.example".to_owned(), "b.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn every_accepted_key_type_is_read_and_verified() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let read = Csr::parse(&csr(&key)).unwrap();
            assert_eq!(
                read.names.iter().map(String::as_str).collect::<Vec<_>>(),
                ["a.example", "b.example"]
            );
            assert_eq!(read.key.bits, key.public_key_raw());
        }
    }

    #[test]
    fn a_changed_csr_and_an_unsupported_key_type_are_refused() {
        let mut der = csr(&rcgen::KeyPair::generate().unwrap());
        let at = der.windows(9).position(|w| w == b"b.example").unwrap();
        der[at] = b'c';
        assert_eq!(Csr::parse(&der).err().unwrap().detail, "invalid signature on CSR");
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        assert_eq!(
            Csr::parse(&csr(&ed25519)).err().unwrap().kind,
            "urn:ietf:params:acme:error:badCSR"
        );
    }
}
