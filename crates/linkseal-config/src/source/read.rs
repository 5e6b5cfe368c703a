//! A serde deserializer over a [`Node`] tree. Its errors carry the path of the key and say what is allowed in
//! the terms of TOML.

use std::fmt::{self, Display};

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::problem::{KeyPath, Segment};
use super::shown;
use super::tree::{Node, Value};

/// Why a tree cannot be read.
#[derive(Debug)]
pub(crate) struct ReadError {
    /// The path of the key, last step first: errors travel outwards.
    path: Vec<Segment>,
    pub(crate) what: What,
}

/// What is wrong with a key.
#[derive(Debug)]
pub(crate) enum What {
    /// There is no such key.
    Unknown(&'static [&'static str]),
    /// There is no such key, but one with a similar spelling.
    Misspelled(&'static str, &'static [&'static str]),
    /// It is required and missing.
    Missing,
    /// Its value is not allowed.
    Bad(String),
}

impl ReadError {
    /// The path of the key, from the root.
    pub(crate) fn path(&self) -> KeyPath {
        KeyPath(self.path.iter().rev().cloned().collect())
    }

    fn at(mut self, segment: Segment) -> Self {
        self.path.push(segment);
        self
    }

    fn bad(message: String) -> Self {
        Self {
            path: Vec::new(),
            what: What::Bad(message),
        }
    }
}

impl Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown([]) => f.write_str("unknown key; none is allowed here"),
            Self::Unknown(allowed) => write!(f, "unknown key; allowed here: {}", allowed.join(", ")),
            Self::Misspelled(meant, allowed) => {
                write!(
                    f,
                    "unknown key; did you mean {meant}? Allowed here: {}",
                    allowed.join(", ")
                )
            }
            Self::Missing => f.write_str("is missing and has no default"),
            Self::Bad(message) => f.write_str(message),
        }
    }
}

impl Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path(), self.what)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: Display>(message: T) -> Self {
        Self::bad(shown::message(&message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Str(text) => Unexpected::Str(&shown::value(text)).to_string(),
            found => found.to_string(),
        };
        Self::bad(format!("must be {}, not {found}", allowed(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, wanted: &'static [&'static str]) -> Self {
        let wanted: Vec<_> = wanted.iter().map(|w| format!("\"{w}\"")).collect();
        let found = shown::value(found);
        Self::bad(format!("must be one of {}, not \"{found}\"", wanted.join(", ")))
    }

    fn unknown_field(field: &str, wanted: &'static [&'static str]) -> Self {
        let distance = |key: &&&str| strsim::damerau_levenshtein(field, key);
        let meant = wanted.iter().min_by_key(distance).filter(|key| distance(key) <= 2);
        // The map that is being read adds the key to the path.
        Self {
            path: Vec::new(),
            what: meant.map_or(What::Unknown(wanted), |meant| What::Misspelled(meant, wanted)),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            path: vec![Segment::Key(field.to_owned())],
            what: What::Missing,
        }
    }
}

/// What serde expects, in the terms of TOML.
fn allowed(wanted: &dyn Expected) -> String {
    let wanted = wanted.to_string();
    match wanted.as_str() {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 on",
        "a nonzero u64" | "a nonzero usize" => "a whole number from 1 on",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" => "text in quotation marks",
        "a map" => "a table: { key = value, … }",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a boolean" => "true or false",
        "a sequence" => "an array: [ … ]",
        other if other.starts_with("struct ") => "a table: { key = value, … }",
        other => other,
    }
    .to_owned()
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::Datetime(time) => Err(de::Error::invalid_type(
                Unexpected::Other(&format!("the date {time}")),
                &visitor,
            )),
            Value::Array(array) => visitor.visit_seq(Elements { array, next: 0 }),
            Value::Table(table) => visitor.visit_map(Entries {
                entries: table.iter(),
                value: None,
            }),
            Value::TakenOut => visitor.visit_unit(),
        }
    }

    /// A scalar from the environment counts as its text: `edge.node` may well be `7`.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match (&self.raw, &self.value) {
            (Some(raw), Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Datetime(_)) => {
                visitor.visit_str(raw)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    /// Only unit variants; no key is an enum with content.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Text(text) => {
                let words: StrDeserializer<'_, ReadError> = text.as_str().into_deserializer();
                visitor.visit_enum(words)
            }
            Value::Integer(number) => Err(de::Error::unknown_variant(&number.to_string(), variants)),
            Value::Bool(yes) => Err(de::Error::unknown_variant(&yes.to_string(), variants)),
            _ => Err(de::Error::unknown_variant("an array, table or number", variants)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Elements<'de> {
    array: &'de [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        while let Some(node) = self.array.get(self.next) {
            let index = self.next;
            self.next += 1;
            if !matches!(node.value, Value::TakenOut) {
                return seed
                    .deserialize(node)
                    .map(Some)
                    .map_err(|e| e.at(Segment::Index(index)));
            }
        }
        Ok(None)
    }
}

struct Entries<'de> {
    entries: std::collections::btree_map::Iter<'de, String, Node>,
    value: Option<(&'de String, &'de Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key, node));
        let words: StrDeserializer<'_, ReadError> = key.as_str().into_deserializer();
        seed.deserialize(words)
            .map(Some)
            .map_err(|e| e.at(Segment::Key(key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((key, node)) = self.value.take() else {
            return Err(ReadError::bad("a value was read before its key".to_owned()));
        };
        seed.deserialize(node).map_err(|e| e.at(Segment::Key(key.clone())))
    }
}
