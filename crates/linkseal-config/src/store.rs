//! `[store]`: where everything durable lives.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Paths;
use super::check::Findings;
use super::text::{InvalidValue, written_as_text};

/// Where everything durable lives. Changes need a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite:` and the path of a file, or `postgres://user@host/db`.
    pub url: StoreUrl,
    /// The file of PostgreSQL's password. Absent: none is sent.
    pub password_file: Option<PathBuf>,
    /// The file of the 32-byte key that seals secrets at rest, as 64 hexadecimal digits. Absent: it
    /// is kept, and made at the first start, beside an embedded store; PostgreSQL needs it.
    pub key_file: Option<PathBuf>,
}

/// Which store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// The embedded store, in this file.
    Sqlite(PathBuf),
    /// The store of a fleet.
    Postgres(String),
}

impl FromStr for StoreUrl {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            // `sqlite::memory:` and `sqlite://…` mean something else elsewhere; neither is a path.
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
        // A password belongs in password_file: this file may be read by more people than that one.
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

written_as_text!(
    StoreUrl,
    "\"sqlite:PATH\" or \"postgres://user@host/db\" (the password in store.password_file)",
    "sqlite:linkseal.db"
);

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
    /// The embedded store's file. `None`: the store is not embedded.
    pub fn sqlite_path(&self) -> Option<&Path> {
        match &self.url {
            StoreUrl::Sqlite(path) => Some(path),
            StoreUrl::Postgres(_) => None,
        }
    }

    /// The sealing key's file, and whether it may be made when it is not there: only beside an
    /// embedded store, and only when it was not named.
    pub fn key_path(&self) -> (PathBuf, bool) {
        match (&self.key_file, self.sqlite_path()) {
            (Some(file), _) => (file.clone(), false),
            (None, Some(store)) => (store.with_extension("key"), true),
            (None, None) => (PathBuf::from("linkseal.key"), false),
        }
    }

    pub(super) fn resolve(&mut self, paths: &Paths<'_>) {
        if let StoreUrl::Sqlite(path) = &mut self.url {
            paths.resolve(path);
        }
        self.password_file
            .iter_mut()
            .chain(&mut self.key_file)
            .for_each(|file| paths.resolve(file));
    }

    pub(super) fn check(&self, found: &mut Findings<'_>) {
        match &self.url {
            StoreUrl::Postgres(_) => found.problem(
                "store.url",
                "PostgreSQL is not available in this build yet; use \"sqlite:PATH\"",
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
    fn urls() {
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
    fn the_key_lies_beside_the_store() {
        let store = Store {
            url: StoreUrl::Sqlite("/var/lib/linkseal/linkseal.db".into()),
            ..Store::default()
        };
        assert_eq!(store.key_path(), ("/var/lib/linkseal/linkseal.key".into(), true));
    }
}
