//! Secrets at rest: sealed with AES-256-GCM under a key that never enters the store.
//!
//! A blob is `version(1) || key id(4) || nonce(12) || ciphertext and tag`. The associated data
//! names table and row, so that a blob cannot be moved to another row.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac;
use linkseal_base::random;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
/// Length of a sealing key in bytes.
pub const KEY_LEN: usize = 32;
const HEADER: usize = 1 + 4;

/// The key that seals, and older keys that only open.
pub struct Sealer {
    current: [u8; 4],
    keys: BTreeMap<[u8; 4], LessSafeKey>,
    /// From which keys for other uses are derived (RFC 5869).
    root: Prk,
}

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or written.
    #[error("the sealing key {path}: {source}")]
    File { path: String, source: io::Error },
    /// There is no key file, and the caller does not allow to make one.
    #[error(
        "the sealing key {path} is missing: put back the one that the store was used with (a backup of the store is of no use without it)"
    )]
    Missing { path: String },
    /// The key file does not hold a key.
    #[error("the sealing key {path} must hold 64 hexadecimal digits (32 bytes)")]
    Format { path: String },
    /// The blob was sealed under a key that this sealer does not have.
    #[error(
        "sealed under key {0}, which is not the configured one: put back the key file that this store was used with"
    )]
    UnknownKey(String),
    /// The blob was changed, cut, or belongs to another row.
    #[error("a sealed secret is damaged or was moved")]
    Damaged,
}

impl Sealer {
    /// A sealer under one key. The key's id is the start of its SHA-256.
    pub fn new(key: &Zeroizing<[u8; KEY_LEN]>) -> Self {
        let mut sealer = Self {
            current: [0; 4],
            keys: BTreeMap::new(),
            root: Salt::new(HKDF_SHA256, &[]).extract(key.as_slice()),
        };
        sealer.current = sealer.add(key);
        sealer
    }

    /// Adds a key that only opens.
    fn add(&mut self, key: &Zeroizing<[u8; KEY_LEN]>) -> [u8; 4] {
        let mut id = [0; 4];
        for (to, from) in id.iter_mut().zip(digest(&SHA256, key.as_slice()).as_ref()) {
            *to = *from;
        }
        #[allow(clippy::expect_used, reason = "a 32-byte key fits AES-256 by its type")]
        let unbound = UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("32 bytes");
        self.keys.insert(id, LessSafeKey::new(unbound));
        id
    }

    /// Reads the key file. If there is none and `create` is set, makes one that only its owner can read.
    pub fn from_file(path: &Path, create: bool) -> Result<Self, SealError> {
        let at = |source| SealError::File {
            path: path.display().to_string(),
            source,
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(e) if e.kind() == io::ErrorKind::NotFound && create => {
                let text = Zeroizing::new(format!(
                    "{}\n",
                    hex::encode(Zeroizing::new(random::bytes::<KEY_LEN>()).as_slice())
                ));
                write_private(path, text.as_bytes()).map_err(at)?;
                text
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(SealError::Missing {
                    path: path.display().to_string(),
                });
            }
            Err(e) => return Err(at(e)),
        };
        let mut key = Zeroizing::new([0; KEY_LEN]);
        hex::decode_to_slice(text.trim(), key.as_mut_slice()).map_err(|_| SealError::Format {
            path: path.display().to_string(),
        })?;
        Ok(Self::new(&key))
    }

    /// The id of the key that sealed a blob. `None`: the blob was not made by a [`Sealer`].
    pub fn key_of(blob: &[u8]) -> Option<[u8; 4]> {
        match blob {
            [VERSION, a, b, c, d, ..] => Some([*a, *b, *c, *d]),
            _ => None,
        }
    }

    /// A key for another use. It is the same wherever the sealing key is, and reveals nothing about it.
    pub fn derive(&self, purpose: &[u8]) -> hmac::Key {
        #[allow(
            clippy::expect_used,
            reason = "HKDF fails only for more than 255 blocks of output; this is one"
        )]
        let okm = self
            .root
            .expand(&[purpose], hmac::HMAC_SHA256)
            .expect("one block")
            .into();
        okm
    }

    /// Whether the key with this id is present.
    pub fn has(&self, id: [u8; 4]) -> bool {
        self.keys.contains_key(&id)
    }

    /// Seals a secret for the row `place`, such as `certificates/links.customer.example`.
    pub fn seal(&self, place: &str, secret: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random::bytes();
        let mut blob = Vec::with_capacity(HEADER + NONCE_LEN + secret.len() + AES_256_GCM.tag_len());
        blob.push(VERSION);
        blob.extend_from_slice(&self.current);
        blob.extend_from_slice(&nonce);
        let mut body = secret.to_vec();
        #[allow(
            clippy::expect_used,
            clippy::indexing_slicing,
            reason = "`current` is in `keys` from the constructor on, and sealing fails only beyond 64 GiB"
        )]
        self.keys[&self.current]
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut body,
            )
            .expect("sealing a short secret");
        blob.extend_from_slice(&body);
        blob
    }

    /// Opens what was sealed for the row `place`.
    pub fn open(&self, place: &str, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (header, rest) = blob.split_at_checked(HEADER).ok_or(SealError::Damaged)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Damaged)?;
        let [VERSION, id @ ..] = header else {
            return Err(SealError::Damaged);
        };
        let key = self
            .keys
            .get(id)
            .ok_or_else(|| SealError::UnknownKey(hex::encode(id)))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Damaged)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = key
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut body)
            .map_err(|_| SealError::Damaged)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer(key {})", hex::encode(self.current))
    }
}

/// Durably writes a new file that only its owner can read. Fails if the file exists.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    let dir = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_in_its_own_row_and_unchanged() {
        let sealer = Sealer::new(&Zeroizing::new([7; KEY_LEN]));
        let blob = sealer.seal("certificates/a.example", b"secret");
        assert_eq!(
            sealer.open("certificates/a.example", &blob).unwrap().as_slice(),
            b"secret"
        );
        assert!(matches!(
            sealer.open("certificates/b.example", &blob),
            Err(SealError::Damaged)
        ));
        for i in HEADER..blob.len() {
            let mut bad = blob.clone();
            bad[i] ^= 1;
            assert!(
                matches!(sealer.open("certificates/a.example", &bad), Err(SealError::Damaged)),
                "byte {i}"
            );
        }
        for cut in 0..blob.len() {
            assert!(sealer.open("certificates/a.example", &blob[..cut]).is_err());
        }
    }

    #[test]
    fn an_unknown_key_is_named_and_an_older_one_still_opens() {
        let old = Sealer::new(&Zeroizing::new([7; KEY_LEN]));
        let blob = old.seal("x", b"secret");
        let mut new = Sealer::new(&Zeroizing::new([8; KEY_LEN]));
        assert!(matches!(new.open("x", &blob), Err(SealError::UnknownKey(_))));
        new.add(&Zeroizing::new([7; KEY_LEN]));
        assert_eq!(new.open("x", &blob).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn the_key_file_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.key");
        assert!(Sealer::from_file(&path, false).is_err());
        let blob = Sealer::from_file(&path, true).unwrap().seal("x", b"y");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            Sealer::from_file(&path, false)
                .unwrap()
                .open("x", &blob)
                .unwrap()
                .as_slice(),
            b"y"
        );
        fs::write(&path, "short").unwrap();
        assert!(matches!(Sealer::from_file(&path, true), Err(SealError::Format { .. })));
    }
}
