//! One order, from its place in the queue to a certificate that is served, or to a failure with a
//! time for the next attempt.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::rules::{self, Gate};
use super::{Control, Edit};
use crate::cert::certificate::Certificate;
use crate::clock::Timestamp;
use crate::domain::ssl::{Failure, SslEvent};
use crate::domain::{DomainName, DomainRecord};
use crate::issuer::{IssueError, Issued, Job, Progress};
use crate::random;
use crate::store::{BudgetAnswer, BudgetTake, Fence, StoreError, domain_lease};

/// How long one order may hold its domain: longer than all its deadlines together.
const ORDER_LEASE: Duration = Duration::from_secs(300);

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
        let tools = self.tools();
        let directory = tools.issuer.directory();
        let replaces = rules::replaces(&record.ssl, directory).map(str::to_owned);
        if !resumes && let Some(until) = self.held_back_until(&record, replaces.is_some()).await? {
            self.hold_back(name, fence, until).await?;
            return Ok(false);
        }
        // A certificate that could not be stored must not be ordered.
        self.inner.store.probe().await?;
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
                    let limits = self.inner.settings.load().limits;
                    let takes = rules::certificate_budgets((&record.name, &record.ssl), directory, &limits);
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
        if let Some(until) = rules::holds_back_all(&failure, now) {
            self.inner
                .store
                .hold_back(self.tools().issuer.directory(), until)
                .await?;
        }
        self.transition(name, fence, |draft| {
            draft.happens(rules::failed(&draft.record.ssl, failure.clone(), random::unit()));
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

    /// Until when nothing may be ordered for this domain, be it the CA's word or our own
    /// book-keeping of its limits. `None`: an order may be made, and has been counted.
    async fn held_back_until(&self, record: &DomainRecord, replaces: bool) -> Result<Option<Timestamp>, StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let tools = self.tools();
        let directory = tools.issuer.directory();
        let limits = self.inner.settings.load().limits;
        let held_back = store.held_back(directory, now).await?;
        match rules::gate(
            (&record.name, &record.ssl),
            directory,
            &limits,
            held_back,
            replaces,
            now,
        ) {
            Gate::Wait(until) => Ok(Some(until)),
            Gate::Take(takes) => match store.take_budgets(&takes, now).await? {
                BudgetAnswer::Taken => Ok(None),
                BudgetAnswer::Exhausted { until, .. } => Ok(Some(until)),
            },
        }
    }

    /// Until when the failed authorizations of the last hour forbid another attempt.
    pub(super) fn failures_hold_back(&self, record: &DomainRecord, now: Timestamp) -> Option<Timestamp> {
        rules::failures_hold_back(&record.ssl, &self.inner.settings.load().limits, now)
    }

    /// What an order for this domain takes from the CA's limits.
    pub(super) fn budgets(&self, record: &DomainRecord) -> Vec<BudgetTake> {
        let limits = self.inner.settings.load().limits;
        rules::budgets((&record.name, &record.ssl), self.tools().issuer.directory(), &limits)
    }

    /// What every order takes.
    pub(super) fn account_budget(&self) -> BudgetTake {
        let limits = self.inner.settings.load().limits;
        rules::account_budget(self.tools().issuer.directory(), &limits)
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
