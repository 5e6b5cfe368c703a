//! Runs one order under the domain's lease.

use std::sync::Arc;
use std::time::Duration;

use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::ssl::SslEvent;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_issuer::{IssueError, Issued, Issuer, Job, Progress, Spent};
use linkseal_store::{Fence, StoreError};
use tokio::sync::mpsc;

use super::Orders;
use super::choose::{Choice, Chosen};
use crate::checks::dns;
use crate::core::Edit;
use crate::core::freeze::note_freeze;
use crate::core::leases::DomainLease;
use crate::rules;
use crate::schedule::NameGuard;

/// How often one order may be admitted again: its open order is gone, and then the CA does not accept
/// it as a replacement.
const ADMISSIONS: usize = 3;
/// When to retry a domain for which even that was not enough.
const REFUSED_RETRY: Duration = Duration::from_secs(3_600);

/// The outcome of one admission.
enum Attempt {
    /// It is over; `made`: whether an order was made.
    Done { made: bool },
    /// A new order has to be admitted, perhaps not as a replacement.
    Again { without_replaces: bool },
}

impl Orders {
    /// Runs the orders in the queue, as many at the same time as there are slots, until shutdown.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let queue = Arc::clone(&self.schedule.queue);
            let (name, slot) = queue.next().await;
            let orders = Arc::clone(&self);
            self.core.tasks.spawn(async move {
                let guard = NameGuard::new(Arc::clone(&orders.schedule), name);
                let (name, started) = (&guard.name, orders.core.clock.now());
                let Some(lease) = guard.take_lease() else { return };
                match orders.order(lease).await {
                    Ok(true) => queue.took(orders.core.clock.now().saturating_since(started)),
                    Ok(false) => {}
                    Err(StoreError::Fenced | StoreError::NotFound) => {
                        tracing::info!(domain = %name, "order aborted: the domain was removed, or another node has taken it over");
                    }
                    Err(error) => orders.core.store_failed("run orders", Some(name), &error),
                }
                drop(slot);
            });
        }
    }

    /// Keeps the CAs' CAA identities up to date until shutdown.
    pub(crate) async fn run_caa_identities(self: Arc<Self>) {
        self.identities.run(&self.health).await;
    }

    /// Returns whether an order was made.
    async fn order(&self, lease: DomainLease) -> Result<bool, StoreError> {
        let order = Box::pin(self.order_under_lease(lease.name(), lease.fence()));
        let result = lease.run(order).await;
        // A lost lease cannot be released; one of a failed store expires.
        if result.is_ok() {
            lease.release().await?;
        }
        result
    }

    async fn order_under_lease(&self, name: &DomainName, fence: Fence) -> Result<bool, StoreError> {
        let Some(record) = self.core.store.domain(name).await? else {
            return Ok(false);
        };
        if !record.is_wanted() || !self.is_needed(&record).await? {
            return Ok(false);
        }
        if self.core.frozen().await?.is_some() {
            let event = self.core.freeze_event();
            self.core
                .transition(name, fence, |draft| {
                    note_freeze(draft, &event);
                    Edit::Store
                })
                .await?;
            return Ok(false);
        }
        // Every new order is admitted as if it were the first: by the CA's rate limits.
        let mut plain = false;
        for _ in 0..ADMISSIONS {
            match self.attempt(&record, fence, plain).await? {
                Attempt::Done { made } => return Ok(made),
                Attempt::Again { without_replaces } => plain |= without_replaces,
            }
        }
        tracing::warn!(domain = %name, "CA accepts no order for the domain; will retry in an hour");
        self.core
            .transition(name, fence, |draft| {
                let until = draft.now() + REFUSED_RETRY;
                draft.apply(SslEvent::Postponed { until });
                Edit::Store
            })
            .await?;
        Ok(false)
    }

    /// Whether an order is still needed, or one is open. While this one waited in the queue, its lease may have been
    /// lost and another node may have obtained the certificate.
    async fn is_needed(&self, record: &DomainRecord) -> Result<bool, StoreError> {
        Ok(record.ssl.reason.is_in_progress()
            || rules::needs_order(&record.ssl, self.core.clock.now())
            || self.core.store.order(&record.name).await?.is_some())
    }

    /// Admits an order and runs it to its end.
    async fn attempt(&self, record: &DomainRecord, fence: Fence, plain: bool) -> Result<Attempt, StoreError> {
        let name = &record.name;
        let since = self.health.endings();
        // A certificate that could not be stored must not be ordered, nor be charged to a limit.
        self.core.store.probe().await?;
        let chosen = match self.choose(record, plain).await? {
            Choice::At(chosen) => {
                // It does not need the turn it may have had.
                self.schedule.fairness.return_turn_of(name, &record.ssl).await?;
                chosen
            }
            Choice::Wait(wait) => {
                let wait = self.keep_turn(record, wait).await?;
                self.note_wait(name, fence, wait).await?;
                self.retry_if_ended(name, fence, since).await?;
                return Ok(Attempt::Done { made: false });
            }
            Choice::Forbidden { host } => {
                let verdict = DnsVerdict::CaaForbids { host };
                self.core
                    .transition(name, fence, |draft| {
                        dns::note_dns(&self.core, draft, &verdict, None);
                        Edit::Store
                    })
                    .await?;
                return Ok(Attempt::Done { made: false });
            }
        };
        let end = match self.begin(&chosen, record, fence).await {
            Ok(job) => self.issue(&chosen.ca.issuer, &job).await,
            Err(error) => {
                // The CA has seen nothing of it.
                self.refund(&chosen, record, Spent::Nothing).await?;
                Err(error)
            }
        };
        if end.is_ok() && chosen.ca.identity().account_uri.is_none() {
            // There is an account now, which CAA records can name.
            self.identities.refresh();
        }
        let judged = self.health.judge(&chosen.ca, &end, since).await;
        self.health.end_trial(chosen.trial.clone()).await.and(judged)?;
        match end {
            Ok(issued) => {
                self.schedule.checks.mass_failure.order_succeeded();
                self.health.end_throttle(&chosen.ca);
                self.note_issued(name, fence, issued).await?;
                Ok(Attempt::Done { made: true })
            }
            Err(IssueError::Failed {
                failure,
                resumable,
                spent,
            }) => {
                if !resumable {
                    self.refund(&chosen, record, spent).await?;
                }
                self.note_failed(&chosen, record, fence, failure, resumable).await?;
                self.retry_if_ended(name, fence, since).await?;
                Ok(Attempt::Done { made: true })
            }
            Err(IssueError::Gone) => {
                self.core
                    .transition(name, fence, |draft| {
                        draft.log("order_gone", None);
                        draft.end_order();
                        Edit::Store
                    })
                    .await?;
                Ok(Attempt::Again {
                    without_replaces: false,
                })
            }
            Err(IssueError::NotAsReplacement) => Ok(Attempt::Again { without_replaces: true }),
            Err(IssueError::Fenced) => Err(StoreError::Fenced),
            Err(IssueError::Store(error)) => Err(error),
        }
    }

    /// Refunds what a failed order took from the CA's rate limits and the CA did not count.
    async fn refund(&self, chosen: &Chosen, record: &DomainRecord, spent: Spent) -> Result<(), StoreError> {
        if chosen.replaces.is_some() || chosen.resumes && spent == Spent::Nothing {
            return Ok(());
        }
        let (directory, limits) = (chosen.ca.directory(), &chosen.ca.limits);
        let domain = (&record.name, &record.ssl);
        let takes = match spent {
            Spent::Certificate => return Ok(()),
            // No certificate came of it: the customer who fixes the fault need not wait.
            Spent::Order => rules::certificate_budgets(domain, directory, limits),
            Spent::Nothing => rules::budgets(domain, directory, limits),
        };
        self.core.store.return_budgets(&takes).await
    }

    /// Stores that the order is made at the chosen CA.
    async fn begin(&self, chosen: &Chosen, record: &DomainRecord, fence: Fence) -> Result<Job, IssueError> {
        let ca = chosen.ca.issuer.host();
        let begun = self
            .core
            .transition(&record.name, fence, |draft| {
                // Paused, retired or purged since it was read.
                if !draft.record.is_wanted() {
                    return Edit::Refuse(StoreError::Fenced);
                }
                draft.apply(SslEvent::OrderStarted { ca: ca.to_owned() });
                match chosen.resumes {
                    true => draft.log("order_resumed", Some(ca.to_owned())),
                    false => draft.log("order_started", Some(ca.to_owned())),
                };
                Edit::Store
            })
            .await?;
        if begun.is_none() {
            return Err(IssueError::Fenced);
        }
        Ok(Job {
            name: record.name.clone(),
            replaces: chosen.replaces.clone(),
            resumes: chosen.resumes,
            fence,
        })
    }

    /// Runs the order at the CA and stores its progress.
    async fn issue(&self, issuer: &Issuer, job: &Job) -> Result<Issued, IssueError> {
        let (progress, mut steps) = mpsc::channel(4);
        let report = move |step: Progress| {
            // Only the newest step matters: one that finds the channel full is not missed.
            progress.try_send(step).ok();
        };
        let order = issuer.issue(job, &report);
        tokio::pin!(order);
        loop {
            tokio::select! {
                biased;
                Some(step) = steps.recv() => {
                    if step == Progress::Validating {
                        let changed = self.core.transition(&job.name, job.fence, |draft| {
                            draft.apply(SslEvent::Validating);
                            draft.log("validating", None);
                            Edit::Store
                        }).await?;
                        if changed.is_none() {
                            return Err(IssueError::Fenced);
                        }
                    }
                }
                result = &mut order => return result,
            }
        }
    }

    async fn note_issued(&self, name: &DomainName, fence: Fence, issued: Issued) -> Result<(), StoreError> {
        let changed = self
            .core
            .transition(name, fence, |draft| {
                let renews = draft.record.ssl.certificate.is_some();
                draft.apply(SslEvent::Issued(issued.info.clone()));
                dns::plan_check(&self.core, draft);
                draft.attach_certificate(issued.certificate.clone());
                let detail = format!("{}, until {}", issued.info.issuer, issued.info.not_after);
                match renews {
                    true => draft.log("renewed", Some(detail)),
                    false => draft.log("issued", Some(detail)),
                };
                Edit::Store
            })
            .await?;
        if changed.is_some() {
            self.core.serve(name, issued.served);
            self.core.keep_certificate(name, issued.certificate);
        }
        tracing::info!(domain = %name, issuer = %issued.info.issuer, not_after = %issued.info.not_after, "certificate issued");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
