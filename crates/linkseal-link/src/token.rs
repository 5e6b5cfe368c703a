//! Tokens of format v1 (docs/specification.md §5): decoded strictly, verified in constant time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::destination::{Destination, MAX_DESTINATION};
use super::error::TokenError;
use super::key::{LinkKeys, TAG};

/// kind(1) || key_id(1) || issued_at(4) || message_id(16).
pub(super) const HEADER: usize = 1 + 1 + 4 + 16;
/// The number of a link or list, big-endian.
pub(super) const NUMBER: usize = 2;
const SHORTEST: usize = HEADER + TAG;
const LONGEST: usize = HEADER + NUMBER + MAX_DESTINATION + TAG;
/// The longest token, in characters; a longer text is not decoded.
pub const MAX_TOKEN_TEXT: usize = LONGEST.div_ceil(3) * 4;
/// Open (38 bytes) and unsubscribe (40 bytes) tokens are decoded without allocation.
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

/// A well-formed token. Nothing in it may be trusted before [`Token::verify`] succeeds.
pub struct Token {
    repr: Repr,
    kind: Kind,
}

enum Repr {
    Short([u8; SHORT], usize),
    Long(Vec<u8>),
}

impl Token {
    /// Decodes a token and checks its structure.
    pub fn decode(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN_TEXT {
            return Err(TokenError::Length);
        }
        // The engine refuses padding, whitespace and non-zero trailing bits (RFC 4648 §3.5), so each byte
        // string has exactly one spelling.
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

    /// Verifies the tag for each of `tenants` in order, and returns the first match.
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

    /// The kind it claims; unverified.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The id of the key it claims to be minted under; unverified.
    pub fn key_id(&self) -> u8 {
        self.header::<1>(1)[0]
    }

    /// When it claims to be minted, in Unix seconds; unverified.
    pub fn issued_at(&self) -> u32 {
        u32::from_be_bytes(self.header(2))
    }

    /// The message it claims to belong to; unverified.
    pub fn message_id(&self) -> Uuid {
        Uuid::from_bytes(self.header(6))
    }

    /// The bytes between header and tag.
    pub(super) fn body(&self) -> &[u8] {
        self.parts().0.get(HEADER..).unwrap_or_default()
    }

    /// The signed bytes and the tag.
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

/// A token with a valid tag: a holder of the key minted it for the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken<'a> {
    /// The tenant it was minted for, one of those passed to [`Token::verify`].
    pub tenant: &'a str,
    /// The id of the key it was minted under.
    pub key_id: u8,
    /// When it was minted, in Unix seconds.
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
        /// Where it redirects to.
        destination: Destination<'a>,
    },
    /// An unsubscribe link.
    Unsubscribe {
        /// Which list.
        list: u16,
    },
}

impl TokenBody<'_> {
    /// The kind of token.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Open => Kind::Open,
            Self::Click { .. } => Kind::Click,
            Self::Unsubscribe { .. } => Kind::Unsubscribe,
        }
    }
}

#[cfg(test)]
mod tests;
