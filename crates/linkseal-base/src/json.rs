//! Reads untrusted JSON strictly: a struct from an object only. What serde derives also accepts an
//! array of the fields in order, so that `[]` would be a struct of defaults.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde_json::{Error, Value};

/// Deserializes a value; an array in place of a struct is an error, at any depth.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Strict(value))
}

/// A value whose structs are read from objects only, at every depth.
struct Strict(Value);

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(all) => {
                let mut all = SeqDeserializer::new(all.into_iter().map(Strict));
                let value = visitor.visit_seq(&mut all)?;
                all.end()?;
                Ok(value)
            }
            Value::Object(all) => {
                let mut all = MapDeserializer::new(all.into_iter().map(|(key, value)| (key, Strict(value))));
                let value = visitor.visit_map(&mut all)?;
                all.end()?;
                Ok(value)
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &"an object")),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Strict {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        name: String,
        small: Option<u8>,
        kind: Option<Kind>,
        inner: Vec<Inner>,
        any: Option<Value>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        on: bool,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
    }

    #[test]
    fn objects_are_read_as_serde_reads_them() {
        let all = json!({"name": "a", "small": 7, "kind": "plain", "inner": [{"on": true}], "any": [[1], {"b": null}]});
        assert_eq!(
            read::<Outer>(all.clone()).unwrap(),
            serde_json::from_value(all).unwrap()
        );
        assert_eq!(read::<Outer>(json!({})).unwrap(), Outer::default());
        assert_eq!(read::<Vec<u8>>(json!([1, 2])).unwrap(), [1, 2]);
        for wrong in [
            json!({"small": 256}),
            json!({"kind": "odd"}),
            json!({"x": 1}),
            json!({"name": null}),
        ] {
            let ours = read::<Outer>(wrong.clone()).unwrap_err().to_string();
            assert_eq!(ours, serde_json::from_value::<Outer>(wrong).unwrap_err().to_string());
        }
    }

    #[test]
    fn an_array_is_not_read_as_a_struct_at_any_depth() {
        for array in [json!([]), json!(["a", 7, null, [], null]), json!({"inner": [[true]]})] {
            let error = read::<Outer>(array).unwrap_err().to_string();
            assert!(error.contains("expected an object"), "{error}");
        }
        for other in [json!(null), json!("a"), json!(1)] {
            assert!(read::<Outer>(other).is_err());
        }
    }
}
