//! The key for a certificate, and the signing request (RFC 2986).

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use super::problem::CallError;

/// A new ECDSA P-256 key as PKCS#8.
pub(super) fn generate_key() -> Result<Zeroizing<Vec<u8>>, CallError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(ours)?;
    Ok(Zeroizing::new(key.serialize_der()))
}

/// The request (DER) for one name. It has no common name: that holds 64 characters at most, and
/// clients have ignored the common name for years (RFC 6125 §6.4.4).
pub(super) fn request(name: &str, key_pkcs8: &[u8]) -> Result<Vec<u8>, CallError> {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key_pkcs8), &PKCS_ECDSA_P256_SHA256)
        .map_err(ours)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(ours)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(ours)?.der().to_vec())
}

fn ours(error: rcgen::Error) -> CallError {
    CallError::Ours(format!("the certificate request cannot be created: {error}"))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509CertificationRequest};

    use super::*;

    #[test]
    fn a_request_is_for_the_name_and_nothing_else() {
        let name = format!("{}.{}.customer.example", "a".repeat(63), "b".repeat(63));
        let der = request(&name, &generate_key().unwrap()).unwrap();
        let (_, csr) = X509CertificationRequest::from_der(&der).unwrap();
        assert_eq!(csr.certification_request_info.subject.iter().count(), 0);
        let extensions: Vec<_> = csr.requested_extensions().unwrap().collect();
        let [ParsedExtension::SubjectAlternativeName(san)] = extensions.as_slice() else {
            panic!("{extensions:?}")
        };
        assert_eq!(san.general_names, [GeneralName::DNSName(&name)]);
        assert!(request(&name, b"no key").is_err());
    }
}
