//! From the CSR to the certificate: finalize, download, and the check that it is what was ordered and is
//! valid now.

use std::sync::atomic::Ordering;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::cert::certificate::{Certificate, Leaf};
use linkseal_domain::ssl::{Failure, FailureKind};
use zeroize::Zeroizing;

use super::{Driver, Obtained};
use crate::client::{Fetched, Order, OrderStatus};
use crate::csr;
use crate::failure::own_failure;
use crate::job::{IssueError, Spent};
use crate::poll::POLL_FIRST;
use crate::problem::CallError;

/// How long a CA may take to sign.
const PROCESSING_TIME: Duration = Duration::from_secs(120);
/// After a certificate looked expired here, no order is placed while our clock is further ahead of the CA's.
const CLOCK_AHEAD: Duration = Duration::from_secs(86_400);
/// How far in the future notBefore may be: clocks differ a little.
const NOT_YET: Duration = Duration::from_secs(300);

impl Driver<'_> {
    pub(super) async fn finalize(&self, order: &Order, key: &[u8]) -> Result<(), IssueError> {
        let csr = csr::request(self.job.name.as_str(), key).map_err(|e| self.failed(e))?;
        match self.with_retries(|| self.client.finalize(&order.finalize, &csr)).await {
            // The CA has the CSR from a call whose answer was lost, or the order is not ready yet.
            Err(e) if e.is("orderNotReady") => Ok(()),
            other => other.map_err(|e| self.failed(e)),
        }
    }

    pub(super) async fn await_certificate<F>(&self, fetch: impl Fn() -> F) -> Result<Order, IssueError>
    where
        F: Future<Output = Result<Fetched<Order>, CallError>>,
    {
        let deadline = self.clock.uptime() + PROCESSING_TIME;
        self.poll(POLL_FIRST, deadline, fetch, |o| {
            matches!(o.status, OrderStatus::Valid | OrderStatus::Invalid)
        })
        .await
    }

    /// Downloads the certificate and checks that it is what was ordered.
    pub(super) async fn download(&self, order: &Order, key: Zeroizing<Vec<u8>>) -> Result<Obtained, IssueError> {
        // The CA has issued it, and counts it.
        let used_up = |failure| IssueError::Failed {
            failure,
            resumable: false,
            spent: Spent::Certificate,
        };
        let unusable = |detail: &str| used_up(own_failure(FailureKind::Unusable, detail, self.clock.now()));
        let Some(url) = &order.certificate else {
            return Err(unusable(
                "the CA reports the order as valid without the URL of a certificate",
            ));
        };
        let chain_pem = self
            .with_retries(|| self.client.certificate(url))
            .await
            .map_err(|e| self.failed(e))?;
        let (certificate, leaf) = Certificate::with_leaf(&chain_pem, &key)
            .map_err(|e| unusable(&format!("the CA's certificate is not usable: {e}")))?;
        if !leaf.sans.iter().any(|s| s.eq_ignore_ascii_case(self.job.name.as_str())) {
            return Err(unusable(&format!(
                "the CA's certificate is for {} only",
                leaf.sans.join(", ")
            )));
        }
        self.check_validity(&leaf, used_up)?;
        Ok(Obtained {
            chain_pem,
            key,
            certificate,
            leaf,
        })
    }

    /// Checks that the certificate is valid now. If not, the CA's time shows whether our clock or the CA is
    /// wrong.
    fn check_validity(&self, leaf: &Leaf, used_up: impl Fn(Failure) -> IssueError) -> Result<(), IssueError> {
        let now = self.clock.now();
        let said = self.client.now();
        let at_ca = said.unwrap_or(now);
        self.looked_expired.store(leaf.not_after <= now, Ordering::Relaxed);
        let wrong = |detail: &str| {
            let detail = match said {
                Some(ca) => format!("{detail}, and by its own clock it is {ca}"),
                None => format!("{detail}; our clock says {now}, and the CA's answers have no Date"),
            };
            used_up(own_failure(FailureKind::Unusable, &detail, now))
        };
        if leaf.not_after <= now {
            // It is good, and can be downloaded again once our clock is right.
            if leaf.not_after > at_ca {
                return Err(IssueError::Failed {
                    failure: self.clock_failure(at_ca),
                    resumable: true,
                    spent: Spent::Certificate,
                });
            }
            return Err(wrong(&format!(
                "the CA issued a certificate that ended at {}",
                leaf.not_after
            )));
        }
        if leaf.not_before > now.max(at_ca) + NOT_YET {
            return Err(wrong(&format!(
                "the CA issued a certificate that is valid only from {}",
                leaf.not_before
            )));
        }
        Ok(())
    }

    /// Refuses to place an order whose certificate would look expired here.
    pub(super) fn check_clock(&self) -> Result<(), IssueError> {
        let now = self.clock.now();
        let ahead = self.client.now().filter(|ca| now.saturating_since(*ca) > CLOCK_AHEAD);
        match ahead.filter(|_| self.looked_expired.load(Ordering::Relaxed)) {
            Some(ca) => Err(self.before_order(self.clock_failure(ca))),
            None => Ok(()),
        }
    }

    fn clock_failure(&self, ca: Timestamp) -> Failure {
        let now = self.clock.now();
        let detail = format!(
            "the clock of this machine is wrong: it says {now}, the CA says {ca}. Set it and synchronise it by NTP"
        );
        own_failure(FailureKind::Clock, &detail, now)
    }
}
