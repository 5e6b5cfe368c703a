//! Tokens: decoded strictly, verified in constant time, and only then believed.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::destination::{Destination, DestinationError, MAX_DESTINATION};
use super::key::LinkKeys;

/// kind(1) || key_id(1) || issued_at(4) || message_id(16).
pub(super) const HEADER: usize = 1 + 1 + 4 + 16;
/// The number of a link or list, big-endian.
pub(super) const NUMBER: usize = 2;
/// The first bytes of the HMAC that are kept.
pub(super) const TAG: usize = 16;
const SHORTEST: usize = HEADER + TAG;
const LONGEST: usize = HEADER + NUMBER + MAX_DESTINATION + TAG;
/// The longest token, in characters: no longer text is even decoded.
pub const MAX_TOKEN_TEXT: usize = LONGEST.div_ceil(3) * 4;
/// Open (38 bytes) and unsubscribe (40 bytes) tokens are decoded in place, without allocation.
const SHORT: usize = 48;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An open pixel.
    Open,
    /// A click redirect.
    Click,
    /// An unsubscribe link.
    Unsubscribe,
}

impl Kind {
    /// The first byte of a token.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Open => 0x11,
            Self::Click => 0x12,
            Self::Unsubscribe => 0x13,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Open, Self::Click, Self::Unsubscribe]
            .into_iter()
            .find(|k| k.byte() == byte)
    }

    /// The letter of its path: `/o/`, `/c/`, `/u/`.
    pub const fn letter(self) -> char {
        match self {
            Self::Open => 'o',
            Self::Click => 'c',
            Self::Unsubscribe => 'u',
        }
    }
}

/// A token that is well-formed. Nothing in it may be believed before [`Token::verify`].
pub struct Token {
    repr: Repr,
    kind: Kind,
}

enum Repr {
    Short([u8; SHORT], usize),
    Long(Vec<u8>),
}

/// Why a token is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not base64url without padding, or another spelling of the same bytes.
    #[error("a token is base64url without padding (A-Z, a-z, 0-9, - and _), spelled exactly as minted")]
    Spelling,
    /// Too short or too long for its kind.
    #[error("the token is cut off, or something was added to it")]
    Length,
    /// The first byte names no kind of format v1.
    #[error("not a token of format v1 (its first byte is {0:#04x})")]
    Kind(u8),
    /// No key with that id is configured.
    #[error("link key {0} is not configured")]
    UnknownKey(u8),
    /// The key with that id was revoked.
    #[error("link key {0} is revoked")]
    RevokedKey(u8),
    /// The tag is not what any of the tenants' keys gives.
    #[error("the token was changed, or minted for another tenant or under another secret")]
    Forged,
    /// Signed, but not a destination.
    #[error(transparent)]
    Destination(#[from] DestinationError),
}

impl Token {
    /// Decodes a token and checks its form.
    pub fn decode(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN_TEXT {
            return Err(TokenError::Length);
        }
        // The engine refuses padding, whitespace and non-zero trailing bits (RFC 4648 §3.5), so
        // that each byte string has one spelling.
        let repr = if base64::decoded_len_estimate(text.len()) <= SHORT {
            let mut bytes = [0; SHORT];
            let length = URL_SAFE_NO_PAD
                .decode_slice(text, &mut bytes)
                .map_err(|_| TokenError::Spelling)?;
            Repr::Short(bytes, length)
        } else {
            Repr::Long(URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Spelling)?)
        };
        let bytes = repr.bytes();
        let kind = bytes.first().ok_or(TokenError::Length)?;
        let kind = Kind::of(*kind).ok_or(TokenError::Kind(*kind))?;
        let body = bytes.len().checked_sub(SHORTEST).ok_or(TokenError::Length)?;
        let fits = match kind {
            Kind::Open => body == 0,
            Kind::Click => body > NUMBER && body <= NUMBER + MAX_DESTINATION,
            Kind::Unsubscribe => body == NUMBER,
        };
        if !fits {
            return Err(TokenError::Length);
        }
        Ok(Self { repr, kind })
    }

    /// Verifies the token under the keys, for the first of `tenants` that it was minted for.
    pub fn verify<'a>(
        &'a self,
        keys: &LinkKeys,
        tenants: impl IntoIterator<Item = &'a str>,
    ) -> Result<VerifiedToken<'a>, TokenError> {
        let key = keys.verifying(self.key_id())?;
        let (signed, tag) = self.parts();
        let mut tenants = tenants.into_iter();
        let tenant = tenants
            .find(|tenant| keys.check(key, tenant, signed, tag))
            .ok_or(TokenError::Forged)?;
        let mut number = [0; NUMBER];
        let body = signed.get(HEADER..).unwrap_or_default();
        let body = match (self.kind, body.split_at_checked(NUMBER)) {
            (Kind::Click, Some((link, destination))) => {
                number.copy_from_slice(link);
                TokenBody::Click {
                    link: u16::from_be_bytes(number),
                    destination: Destination::from_bytes(destination)?,
                }
            }
            (Kind::Unsubscribe, Some((list, _))) => {
                number.copy_from_slice(list);
                TokenBody::Unsubscribe {
                    list: u16::from_be_bytes(number),
                }
            }
            _ => TokenBody::Open,
        };
        Ok(VerifiedToken {
            tenant,
            key_id: self.key_id(),
            issued_at: self.issued_at(),
            message_id: self.message_id(),
            body,
        })
    }

    /// What it says it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The id of the key it says it was minted under.
    pub fn key_id(&self) -> u8 {
        self.header::<1>(1)[0]
    }

    /// When it says it was minted.
    pub fn issued_at(&self) -> u32 {
        u32::from_be_bytes(self.header(2))
    }

    /// The message it says it belongs to.
    pub fn message_id(&self) -> Uuid {
        Uuid::from_bytes(self.header(6))
    }

    /// The bytes between header and tag.
    pub(super) fn body(&self) -> &[u8] {
        self.parts().0.get(HEADER..).unwrap_or_default()
    }

    /// What is signed, and the tag.
    fn parts(&self) -> (&[u8], &[u8]) {
        let bytes = self.repr.bytes();
        bytes.split_at(bytes.len() - TAG)
    }

    fn header<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        if let Some(bytes) = self.repr.bytes().get(at..at + N) {
            out.copy_from_slice(bytes);
        }
        out
    }
}

