//! A database of one test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

/// The superuser of every server.
pub(super) const SUPERUSER: &str = "postgres";
/// The role that owns the databases, with as few rights as an operator would give it.
pub(crate) const OWNER: &str = "linkseal";
/// Its password, which only servers with TLS ask for.
pub(super) const PASSWORD: &str = "only-for-tests";

/// How a server is reached.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) address: SocketAddr,
    /// The directory of its Unix socket, where tests need no password.
    pub(super) socket_dir: PathBuf,
    /// The CA of its certificate, if it speaks TLS.
    pub(super) ca_file: Option<PathBuf>,
}

/// An empty database that its role `linkseal` owns. Dropped with the value, with whatever is connected.
#[derive(Debug)]
pub struct Database {
    access: Arc<Access>,
    name: String,
}

impl Database {
    pub(super) fn new(access: Arc<Access>, name: String) -> Self {
        Self { access, name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL by which linkseal connects.
    pub fn url(&self) -> String {
        self.url_at(self.access.address)
    }

    /// As [`Self::url`], through a peer in front of the server or to a standby.
    pub fn url_at(&self, address: SocketAddr) -> String {
        let name = &self.name;
        match &self.access.ca_file {
            None => format!("postgres://{OWNER}@{address}/{name}?sslmode=disable"),
            Some(ca) => format!(
                "postgres://{OWNER}:{PASSWORD}@{address}/{name}?sslmode=verify-full&sslrootcert={}",
                ca.display()
            ),
        }
    }

    /// Runs statements, separated by semicolons, as the database's owner. Panics on an error.
    pub async fn sql(&self, statements: &str) {
        self.rows(statements).await;
    }

    /// The rows that statements return, all values as text; `None` is null. Panics on an error.
    pub async fn rows(&self, statements: &str) -> Vec<Vec<Option<String>>> {
        let rows = self.access.rows(OWNER, &self.name, statements).await;
        rows.unwrap_or_else(|e| panic!("{statements}: {e:?}"))
    }

    /// A session of the database's owner. It ends when the client is dropped.
    pub async fn connect(&self) -> Client {
        self.access.connect(OWNER, &self.name).await.expect("a session")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (access, name) = (Arc::clone(&self.access), std::mem::take(&mut self.name));
        // The runtime of the test may be ending. It is not waited for: the server may be gone, or stuck
        // on purpose, and the databases go with it.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let statement = format!("drop database {name} with (force)");
            drop(runtime.map(|r| r.block_on(access.rows(SUPERUSER, SUPERUSER, &statement))));
        });
    }
}

impl Access {
    /// Runs statements in a session of their own, by the Unix socket.
    pub(super) async fn rows(
        &self,
        user: &str,
        database: &str,
        statements: &str,
    ) -> Result<Vec<Vec<Option<String>>>, Error> {
        let (client, connection) = self.config(user, database).connect(NoTls).await?;
        let answer = async move { client.simple_query(statements).await };
        // The connection goes on until the client is dropped, with the answer.
        let (answer, ended) = tokio::join!(answer, connection);
        let rows = answer?.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
            _ => None,
        });
        ended.map(|()| rows.collect())
    }

    async fn connect(&self, user: &str, database: &str) -> Result<Client, Error> {
        let (client, connection) = self.config(user, database).connect(NoTls).await?;
        #[expect(clippy::disallowed_methods, reason = "it ends with its client")]
        tokio::spawn(connection);
        Ok(client)
    }

    fn config(&self, user: &str, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host_path(&self.socket_dir)
            .port(self.address.port())
            .user(user)
            .dbname(database)
            .application_name("test");
        config
    }
}
