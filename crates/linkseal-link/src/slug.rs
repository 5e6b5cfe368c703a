//! The name of a stored redirect, the last segment of `/r/{slug}`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest slug, in bytes.
pub const MAX_SLUG: usize = 128;

/// A case-sensitive slug of 1 to 128 unreserved characters (RFC 3986 §2.3), which never need encoding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(Box<str>);

/// The text is not a slug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a slug has 1 to 128 of the characters A-Z, a-z, 0-9, `.`, `_`, `~` and `-`, and is neither `.` nor `..`")]
pub struct SlugError;

impl Slug {
    /// Checks a text.
    pub fn parse(text: &str) -> Result<Self, SlugError> {
        if is_slug(text) {
            Ok(Self(text.into()))
        } else {
            Err(SlugError)
        }
    }

    /// The slug as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text is a slug. `.` and `..` are not: clients remove them from paths (RFC 3986 §5.2.4).
pub fn is_slug(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
    (1..=MAX_SLUG).contains(&text.len()) && text.bytes().all(allowed) && !matches!(text, "." | "..")
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Slug {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Slug {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_slug() {
        let longest = "a".repeat(MAX_SLUG);
        for text in ["a", "Summer-Sale_2026.v1~x", "...", "0", longest.as_str()] {
            assert_eq!(Slug::parse(text).unwrap().as_str(), text);
        }
        let long = "a".repeat(MAX_SLUG + 1);
        for text in ["", ".", "..", "a/b", "a%20b", "a b", "ä", "a?b", long.as_str()] {
            assert_eq!(Slug::parse(text), Err(SlugError), "{text}");
        }
    }
}
