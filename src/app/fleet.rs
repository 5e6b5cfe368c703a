//! What a node of a fleet needs beside its configuration: the database's settings, and the process that the node was
//! before this one.
//!
//! The node's directory (`store.copy_dir`) is locked while a process has it, and names the process that joined the
//! fleet last. So a process that was killed is known to have ended when the next one starts, which need not wait until the fleet
//! counts it as gone. Beside it lies the node's copy of what it serves, with which it starts while the database is
//! away.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use linkseal_base::clock::Clock;
use linkseal_base::random;
use linkseal_base::shutdown::Tasks;
use linkseal_config::Config;
use linkseal_config::store::{PostgresAddress, PostgresTls, PostgresUrl};
use linkseal_control::Control;
use linkseal_control::log_limit::{LogLimit, STORE_INTERVAL};
use linkseal_net::tls_client::{self, Trust};
use linkseal_store::copy::LocalCopy;
use linkseal_store::postgres::{Host, PostgresStore, Settings};
use linkseal_store::{Owner, StoreError};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// The node's copy of what it serves, in its directory.
const COPY: &str = "copy.db";
/// How long a start waits for the database where the node has a copy.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to reach it.
const RETRY: Duration = Duration::from_secs(1);
/// In the node's directory: locked by its process; holds the id of the one that joined last.
const PROCESS: &str = "process";

/// The lock on a node's directory; released when the process ends in whatever way.
pub(super) struct NodeLock {
    file: File,
    owner: Owner,
    /// The process that joined last, which has ended.
    pub(super) former: Option<Owner>,
}

impl NodeLock {
    /// Takes the directory for a process; creates it if it is not there.
    pub(super) fn take(dir: &Path, owner: Owner) -> anyhow::Result<Self> {
        let made = fs::DirBuilder::new().mode(0o700).create(dir);
        if let Err(error) = made
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| {
                format!(
                    "the node's directory {} cannot be created; create it for the service's user, or set store.copy_dir",
                    dir.display()
                )
            });
        }
        let path = dir.join(PROCESS);
        let cannot = || format!("{} cannot be written; linkseal must own store.copy_dir", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "store.copy_dir {} is in use by another process; give each node a directory of its own",
                dir.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        let mut text = String::new();
        // What cannot be read names no process.
        let former = file.read_to_string(&mut text).ok();
        let former = former.and_then(|_| text.trim().parse::<Uuid>().ok());
        Ok(Self {
            file,
            owner,
            former: former.map(Owner::of),
        })
    }

    /// Notes that this process has joined: until then, the one before is the one that the fleet knows.
    pub(super) fn joined(&self) {
        let mut file = &self.file;
        let noted = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", self.owner))
            .and_then(|()| file.sync_data());
        if let Err(error) = noted {
            tracing::warn!(%error, "the node's process could not be noted in store.copy_dir; after a crash, its next start may wait half a minute");
        }
    }
}

/// The store of a fleet, as a node has opened it.
pub(super) struct Shared {
    pub(super) store: PostgresStore,
    /// `None`: its disk does not allow one.
    pub(super) copy: Option<Arc<LocalCopy>>,
    /// Whether the database could not be reached, and the node starts from its copy.
    pub(super) is_away: bool,
}

