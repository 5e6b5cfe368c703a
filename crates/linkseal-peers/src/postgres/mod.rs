//! PostgreSQL 15: one server for all tests of a process, or a server of a test's own.

mod certificate;
mod database;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::OnceCell;
use tokio_postgres::Error;

use certificate::Certificate;
pub use certificate::Key;
pub use database::Database;
pub(crate) use database::OWNER;
use database::{Access, PASSWORD, SUPERUSER};

use crate::ports::free_port;
use crate::process::{Home, Process, as_ordinary_user, give_to_ordinary_user, is_running};
use crate::wait::until;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// The loader replaces `$LIB` by the folder of this machine's libraries.
const CLOCK_LIBRARY: &str = "/usr/$LIB/faketime/libfaketime.so.1";

const CONFIG: &str = "
listen_addresses = '127.0.0.1'
max_connections = 300
shared_buffers = 64MB
jit = off
";
/// What a machine's crash would lose, which no test causes.
const NOT_DURABLE: &str = "
fsync = off
full_page_writes = off
";
/// With TLS, only the tests' own sessions and standbys come in without a password.
const ACCESS_BY_TLS: &str = "
local   all          all            trust
host    replication  all  127.0.0.1/32  trust
hostssl all          all  127.0.0.1/32  scram-sha-256
";

/// What a server of a test's own is like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Writes reach the disk before a commit is answered, as in production.
    pub durable: bool,
    /// The server's clock can be set; its time costs more to read.
    pub clock: bool,
    /// TLS and a password are required; `None`: neither.
    pub tls: Option<Tls>,
}

/// The TLS of a server.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The kind of its keys.
    pub key: Key,
    /// The names and addresses that its certificate is for. The URLs have 127.0.0.1.
    pub names: &'static [&'static str],
}

/// How a server is shut down.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// When all sessions have ended.
    Smart,
    /// Sessions are ended and their transactions rolled back.
    Fast,
    /// As after a crash: the next start replays the log.
    Immediate,
}

/// A PostgreSQL server. Its data goes with it.
#[derive(Debug)]
pub struct Server {
    process: Option<Process>,
    access: Arc<Access>,
    options: Options,
    next: AtomicU32,
    home: Home,
}

