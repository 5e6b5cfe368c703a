//! The kind of store and its place, as one URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::postgres_url::{PostgresUrl, PostgresUrlError};
use crate::values::written_as_text;

/// The kind of store and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// The embedded store's file.
    Sqlite(PathBuf),
    /// The database of a fleet.
    Postgres(PostgresUrl),
}

/// Why a text names no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// It is neither `sqlite:` with a path nor a URL of PostgreSQL.
    #[error("not a store")]
    Unknown,
    #[error(transparent)]
    Postgres(#[from] PostgresUrlError),
}

impl StoreUrlError {
    /// What is wrong, if more can be said than what is allowed.
    fn why(&self) -> Option<String> {
        match self {
            Self::Unknown => None,
            Self::Postgres(error) => Some(error.to_string()),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;
    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        let Some(path) = text.strip_prefix("sqlite:") else {
            return match text.parse() {
                Ok(url) => Ok(Self::Postgres(url)),
                Err(PostgresUrlError::Scheme) => Err(StoreUrlError::Unknown),
                Err(error) => Err(error.into()),
            };
        };
        // Elsewhere `sqlite::memory:` and `sqlite://…` mean something else; neither is a path.
        let path = if path.starts_with("//") {
            path.strip_prefix("//").filter(|p| p.starts_with('/'))
        } else {
            Some(path)
        };
        let path = path.filter(|p| !p.is_empty() && !p.starts_with(':') && !p.ends_with('/'));
        path.map(|p| Self::Sqlite(p.into())).ok_or(StoreUrlError::Unknown)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

written_as_text!(
    StoreUrl,
    "\"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\"",
    "sqlite:linkseal.db",
    StoreUrlError::why
);
