//! All use of rustls-acme: it makes the account key and says what answers a challenge.
//!
//! Its calls over HTTPS are not used: they read an answer of any length into memory, drop its
//! headers, and open two connections each. [`super::extensions`] makes them, bounded.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_acme::acme::{Account, Challenge, ChallengeType, Directory};
use zeroize::Zeroizing;

/// Makes an account key, as PKCS#8.
pub(super) fn generate_account_key() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Account::generate_key_pair())
}

/// The thumbprint of an account key (RFC 7638), which ends every key authorization (RFC 8555 §8.1).
/// `None`: it is no P-256 key.
pub(super) fn thumbprint(pkcs8: &[u8]) -> Option<String> {
    const TOKEN: &str = "t";
    let nowhere = Directory {
        new_nonce: String::new(),
        new_account: String::new(),
        new_order: String::new(),
    };
    let account = Account {
        key_pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?,
        directory: nowhere,
        kid: String::new(),
    };
    let challenges = [Challenge {
        typ: ChallengeType::Http01,
        url: String::new(),
        token: TOKEN.into(),
        error: None,
    }];
    let (_, authorization) = account.http_01(&challenges).ok()?;
    authorization.strip_prefix(TOKEN)?.strip_prefix('.').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::jws;

    #[test]
    fn the_thumbprint_is_that_of_the_key_our_own_calls_sign_with() {
        let pkcs8 = generate_account_key();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap();
        let expected = URL_SAFE_NO_PAD.encode(digest(&SHA256, jws::jwk(&pair).to_string().as_bytes()));
        assert_eq!(thumbprint(&pkcs8), Some(expected));
        assert_eq!(thumbprint(b"no key"), None);
    }
}
