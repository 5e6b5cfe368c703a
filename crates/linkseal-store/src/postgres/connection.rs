//! One connection: made to the first server that accepts writes, checked before it is used again, and retired
//! after a while.
//!
//! A server that is lost sends nothing. So every step has a deadline, the kernel gives up unanswered
//! data early, and connections end after some minutes, so that none stays with a server that was demoted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use linkseal_base::random;
use secrecy::ExposeSecret;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::{Client, Config, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::sentence;
use super::settings::{Host, Settings};

/// The deadline for a server to take a connection, authentication included.
const CONNECT: Duration = Duration::from_secs(4);
/// The deadline for one address of a server to take it: its name may have another one.
const CONNECT_TCP: Duration = Duration::from_secs(2);
/// The kernel gives a server up that has not acknowledged data for this long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(8);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;
/// A connection is retired at an age between this and three times this.
const RETIRED_AFTER: Duration = Duration::from_secs(600);

/// A connection to a server that accepted writes when it was made.
pub(super) struct Connection {
    pub(super) client: Client,
    /// Reads and writes the socket; ends with the client.
    task: JoinHandle<()>,
    closed: AtomicBool,
    /// The connections that were made before a server turned out to be ending are of an older one.
    generation: u64,
    retired_at: Instant,
}

impl Connection {
    /// Ends it, whatever runs on it.
    pub(super) fn close(&self) {
        // Its task ends a little later.
        self.closed.store(true, Ordering::Relaxed);
        self.task.abort();
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A statement that still runs must not keep it alive.
        self.task.abort();
    }
}

/// Why no server could be reached.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotConnected(String);

/// Makes connections for the pool.
pub(super) struct Connector {
    settings: Settings,
    /// The server that is tried first: the one that worked last, or the one after the last that did not.
    first: AtomicUsize,
    /// That of new connections; shared by the pools.
    generation: Arc<AtomicU64>,
}

impl Connector {
    pub(super) fn new(settings: Settings, generation: Arc<AtomicU64>) -> Self {
        Self {
            settings,
            first: AtomicUsize::new(0),
            generation,
        }
    }

    async fn connect(&self, host: &Host) -> Result<Connection, String> {
        let config = self.config(host);
        let generation = self.generation.load(Ordering::Relaxed);
        let connecting = async {
            match &self.settings.tls {
                Some(tls) => connect_with(&config, MakeRustlsConnect::new((**tls).clone()), generation).await,
                None => connect_with(&config, NoTls, generation).await,
            }
        };
        match timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(why)) => Err(format!("{host}: {why}")),
            Err(_) => Err(format!("{host}: no answer within {} s", CONNECT.as_secs())),
        }
    }

    fn config(&self, host: &Host) -> Config {
        let Settings {
            user,
            password,
            database,
            tls,
            node,
            ..
        } = &self.settings;
        let mut config = Config::new();
        config
            .host(&host.name)
            .port(host.port)
            .user(user)
            .dbname(database)
            .application_name(format!("linkseal {node}"))
            .ssl_mode(if tls.is_some() {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .connect_timeout(CONNECT_TCP)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_TRIES);
        if let Some(password) = password {
            config.password(password.expose_secret());
        }
        config
    }
}

impl Manager for Connector {
    type Type = Connection;
    type Error = NotConnected;

    async fn create(&self) -> Result<Connection, NotConnected> {
        let hosts = &self.settings.hosts;
        let first = self.first.load(Ordering::Relaxed);
        let mut causes = Vec::new();
        for (place, host) in hosts.iter().enumerate().cycle().skip(first).take(hosts.len()) {
            match self.connect(host).await {
                Ok(connection) => {
                    self.first.store(place, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(why) => {
                    // With several that do not answer, this call ends before it has tried them all.
                    self.first.store(place + 1, Ordering::Relaxed);
                    causes.push(why);
                }
            }
        }
        Err(NotConnected(causes.join("; ")))
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<NotConnected> {
        if connection.closed.load(Ordering::Relaxed)
            || connection.client.is_closed()
            || connection.generation != self.generation.load(Ordering::Relaxed)
            || Instant::now() >= connection.retired_at
        {
            return Err(RecycleError::message("closed, or old"));
        }
        Ok(())
    }
}

async fn connect_with<T>(config: &Config, tls: T, generation: u64) -> Result<Connection, String>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await.map_err(|error| sentence(&error))?;
    let task = tokio::runtime::Handle::current().spawn(async move {
        // The calls in progress get the error.
        let _ended = connection.await;
    });
    let connection = Connection {
        client,
        task,
        closed: AtomicBool::new(false),
        generation,
        retired_at: Instant::now() + RETIRED_AFTER + (RETIRED_AFTER * 2).mul_f64(random::unit()),
    };
    let answer = connection.client.simple_query("SHOW transaction_read_only").await;
    let is = |value: &str| {
        let first = answer.iter().flatten().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        first == Some(value)
    };
    match &answer {
        Err(error) => Err(sentence(error)),
        Ok(_) if is("off") => Ok(connection),
        Ok(_) => Err("it accepts no writes (a standby, or a primary that was demoted)".into()),
    }
}