impl Repr {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes, length) => bytes.get(..*length).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

/// A token whose tag is right: someone who holds the tenant's key minted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken<'a> {
    /// The tenant it was minted for, of those it was verified for.
    pub tenant: &'a str,
    /// The id of the key it was minted under.
    pub key_id: u8,
    /// When it was minted; whole seconds.
    pub issued_at: u32,
    /// The message it belongs to.
    pub message_id: Uuid,
    /// What it is for.
    pub body: TokenBody<'a>,
}

/// What a verified token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenBody<'a> {
    /// An open pixel.
    Open,
    /// A click redirect.
    Click {
        /// Which link of the message.
        link: u16,
        /// Where it leads.
        destination: Destination<'a>,
    },
    /// An unsubscribe link.
    Unsubscribe {
        /// Which list.
        list: u16,
    },
}

impl TokenBody<'_> {
    /// The kind of token it came in.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Open => Kind::Open,
            Self::Click { .. } => Kind::Click,
            Self::Unsubscribe { .. } => Kind::Unsubscribe,
        }
    }
}

/// Whether `tag` is the tag of `signed`; in constant time.
pub(super) fn tag_is_right(key: &hmac::Key, signed: &[u8], tag: &[u8]) -> bool {
    let full = hmac::sign(key, signed);
    full.as_ref()
        .get(..TAG)
        .is_some_and(|right| verify_slices_are_equal(right, tag).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::super::key::LinkKey;
    use super::super::mint::{Message, Minter};
    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        kind: String,
        tenant: String,
        key_id: u8,
        secret_hex: String,
        issued_at: u32,
        message_id_hex: String,
        link: Option<u16>,
        destination: Option<String>,
        token: String,
    }

    fn vectors() -> Vec<Vector> {
        let all: Vectors = serde_json::from_str(include_str!("../tests/link_vectors.json")).unwrap();
        assert!(!all.vectors.is_empty());
        all.vectors
    }

    #[test]
    fn every_vector_verifies_and_is_minted_alike() {
        for v in vectors() {
            let key = LinkKey::from_hex(v.key_id, &v.secret_hex).unwrap();
            let minter = Minter::new(&key, &v.tenant);
            let message = Message {
                id: v.message_id_hex.parse().unwrap(),
                issued_at: v.issued_at,
            };
            let keys = LinkKeys::new([key]).unwrap();
            let token = Token::decode(&v.token).unwrap();
            let verified = token.verify(&keys, ["somebody-else", v.tenant.as_str()]).unwrap();
            assert_eq!(verified.issued_at, v.issued_at);
            assert_eq!(
                (verified.key_id, verified.message_id, verified.tenant),
                (v.key_id, message.id, v.tenant.as_str())
            );
            let minted = match verified.body {
                TokenBody::Open => {
                    assert_eq!(v.kind, "open");
                    minter.open(&message)
                }
                TokenBody::Click { link, destination } => {
                    assert_eq!((v.kind.as_str(), Some(link)), ("click", v.link));
                    assert_eq!(Some(destination.as_str()), v.destination.as_deref());
                    minter.click(&message, link, &destination)
                }
                TokenBody::Unsubscribe { list } => {
                    assert_eq!((v.kind.as_str(), Some(list)), ("unsubscribe", v.link));
                    minter.unsubscribe(&message, list)
                }
            };
            assert_eq!(minted, v.token);
            assert_eq!(token.verify(&keys, ["other"]), Err(TokenError::Forged));
        }
    }

    #[test]
    fn no_vector_verifies_with_one_bit_changed() {
        for v in vectors() {
            let keys = LinkKeys::new([LinkKey::from_hex(v.key_id, &v.secret_hex).unwrap()]).unwrap();
            let bytes = URL_SAFE_NO_PAD.decode(&v.token).unwrap();
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let verified =
                    Token::decode(&URL_SAFE_NO_PAD.encode(bad)).map(|t| t.verify(&keys, [v.tenant.as_str()]).is_ok());
                assert!(!verified.unwrap_or(false), "bit {bit} of {}", v.token);
            }
        }
    }

    #[test]
    fn the_same_bytes_have_one_spelling() {
        for v in vectors() {
            let mut respelled = vec![
                format!("{}=", v.token),
                format!("{}==", v.token),
                format!(" {}", v.token),
                format!("{}\n", v.token),
            ];
            respelled.push(v.token.replace('-', "+"));
            respelled.push(v.token.replace('_', "/"));
            respelled.push(format!("{}%3D", v.token));
            // The last character's unused low bits.
            if !v.token.len().is_multiple_of(4) {
                let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
                let (rest, last) = v.token.split_at(v.token.len() - 1);
                respelled.extend(
                    alphabet
                        .chars()
                        .filter(|c| !last.contains(*c))
                        .map(|c| format!("{rest}{c}")),
                );
            }
            let keys = LinkKeys::new([LinkKey::from_hex(v.key_id, &v.secret_hex).unwrap()]).unwrap();
            for text in respelled.iter().filter(|t| **t != v.token) {
                let verified = Token::decode(text).map(|t| t.verify(&keys, [v.tenant.as_str()]).is_ok());
                assert!(!verified.unwrap_or(false), "{text}");
            }
        }
    }

    #[test]
    fn a_signed_bad_destination_is_refused() {
        let key = LinkKey::from_hex(1, &"07".repeat(32)).unwrap();
        let minter = Minter::new(&key, "t");
        let mut signed = vec![Kind::Click.byte(), 1];
        signed.extend_from_slice(&[0; 20]);
        signed.extend_from_slice(&[0, 0]);
        signed.extend_from_slice(b"javascript:alert(1)");
        let token = Token::decode(&minter.seal(signed)).unwrap();
        let keys = LinkKeys::new([key]).unwrap();
        assert_eq!(
            token.verify(&keys, ["t"]),
            Err(TokenError::Destination(DestinationError::Scheme))
        );
    }

    proptest! {
        #[test]
        fn no_other_character_in_any_place_verifies(path in "[a-z/]{0,40}", place: prop::sample::Index, other in "[A-Za-z0-9_+/=%. \\-]") {
            let key = LinkKey::from_hex(9, &"cd".repeat(32)).unwrap();
            let url = format!("https://example.com/{path}");
            let message = Message { id: Uuid::from_u128(7), issued_at: 7 };
            let text = Minter::new(&key, "t").click(&message, 1, &Destination::new(&url).unwrap());
            let keys = LinkKeys::new([key]).unwrap();
            let mut changed = text.clone();
            let at = place.index(text.len());
            changed.replace_range(at..=at, &other);
            let verified = Token::decode(&changed).map(|t| t.verify(&keys, ["t"]).is_ok()).unwrap_or(false);
            prop_assert_eq!(verified, changed == text);
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "\\PC{0,120}") {
            let keys = LinkKeys::new([LinkKey::from_hex(0x41, &"07".repeat(32)).unwrap()]).unwrap();
            let verified = Token::decode(&text).map(|t| t.verify(&keys, ["t"]).is_ok());
            prop_assert!(!verified.unwrap_or(false));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(kind in 0x10u8..0x15, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let keys = LinkKeys::new((0..=255).map(|id| LinkKey::from_hex(id, &"07".repeat(32)).unwrap())).unwrap();
            let mut all = vec![kind];
            all.extend(bytes);
            let verified = Token::decode(&URL_SAFE_NO_PAD.encode(all)).map(|t| t.verify(&keys, ["t"]).is_ok());
            prop_assert!(!verified.unwrap_or(false));
        }

        #[test]
        fn what_is_minted_verifies_and_no_changed_bit_does(link: u16, path in "[a-zA-Z0-9/?&=%#äß日]{0,300}", issued_at: u32, id: u128, bit: prop::sample::Index) {
            let key = LinkKey::from_hex(200, &"ab".repeat(32)).unwrap();
            let url = format!("https://example.com/{path}");
            let message = Message { id: Uuid::from_u128(id), issued_at };
            let destination = Destination::new(&url).unwrap();
            let text = Minter::new(&key, "tenant").click(&message, link, &destination);
            prop_assert!(text.len() <= MAX_TOKEN_TEXT);
            let keys = LinkKeys::new([key]).unwrap();
            let token = Token::decode(&text).unwrap();
            let verified = token.verify(&keys, ["tenant"]).unwrap();
            prop_assert_eq!(verified.body, TokenBody::Click { link, destination });
            prop_assert_eq!((verified.message_id, verified.issued_at), (message.id, issued_at));
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let verified = Token::decode(&URL_SAFE_NO_PAD.encode(bytes)).map(|t| t.verify(&keys, ["tenant"]).is_ok());
            prop_assert!(!verified.unwrap_or(false));
        }
    }
}
