//! How a certificate is obtained from an ACME CA (RFC 8555): one order for one name at one CA,
//! resumably. The control plane decides when; nothing here does.
//!
//! [`Issuer`] is what it uses. Inside: `order` drives an order (its waits: `patience`) through the
//! trait `client::AcmeClient`; `ca` is that trait for a real CA, by signed calls that are bounded in
//! time and size (`extensions`, `jws`, `http`); `acme` has the account key by rustls-acme; `problem`
//! reads a refusal, `failure` tells whose fault it is; `renewal` says when a certificate is due.

mod account;
mod acme;
mod ca;
mod client;
mod csr;
mod extensions;
mod failure;
mod http;
mod jws;
mod look;
mod order;
mod poll;
mod problem;
pub mod renewal;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use linkseal_base::clock::Clock;
use linkseal_base::random;
use linkseal_domain::DomainName;
use linkseal_domain::cert::certificate::chain_from_pem;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::ssl::{CertificateInfo, Failure, FailureKind};
use linkseal_store::{Fence, SharedStore, StoreError, StoredCertificate};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use zeroize::Zeroizing;

use self::ca::Ca;
use self::client::AcmeClient;
use self::extensions::Extensions;
use self::http::Http;
use self::order::{Driver, Obtained};

pub use self::account::{AccountKey, AccountKeyError};
pub use self::look::{AuthorityLook, look_at_directory};
pub use self::renewal::RenewalInfo;

/// One CA, as configured.
#[derive(Clone)]
pub struct CaSettings {
    /// The URL of its directory.
    pub directory: String,
    /// Contact URLs for the account.
    pub contact: Vec<String>,
    /// PEM file of further trust roots for the directory's TLS. `None`: the public ones only.
    pub ca_file: Option<PathBuf>,
    /// The external account that ours is bound to. `None`: the CA needs none.
    pub eab: Option<Eab>,
    /// The certificate profile to ask for. `None`: the CA's default.
    pub profile: Option<String>,
}

/// An external account binding (RFC 8555 §7.3.4), as the CA gave it out.
#[derive(Clone)]
pub struct Eab {
    /// The key's id.
    pub key_id: String,
    /// The HMAC key.
    pub hmac_key: Zeroizing<Vec<u8>>,
}

impl Eab {
    /// From the key as CAs give it out: base64url, with or without padding. `None`: it is not that.
    pub fn new(key_id: &str, hmac_key: &Zeroizing<String>) -> Option<Self> {
        const LENIENT: GeneralPurpose = GeneralPurpose::new(
            &base64::alphabet::URL_SAFE,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        // Some CAs show it in the other alphabet.
        let text = Zeroizing::new(hmac_key.trim().replace('+', "-").replace('/', "_"));
        let hmac_key = Zeroizing::new(LENIENT.decode(text.as_bytes()).ok()?);
        (!hmac_key.is_empty()).then(|| Self {
            key_id: key_id.to_owned(),
            hmac_key,
        })
    }
}

/// One CA with our account there.
pub struct Issuer {
    client: Arc<dyn AcmeClient>,
    settings: CaSettings,
    host: String,
    store: SharedStore,
    sealer: Arc<Sealer>,
    clock: Clock,
    metrics: Metrics,
    looked_expired: AtomicBool,
}

/// Why a CA cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The directory is no URL that can be used.
    #[error("the ACME directory `{0}` must be an https URL")]
    Directory(String),
    /// The trust file cannot be used.
    #[error("acme.ca_file {path}: {reason}; it must hold PEM certificates")]
    CaFile {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
}

/// A CA as CAA records see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its issuer domain names (RFC 8659 §4.2). Empty: its directory does not say.
    pub domains: Vec<String>,
    /// Our account's URL there (RFC 8657 §3). `None`: there is no account yet.
    pub account: Option<String>,
}

/// A certificate to be obtained.
#[derive(Clone, Debug)]
pub struct Job {
    /// For this name.
    pub name: DomainName,
    /// ARI id of the certificate it replaces. `None`: it is the first, or the other is not to be named.
    pub replaces: Option<String>,
    /// Whether it was admitted as one that the CA has counted already: no new order is placed.
    pub resumes: bool,
    /// The lease under which the order is made.
    pub fence: Fence,
}

