//! Where the database is and how it is reached.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use secrecy::SecretString;

/// The least number of connections of a node: two for work, two apart.
pub const LEAST_CONNECTIONS: usize = 4;

/// Where the database is and how it is reached.
#[derive(Clone)]
pub struct Settings {
    /// Tried in this order, the one that worked last first; the first that accepts writes is used.
    pub hosts: Vec<Host>,
    pub user: String,
    /// `None`: the server asks for none.
    pub password: Option<SecretString>,
    pub database: String,
    /// `None`: in the clear. Otherwise the server's certificate is verified, its name included.
    pub tls: Option<Arc<ClientConfig>>,
    /// Connections at most, [`LEAST_CONNECTIONS`] or more; two of them are for leases and the followers of
    /// changes only.
    pub connections: usize,
    /// Says in `pg_stat_activity` whose connection it is.
    pub node: String,
}

/// One of the database's servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("tls", &self.tls.is_some())
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
