//! Values that are written as text in the file and can only hold what is allowed.
//!
//! Each type parses itself (`FromStr`); a macro adds serde, the JSON Schema and the text for "must be …".
//! `time` has durations and sizes, `limit` counts per time, `net` addresses and networks, `url` URLs and
//! paths, `names` DNS names, labels and tenants.

mod limit;
mod names;
mod net;
#[cfg(test)]
mod tests;
mod time;
mod url;

use std::str::FromStr;

pub use self::limit::Limit;
pub use self::names::{DnsName, Label, Tenant};
pub use self::net::{Address, HttpProbeAddr, ListenAddr, Network};
pub use self::time::{ByteSize, ConfigDuration, Interval};
pub use self::url::{HttpUrl, LinkPrefix, PathPrefix};

/// A value that is written as text.
pub trait Written: FromStr {
    /// What is allowed, as the end of "must be …".
    const ALLOWED: &'static str;

    /// What is wrong with a text, if more can be said than what is allowed. Must not contain a secret.
    fn why(_error: &Self::Err) -> Option<String> {
        None
    }
}

/// Parses a command-line argument that is written like a value of the configuration; the error says what is
/// wrong or what is allowed.
pub fn argument<T: Written>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error| T::why(&error).unwrap_or_else(|| format!("must be {}", T::ALLOWED)))
}

/// The text is not allowed; [`Written::ALLOWED`] says what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not allowed here")]
pub struct InvalidValue;

/// Derives serde and JSON Schema for a type that parses and prints itself as text. `$allowed` follows "must
/// be"; the example appears in the schema. `$why` implements [`Written::why`].
macro_rules! written_as_text {
    ($name:ident, $allowed:literal, $example:literal $(, $why:expr)?) => {
        impl crate::Written for $name {
            const ALLOWED: &'static str = $allowed;
            $(
                fn why(error: &Self::Err) -> Option<String> {
                    $why(error)
                }
            )?
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($allowed)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse()
                            .map_err(|error| match <$name as crate::Written>::why(&error) {
                                Some(why) => E::custom(why),
                                None => E::invalid_value(serde::de::Unexpected::Str(text), &self),
                            })
                    }
                }
                d.deserialize_str(Text)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = schemars::Schema::default();
                schema.insert("type".to_owned(), "string".into());
                // A key's own description replaces this one; the comment stays.
                schema.insert("description".to_owned(), $allowed.into());
                schema.insert("$comment".to_owned(), $allowed.into());
                schema.insert(
                    "examples".to_owned(),
                    serde_json::Value::Array(vec![$example.into()]),
                );
                schema
            }
        }
    };
}
pub(crate) use written_as_text;

/// [`written_as_text`] for a newtype of `String`, with `as_str` and `Display`; parsing is left to the type.
macro_rules! text_value {
    ($name:ident, $allowed:literal, $example:literal) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        crate::values::written_as_text!($name, $allowed, $example);
    };
}
pub(crate) use text_value;

/// [`written_as_text`] for a newtype of a `Copy` type, with `get` and `Display`; parsing is left to the type.
macro_rules! copied_value {
    ($name:ident($inner:ty), $allowed:literal, $example:literal) => {
        impl $name {
            /// The value as its library's type.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        crate::values::written_as_text!($name, $allowed, $example);
    };
}
pub(crate) use copied_value;