/// How far an order has come; said while [`Issuer::issue`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The CA has the order, new or taken up.
    Ordered,
    /// The CA looks at the challenge.
    Validating,
}

/// A certificate obtained, ready for the store.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain, with the key sealed for `certificates/{name}`.
    pub certificate: StoredCertificate,
    /// What it says, and when to renew it.
    pub info: CertificateInfo,
}

/// What of the CA's limits an attempt has used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Nothing: it was not asked for an order.
    Nothing,
    /// An order.
    Order,
    /// A certificate, though none that can be used.
    Certificate,
}

/// Why no certificate was obtained.
#[derive(Debug)]
pub enum IssueError {
    /// The attempt failed.
    Failed {
        /// How.
        failure: Failure,
        /// Whether the order lives on, so that its record is better kept: the next
        /// [`Issuer::issue`] goes on with it and spends no new order.
        resumable: bool,
        /// What of the CA's limits it has used up.
        spent: Spent,
    },
    /// The order that was to be taken up is of no use any more. A new one has to be admitted first.
    Gone,
    /// The CA takes no order that names what it replaces. One that does not counts against its
    /// limits, and has to be admitted first.
    NotAsReplacement,
    /// Another node has taken the domain over and goes on with the order.
    Fenced,
    /// The store cannot be read or written; the order, if there is one, is taken up later.
    Store(StoreError),
}

