//! How CAA records name the CAs (RFC 8659, RFC 8657), read from the CAs' directories.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use linkseal_dns::CaIdentity;
use tokio::sync::Notify;

use super::ca_health::CaHealth;
use crate::core::{ConfiguredCa, Core, Issue};

/// How long a directory's answer is used, and when an unreadable one is read again.
const FRESH: Duration = Duration::from_secs(3_600);
const RETRY: Duration = Duration::from_secs(60);

/// Keeps the identities of the CAs up to date.
pub(crate) struct CaaIdentities {
    core: Arc<Core>,
    refresh: Notify,
    /// Woken after they were read.
    pub(crate) refreshed: Notify,
}

impl CaaIdentities {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            refresh: Notify::new(),
            refreshed: Notify::new(),
        }
    }

    /// Has them read again soon.
    pub(crate) fn refresh(&self) {
        self.refresh.notify_one();
    }

    /// Reads them at intervals until shutdown and hands them to the DNS checker. A CA that cannot be
    /// read blocks nothing: CAA is not judged for it.
    pub(super) async fn run(&self, health: &CaHealth) {
        loop {
            if self.core.settings().issue == Issue::Off {
                self.refresh.notified().await;
                continue;
            }
            let (cas, checker) = (self.core.cas(), self.core.checker());
            let reads = cas.iter().map(|ca| read(ca, health));
            let all_known = join_all(reads).await.into_iter().all(|known| known);
            let identities = cas.iter().map(|ca| ca.identity().as_ref().clone());
            checker.set_cas(identities.collect());
            self.refreshed.notify_one();
            let wait = if all_known { FRESH } else { RETRY };
            tokio::select! {
                () = self.refresh.notified() => {}
                () = self.core.clock.sleep(wait) => {}
            }
        }
    }
}

/// Reads a CA's directory; returns whether that succeeded.
async fn read(ca: &ConfiguredCa, health: &CaHealth) -> bool {
    match ca.issuer.identity().await {
        Ok(identity) => {
            ca.set_identity(CaIdentity {
                identities: identity.domains,
                account_uri: identity.account,
            });
            true
        }
        Err(failure) => {
            tracing::debug!(ca = ca.directory(), error = %failure.error.detail, "CA directory unreadable");
            health.warn(ca, &failure, "CA directory unreadable; CAA is left to the CA");
            false
        }
    }
}
