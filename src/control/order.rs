//! One order, from its place in the queue to a certificate that is served, or to a failure with a
//! time for the next attempt.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::cname::registered_domain;
use super::{Control, Edit, Limit, backoff};
use crate::cert::certificate::Certificate;
use crate::clock::Timestamp;
use crate::domain::ssl::{CertificateInfo, Failure, FailureKind, SslEvent};
use crate::domain::{DomainName, DomainRecord};
use crate::issuer::{IssueError, Issued, Job, Progress};
use crate::store::{BudgetAnswer, BudgetTake, Fence, StoreError, domain_lease};

/// How long one order may hold its domain: longer than all its deadlines together.
const ORDER_LEASE: Duration = Duration::from_secs(300);
/// One failed authorization per name and hour is left unused, for what others do with the account.
const SPARE_FAILURES: u32 = 1;
/// Certificates for one exact set of names (Let's Encrypt: 5 in 7 days).
const EXACT_SET: Limit = Limit {
    count: 5,
    per: Duration::from_secs(7 * 86_400),
};

impl Control {
    /// Runs the orders in the queue, as many at once as there are slots.
    pub(super) async fn run_orders(self) {
        loop {
            let (name, slot) = self.inner.queue.next().await;
            let control = self.clone();
            self.inner.tasks.spawn(async move {
                let begun = control.inner.clock.now();
                match Box::pin(control.order(&name)).await {
                    Ok(true) => control
                        .inner
                        .queue
                        .took(control.inner.clock.now().saturating_since(begun)),
                    Ok(false) => {}
                    Err(StoreError::Fenced) => {
                        tracing::info!(domain = %name, "the domain was forgotten, or another node sees its order through");
                    }
                    Err(error) => tracing::error!(domain = %name, %error, "an order could not be seen through"),
                }
                drop(slot);
                control.done(&name);
            });
        }
    }

