//! Durations, intervals and sizes.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use super::{InvalidValue, written_as_text};

/// A duration such as `10s`, `72h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigDuration(Duration);

/// The longest duration a key accepts: adding it to any date cannot overflow.
const LONGEST_SPAN: Duration = Duration::from_secs(100 * 366 * 86_400);

impl ConfigDuration {
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    pub const fn hours(hours: u64) -> Self {
        Self::secs(hours * 3600)
    }

    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Deref for ConfigDuration {
    type Target = Duration;
    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl FromStr for ConfigDuration {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let span = humantime::parse_duration(text).map_err(|_| InvalidValue)?;
        if span <= LONGEST_SPAN {
            Ok(Self(span))
        } else {
            Err(InvalidValue)
        }
    }
}

impl fmt::Display for ConfigDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // humantime would print 72h as "3days"; people compare with what they wrote.
        let secs = self.0.as_secs();
        match (secs, self.0.subsec_nanos()) {
            (_, 1..) => write!(f, "{}", humantime::format_duration(self.0)),
            (0, 0) => f.write_str("0s"),
            (s, 0) if s % 3600 == 0 => write!(f, "{}h", s / 3600),
            (s, 0) if s % 60 == 0 => write!(f, "{}m", s / 60),
            (s, 0) => write!(f, "{s}s"),
        }
    }
}

written_as_text!(
    ConfigDuration,
    "a duration such as \"10s\", \"5m\", \"72h\" or \"7d\"",
    "10s"
);

/// An interval such as `6h`, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    Off,
    Every(ConfigDuration),
}

impl Interval {
    pub const fn get(self) -> Option<ConfigDuration> {
        match self {
            Self::Off => None,
            Self::Every(span) => Some(span),
        }
    }
}

impl FromStr for Interval {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "off" => Ok(Self::Off),
            span => span.parse().map(Self::Every),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every(span) => span.fmt(f),
        }
    }
}

written_as_text!(Interval, "\"off\", or a duration such as \"6h\"", "6h");

/// A number of bytes, such as `10GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// Units of [`ByteSize`], largest first for printing; the decimal ones are only parsed.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(InvalidValue)?;
        let (number, unit) = text.split_at(digits);
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim_start())
            .ok_or(InvalidValue)?;
        let number: u64 = number.parse().map_err(|_| InvalidValue)?;
        number.checked_mul(*factor).map(Self).ok_or(InvalidValue)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS
            .iter()
            .take(4)
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        let (unit, factor) = binary.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

written_as_text!(
    ByteSize,
    "a size such as \"10GiB\" (units: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)",
    "10GiB"
);
