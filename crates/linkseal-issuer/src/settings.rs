//! A CA as configured.

use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

/// One CA, as configured.
#[derive(Clone)]
pub struct CaSettings {
    /// The URL of its directory.
    pub directory: String,
    /// Contact URLs for the account.
    pub contact: Vec<String>,
    /// CA certificates to trust for its TLS, in addition to the public ones.
    pub trust: Vec<CertificateDer<'static>>,
    /// The external account that ours is bound to. `None`: the CA needs none.
    pub eab: Option<Eab>,
    /// The certificate profile to ask for. `None`: the CA's default.
    pub profile: Option<String>,
}

/// An external account binding (RFC 8555 §7.3.4), as the CA gave it out.
#[derive(Clone)]
pub struct Eab {
    /// The key's id.
    pub key_id: String,
    /// The HMAC key.
    pub hmac_key: Zeroizing<Vec<u8>>,
}
