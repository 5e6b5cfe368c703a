//! `[store]`: durable state other than events.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::paths::Paths;
use crate::values::{InvalidValue, written_as_text};

/// The database for domains, certificates, orders and redirects. Changes need a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// The embedded store: sqlite: and the path of its file. (PostgreSQL is planned and refused by this version.)
    pub url: StoreUrl,
    /// Reserved for PostgreSQL; has no effect with an embedded store.
    pub password_file: Option<PathBuf>,
    /// File with the 32-byte key that encrypts secrets at rest, as 64 hexadecimal digits. Default: beside the store, with the extension .key, created at the first start.
    pub key_file: Option<PathBuf>,
}

/// The kind of store and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
    /// Planned; refused by the checks.
    Postgres(String),
}

impl FromStr for StoreUrl {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            // Elsewhere `sqlite::memory:` and `sqlite://…` mean something else; neither is a path.
            let path = if path.starts_with("//") {
                path.strip_prefix("//").filter(|p| p.starts_with('/'))
            } else {
                Some(path)
            };
            let path = path.filter(|p| !p.is_empty() && !p.starts_with(':') && !p.ends_with('/'));
            return path.map(|p| Self::Sqlite(p.into())).ok_or(InvalidValue);
        }
        let uri: http::Uri = text.parse().map_err(|_| InvalidValue)?;
        let postgres = matches!(uri.scheme_str(), Some("postgres" | "postgresql"));
        // A password must not be in this file, which more people can read than store.password_file.
        let user = uri
            .authority()
            .and_then(|a| a.as_str().split_once('@'))
            .map_or("", |(user, _)| user);
        let fine = postgres && uri.host().is_some_and(|h| !h.is_empty()) && !user.contains(':');
        if fine {
            Ok(Self::Postgres(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(url),
        }
    }
}

written_as_text!(StoreUrl, "\"sqlite:PATH\"", "sqlite:linkseal.db");

impl Default for Store {
    fn default() -> Self {
        Self {
            url: StoreUrl::Sqlite("linkseal.db".into()),
            password_file: None,
            key_file: None,
        }
    }
}

impl Store {
    /// The embedded store's file, if the store is embedded.
    pub fn sqlite_path(&self) -> Option<&Path> {
        match &self.url {
            StoreUrl::Sqlite(path) => Some(path),
            StoreUrl::Postgres(_) => None,
        }
    }

    /// The sealing key's file, and whether it may be created: only beside an embedded store, and only if the
    /// configuration does not name one.
    pub fn key_path(&self) -> (PathBuf, bool) {
        match (&self.key_file, self.sqlite_path()) {
            (Some(file), _) => (file.clone(), false),
            (None, Some(store)) => (store.with_extension("key"), true),
            (None, None) => (PathBuf::from("linkseal.key"), false),
        }
    }

    pub(crate) fn resolve(&mut self, paths: &Paths<'_>) {
        if let StoreUrl::Sqlite(path) = &mut self.url {
            paths.resolve(path);
        }
        self.password_file
            .iter_mut()
            .chain(&mut self.key_file)
            .for_each(|file| paths.resolve(file));
    }

    pub(crate) fn check(&self, found: &mut Findings<'_>) {
        match &self.url {
            StoreUrl::Postgres(_) => found.problem(
                "store.url",
                "PostgreSQL is planned but not available in this version; use \"sqlite:PATH\"",
            ),
            StoreUrl::Sqlite(_) if self.password_file.is_some() => {
                found.warn(
                    "store.password_file",
                    "has no effect: the embedded store has no password",
                );
            }
            StoreUrl::Sqlite(store) if *store == self.key_path().0 => found.problem(
                if self.key_file.is_some() {
                    "store.key_file"
                } else {
                    "store.url"
                },
                "store and sealing key would be one file; give the store a name that ends in .db",
            ),
            StoreUrl::Sqlite(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_and_urls_without_a_password_are_accepted() {
        assert_eq!("sqlite:/var/x.db".parse(), Ok(StoreUrl::Sqlite("/var/x.db".into())));
        assert_eq!("sqlite:///var/x.db".parse(), Ok(StoreUrl::Sqlite("/var/x.db".into())));
        assert!(matches!("postgres://u@h/db".parse(), Ok(StoreUrl::Postgres(_))));
        for bad in [
            "",
            "sqlite:",
            "sqlite::memory:",
            "sqlite://x/y",
            "mysql://h/db",
            "postgres://u:secret@h/db",
            "linkseal.db",
        ] {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_default_key_file_is_beside_the_store() {
        let store = Store {
            url: StoreUrl::Sqlite("/var/lib/linkseal/linkseal.db".into()),
            ..Store::default()
        };
        assert_eq!(store.key_path(), ("/var/lib/linkseal/linkseal.key".into(), true));
    }
}
