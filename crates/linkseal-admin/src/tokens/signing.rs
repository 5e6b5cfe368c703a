//! The key behind sessions, forms and share links. It is sealed in the store, so that all nodes of a
//! fleet share it. Each purpose has a key derived from it (HKDF, RFC 5869).

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use linkseal_base::random;
use linkseal_domain::cert::sealed::{SealError, Sealer};
use linkseal_store::copy::{LocalCopy, shared_secret};
use linkseal_store::{SharedStore, StoreError};
use zeroize::Zeroizing;

/// The name of the key in the store, to which its seal is bound.
const SECRET: &str = "pages_key";
const KEY_LEN: usize = 32;
/// The length of an HMAC-SHA256 in bytes.
const TAG_LEN: usize = 32;

/// The key behind sessions, forms and share links.
pub struct PagesKey(Prk);

/// Why the key could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PagesKeyError {
    /// The store failed.
    #[error("loading the key of the admin pages failed: {0}")]
    Store(#[from] StoreError),
    /// The key was sealed under another sealing key, or is damaged.
    #[error("loading the key of the admin pages failed: {0}")]
    Seal(#[from] SealError),
}

impl PagesKey {
    /// Reads the key from the store, or creates it. Of several nodes that start at once, one wins. `copy`: the
    /// node's, which has the key while the store is away; `None` with a store that no other node uses.
    ///
    /// # Errors
    /// When the store fails, or the key cannot be unsealed.
    pub async fn load_or_create(
        store: &SharedStore,
        copy: Option<&LocalCopy>,
        sealer: &Sealer,
    ) -> Result<Self, PagesKeyError> {
        let make = || sealer.seal(SECRET, Zeroizing::new(random::bytes::<KEY_LEN>()).as_slice());
        let sealed = shared_secret(store, copy, SECRET, make).await?;
        let secret = sealer.open(SECRET, &sealed)?;
        Ok(Self(Salt::new(HKDF_SHA256, &[]).extract(&secret)))
    }

    /// The signer for one purpose.
    pub(crate) fn signer(&self, purpose: &str) -> Signer {
        let info = [b"linkseal/pages/".as_slice(), purpose.as_bytes()];
        #[allow(
            clippy::expect_used,
            reason = "HKDF fails only for more than 255 blocks of output; this is one"
        )]
        let okm = self.0.expand(&info, hmac::HMAC_SHA256).expect("one block");
        Signer(hmac::Key::from(okm))
    }
}

/// Signs for one purpose, and verifies its signatures in constant time.
pub(crate) struct Signer(hmac::Key);

impl Signer {
    pub(crate) fn sign(&self, bytes: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, bytes)
    }

    /// The signature as text, for a form.
    pub(crate) fn text(&self, bytes: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.sign(bytes))
    }

    pub(crate) fn is_text_of(&self, text: &str, bytes: &[u8]) -> bool {
        let tag = BASE64_URL_SAFE_NO_PAD.decode(text);
        tag.is_ok_and(|tag| hmac::verify(&self.0, bytes, &tag).is_ok())
    }

    /// The bytes with their signature, as text for a cookie or a URL.
    pub(crate) fn wrap(&self, mut bytes: Vec<u8>) -> String {
        let tag = self.sign(&bytes);
        bytes.extend_from_slice(tag.as_ref());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The bytes of a text by [`wrap`](Self::wrap); `None` if the signature does not match.
    pub(crate) fn unwrap(&self, text: &str) -> Option<Vec<u8>> {
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (content, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_LEN)?)?;
        hmac::verify(&self.0, content, tag).ok()?;
        bytes.truncate(bytes.len() - TAG_LEN);
        Some(bytes)
    }
}

#[cfg(test)]
pub(crate) fn test_key(byte: u8) -> PagesKey {
    PagesKey(Salt::new(HKDF_SHA256, &[]).extract(&[byte; KEY_LEN]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_bound_to_key_and_purpose() {
        let signer = test_key(1).signer("a");
        let text = signer.wrap(b"content".to_vec());
        assert_eq!(signer.unwrap(&text).unwrap(), b"content");
        assert!(test_key(1).signer("b").unwrap(&text).is_none());
        assert!(test_key(2).signer("a").unwrap(&text).is_none());
        for i in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[i] = if other[i] == b'A' { b'B' } else { b'A' };
            assert!(signer.unwrap(str::from_utf8(&other).unwrap()).is_none(), "{i}");
            assert!(signer.unwrap(&text[..i]).is_none(), "{i}");
        }
        assert!(signer.unwrap(&format!("{text}A")).is_none());
        assert!(signer.unwrap("§").is_none());
    }

    #[test]
    fn a_form_token_is_bound_to_its_session() {
        let signer = test_key(1).signer("forms");
        let text = signer.text(b"one");
        assert!(signer.is_text_of(&text, b"one"));
        assert!(!signer.is_text_of(&text, b"two"));
        for bad in ["", "A", "§", &text[1..]] {
            assert!(!signer.is_text_of(bad, b"one"), "{bad}");
        }
    }
}
