//! The only use of rustls-acme: it generates the account key.
//!
//! Its calls are not used: they read answers of any length into memory, drop the headers (Retry-After, nonces)
//! and open two connections each. `calls` makes them instead.

use rustls_acme::acme::Account;
use zeroize::Zeroizing;

/// Generates an account key, in PKCS#8.
pub(super) fn generate_account_key() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Account::generate_key_pair())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use rustls_acme::acme::{Challenge, ChallengeType, Directory};

    use super::*;
    use crate::account::{AccountKey, AccountKeyError};

    #[test]
    fn the_thumbprint_matches_rustls_acme() {
        let pkcs8 = generate_account_key();
        let account = Account {
            key_pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap(),
            directory: Directory {
                new_nonce: String::new(),
                new_account: String::new(),
                new_order: String::new(),
            },
            kid: String::new(),
        };
        let challenges = [Challenge {
            typ: ChallengeType::Http01,
            url: String::new(),
            token: "t".into(),
            error: None,
        }];
        let (_, authorization) = account.http_01(&challenges).unwrap();
        let key = AccountKey::from_pkcs8(&pkcs8).unwrap();
        assert_eq!(authorization, format!("t.{}", key.thumbprint()));
        assert!(matches!(
            AccountKey::from_pkcs8(b"no key"),
            Err(AccountKeyError::Format)
        ));
    }
}
