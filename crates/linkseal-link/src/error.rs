//! Why a token is refused.

use super::destination::DestinationError;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not base64url without padding, or another spelling of the same bytes.
    #[error("a token is base64url without padding (A-Z, a-z, 0-9, - and _), exactly as minted")]
    Spelling,
    /// Too short or too long for its kind.
    #[error("the token was truncated, or something was appended to it")]
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
    /// The tag matches none of the tenants.
    #[error("the token was altered, or minted for another tenant or with another secret")]
    Forged,
    /// Correctly signed, but its destination is not allowed.
    #[error(transparent)]
    Destination(#[from] DestinationError),
}