impl Server {
    /// The server that the tests of this process share. Started at its first use; not durable.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start(Options::default())).await
    }

    /// Starts a server of its own.
    pub async fn start(options: Options) -> Self {
        let mut server = Self::new(options);
        let mut initdb = program("initdb");
        initdb
            .args([
                "-k",
                "--no-sync",
                "-A",
                "trust",
                "-U",
                SUPERUSER,
                "--locale=C.UTF-8",
                "--no-instructions",
                "-D",
            ])
            .arg(server.data());
        Process::run(&server.home, &initdb).await;
        server.configure();
        server.start_again().await;
        server
            .sql(&format!("create role {OWNER} login password '{PASSWORD}'"))
            .await;
        server
    }

    /// A server without data.
    fn new(options: Options) -> Self {
        let home = Home::new("postgres");
        give_to_ordinary_user(home.path());
        let server = Self {
            process: None,
            access: Arc::new(Access {
                address: free_port(),
                socket_dir: home.path().to_owned(),
                ca_file: options.tls.is_some().then(|| home.path().join("ca.pem")),
            }),
            options,
            next: AtomicU32::new(1),
            home,
        };
        fs::write(server.clock_file(), "+0").expect("written");
        server
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.access.address
    }

    /// A new, empty database.
    pub async fn database(&self) -> Database {
        let name = format!("test_{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("create database {name} owner {OWNER}")).await;
        Database::new(Arc::clone(&self.access), name)
    }

    /// Runs statements, separated by semicolons, as the superuser in database `postgres`. Panics on an
    /// error.
    pub async fn sql(&self, statements: &str) {
        self.rows(statements).await;
    }

    /// As [`Self::sql`]; the rows that the statements return, all values as text.
    pub async fn rows(&self, statements: &str) -> Vec<Vec<Option<String>>> {
        let rows = self.try_rows(statements).await;
        rows.unwrap_or_else(|e| panic!("{statements}: {e:?}"))
    }

    /// As [`Self::rows`], from a server that may be down.
    pub async fn try_rows(&self, statements: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        self.access.rows(SUPERUSER, SUPERUSER, statements).await
    }

    /// Changes settings and waits until every process of the server has them.
    pub async fn config(&self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            // In a batch it would be in a transaction, which it cannot.
            self.sql(&format!("alter system set {name} = '{}'", value.replace('\'', "''")))
                .await;
        }
        const LOADED: &str = "select pg_conf_load_time()";
        let before = self.rows(LOADED).await;
        self.sql("select pg_reload_conf()").await;
        until("the settings are loaded", async || {
            (self.rows(LOADED).await != before).then_some(())
        })
        .await;
        // New sessions have the settings once the others have been signalled. The checkpointer, which decides
        // whether commits wait for standbys, reads them before it answers.
        self.sql("checkpoint").await;
    }

    /// Sets the clock this many seconds ahead of now; only with [`Options::clock`]. The server sees it at once.
    pub fn set_clock(&self, offset_seconds: i64) {
        assert!(self.options.clock, "a server without Options::clock");
        let new = self.home.path().join("clock.new");
        fs::write(&new, format!("{offset_seconds:+}")).expect("written");
        // A server never reads half a file.
        fs::rename(new, self.clock_file()).expect("renamed");
    }

    /// Shuts the server down and waits for it.
    pub async fn stop(&mut self, how: Stop) {
        let mut process = self.process.take().expect("a running server");
        process.signal(match how {
            Stop::Smart => Signal::TERM,
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        });
        process.ended().await;
    }

    /// Kills all its processes at once, as a crash of its machine would, and waits for them.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("a running server");
        // A stopped postmaster starts no other process.
        process.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", process.id().as_raw_nonzero());
        until("the postmaster stops", async || {
            let stat = fs::read_to_string(&stat).expect("a process of ours");
            stat.contains(") T ").then_some(())
        })
        .await;
        let children = children(process.id());
        process.signal(Signal::KILL);
        for &child in &children {
            // It may have ended by itself.
            let _ = kill_process(child, Signal::KILL);
        }
        process.ended().await;
        // While one of them is there, a new server finds the shared memory in use.
        for child in children {
            until("the server's processes end", async || {
                (!is_running(child)).then_some(())
            })
            .await;
        }
    }

    /// Starts the server on its data and its port, and waits until it serves sessions.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server runs");
        // The library must be loaded by the server's account: what root loads it into keeps others out.
        let mut postgres = as_ordinary_user("env");
        if self.options.clock {
            postgres
                .arg(format!("LD_PRELOAD={CLOCK_LIBRARY}"))
                .arg(format!("FAKETIME_TIMESTAMP_FILE={}", self.clock_file().display()))
                .args([
                    "FAKETIME_NO_CACHE=1",
                    "FAKETIME_DONT_FAKE_MONOTONIC=1",
                    "FAKETIME_DISABLE_SHM=1",
                ]);
        }
        postgres
            .arg(Path::new(PROGRAMS).join("postgres"))
            .arg("-D")
            .arg(self.data());
        postgres
            .args(["-p", &self.address().port().to_string(), "-k"])
            .arg(self.home.path());
        // Standbys are known to their primary by this name.
        postgres.args(["-c", &format!("cluster_name={}", self.name())]);
        let mut process = Process::spawn(&self.home, &postgres, Signal::QUIT);
        process
            .until_ready(async || self.try_rows("select 1").await.ok().map(drop))
            .await;
        self.process = Some(process);
    }

    /// Starts a standby that streams from this server by a replication slot.
    pub async fn standby(&self) -> Self {
        let mut standby = Self::new(self.options.clone());
        let mut copy = program("pg_basebackup");
        // Without a fast checkpoint it waits minutes for the next one.
        copy.args([
            "-R",
            "-X",
            "stream",
            "--checkpoint=fast",
            "--no-sync",
            "-C",
            "-S",
            &standby.name(),
        ])
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.address().port().to_string(),
            "-U",
            SUPERUSER,
            "-D",
        ])
        .arg(standby.data());
        Process::run(&standby.home, &copy).await;
        if let Some(ca) = &self.access.ca_file {
            fs::copy(ca, standby.home.path().join("ca.pem")).expect("copied");
        }
        standby.start_again().await;
        let streams = format!(
            "select from pg_stat_replication where application_name = '{}'",
            standby.name()
        );
        until("the standby streams", async || {
            (!self.rows(&streams).await.is_empty()).then_some(())
        })
        .await;
        standby
    }

    /// Makes a standby a primary and waits until it is one.
    pub async fn promote(&self) {
        let promoted = self.rows("select pg_promote()").await;
        assert_eq!(promoted, [[Some("t".to_owned())]]);
    }

    /// Its name in `pg_stat_replication` of its primary, and that of its replication slot there, as
    /// `synchronous_standby_names` has it.
    pub fn name(&self) -> String {
        format!("s{}", self.address().port())
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.home.log()
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn clock_file(&self) -> PathBuf {
        self.home.path().join("clock")
    }

    fn configure(&self) {
        let data = self.data();
        let mut config = CONFIG.to_owned();
        if !self.options.durable {
            config.push_str(NOT_DURABLE);
        }
        if let Some(tls) = &self.options.tls {
            config.push_str("ssl = on\n");
            let certificate = Certificate::new(tls.key, tls.names);
            fs::write(self.home.path().join("ca.pem"), certificate.ca_pem).expect("written");
            fs::write(data.join("pg_hba.conf"), ACCESS_BY_TLS).expect("written");
            fs::write(data.join("server.crt"), certificate.chain_pem).expect("written");
            let key = data.join("server.key");
            write_secret(&key, &certificate.key_pem);
            give_to_ordinary_user(&key);
        }
        let mut file = fs::File::options()
            .append(true)
            .open(data.join("postgresql.conf"))
            .expect("opened");
        file.write_all(config.as_bytes()).expect("written");
    }
}

/// Writes a file that only its owner may read.
fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .expect("created");
    file.write_all(text.as_bytes()).expect("written");
}

fn program(name: &str) -> Command {
    as_ordinary_user(Path::new(PROGRAMS).join(name))
}

/// The processes that a process has started and not waited for.
fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero();
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("a process of ours");
    list.split_whitespace()
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .collect()
}

#[cfg(test)]
mod tests;
