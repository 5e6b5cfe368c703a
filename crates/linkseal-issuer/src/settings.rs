//! The settings of one CA.

use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

/// One CA, as configured.
#[derive(Clone)]
pub struct CaSettings {
    /// The URL of its directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// Contact URLs for the account.
    pub contact: Vec<String>,
    /// CA certificates to trust for its TLS, in addition to the public ones.
    pub trust: Vec<CertificateDer<'static>>,
    /// The external account to bind ours to, if the CA requires one.
    pub eab: Option<Eab>,
    /// The certificate profile to request. `None`: the CA's default.
    pub profile: Option<String>,
}

/// An external account binding (RFC 8555 §7.3.4), as the CA issued it.
#[derive(Clone)]
pub struct Eab {
    pub key_id: String,
    /// The HMAC key, decoded.
    pub hmac_key: Zeroizing<Vec<u8>>,
}
