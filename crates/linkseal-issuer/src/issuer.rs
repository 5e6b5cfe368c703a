//! [`Issuer`]: one CA with our account there.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use linkseal_base::clock::Clock;
use linkseal_base::random;
use linkseal_domain::cert::certificate::chain_from_pem;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::ssl::{CertificateInfo, Failure, FailureKind};
use linkseal_store::{SharedStore, StoredCertificate};

use super::account::AccountKey;
use super::ca::Ca;
use super::calls::Calls;
use super::client::AcmeClient;
use super::http::{self, Http};
use super::job::{IssueError, Issued, Job, Progress};
use super::metrics::Metrics;
use super::order::{Driver, Obtained};
use super::renewal::{self, RenewalInfo};
use super::settings::CaSettings;
use super::{failure, problem};

/// Why a CA cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The directory is not an https URL.
    #[error("the ACME directory `{0}` must be an https URL")]
    Directory(String),
    /// The CA certificates of `acme.ca_file` cannot be used.
    #[error("acme.ca_file: {0}")]
    Trust(String),
}

/// How CAA records identify a CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its issuer domain names (RFC 8659 §4.2). Empty: its directory lists none.
    pub domains: Vec<String>,
    /// Our account's URL there (RFC 8657 §3). `None`: not registered yet.
    pub account: Option<String>,
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

impl Issuer {
    /// Sends nothing to the CA yet.
    pub fn new(
        settings: CaSettings,
        key: Arc<AccountKey>,
        store: SharedStore,
        sealer: Arc<Sealer>,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, IssuerError> {
        let tls = http::tls_config(&settings.trust).map_err(IssuerError::Trust)?;
        let http = Http::new(tls, clock.clone()).measured(metrics.seconds_of(&settings.directory));
        let calls = Calls::new(http, clock.clone());
        let client = Ca::new(settings.clone(), key, store.clone(), clock.clone(), calls);
        Self::with_client(Arc::new(client), settings, store, sealer, clock, metrics)
    }

    pub(super) fn with_client(
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

    /// The CA's host name, for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The CA's directory URL, by which records and the store name the CA.
    pub fn directory(&self) -> &str {
        &self.settings.directory
    }

    /// How CAA records identify this CA. Fetches the directory at most once an hour.
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

    /// Obtains a certificate: resumes the name's order at this CA, or places one. May be dropped at any
    /// point: the next call resumes. The caller holds the lease of `job.fence`, and removes the order's
    /// record with its transition.
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
        let Obtained {
            chain_pem,
            key,
            certificate,
            leaf,
        } = obtained;
        let from = leaf.not_before.max(now);
        // The directory is cached after an order; without it only the check is not planned.
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
            served: Arc::new(certificate),
            info,
        }
    }

    /// When the CA wants a certificate to be renewed (RFC 9773). `None`: it offers no renewal
    /// information, or does not know the certificate.
    pub async fn renewal_info(&self, ari_id: &str) -> Result<Option<RenewalInfo>, Failure> {
        self.client
            .renewal_info(ari_id)
            .await
            .map_err(|e| e.into_failure(None, self.clock.now()))
    }

    /// Revokes the first certificate of a chain, with a reason code of RFC 5280 §5.3.1 (0 unspecified,
    /// 1 key compromise, 4 superseded, 5 cessation). That it is revoked already is no error.
    pub async fn revoke(&self, chain_pem: &str, reason: u8) -> Result<(), Failure> {
        let chain = chain_from_pem(chain_pem);
        let Some(leaf) = chain.as_deref().ok().and_then(|c| c.first()) else {
            let detail = "the chain to revoke is not valid PEM";
            return Err(failure::own_failure(FailureKind::Internal, detail, self.clock.now()));
        };
        self.client
            .revoke(leaf, reason)
            .await
            .map_err(|e| e.into_failure(None, self.clock.now()))
    }
}
