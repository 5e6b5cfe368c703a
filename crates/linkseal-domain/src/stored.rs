//! How stored values are read that a newer version may have written.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value, or `None` for one that this version has no word for.
pub(super) fn known<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(d: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(d)?).unwrap_or_default())
}

/// A value, or for one that this version has no word for the type's default.
pub(super) fn known_or_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned + Default,
{
    known(d).map(Option::unwrap_or_default)
}