impl From<StoreError> for IssueError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Issuer {
    /// A CA; nothing is sent yet.
    pub fn new(
        settings: CaSettings,
        key: Arc<AccountKey>,
        store: SharedStore,
        sealer: Arc<Sealer>,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, IssuerError> {
        let tls = http::tls_config(settings.ca_file.as_deref()).map_err(|reason| IssuerError::CaFile {
            path: settings
                .ca_file
                .as_deref()
                .unwrap_or_else(|| "".as_ref())
                .display()
                .to_string(),
            reason,
        })?;
        let http = Http::new(tls, clock.clone()).measured(metrics.seconds_of(&settings.directory));
        let extensions = Extensions::new(http, clock.clone());
        let client = Ca::new(settings.clone(), key, store.clone(), clock.clone(), extensions);
        Self::with_client(Arc::new(client), settings, store, sealer, clock, metrics)
    }

    fn with_client(
        client: Arc<dyn AcmeClient>,
        settings: CaSettings,
        store: SharedStore,
        sealer: Arc<Sealer>,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, IssuerError> {
        let url: Option<::http::Uri> = settings.directory.parse().ok();
        let host = url
            .filter(|u| u.scheme_str() == Some("https"))
            .and_then(|u| u.host().map(str::to_owned))
            .ok_or_else(|| IssuerError::Directory(settings.directory.clone()))?;
        Ok(Self {
            client,
            settings,
            host,
            store,
            sealer,
            clock,
            metrics,
            looked_expired: AtomicBool::new(false),
        })
    }

    /// The CA's host name, for people.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The CA's directory URL, for records.
    pub fn directory(&self) -> &str {
        &self.settings.directory
    }

    /// The CA as CAA records see it; reads the directory, at most once an hour.
    pub async fn identity(&self) -> Result<Identity, Failure> {
        let failed = |e: problem::CallError| e.into_failure(None, self.clock.now());
        let directory = self.client.directory().await.map_err(failed)?;
        let account = self.store.ca_account(&self.settings.directory).await;
        let account = account.map_err(|e| failed(problem::CallError::Ours(e.to_string())))?;
        Ok(Identity {
            domains: directory.meta.caa_identities.clone(),
            account: account.map(|a| a.kid),
        })
    }

    /// Obtains a certificate: takes up the name's order at this CA where it stands, else places
    /// one. May be dropped at any point; the next call goes on. The caller holds the lease that
    /// `job.fence` is of, and ends the order's record with its transition.
    pub async fn issue(&self, job: &Job, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<Issued, IssueError> {
        let driver = Driver {
            client: self.client.as_ref(),
            store: self.store.as_ref(),
            sealer: &self.sealer,
            clock: &self.clock,
            ca: &self.settings.directory,
            profile: self.settings.profile.as_deref(),
            looked_expired: &self.looked_expired,
            job,
            progress,
        };
        let result = match driver.run().await {
            Ok(obtained) => Ok(self.issued(job, obtained).await),
            Err(e) => Err(e),
        };
        self.metrics.count(&result);
        result
    }

    async fn issued(&self, job: &Job, obtained: Obtained) -> Issued {
        let now = self.clock.now();
        let Obtained { chain_pem, key, leaf } = obtained;
        let from = leaf.not_before.max(now);
        // The directory is at hand after an order; without it the check is only not planned.
        let ari = self.client.directory().await.is_ok_and(|d| d.renewal_info.is_some());
        let info = CertificateInfo {
            renew_at: renewal::plan(from, leaf.not_after, random::unit()),
            ari_check_at: ari.then(|| renewal::first_check(from, leaf.not_after, random::unit())),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            obtained: Some(now),
            issuer: leaf.issuer,
            serial: leaf.serial,
            sans: leaf.sans,
            ca: self.settings.directory.clone(),
            ari_id: leaf.ari_id,
        };
        let sealed_key = self.sealer.seal(&format!("certificates/{}", job.name), &key);
        Issued {
            certificate: StoredCertificate { chain_pem, sealed_key },
            info,
        }
    }

    /// When the CA wants a certificate to be renewed (RFC 9773). `None`: it offers no such
    /// information, or does not know the certificate.
    pub async fn renewal_info(&self, ari_id: &str) -> Result<Option<RenewalInfo>, Failure> {
        self.client
            .renewal_info(ari_id)
            .await
            .map_err(|e| e.into_failure(None, self.clock.now()))
    }

    /// Revokes the first certificate of a chain, for a reason of RFC 5280 §5.3.1 (0 unspecified,
    /// 1 key compromise, 4 superseded, 5 cessation). One that is revoked already is no error.
    pub async fn revoke(&self, chain_pem: &str, reason: u8) -> Result<(), Failure> {
        let chain = chain_from_pem(chain_pem);
        let Some(leaf) = chain.as_deref().ok().and_then(|c| c.first()) else {
            let detail = "the chain to be revoked is not readable PEM";
            return Err(failure::own_failure(FailureKind::Internal, detail, self.clock.now()));
        };
        self.client
            .revoke(leaf, reason)
            .await
            .map_err(|e| e.into_failure(None, self.clock.now()))
    }
}

/// How an attempt that ended well is counted.
const ISSUED: &str = "issued";

/// From a CA near by to one that is given up, in seconds.
const REQUEST_BUCKETS: [f64; 7] = [0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// What is counted of issuing.
#[derive(Clone, Debug)]
pub struct Metrics {
    orders: IntCounterVec,
    seconds: HistogramVec,
}

impl Metrics {
    /// Registers `linkseal_acme_orders_total` and `linkseal_acme_request_seconds`; once per registry,
    /// for all CAs.
    ///
    /// # Errors
    /// When a metric of that name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new(
            "linkseal_acme_orders_total",
            "Attempts to obtain a certificate, by how they ended.",
        );
        let orders = IntCounterVec::new(opts, &["result"])?;
        let opts = HistogramOpts::new(
            "linkseal_acme_request_seconds",
            "Time from a request to a CA, by its directory, to its whole answer, or until it was given up.",
        );
        let seconds = HistogramVec::new(opts.buckets(REQUEST_BUCKETS.to_vec()), &["ca"])?;
        registry.register(Box::new(orders.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        // From zero, so that the first of each is seen as an increase.
        orders.with_label_values(&[ISSUED]);
        for kind in FailureKind::ALL {
            orders.with_label_values(&[kind.as_str()]);
        }
        Ok(Self { orders, seconds })
    }

    fn seconds_of(&self, directory: &str) -> Histogram {
        self.seconds.with_label_values(&[directory])
    }

    fn count(&self, result: &Result<Issued, IssueError>) {
        let label = match result {
            Ok(_) => ISSUED,
            Err(IssueError::Failed { failure, .. }) => failure.kind.as_str(),
            Err(IssueError::Store(_)) => FailureKind::Internal.as_str(),
            // The attempt goes on elsewhere, or with another order, and is counted there.
            Err(IssueError::Fenced | IssueError::Gone | IssueError::NotAsReplacement) => return,
        };
        self.orders.with_label_values(&[label]).inc();
    }
}
