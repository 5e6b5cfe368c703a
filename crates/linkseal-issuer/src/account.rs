//! The ACME account key, one for all CAs.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linkseal_domain::cert::sealed::{SealError, Sealer};
use linkseal_store::copy::{LocalCopy, shared_secret};
use linkseal_store::{SharedStore, StoreError};

use super::{acme, jws};

/// The account key. Any node that has it can answer any challenge: the answer is the token, a dot, and the
/// thumbprint (RFC 8555 §8.3).
pub struct AccountKey {
    pair: EcdsaKeyPair,
    thumbprint: String,
}

/// Why the account key cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum AccountKeyError {
    /// The store cannot be read or written.
    #[error("the ACME account key: {0}")]
    Store(#[from] StoreError),
    /// The key was sealed under another sealing key, or is damaged.
    #[error("the ACME account key is {0}")]
    Seal(#[from] SealError),
    /// The stored secret is not a P-256 key.
    #[error("the ACME account key in the store is not a P-256 key in PKCS#8: restore the store from a backup")]
    Format,
}

impl AccountKey {
    /// The name of the secret in the store, and the context that it is sealed for.
    pub const SECRET: &str = "acme_account_key";

    /// Loads the key from the store, or creates it; if several nodes start at once, one wins. `copy`: the node's,
    /// which has the key while the store is away; `None` with a store that no other node uses.
    pub async fn load_or_create(
        store: &SharedStore,
        copy: Option<&LocalCopy>,
        sealer: &Sealer,
    ) -> Result<Arc<Self>, AccountKeyError> {
        let make = || sealer.seal(Self::SECRET, &acme::generate_account_key());
        let sealed = shared_secret(store, copy, Self::SECRET, make).await?;
        Ok(Arc::new(Self::from_pkcs8(&sealer.open(Self::SECRET, &sealed)?)?))
    }

    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, AccountKeyError> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| AccountKeyError::Format)?;
        let thumbprint = thumbprint(&pair);
        Ok(Self { pair, thumbprint })
    }

    /// The thumbprint (RFC 7638 §3), in base64url.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    pub(super) fn pair(&self) -> &EcdsaKeyPair {
        &self.pair
    }
}

/// The thumbprint of a key (RFC 7638 §3).
fn thumbprint(key: &EcdsaKeyPair) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, jws::jwk(key).to_string().as_bytes()))
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountKey({})", self.thumbprint)
    }
}
