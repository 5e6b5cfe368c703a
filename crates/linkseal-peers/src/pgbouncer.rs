//! PgBouncer in front of a PostgreSQL, in transaction mode: sessions of a client are on other sessions
//! of the server from one transaction to the next.

use std::fs;
use std::net::SocketAddr;

use rustix::process::Signal;

use crate::ports::free_port;
use crate::postgres::{Database, OWNER, Server};
use crate::process::{Home, Process, as_ordinary_user};

/// How the sessions at the server are kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Sessions at the server for each database. With fewer than clients have, these truly mix.
    pub pool_size: u32,
    /// Seconds after which a session at the server is replaced.
    pub server_lifetime: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pool_size: 2,
            server_lifetime: 5,
        }
    }
}

/// A running PgBouncer.
#[derive(Debug)]
pub struct PgBouncer {
    process: Option<Process>,
    address: SocketAddr,
    home: Home,
}

impl PgBouncer {
    /// Starts a PgBouncer in front of a server without TLS.
    pub async fn start(server: &Server, options: Options) -> Self {
        let home = Home::new("pgbouncer");
        let (address, target) = (free_port(), server.address());
        let Options {
            pool_size,
            server_lifetime,
        } = options;
        let config = format!(
            "[databases]\n\
             * = host={} port={} user={OWNER}\n\
             [pgbouncer]\n\
             listen_addr = {}\n\
             listen_port = {}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             max_client_conn = 1000\n\
             default_pool_size = {pool_size}\n\
             server_lifetime = {server_lifetime}\n",
            target.ip(),
            target.port(),
            address.ip(),
            address.port()
        );
        fs::write(home.path().join("pgbouncer.ini"), config).expect("written");
        let mut pgbouncer = Self {
            process: None,
            address,
            home,
        };
        pgbouncer.start_again().await;
        pgbouncer
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a database of its server.
    pub fn url(&self, database: &Database) -> String {
        database.url_at(self.address)
    }

    /// Kills it, and with it all sessions.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("a running PgBouncer");
        process.signal(Signal::KILL);
        process.ended().await;
    }

    /// Starts it on its port after [`Self::kill`].
    pub async fn start_again(&mut self) {
        let mut pgbouncer = as_ordinary_user("pgbouncer");
        pgbouncer.arg(self.home.path().join("pgbouncer.ini"));
        let process = Process::spawn(&self.home, &pgbouncer, Signal::KILL);
        self.process.insert(process).until_listening(self.address).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinSet;
    use tokio_postgres::NoTls;

    #[tokio::test]
    async fn clients_share_the_sessions_of_a_pool_and_come_back_after_a_kill() {
        let server = Server::shared().await;
        let database = server.database().await;
        let mut pgbouncer = PgBouncer::start(server, Options::default()).await;
        for _ in 0..2 {
            let mut connections = JoinSet::new();
            let mut sessions = std::collections::BTreeSet::new();
            for _ in 0..8 {
                let (client, connection) = tokio_postgres::connect(&pgbouncer.url(&database), NoTls)
                    .await
                    .expect("connected");
                connections.spawn(async move { drop(connection.await) });
                let row = client.query_typed("select pg_backend_pid()", &[]).await.expect("a row");
                sessions.insert(row[0].get::<_, i32>(0));
            }
            assert!(sessions.len() <= 2, "{sessions:?}");
            pgbouncer.kill().await;
            assert!(tokio_postgres::connect(&pgbouncer.url(&database), NoTls).await.is_err());
            pgbouncer.start_again().await;
        }
    }
}