    /// Returns whether an order was made.
    async fn order(&self, name: &DomainName) -> Result<bool, StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let lease = domain_lease(name);
        let Some(fence) = store.acquire_lease(&lease, &self.inner.node, ORDER_LEASE, now).await? else {
            return Ok(false);
        };
        let result = self.order_under_lease(name, fence).await;
        // After a lost lease there is nothing to give back; after a failed store it runs out.
        if result.is_ok() {
            store.release_lease(&lease, fence).await?;
        }
        result
    }

    async fn order_under_lease(&self, name: &DomainName, fence: Fence) -> Result<bool, StoreError> {
        let Some(record) = self.inner.store.domain(name).await? else {
            return Ok(false);
        };
        if !record.is_wanted() {
            return Ok(false);
        }
        let resumes = self.inner.store.order(name).await?.is_some_and(|o| o.url.is_some());
        let replaces = self.replaces(&record);
        if !resumes && let Some(until) = self.held_back_until(&record, replaces.is_some()).await? {
            self.hold_back(name, fence, until).await?;
            return Ok(false);
        }
        // A certificate that could not be stored must not be ordered.
        self.inner.store.probe().await?;
        let tools = self.tools();
        let ca = tools.issuer.host();
        self.transition(name, fence, |draft| {
            draft.happens(SslEvent::OrderStarted { ca: ca.to_owned() });
            draft.tells(
                if resumes { "order_resumed" } else { "order_started" },
                Some(ca.to_owned()),
            );
            Edit::Store
        })
        .await?;
        let job = Job {
            name: name.clone(),
            replaces,
            fence,
        };
        match self.issue(&job).await {
            Ok(issued) => self.issued(name, fence, issued).await.map(|()| true),
            Err(IssueError::Failed { failure, resumable }) => {
                if !resumable && job.replaces.is_none() {
                    // It has come to no certificate: the customer who repairs it need not wait.
                    let takes = self.certificate_budgets(&record);
                    self.inner.store.return_budgets(&takes, self.inner.clock.now()).await?;
                }
                self.failed(name, fence, failure, resumable).await.map(|()| true)
            }
            Err(IssueError::Fenced) => Err(StoreError::Fenced),
            Err(IssueError::Store(error)) => Err(error),
        }
    }

    /// Runs the order; its progress becomes transitions as it comes.
    async fn issue(&self, job: &Job) -> Result<Issued, IssueError> {
        let (progress, mut steps) = mpsc::channel(4);
        let report = move |step: Progress| {
            // The newest step is what counts: one that finds the channel full is not missed.
            progress.try_send(step).ok();
        };
        let tools = self.tools();
        let order = tools.issuer.issue(job, &report);
        tokio::pin!(order);
        loop {
            tokio::select! {
                biased;
                Some(step) = steps.recv() => {
                    if step == Progress::Validating {
                        self.transition(&job.name, job.fence, |draft| {
                            draft.happens(SslEvent::Validating);
                            draft.tells("validating", None);
                            Edit::Store
                        }).await.map_err(IssueError::from)?;
                    }
                }
                result = &mut order => return result,
            }
        }
    }

    async fn issued(&self, name: &DomainName, fence: Fence, issued: Issued) -> Result<(), StoreError> {
        let served = self.open_certificate(name, &issued.certificate);
        let changed = self
            .transition(name, fence, |draft| {
                let word = if draft.record.ssl.certificate.is_some() {
                    "renewed"
                } else {
                    "issued"
                };
                draft.happens(SslEvent::Issued(issued.info.clone()));
                draft.holds(issued.certificate.clone());
                draft.tells(
                    word,
                    Some(format!("{}, until {}", issued.info.issuer, issued.info.not_after)),
                );
                Edit::Store
            })
            .await?;
        match served {
            Ok(certificate) if changed.is_some() => self.inner.certificates.put(name.clone(), Arc::new(certificate)),
            Ok(_) => {}
            Err(error) => tracing::error!(domain = %name, %error, "the CA's certificate cannot be served"),
        }
        tracing::info!(domain = %name, issuer = %issued.info.issuer, not_after = %issued.info.not_after, "certificate issued");
        Ok(())
    }

    async fn failed(
        &self,
        name: &DomainName,
        fence: Fence,
        failure: Failure,
        resumable: bool,
    ) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        tracing::info!(domain = %name, kind = ?failure.kind, detail = %failure.error.detail, "an order failed");
        if failure.kind == FailureKind::AccountLimit {
            let until = failure.retry_after.unwrap_or(now + backoff::UNNAMED_LIMIT);
            self.inner
                .store
                .hold_back(self.tools().issuer.directory(), until)
                .await?;
        }
        self.transition(name, fence, |draft| {
            let backoff = backoff::after(&draft.record.ssl, failure.kind, failure.retry_after.is_some());
            draft.happens(SslEvent::Failed {
                failure: failure.clone(),
                backoff,
            });
            draft.tells("failed", Some(failure.error.detail.clone()));
            // What the CA only did not get to is taken up again, not ordered anew.
            if !resumable {
                draft.ends_order();
            }
            Edit::Store
        })
        .await?;
        Ok(())
    }

    /// The certificate an order replaces (RFC 9773 §5). `None`: none of this CA's, or the CA has no ARI.
    fn replaces(&self, record: &DomainRecord) -> Option<String> {
        let certificate = record.ssl.certificate.as_ref()?;
        let known_to_ca = certificate.ca == self.tools().issuer.directory() && certificate.ari_check_at.is_some();
        known_to_ca.then(|| certificate.ari_id.clone())?
    }

    /// Until when nothing may be ordered for this domain, be it the CA's word or our own
    /// book-keeping of its limits. `None`: an order may be made, and has been counted.
    async fn held_back_until(&self, record: &DomainRecord, replaces: bool) -> Result<Option<Timestamp>, StoreError> {
        let now = self.inner.clock.now();
        let tools = self.tools();
        let directory = tools.issuer.directory();
        if let Some(until) = self.inner.store.held_back(directory, now).await? {
            return Ok(Some(until));
        }
        if let Some(until) = self.failures_hold_back(record, now) {
            return Ok(Some(until));
        }
        // Renewals that name what they replace are exempt from the CA's limits.
        if replaces {
            return Ok(None);
        }
        match self.inner.store.take_budgets(&self.budgets(record), now).await? {
            BudgetAnswer::Taken => Ok(None),
            BudgetAnswer::Exhausted { until, .. } => Ok(Some(until)),
        }
    }

    /// Until when the failed authorizations of the last hour forbid another attempt.
    pub(super) fn failures_hold_back(&self, record: &DomainRecord, now: Timestamp) -> Option<Timestamp> {
        let limit = self.inner.settings.load().limits.failed_per_name;
        let allowed = usize::try_from(limit.count.saturating_sub(SPARE_FAILURES)).unwrap_or(usize::MAX);
        record.ssl.must_wait(allowed, limit.per, now)
    }

    /// What an order for this domain takes from the CA's limits.
    pub(super) fn budgets(&self, record: &DomainRecord) -> Vec<BudgetTake> {
        let mut takes = self.certificate_budgets(record);
        takes.insert(0, self.account_budget());
        takes
    }

    /// What every order takes.
    pub(super) fn account_budget(&self) -> BudgetTake {
        let tools = self.tools();
        let ca = tools.issuer.directory();
        take(
            format!("orders/{ca}"),
            self.inner.settings.load().limits.orders_per_account,
        )
    }

    /// What only a certificate takes: CAs count these limits by what they have issued.
    fn certificate_budgets(&self, record: &DomainRecord) -> Vec<BudgetTake> {
        let tools = self.tools();
        let (ca, name) = (tools.issuer.directory(), &record.name);
        let registered = registered_domain(name.as_str());
        let per_domain = self.inner.settings.load().limits.per_registered_domain;
        let mut takes = vec![take(format!("domain/{ca}/{registered}"), per_domain)];
        // A CA whose certificates are renewed more often than that cannot have that limit.
        let life = |c: &CertificateInfo| c.not_after.saturating_since(c.not_before);
        let renewals = record
            .ssl
            .certificate
            .as_ref()
            .map(|c| EXACT_SET.per.as_secs_f64() / renewed_after(life(c)));
        if renewals.is_none_or(|n| n <= f64::from(EXACT_SET.count)) {
            takes.push(take(format!("exact/{ca}/{name}"), EXACT_SET));
        }
        takes
    }

    async fn hold_back(&self, name: &DomainName, fence: Fence, until: Timestamp) -> Result<(), StoreError> {
        let tools = self.tools();
        let ca = tools.issuer.host();
        self.transition(name, fence, |draft| {
            draft.happens(SslEvent::HeldBack {
                until,
                ca: ca.to_owned(),
            });
            draft.tells("held_back", Some(format!("until {until}")));
            Edit::Store
        })
        .await?;
        Ok(())
    }

    /// Opens a stored certificate for serving.
    pub(super) fn open_certificate(
        &self,
        name: &DomainName,
        stored: &crate::store::StoredCertificate,
    ) -> Result<Certificate, String> {
        let place = format!("certificates/{name}");
        let key = self
            .inner
            .sealer
            .open(&place, &stored.sealed_key)
            .map_err(|e| e.to_string())?;
        Certificate::new(&stored.chain_pem, &key).map_err(|e| e.to_string())
    }
}

/// One out of a bucket.
fn take(key: String, limit: Limit) -> BudgetTake {
    BudgetTake {
        key,
        size: limit.count,
        per: limit.per,
        amount: 1,
    }
}

/// How many seconds of its life a certificate is used at least before it is renewed: half of it.
fn renewed_after(life: Duration) -> f64 {
    (life / 2).as_secs_f64().max(1.0)
}