/// Opens the node's copy and brings the database's schema up to this version. While the database cannot be reached:
/// returns if the copy has what a start needs, and waits if it does not.
pub(super) async fn open(store: PostgresStore, dir: &Path, clock: Clock, tasks: &Tasks) -> anyhow::Result<Shared> {
    let path = dir.join(COPY);
    let opening = tasks.spawn_blocking(move || LocalCopy::open(&path, clock));
    let copy = match opening.await.context("the node's copy of the store")? {
        Ok(copy) => Some(Arc::new(copy)),
        Err(error) => {
            tracing::error!(%error, "the node's copy of the store cannot be opened; without it, this node cannot start while PostgreSQL is away");
            None
        }
    };
    let can_start = match &copy {
        Some(copy) => copy.position().await.is_ok_and(|position| position.is_some()),
        None => false,
    };
    let (begun, log_limit) = (Instant::now(), LogLimit::every(STORE_INTERVAL));
    loop {
        let error = match timeout(PATIENCE, store.migrate()).await {
            Ok(Ok(())) => break,
            Ok(Err(error @ StoreError::Unavailable(_))) => error.to_string(),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        if can_start {
            tracing::error!(
                error,
                "PostgreSQL is away; starting from this node's copy: known domains are served, nothing is ordered or changed until it is back"
            );
            return Ok(Shared {
                store,
                copy,
                is_away: true,
            });
        }
        if log_limit.due("wait", "away", begun.elapsed()).is_some() {
            tracing::error!(
                error,
                "PostgreSQL is away, and this node has no copy to start from; waiting for it"
            );
        }
        tokio::time::sleep(RETRY).await;
    }
    Ok(Shared {
        store,
        copy,
        is_away: false,
    })
}

impl Shared {
    /// Joins the fleet once the database can be reached again, and then does this node's share of the upkeep.
    pub(super) async fn join_later(store: PostgresStore, control: Control, lock: Arc<NodeLock>) {
        let (begun, log_limit) = (Instant::now(), LogLimit::every(STORE_INTERVAL));
        loop {
            let joined = match store.migrate().await {
                Ok(()) => control.join().await,
                Err(error) => Err(error),
            };
            let Err(error) = joined else { break };
            if log_limit.due("join", "away", begun.elapsed()).is_some() {
                tracing::error!(%error, "this node has started from its copy and not joined the fleet yet; will retry");
            }
            tokio::time::sleep(random::jitter(RETRY, 0.3)).await;
        }
        lock.joined();
        tracing::warn!("PostgreSQL is back, and this node has joined the fleet");
        store.maintain().await;
    }
}

/// How the database of a configuration is reached.
pub(crate) fn postgres(config: &Config, url: &PostgresUrl) -> anyhow::Result<Settings> {
    let secrets = &config.secrets.store;
    let tls = match url.tls() {
        PostgresTls::Disabled => None,
        PostgresTls::VerifyFull { .. } => {
            let trust = match secrets.trust.as_slice() {
                [] => Trust::PublicAnd(&[]),
                only => Trust::Only(only),
            };
            let client = tls_client::config(trust, &[]).context("store.url: sslrootcert")?;
            Some(Arc::new(client))
        }
    };
    let host = |host: &linkseal_config::store::PostgresHost| Host {
        name: match &host.address {
            PostgresAddress::Name(name) => name.clone(),
            PostgresAddress::Ip(ip) => ip.to_string(),
            PostgresAddress::Socket(dir) => dir.display().to_string(),
        },
        port: host.port.get(),
    };
    Ok(Settings {
        hosts: url.hosts().iter().map(host).collect(),
        user: url.user().to_owned(),
        password: secrets.password.clone(),
        database: url.database().to_owned(),
        tls,
        connections: config.store.connections.into(),
        node: config.edge.node.as_str().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_of_a_node_knows_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Owner::unique(), Owner::unique());
        let place = dir.path().join("copy");
        let lock = NodeLock::take(&place, one).unwrap();
        assert_eq!(lock.former, None);
        lock.joined();
        let refused = NodeLock::take(&place, two).err().unwrap().to_string();
        assert!(refused.contains("in use by another process"), "{refused}");
        drop(lock);
        assert_eq!(
            NodeLock::take(&place, two).unwrap().former,
            Some(one),
            "it has not joined"
        );
        assert_eq!(NodeLock::take(&place, two).unwrap().former, Some(one));
        fs::write(place.join(PROCESS), "not an id").unwrap();
        assert_eq!(NodeLock::take(&place, one).unwrap().former, None);
    }
}
