//! An ACME CA (RFC 8555, RFC 9773) in process: for `linkseal demo`, whose `*.localhost` names it
//! really validates over HTTP-01, and, with faults injected, for the tests.
//!
//! It listens on loopback only, since anyone who reaches it gets certificates under its root. All it
//! knows is in memory and bounded (see `state`, `nonces` and `stats` for the numbers); only the
//! root may be kept in a folder, so that clients go on trusting it after a restart.
//!
//! Absent: keyChange, orders lists, challenges other than http-01, account keys other than P-256,
//! revocation by the certificate's key, CRLs.

mod accounts;
mod ca;
mod certificates;
mod core;
mod csr;
mod faults;
mod flood;
mod jws;
mod nonces;
mod orders;
mod problem;
mod reply;
mod routes;
mod server;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod validation;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use self::core::Core;

pub use faults::{Endpoint, Faults, Lost, Refusal, RetryAfter, Window};
pub use flood::Flood;
pub use problem::Problem;
pub use stats::{NameStats, Stats};
pub use validation::Hosts;

/// As long as Let's Encrypt's certificates.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(90 * 86_400);
/// Validations that run at once; the others wait for their turn.
const MAX_VALIDATIONS: usize = 64;

/// How a CA is started.
pub struct DevCaConfig {
    /// Where it listens: a loopback address, port 0 for any.
    pub listen: SocketAddr,
    /// The time that certificates, orders and delays go by.
    pub clock: Clock,
    /// Where port 80 of every name is; 0 until [`DevCa::set_http_port`] says it.
    pub http_port: u16,
    /// Where redirects to HTTPS lead; 0 until [`DevCa::set_https_port`] says it.
    pub https_port: u16,
    /// Lifetime of a certificate.
    pub lifetime: Duration,
    /// How long before its issuance a certificate is valid, as CAs do for clients whose clock is late.
    pub backdate: Duration,
    /// How long one validation may take, redirects each for itself.
    pub validation_timeout: Duration,
    /// The names by which CAA records mean it; empty: its directory does not say.
    pub caa_identities: Vec<String>,
    /// The profiles on offer, by name; empty: none, and a request for one is refused.
    pub profiles: BTreeMap<String, Profile>,
    /// The external accounts; when there are any, new accounts must be bound to one.
    pub eab: Vec<EabKey>,
    /// Where the root is kept. `None`: in memory, a new one at every start.
    pub state_dir: Option<PathBuf>,
}

/// A certificate profile, as the directory offers it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// For people.
    pub description: String,
    /// Lifetime of its certificates. `None`: as all others.
    pub lifetime: Option<Duration>,
}

/// A key of an external account (RFC 8555 §7.3.4).
pub struct EabKey {
    /// Its public name.
    pub key_id: String,
    /// The shared secret.
    pub hmac_key: Zeroizing<Vec<u8>>,
}

/// A running CA. Clones are handles on the same one; it ends with the tasks it was started on.
#[derive(Clone)]
pub struct DevCa {
    core: Arc<Core>,
}

impl DevCaConfig {
    /// A CA on any free port of 127.0.0.1 with the usual values.
    pub fn new(clock: Clock) -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            clock,
            http_port: 0,
            https_port: 0,
            lifetime: DEFAULT_LIFETIME,
            backdate: Duration::ZERO,
            validation_timeout: validation::DEFAULT_TIMEOUT,
            caa_identities: Vec::new(),
            profiles: BTreeMap::new(),
            eab: Vec::new(),
            state_dir: None,
        }
    }
}

impl DevCa {
    /// Makes the keys, binds the listener and serves until `tasks` is stopped.
    pub async fn start(config: DevCaConfig, tasks: &Tasks) -> io::Result<Self> {
        if !config.listen.ip().is_loopback() {
            let text = format!(
                "{}: the development CA listens on a loopback address only",
                config.listen
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let now = config.clock.now();
        let state_dir = config.state_dir;
        let authority = tasks.spawn_blocking(move || ca::CaHierarchy::open(state_dir.as_deref(), now));
        let authority = authority.await.map_err(io::Error::other)??;
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let certificate = authority.listener(address.ip(), now).map_err(io::Error::other)?;
        let acceptor = server::acceptor(certificate)?;
        let core = Arc::new(Core {
            base: format!("https://{address}"),
            authority,
            state: Mutex::default(),
            faults: Arc::default(),
            stats: stats::Counters::default(),
            hosts: Hosts::default(),
            http_port: AtomicU16::new(config.http_port),
            https_port: AtomicU16::new(config.https_port),
            clock: config.clock,
            lifetime: config.lifetime,
            backdate: config.backdate,
            validation_timeout: config.validation_timeout,
            validations: Semaphore::new(MAX_VALIDATIONS),
            caa_identities: config.caa_identities,
            profiles: config.profiles,
            eab: config.eab,
            tasks: tasks.clone(),
        });
        tasks.spawn_until_stop(server::serve(core.clone(), listener, acceptor, tasks.clone()));
        Ok(Self { core })
    }

    /// What ACME clients are configured with.
    pub fn directory_url(&self) -> String {
        format!("{}/dir", self.core.base)
    }

    /// The root of everything it issues, and of its own listener, as PEM.
    pub fn root_pem(&self) -> &str {
        self.core.authority.root_pem()
    }

    /// Says where port 80 of every name is.
    pub fn set_http_port(&self, port: u16) {
        self.core.http_port.store(port, Ordering::Relaxed);
    }

    /// Says where port 443 of every name is.
    pub fn set_https_port(&self, port: u16) {
        self.core.https_port.store(port, Ordering::Relaxed);
    }

    /// Its view of DNS.
    pub fn hosts(&self) -> &Hosts {
        &self.core.hosts
    }

    /// What goes wrong.
    pub fn faults(&self) -> Arc<Faults> {
        self.core.faults.clone()
    }

    /// What it counted in all.
    pub fn stats(&self) -> Stats {
        self.core.stats.totals()
    }

    /// What it counted for one name.
    pub fn name_stats(&self, name: &str) -> NameStats {
        self.core.stats.of(name)
    }

    /// Waits until a condition on what it counted holds.
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        self.core.stats.until(|| condition(self)).await;
    }

    /// The reason code under which a certificate was revoked, by its serial number in lower-case
    /// hexadecimal. `None`: it was not, or is unknown.
    pub fn revocation(&self, serial: &str) -> Option<u64> {
        self.core.state().certificates.get(serial)?.revoked
    }
}
