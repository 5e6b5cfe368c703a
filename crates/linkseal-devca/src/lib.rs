//! An ACME CA (RFC 8555, RFC 9773) in process: for `linkseal demo`, whose `*.localhost` names it
//! validates by real HTTP-01 requests, and, with injected faults, for the tests.
//!
//! It listens on loopback only, since any client that can connect gets certificates under its root.
//! Its state is in memory and bounded (see `state`, `nonces` and `stats` for the numbers); only the
//! root can be kept in a folder, so that clients still trust it after a restart.
//!
//! Not implemented: keyChange, orders lists, challenges other than http-01, account keys other than P-256,
//! revocation by the certificate's key, CRLs.

mod accounts;
mod ca;
mod certificates;
mod core;
mod csr;
mod faults;
mod flood;
mod hosts;
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
pub use hosts::Hosts;
pub use problem::Problem;
pub use stats::{NameStats, Stats};

/// The lifetime of Let's Encrypt's certificates.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(90 * 86_400);
/// Validations at a time; further ones wait.
const MAX_VALIDATIONS: usize = 64;

/// The configuration of a CA.
pub struct DevCaConfig {
    /// The loopback address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The clock of certificates, orders and delays.
    pub clock: Clock,
    /// The port that stands for port 80 of every name; 0 until [`DevCa::set_http_port`].
    pub http_port: u16,
    /// The port that stands for port 443 of every name; 0 until [`DevCa::set_https_port`].
    pub https_port: u16,
    /// Lifetime of the certificates.
    pub lifetime: Duration,
    /// How long before its issuance a certificate is valid: CAs backdate for clients whose clocks are slow.
    pub backdate: Duration,
    /// Time limit of one request of a validation; each redirect is a request of its own.
    pub validation_timeout: Duration,
    /// Its issuer domain names in CAA records. Empty: its directory lists none.
    pub caa_identities: Vec<String>,
    /// The certificate profiles by name; a request for any other is refused.
    pub profiles: BTreeMap<String, Profile>,
    /// The external accounts; if there are any, a new account must be bound to one.
    pub eab: Vec<EabKey>,
    /// The folder that keeps the root. `None`: a new root at every start.
    pub state_dir: Option<PathBuf>,
}

/// A certificate profile, as the directory offers it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Text or a URL for people.
    pub description: String,
    /// Lifetime of its certificates. `None`: as configured for all.
    pub lifetime: Option<Duration>,
}

/// A key of an external account (RFC 8555 §7.3.4).
pub struct EabKey {
    /// The key identifier that clients send.
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
    /// A CA on a free port of 127.0.0.1, with defaults otherwise.
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
    /// Creates the keys, binds the listener and serves until `tasks` is stopped.
    ///
    /// # Errors
    /// If the address is not a loopback address or cannot be bound, or the root in
    /// [`DevCaConfig::state_dir`] cannot be read or written.
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
            stats: Arc::default(),
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

    /// The directory URL, for ACME clients.
    pub fn directory_url(&self) -> String {
        format!("{}/dir", self.core.base)
    }

    /// The root of everything it issues, and of its own listener, as PEM.
    pub fn root_pem(&self) -> &str {
        self.core.authority.root_pem()
    }

    /// Sets the port that stands for port 80 of every name.
    pub fn set_http_port(&self, port: u16) {
        self.core.http_port.store(port, Ordering::Relaxed);
    }

    /// Sets the port that stands for port 443 of every name.
    pub fn set_https_port(&self, port: u16) {
        self.core.https_port.store(port, Ordering::Relaxed);
    }

    /// Its view of DNS.
    pub fn hosts(&self) -> &Hosts {
        &self.core.hosts
    }

    /// The faults to inject.
    pub fn faults(&self) -> Arc<Faults> {
        self.core.faults.clone()
    }

    /// Totals since the start.
    pub fn stats(&self) -> Stats {
        self.core.stats.totals()
    }

    /// Totals of one name.
    pub fn name_stats(&self, name: &str) -> NameStats {
        self.core.stats.of(name)
    }

    /// Waits until `condition` holds; checks it whenever a counter changes.
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        self.core.stats.until(|| condition(self)).await;
    }

    /// The reason code (RFC 5280 §5.3.1) of a revoked certificate, by its serial number in lower-case
    /// hexadecimal. `None`: not revoked, or unknown.
    pub fn revocation(&self, serial: &str) -> Option<u64> {
        self.core.state().certificates.get(serial)?.revoked
    }
}
