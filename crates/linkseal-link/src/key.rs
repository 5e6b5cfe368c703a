//! Link keys: any number verify, the last one mints, and each can be revoked.
//!
//! The signing key is derived per tenant (HKDF-SHA256, RFC 5869), so that a link of one tenant never
//! verifies for another. Derived keys are cached in a small table: verifying a link of a busy tenant costs
//! one HMAC.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::{hmac, rand};
use zeroize::Zeroizing;

use super::error::TokenError;

/// Length of a link key's secret in bytes.
pub const SECRET_LEN: usize = 32;
/// Bytes of the HMAC that a token carries: its first 128 bits.
pub(super) const TAG: usize = 16;
/// The prefix of the HKDF info; the tenant follows.
const INFO: &[u8] = b"linkseal/v1/";
/// How many derived keys are cached. Beyond that a link costs about two microseconds more; a derived key
/// takes less than 1 KiB.
const DERIVED: usize = 4096;

/// One link key. Its secret is zeroized on drop and never printed.
#[derive(Clone)]
pub struct LinkKey {
    id: u8,
    secret: Prk,
}

/// Why link keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the link key {path} ({source}); `linkseal link keygen --out FILE` creates one")]
    File {
        /// Its path.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// The text is not a key.
    #[error("a link key is 64 hexadecimal digits (32 bytes); `linkseal link keygen` creates one")]
    Format,
    /// The file does not contain a key.
    #[error("the link key {path} must hold 64 hexadecimal digits (32 bytes); `linkseal link keygen` creates one")]
    FileFormat {
        /// Its path.
        path: String,
    },
    /// Two keys share an id.
    #[error("link key id {0} is given twice; each key needs its own id (0 to 255)")]
    Duplicate(u8),
}

impl LinkKey {
    /// From the secret itself.
    pub fn new(id: u8, secret: &Zeroizing<[u8; SECRET_LEN]>) -> Self {
        Self {
            id,
            secret: Salt::new(HKDF_SHA256, &[]).extract(secret.as_slice()),
        }
    }

    /// From 64 hexadecimal digits.
    pub fn from_hex(id: u8, text: &str) -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        hex::decode_to_slice(text.trim(), secret.as_mut_slice()).map_err(|_| KeyError::Format)?;
        Ok(Self::new(id, &secret))
    }

    /// From a file of 64 hexadecimal digits.
    pub fn from_file(id: u8, path: &Path) -> Result<Self, KeyError> {
        let shown = || path.display().to_string();
        let text = match std::fs::read(path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(source) => return Err(KeyError::File { path: shown(), source }),
        };
        let text = str::from_utf8(&text).map_err(|_| KeyError::FileFormat { path: shown() })?;
        Self::from_hex(id, text).map_err(|_| KeyError::FileFormat { path: shown() })
    }

    /// A fresh secret, as the text of a key file.
    ///
    /// # Panics
    /// If the operating system provides no randomness.
    pub fn generate() -> Zeroizing<String> {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        #[allow(clippy::expect_used, reason = "without randomness no key is safe")]
        rand::fill(secret.as_mut_slice()).expect("the operating system provides randomness");
        Zeroizing::new(hex::encode(secret.as_slice()))
    }

    /// The id, which every token carries.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// The key of one tenant.
    pub(super) fn derive(&self, tenant: &str) -> hmac::Key {
        let info = [INFO, tenant.as_bytes()];
        #[allow(
            clippy::expect_used,
            reason = "HKDF fails only for more than 255 blocks of output; this is one"
        )]
        let okm = self.secret.expand(&info, hmac::HMAC_SHA256).expect("one block");
        hmac::Key::from(okm)
    }
}

/// The keys in use.
pub struct LinkKeys {
    /// In configuration order; the last one mints.
    keys: Vec<LinkKey>,
    /// One bit per id.
    revoked: [AtomicU64; 4],
    derived: Derived,
}

