//! Reads stored values that a newer version may have written, and leaves out what need not be stored.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value, or `None` if this version does not know it.
pub(super) fn known<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(d: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(d)?).unwrap_or_default())
}

/// A value, or the type's default if this version does not know it.
pub(super) fn known_or_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned + Default,
{
    known(d).map(Option::unwrap_or_default)
}

/// Whether a value is what its absence means.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
