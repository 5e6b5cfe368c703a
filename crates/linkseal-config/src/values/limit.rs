//! A count per time.

use std::fmt;
use std::str::FromStr;

use super::{ConfigDuration, InvalidValue, written_as_text};

/// A count per time, such as `300/3h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At least one.
    pub count: u32,
    /// Longer than zero.
    pub per: ConfigDuration,
}

impl Limit {
    pub(crate) const fn per_hours(count: u32, hours: u64) -> Self {
        Self {
            count,
            per: ConfigDuration::hours(hours),
        }
    }
}

impl FromStr for Limit {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (count, per) = text.split_once('/').ok_or(InvalidValue)?;
        let count = count.trim().parse().ok().filter(|c| *c > 0).ok_or(InvalidValue)?;
        let per: ConfigDuration = per.trim().parse()?;
        if per.is_zero() {
            Err(InvalidValue)
        } else {
            Ok(Self { count, per })
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per)
    }
}

written_as_text!(
    Limit,
    "a limit such as \"300/3h\" (a count and a time, both above zero)",
    "300/3h"
);