impl LinkKeys {
    /// Takes the keys in configuration order: all verify, the last one mints.
    pub fn new(keys: impl IntoIterator<Item = LinkKey>) -> Result<Self, KeyError> {
        let mut all: Vec<LinkKey> = Vec::new();
        for key in keys {
            if all.iter().any(|k| k.id == key.id) {
                return Err(KeyError::Duplicate(key.id));
            }
            all.push(key);
        }
        Ok(Self {
            keys: all,
            revoked: Default::default(),
            derived: Derived::new(),
        })
    }

    /// No keys; no link verifies.
    pub fn none() -> Self {
        Self {
            keys: Vec::new(),
            revoked: Default::default(),
            derived: Derived::new(),
        }
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that mints, unless there is none or it is revoked.
    #[cfg(test)]
    fn minting(&self) -> Option<&LinkKey> {
        self.keys.last().filter(|k| !self.is_revoked(k.id))
    }

    /// The ids of all keys, revoked ones included, in configuration order.
    pub fn ids(&self) -> impl Iterator<Item = u8> {
        self.keys.iter().map(|k| k.id)
    }

    /// Revokes a key: links minted under it no longer verify.
    pub fn revoke(&self, id: u8) {
        let (word, bit) = self.revocation(id);
        word.fetch_or(bit, Ordering::Relaxed);
    }

    /// Takes a revocation back.
    pub fn restore(&self, id: u8) {
        let (word, bit) = self.revocation(id);
        word.fetch_and(!bit, Ordering::Relaxed);
    }

    /// Whether a key is revoked.
    pub fn is_revoked(&self, id: u8) -> bool {
        let (word, bit) = self.revocation(id);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// The key that a token names, unless it is unknown or revoked.
    pub(super) fn verifying(&self, id: u8) -> Result<&LinkKey, TokenError> {
        let key = self
            .keys
            .iter()
            .find(|k| k.id == id)
            .ok_or(TokenError::UnknownKey(id))?;
        if self.is_revoked(id) {
            Err(TokenError::RevokedKey(id))
        } else {
            Ok(key)
        }
    }

    /// Whether `tag` was made for `signed` under `tenant`'s key.
    pub(super) fn check(&self, key: &LinkKey, tenant: &str, signed: &[u8], tag: &[u8]) -> bool {
        let slot = self.derived.slot(key.id, tenant);
        if let Some(known) = &*slot.load()
            && known.key_id == key.id
            && &*known.tenant == tenant
        {
            return tag_matches(&known.key, signed, tag);
        }
        let derived = key.derive(tenant);
        let valid = tag_matches(&derived, signed, tag);
        // Only a valid tag earns a slot: made-up tenants in paths must not evict real ones.
        if valid {
            slot.store(Some(Arc::new(TenantKey {
                key_id: key.id,
                tenant: tenant.into(),
                key: derived,
            })));
        }
        valid
    }

    #[allow(clippy::indexing_slicing, reason = "a byte's upper two bits are 0 to 3")]
    fn revocation(&self, id: u8) -> (&AtomicU64, u64) {
        (&self.revoked[usize::from(id >> 6)], 1 << (id & 63))
    }
}

/// Derived keys: each (key, tenant) has one slot it may be in; the last one stays. Reading takes no lock.
struct Derived {
    slots: Box<[ArcSwapOption<TenantKey>]>,
    hasher: RandomState,
}

struct TenantKey {
    key_id: u8,
    tenant: Box<str>,
    key: hmac::Key,
}

impl Derived {
    fn new() -> Self {
        Self {
            slots: (0..DERIVED).map(|_| ArcSwapOption::empty()).collect(),
            hasher: RandomState::new(),
        }
    }

    #[allow(clippy::indexing_slicing, reason = "a remainder is below its divisor")]
    fn slot(&self, key_id: u8, tenant: &str) -> &ArcSwapOption<TenantKey> {
        let hash = self.hasher.hash_one((key_id, tenant));
        &self.slots[hash as usize % DERIVED]
    }
}

/// Compares in constant time.
fn tag_matches(key: &hmac::Key, signed: &[u8], tag: &[u8]) -> bool {
    let full = hmac::sign(key, signed);
    full.as_ref()
        .get(..TAG)
        .is_some_and(|right| verify_slices_are_equal(right, tag).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::mint::{Message, Minter};
    use super::super::token::Token;
    use super::*;

    fn key(id: u8, byte: u8) -> LinkKey {
        LinkKey::new(id, &Zeroizing::new([byte; SECRET_LEN]))
    }

    fn message() -> Message {
        Message {
            id: uuid::Uuid::from_u128(1),
            issued_at: 1,
        }
    }

    #[test]
    fn the_last_mints_all_verify_and_a_revoked_one_does_not() {
        let keys = LinkKeys::new([key(0, 1), key(255, 2)]).unwrap();
        let old = Minter::new(&key(0, 1), "t").open(&message());
        let new = Minter::new(keys.minting().unwrap(), "t").open(&message());
        let verify = |text: &str| Token::decode(text).unwrap().verify(&keys, ["t"]).map(|v| v.key_id);
        assert_eq!((verify(&old), verify(&new)), (Ok(0), Ok(255)));
        keys.revoke(255);
        assert_eq!((verify(&old), verify(&new)), (Ok(0), Err(TokenError::RevokedKey(255))));
        assert!(keys.minting().is_none());
        keys.restore(255);
        assert_eq!(verify(&new), Ok(255));
        let stranger = Minter::new(&key(9, 9), "t").open(&message());
        assert_eq!(verify(&stranger), Err(TokenError::UnknownKey(9)));
        assert!(matches!(
            LinkKeys::new([key(3, 1), key(3, 2)]),
            Err(KeyError::Duplicate(3))
        ));
    }

    #[test]
    fn many_tenants_never_share_a_key_and_the_table_stays_bounded() {
        let keys = LinkKeys::new([key(1, 1)]).unwrap();
        let tenants: Vec<String> = (0..DERIVED * 2).map(|i| format!("tenant-{i}")).collect();
        let tokens: Vec<String> = tenants
            .iter()
            .map(|t| Minter::new(&key(1, 1), t).open(&message()))
            .collect();
        for pass in 0..2 {
            for (tenant, text) in tenants.iter().zip(&tokens) {
                assert!(
                    Token::decode(text).unwrap().verify(&keys, [tenant.as_str()]).is_ok(),
                    "{tenant}, pass {pass}"
                );
            }
        }
        for pair in tenants.windows(2).zip(&tokens) {
            assert!(
                Token::decode(pair.1)
                    .unwrap()
                    .verify(&keys, [pair.0[1].as_str()])
                    .is_err()
            );
        }
        let kept = || keys.derived.slots.iter().filter(|s| s.load().is_some()).count();
        assert!(kept() <= DERIVED);
        let before = kept();
        for i in 0..1000 {
            let made_up = format!("made-up-{i}");
            assert!(
                Token::decode(&tokens[0])
                    .unwrap()
                    .verify(&keys, [made_up.as_str()])
                    .is_err()
            );
        }
        assert_eq!(kept(), before);
    }

    #[test]
    fn a_key_file_holds_64_digits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link-1.key");
        assert!(matches!(LinkKey::from_file(1, &path), Err(KeyError::File { .. })));
        for bad in ["", "00", &"0g".repeat(32), &"00".repeat(33)] {
            std::fs::write(&path, bad).unwrap();
            let Err(error) = LinkKey::from_file(1, &path) else {
                panic!("{bad} was taken")
            };
            assert!(error.to_string().contains("64 hexadecimal digits") && error.to_string().contains("link-1.key"));
        }
        std::fs::write(&path, format!("{}\n", *LinkKey::generate())).unwrap();
        assert_eq!(LinkKey::from_file(7, &path).unwrap().id(), 7);
    }
}
