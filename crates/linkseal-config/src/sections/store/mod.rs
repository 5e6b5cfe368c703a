//! `[store]`: durable state other than events.

mod postgres_url;
#[cfg(test)]
mod tests;
mod url;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::postgres_url::{PostgresAddress, PostgresHost, PostgresTls, PostgresUrl, PostgresUrlError};
pub use self::url::{StoreUrl, StoreUrlError};
use super::edge::Edge;
use super::events::Events;
use crate::findings::Findings;
use crate::paths::Paths;

/// The database for domains, certificates, orders and redirects. Changes need a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// The embedded store, for one node: sqlite: and the path of its file. Or PostgreSQL, for a fleet: postgres://USER@HOST/DATABASE, where HOST may be several, separated by commas and tried in this order, each with :PORT unless that is 5432; an IPv6 address is written in brackets, the directory of a Unix socket as %2Frun%2Fpostgresql. After a ? and separated by &: sslmode=verify-full (TLS with a verified certificate; the default, except if all hosts are this machine) or sslmode=disable; sslrootcert=PATH (PEM file of CA certificates to trust instead of the public ones).
    pub url: StoreUrl,
    /// With PostgreSQL: file with the user's password. Without one, the server must not ask for a password.
    pub password_file: Option<PathBuf>,
    /// File with the 32-byte key that encrypts secrets at rest, as 64 hexadecimal digits. Default: beside an embedded store, with the extension .key, created at the first start. Required with PostgreSQL: the same key on every node, generated with `openssl rand -hex 32`.
    pub key_file: Option<PathBuf>,
    /// With PostgreSQL: how many connections this node opens, two of them for leases and for following changes. During a rolling restart a node may be there twice, so twice the sum over all nodes must stay at least 10 below the server's max_connections.
    #[schemars(range(min = 4, max = 64))]
    pub connections: u16,
    /// With PostgreSQL: the directory of this node's copy of what it serves, its secrets encrypted, so that it can serve and restart while the database is unavailable.
    pub copy_dir: PathBuf,
}

/// With fewer connections, two or less would be left for all the work of a node.
const FEWEST_CONNECTIONS: u16 = 4;
/// With more, a small fleet exceeds the usual limit of a server, and each costs the server a process.
const MOST_CONNECTIONS: u16 = 64;

impl Default for Store {
    fn default() -> Self {
        Self {
            url: StoreUrl::Sqlite("linkseal.db".into()),
            password_file: None,
            key_file: None,
            connections: 10,
            copy_dir: "copy".into(),
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

    /// The database, if the store is PostgreSQL.
    pub fn postgres(&self) -> Option<&PostgresUrl> {
        match &self.url {
            StoreUrl::Sqlite(_) => None,
            StoreUrl::Postgres(url) => Some(url),
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
        match &mut self.url {
            StoreUrl::Sqlite(path) => paths.resolve(path),
            StoreUrl::Postgres(url) => url.resolve(paths),
        }
        self.password_file
            .iter_mut()
            .chain(&mut self.key_file)
            .for_each(|file| paths.resolve(file));
        paths.resolve(&mut self.copy_dir);
    }

    pub(crate) fn check(&self, edge: &Edge, events: &Events, found: &mut Findings<'_>) {
        if !(FEWEST_CONNECTIONS..=MOST_CONNECTIONS).contains(&self.connections) {
            found.problem(
                "store.connections",
                format!("must be a whole number from {FEWEST_CONNECTIONS} to {MOST_CONNECTIONS}"),
            );
        }
        match &self.url {
            StoreUrl::Sqlite(path) => self.check_embedded(path, found),
            StoreUrl::Postgres(url) => self.check_postgres(url, edge, events, found),
        }
    }

    fn check_embedded(&self, store: &Path, found: &mut Findings<'_>) {
        for (key, why) in [
            ("store.password_file", "the embedded store has no password"),
            ("store.connections", "the embedded store has no server to connect to"),
            ("store.copy_dir", "the embedded store is on this node already"),
        ] {
            if found.is_set(key) {
                found.warn(key, format!("has no effect: {why}"));
            }
        }
        if *store == self.key_path().0 {
            found.problem(
                if self.key_file.is_some() {
                    "store.key_file"
                } else {
                    "store.url"
                },
                "store and sealing key would be one file; give the store a name that ends in .db",
            );
        }
    }

    fn check_postgres(&self, url: &PostgresUrl, edge: &Edge, events: &Events, found: &mut Findings<'_>) {
        if self.key_file.is_none() {
            found.problem(
                "store.key_file",
                "is missing; with PostgreSQL every node needs the same sealing key: generate it once with \
                 `openssl rand -hex 32 > linkseal.key`, and copy the file to every node",
            );
        }
        for host in url.exposed() {
            found.warn(
                "store.url",
                format!(
                    "connects to {host} without TLS: its passwords and data can be read and changed on the network between; use \
                     sslmode=verify-full unless that network is private"
                ),
            );
        }
        if self.copy_dir.starts_with(&events.dir) {
            found.problem(
                "store.copy_dir",
                "must not be events.dir or below it, where the journal keeps its own files",
            );
        }
        if !found.is_set("edge.node") {
            found.warn(
                "edge.node",
                format!(
                    "is this machine's host name, \"{}\"; with PostgreSQL it must be unique per node: set it on each",
                    edge.node
                ),
            );
        }
    }
}
